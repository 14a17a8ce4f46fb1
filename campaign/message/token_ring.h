/*
 * token_ring.h - the keys that make and prove tokens, as a running program knows them. Private to the room.
 *
 * Filled from the database (storage/link_keys.h), again and again, by any thread that has a reader; read by all without
 * a lock: an entry is never taken away and never moves, a key that is retired only stops to count. So a content may
 * hold on to its key for as long as the ring lives.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_TOKEN_RING_H
#define POSTHASTE_CAMPAIGN_MESSAGE_TOKEN_RING_H

#include "storage/storage.h"

#include "campaign/message/token.h"

struct token_ring;

/* With what the database holds now; it holds one at least. */
int token_ring_create(struct storage *storage, struct storage_reader *reader, struct token_ring **out,
                      struct error *err) ATTR_MUSTCHECK;
void token_ring_free(struct token_ring *ring); /* NULL is harmless */
int token_ring_refresh(struct token_ring *ring, struct storage_reader *reader, struct error *err) ATTR_MUSTCHECK;

/* The key of this number; the newest for one that is not there or retired (its campaign goes on, with other tokens). */
const struct mac_key *token_ring_key(const struct token_ring *ring, int64_t id);
const struct mac_key *token_ring_newest(const struct token_ring *ring);
bool token_ring_knows(const struct token_ring *ring, int64_t id);

/* As token_parse() and token_parse_link(), by whichever key made the token. */
int token_ring_parse(const struct token_ring *ring, enum token_purpose purpose, const char *text, size_t len,
                     int64_t *campaign_id, int64_t *recipient_id) ATTR_MUSTCHECK;
int token_ring_parse_link(const struct token_ring *ring, const char *text, size_t len, int64_t *campaign_id,
                          int64_t *recipient_id, uint16_t *link) ATTR_MUSTCHECK;

#endif
