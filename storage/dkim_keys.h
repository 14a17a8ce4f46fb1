/*
 * dkim_keys.h - the keys of a sending domain and their lives; public, included through storage/storage.h.
 *
 * A domain signs with all its keys that are USED: an RSA key, and an Ed25519 key beside it. A rotation makes NEXT ones,
 * which take their place all at once; those before become OLD: nothing is signed with them, but mail that bears their
 * signatures is still under way. The states are in the database: append only.
 */
#ifndef POSTHASTE_STORAGE_DKIM_KEYS_H
#define POSTHASTE_STORAGE_DKIM_KEYS_H

#include "storage/storage.h"

enum dkim_key_state { DKIM_KEY_NEXT, DKIM_KEY_USED, DKIM_KEY_OLD, DKIM_KEY_RETIRED, DKIM_KEY_STATE_COUNT };
const char *dkim_key_state_name(enum dkim_key_state state); /* "next", "used", "old", "retired" */

#define DKIM_KEYS_MAX 64 /* of a domain, retired ones too; older ones are forgotten */

struct storage_dkim_key {
    const char *domain, *selector;
    const char *algorithm; /* "rsa" or "ed25519" */
    const char *key_file;  /* relative to data_dir */
    const char *record;    /* the TXT value to publish at SELECTOR._domainkey.DOMAIN */
    enum dkim_key_state state;
    int64_t created_ms, changed_ms; /* changed: when its state began */
};
typedef int storage_dkim_key_cb(void *context, const struct storage_dkim_key *key);

/* Registers keys of one domain, all or none; EXISTS when a selector is taken. */
int storage_dkim_keys_add(struct storage *storage, const struct storage_dkim_key *keys, size_t count,
                          struct error *err) ATTR_MUSTCHECK;
/* A new domain with its keys, in one transaction; EXISTS when it is there. */
int storage_domain_register(struct storage *storage, const struct storage_domain *domain,
                            const struct storage_dkim_key *keys, size_t count, struct error *err) ATTR_MUSTCHECK;
/* Retired ones last, else USED, NEXT, OLD; RSA before Ed25519. */
int storage_dkim_keys_list(struct storage_reader *reader, const char *domain, storage_dkim_key_cb *each, void *context,
                           struct error *err) ATTR_MUSTCHECK;
/* Another number whenever other keys sign than before, of whatever domain. */
int storage_dkim_keys_stamp(struct storage_reader *reader, int64_t *stamp, struct error *err) ATTR_MUSTCHECK;
/* NEXT -> USED and USED -> OLD, at once. WRONG_STATE: there are no NEXT ones. */
int storage_dkim_keys_switch(struct storage *storage, const char *domain, int64_t now_ms,
                             struct error *err) ATTR_MUSTCHECK;
/* OLD -> RETIRED. */
int storage_dkim_keys_retire(struct storage *storage, const char *domain, int64_t now_ms,
                             struct error *err) ATTR_MUSTCHECK;

#endif
