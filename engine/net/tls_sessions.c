/*
 * tls_sessions.c - least-recently-used cache of serialised TLS sessions.
 *
 * The bytes hold the session's secret, so they are wiped before their memory goes back. Server certificates that were
 * checked when the session was made are not checked again when it is resumed; that is why the lifetime is bounded
 * here and not left to the server, which may claim a week (RFC 8446 section 4.6.1).
 */
#include "engine/net/tls_sessions.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

struct entry {
    struct list node;
    int64_t until_ms;
    size_t len;
    unsigned char *bytes;
    size_t key_len;
    char key[];
};

void tls_sessions_init(struct tls_sessions *sessions, size_t limit, int64_t lifetime_ms)
{
    assure(limit > 0 && lifetime_ms > 0);
    *sessions = (struct tls_sessions){.map = HASHMAP_INIT, .limit = limit, .lifetime_ms = lifetime_ms};
    list_init(&sessions->recent);
}

static void entry_wipe(struct entry *entry)
{
    OPENSSL_clear_free(entry->bytes, entry->len);
    entry->bytes = NULL;
    entry->len = 0;
}

static void entry_remove(struct tls_sessions *sessions, struct entry *entry)
{
    (void)hashmap_remove(&sessions->map, entry->key, entry->key_len);
    list_remove(&entry->node);
    sessions->count--;
    entry_wipe(entry);
    free(entry);
}

void tls_sessions_finish(struct tls_sessions *sessions)
{
    while (!list_empty(&sessions->recent))
        entry_remove(sessions, list_entry(sessions->recent.next, struct entry, node));
    hashmap_finish(&sessions->map);
}

/* The entry of the key, most recent now; a new, empty one when there was none; NULL = no memory. */
static struct entry *entry_for(struct tls_sessions *sessions, const char *key)
{
    size_t key_len = strlen(key);
    struct entry *entry = hashmap_get(&sessions->map, key, key_len);
    if (entry != NULL) {
        list_remove(&entry->node);
        list_prepend(&sessions->recent, &entry->node);
        return entry;
    }
    if (sessions->count >= sessions->limit)
        entry_remove(sessions, list_entry(sessions->recent.prev, struct entry, node));
    entry = calloc(1, sizeof *entry + key_len + 1);
    if (entry == NULL)
        return NULL;
    memcpy(entry->key, key, key_len + 1);
    entry->key_len = key_len;
    if (hashmap_put(&sessions->map, entry->key, key_len, entry) != 0) {
        free(entry);
        return NULL;
    }
    list_prepend(&sessions->recent, &entry->node);
    sessions->count++;
    return entry;
}

void tls_sessions_put(struct tls_sessions *sessions, const char *key, SSL_SESSION *session, int64_t now_ms)
{
    int len = i2d_SSL_SESSION(session, NULL);
    if (len <= 0 || (size_t)len > TLS_SESSION_MAX_BYTES)
        return;
    unsigned char *bytes = OPENSSL_malloc((size_t)len);
    struct entry *entry = bytes != NULL ? entry_for(sessions, key) : NULL;
    if (entry == NULL) {
        OPENSSL_free(bytes);
        return;
    }
    unsigned char *end = bytes;
    len = i2d_SSL_SESSION(session, &end);
    assure(len >= 0 && end == bytes + len);
    entry_wipe(entry);
    entry->bytes = bytes;
    entry->len = (size_t)len;
    /* What the server says is in seconds and at most 32 bits, so the product cannot overflow; 0 means that it does not
     * say. */
    int64_t hint_ms = (int64_t)MIN_OF(SSL_SESSION_get_ticket_lifetime_hint(session), (unsigned long)UINT32_MAX) * 1000;
    entry->until_ms = now_ms + (hint_ms > 0 ? MIN_OF(hint_ms, sessions->lifetime_ms) : sessions->lifetime_ms);
}

SSL_SESSION *tls_sessions_get(struct tls_sessions *sessions, const char *key, int64_t now_ms)
{
    struct entry *entry = hashmap_get(&sessions->map, key, strlen(key));
    if (entry == NULL)
        return NULL;
    SSL_SESSION *session = NULL;
    if (now_ms < entry->until_ms) {
        const unsigned char *at = entry->bytes;
        session = d2i_SSL_SESSION(NULL, &at, (long)entry->len);
    }
    if (session == NULL) {
        ERR_clear_error();
        entry_remove(sessions, entry);
        return NULL;
    }
    list_remove(&entry->node);
    list_prepend(&sessions->recent, &entry->node);
    return session;
}

void tls_sessions_drop(struct tls_sessions *sessions, const char *key)
{
    struct entry *entry = hashmap_get(&sessions->map, key, strlen(key));
    if (entry != NULL)
        entry_remove(sessions, entry);
}
