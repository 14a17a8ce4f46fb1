/*
 * pool.h - the composers: threads that turn deliveries into signed messages in the order in which they are posted, single messages and tests before campaigns' mail;
 * as many threads as cores.
 *
 * Rendering and RSA are the larger half of all work, so they run beside the event loops, never on them. Each thread has scratch
 * buffers and prepared keys of its own (struct composer); the queue is short, because the engine asks only for what its connections can take.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_POOL_H
#define POSTHASTE_CAMPAIGN_MESSAGE_POOL_H

#include "campaign/schedule/delivery.h"

struct pool;

struct contents;
/* `contents`: where single messages find theirs; outlives the pool. */
int pool_start(unsigned threads, struct contents *contents, struct pool **out, struct error *err) ATTR_MUSTCHECK;
/* Any thread. The answer goes to engine_composed(), from a composer's thread. */
void pool_post(struct pool *pool, struct engine *engine, struct delivery *delivery);
/* Finishes the queue, joins, frees. NULL is allowed. */
void pool_stop(struct pool *pool);

#endif
