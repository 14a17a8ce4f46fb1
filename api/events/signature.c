/*
 * signature.c - signs webhooks. The key is decoded for each signature and wiped: a webhook is signed a few times a
 * second at the most.
 */
#include "api/events/signature.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dkim/dkim.h"

#define PREFIX "whsec_"
#define SECRET_RANDOM_BYTES 32
#define KEY_MAX_BYTES 96

int signature_secret(char out[SIGNATURE_SECRET_BYTES], struct error *err)
{
    uint8_t random[SECRET_RANDOM_BYTES];
    _Static_assert(sizeof(PREFIX) + (SECRET_RANDOM_BYTES + 2) / 3 * 4 <= SIGNATURE_SECRET_BYTES, "room");
    if (random_bytes(random, sizeof(random)) != 0)
        return error_set(err, -EIO, "no random bytes to be had");
    memcpy(out, PREFIX, strlen(PREFIX));
    digest_base64(random, sizeof(random), out + strlen(PREFIX));
    return 0;
}

int signature_append(struct buffer *out, const char *secret, const char *id, int64_t timestamp_s, const void *body,
                     size_t body_bytes)
{
    uint8_t key[KEY_MAX_BYTES];
    uint8_t mac[32];
    char text[64];
    if (strncmp(secret, PREFIX, strlen(PREFIX)) != 0)
        return -EINVAL;
    int key_bytes = digest_unbase64(secret + strlen(PREFIX), key, sizeof(key));
    if (key_bytes < 0)
        return -EINVAL;
    struct mac_key *keyed = mac_key_create(key, (size_t)key_bytes);
    explicit_bzero(key, sizeof(key));
    if (keyed == NULL)
        return -ENOMEM;
    struct buffer content = BUFFER_INIT((size_t)256 << 20);
    buffer_printf(&content, "%s.%lld.", id, (long long)timestamp_s);
    buffer_append(&content, body, body_bytes);
    int rc = content.failed ? -ENOMEM : mac_sha256(keyed, content.data, content.len, mac);
    buffer_finish(&content);
    mac_key_free(keyed);
    if (rc != 0)
        return rc;
    digest_base64(mac, sizeof(mac), text);
    buffer_printf(out, "%sv1,%s", out->len > 0 ? " " : "", text);
    return out->failed ? -ENOMEM : 0;
}
