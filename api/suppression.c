/*
 * suppression.c - reads the parts of an entry as people and other programs write them.
 */
#include "api/suppression.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

#define DIGEST_DIGITS 64

bool suppression_reason_known(const char *reason)
{
    static const char *const reasons[] = {"manual",      "unsubscribe", "complaint",
                                          "hard-bounce", "soft-bounce", "invalid"};
    for (size_t i = 0; i < countof(reasons); i++) {
        if (strcmp(reasons[i], reason) == 0)
            return true;
    }
    return false;
}

int suppression_email(const char *text, char out[ADDRESS_MAX_BYTES + 1], struct error *err)
{
    const char *digits =
        str_starts_nocase(text, SUPPRESSION_HASH_PREFIX) ? text + strlen(SUPPRESSION_HASH_PREFIX) : text;
    bool digest = strlen(digits) == DIGEST_DIGITS;
    for (size_t i = 0; digest && i < DIGEST_DIGITS; i++) {
        char c = ascii_lower(digits[i]);
        digest = ascii_is_digit(c) || (c >= 'a' && c <= 'f');
    }
    if (digest) {
        size_t prefix = strlen(SUPPRESSION_HASH_PREFIX);
        memcpy(out, SUPPRESSION_HASH_PREFIX, prefix);
        memcpy(out + prefix, digits, DIGEST_DIGITS + 1);
        str_lower(out);
        return 0;
    }
    if (digits != text)
        return error_set(err, -EINVAL, "behind sha256: stand 64 hexadecimal digits");
    struct address address;
    int rc = address_parse_stored(text, strlen(text), &address, err);
    if (rc == 0)
        (void)str_copy(out, ADDRESS_MAX_BYTES + 1, address.text);
    return rc;
}

int suppression_expiry(const char *text, int64_t now_ms, int64_t *out_ms)
{
    int64_t ms;
    if (time_parse_rfc3339(text, out_ms) == 0)
        return *out_ms > now_ms ? 0 : -EINVAL;
    if (str_parse_duration_ms(text, &ms) < 0 || ms <= 0)
        return -EINVAL;
    *out_ms = now_ms + ms;
    return 0;
}

static int nothing(void *context, const struct storage_list *list)
{
    (void)context, (void)list;
    return 0;
}

int suppression_list(struct storage_reader *reader, const char *text, int64_t *id, struct error *err)
{
    uint64_t number;
    *id = 0;
    if (text[0] == '\0')
        return 0;
    int rc = storage_list_find(reader, text, id, err);
    if (rc != STORAGE_NOT_FOUND || str_parse_u64(text, INT64_MAX, &number) != 0)
        return rc;
    *id = (int64_t)number;
    return storage_list_get(reader, *id, nothing, NULL, err);
}
