/*
 * access.h - API tokens, sending domains and the program's own secrets; public, included through storage/storage.h.
 *
 * Tokens are kept only as SHA-256. DKIM private keys are files (mode 0600) in DIR/dkim; the database holds their names and the published record.
 */
#ifndef POSTHASTE_STORAGE_ACCESS_H
#define POSTHASTE_STORAGE_ACCESS_H

#include "storage/storage.h"

enum token_scope { TOKEN_READ, TOKEN_SEND, TOKEN_ADMIN }; /* each includes the ones before it */

struct storage_token {
    int64_t id;
    const char *name;
    enum token_scope scope;
    int64_t created_ms, last_used_ms, revoked_ms; /* 0 = never */
};
typedef int storage_token_cb(void *context, const struct storage_token *token);

int storage_token_add(struct storage *storage, const char *name, enum token_scope scope, const uint8_t sha256[32], int64_t now_ms, int64_t *id, struct error *err);
int storage_token_revoke(struct storage *storage, int64_t id, int64_t now_ms, struct error *err); /* 0 or NOT_FOUND */
/* The unrevoked token with this hash; NOT_FOUND. (Look-up by hash: nothing about the token leaks through timing.) */
int storage_token_check(struct storage_reader *reader, const uint8_t sha256[32], storage_token_cb *each, void *context, struct error *err);
int storage_token_list(struct storage_reader *reader, storage_token_cb *each, void *context, struct error *err);
int storage_token_used(struct storage *storage, int64_t id, int64_t now_ms, struct error *err);

struct storage_domain { /* a sending domain and its DKIM key */
    const char *name, *selector;
    const char *key_file;  /* relative to data_dir, "dkim/example.org.ph1.pem" */
    const char *dkim_record; /* the TXT value to publish at SELECTOR._domainkey.NAME */
    int64_t created_ms;
};
typedef int storage_domain_cb(void *context, const struct storage_domain *domain);
int storage_domain_add(struct storage *storage, const struct storage_domain *domain, struct error *err); /* 0 or EXISTS */
int storage_domain_get(struct storage_reader *reader, const char *name, storage_domain_cb *each, void *context, struct error *err);
int storage_domain_list(struct storage_reader *reader, storage_domain_cb *each, void *context, struct error *err);

/* 32 random bytes kept under `name`, made on first use. */
int storage_secret(struct storage *storage, const char *name, uint8_t out[32], struct error *err);

#endif
