/*
 * session_tally.c - two maps under one lock: what waits to be written, by the key of its row; and the domains of the
 * day, which bound the rows.
 */
#include "campaign/tlsrpt/session_tally.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/list.h"
#include "base/str.h"

#define KEY_BYTES 1024
#define BATCH_MAX ((size_t)500)

struct entry {
    struct list node; /* of `waiting` or of a flush */
    struct storage_tls_tally row;
    char *policy;
    size_t key_len;
    char key[]; /* "day\0domain\0…", whose parts the row points to */
};

struct known {
    int64_t rows;
    size_t len;
    char name[];
};

struct session_tally {
    pthread_mutex_t lock;
    struct hashmap entries;
    struct list waiting;    /* in the map */
    struct hashmap domains; /* of `day` */
    int64_t day;
    atomic_uint_fast64_t lost;
};

struct session_tally *session_tally_create(void)
{
    struct session_tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return NULL;
    assure(pthread_mutex_init(&tally->lock, NULL) == 0);
    tally->entries = HASHMAP_INIT;
    tally->domains = HASHMAP_INIT;
    list_init(&tally->waiting);
    return tally;
}

static void forget_domains(struct session_tally *tally)
{
    size_t cursor = 0;
    struct known *known;
    while ((known = hashmap_next(&tally->domains, &cursor)) != NULL)
        free(known);
    hashmap_finish(&tally->domains);
    tally->domains = HASHMAP_INIT;
}

static void entry_free(struct entry *entry)
{
    free(entry->policy);
    free(entry);
}

void session_tally_free(struct session_tally *tally)
{
    struct list *node;
    if (tally == NULL)
        return;
    while ((node = list_take_first(&tally->waiting)) != NULL)
        entry_free(list_entry(node, struct entry, node));
    hashmap_finish(&tally->entries);
    forget_domains(tally);
    (void)pthread_mutex_destroy(&tally->lock);
    free(tally);
}

/* Of today; NULL: there is no room for it. Under the lock. */
static struct known *know(struct session_tally *tally, int64_t day, const char *domain)
{
    size_t len = strlen(domain);
    if (day != tally->day) {
        forget_domains(tally);
        tally->day = day;
    }
    struct known *known = hashmap_get(&tally->domains, domain, len);
    if (known != NULL || tally->domains.count >= TALLY_DOMAINS_MAX)
        return known;
    known = calloc(1, sizeof *known + len + 1);
    if (known == NULL)
        return NULL;
    memcpy(known->name, domain, len);
    known->len = len;
    if (hashmap_put(&tally->domains, known->name, len, known) != 0) {
        free(known);
        return NULL;
    }
    return known;
}

void session_tally_know(struct session_tally *tally, int64_t day, const char *domain, int64_t rows)
{
    (void)pthread_mutex_lock(&tally->lock);
    struct known *known = know(tally, day, domain);
    if (known != NULL)
        known->rows = rows;
    (void)pthread_mutex_unlock(&tally->lock);
}

static enum tls_kind kind_of(const struct engine_tls_session *session)
{
    switch (session->rule) {
    case TLS_RULE_DANE:
        return TLS_KIND_TLSA;
    case TLS_RULE_STS_TESTING:
    case TLS_RULE_STS_ENFORCE:
        return TLS_KIND_STS;
    case TLS_RULE_NONE:
    case TLS_RULE_COUNT:
        break;
    }
    return session->result >= TLS_RESULT_STS_FETCH ? TLS_KIND_STS : TLS_KIND_NONE;
}

/* A new row of zero sessions, in the map. Under the lock. */
static struct entry *make_entry(struct session_tally *tally, const char *key, size_t len)
{
    struct entry *entry = tally->entries.count < TALLY_ENTRIES_MAX ? calloc(1, sizeof *entry + len) : NULL;
    if (entry == NULL)
        return NULL;
    memcpy(entry->key, key, len);
    entry->key_len = len;
    if (hashmap_put(&tally->entries, entry->key, len, entry) != 0) {
        free(entry);
        return NULL;
    }
    const char *part[4];
    const char *at = entry->key;
    for (size_t i = 0; i < countof(part); i++) {
        part[i] = at;
        at += strlen(at) + 1;
    }
    entry->row.domain = part[0];
    entry->row.mx_host = part[1];
    entry->row.address = part[2];
    entry->row.source = part[3];
    entry->row.policy = "";
    list_append(&tally->waiting, &entry->node);
    return entry;
}

/* Four strings, each with its NUL, then day, kind and result. */
static size_t make_key(const struct engine_tls_session *session, int64_t day, bool hosts, char key[KEY_BYTES])
{
    const char *part[] = {session->domain, hosts ? session->mx_host : "", hosts ? session->address : "",
                          hosts ? session->source : ""};
    size_t len = 0;
    for (size_t i = 0; i < countof(part); i++) {
        size_t n = strnlen(part[i], 255);
        memcpy(key + len, part[i], n);
        len += n;
        key[len++] = '\0';
    }
    const int64_t numbers[] = {day, (int64_t)kind_of(session), (int64_t)session->result};
    assure(len + sizeof numbers <= KEY_BYTES);
    memcpy(key + len, numbers, sizeof numbers);
    return len + sizeof numbers;
}

static bool count(struct session_tally *tally, int64_t day, const struct engine_tls_session *session)
{
    char key[KEY_BYTES + 256];
    struct known *known = know(tally, day, session->domain);
    if (known == NULL)
        return false;
    bool hosts = tls_result_is_failure(session->result) && known->rows < TALLY_DETAILS_MAX;
    size_t len = make_key(session, day, hosts, key);
    struct entry *entry = hashmap_get(&tally->entries, key, len);
    if (entry == NULL) {
        entry = make_entry(tally, key, len);
        if (entry == NULL)
            return false;
        entry->row.day = day;
        entry->row.kind = kind_of(session);
        entry->row.result = session->result;
        known->rows++; /* or was in the database already: then there is room for a detail less */
    }
    entry->row.sessions++;
    if (session->policy[0] != '\0' && entry->policy == NULL) {
        entry->policy = str_dup(session->policy);
        entry->row.policy = entry->policy != NULL ? entry->policy : "";
    }
    return true;
}

void session_tally_add(struct session_tally *tally, int64_t day, const struct engine_tls_session *session)
{
    (void)pthread_mutex_lock(&tally->lock);
    bool counted = count(tally, day, session);
    (void)pthread_mutex_unlock(&tally->lock);
    if (!counted)
        atomic_fetch_add(&tally->lost, 1);
}

uint64_t session_tally_lost(const struct session_tally *tally)
{
    return atomic_load(&tally->lost);
}

/* Out of the map: what is counted from now on has entries of its own. */
static size_t take(struct session_tally *tally, struct entry *batch[BATCH_MAX])
{
    size_t n = 0;
    (void)pthread_mutex_lock(&tally->lock);
    struct list *node;
    while (n < BATCH_MAX && (node = list_take_first(&tally->waiting)) != NULL) {
        batch[n] = list_entry(node, struct entry, node);
        (void)hashmap_remove(&tally->entries, batch[n]->key, batch[n]->key_len);
        n++;
    }
    (void)pthread_mutex_unlock(&tally->lock);
    return n;
}

/* Back into the map, unless the same was counted meanwhile: then that one takes its sessions. */
static void give_back(struct session_tally *tally, struct entry *entry)
{
    (void)pthread_mutex_lock(&tally->lock);
    struct entry *other = hashmap_get(&tally->entries, entry->key, entry->key_len);
    bool kept = other == NULL && hashmap_put(&tally->entries, entry->key, entry->key_len, entry) == 0;
    if (kept)
        list_append(&tally->waiting, &entry->node);
    else if (other != NULL)
        other->row.sessions += entry->row.sessions;
    (void)pthread_mutex_unlock(&tally->lock);
    if (!kept)
        entry_free(entry);
}

int session_tally_flush(struct session_tally *tally, struct storage *storage, struct error *err)
{
    struct entry *batch[BATCH_MAX];
    struct storage_tls_tally rows[BATCH_MAX];
    size_t n;
    while ((n = take(tally, batch)) > 0) {
        for (size_t i = 0; i < n; i++)
            rows[i] = batch[i]->row;
        int result = storage_tls_add(storage, rows, n, err);
        for (size_t i = 0; i < n; i++) {
            if (result != 0)
                give_back(tally, batch[i]);
            else
                entry_free(batch[i]);
        }
        if (result != 0)
            return result;
    }
    return 0;
}
