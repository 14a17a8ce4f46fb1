/*
 * messages.h - single messages (receipts, password mails): one recipient, one content, counted by a stream; public,
 * included through storage/storage.h.
 *
 * A stream is a campaign without an end, one for each domain of a From address. A message is a member of its audience:
 * it is claimed, sent, journalled, recorded and told of as every delivery is, under its own id in place of a
 * recipient's. Ids of messages begin where those of recipients never come.
 */
#ifndef POSTHASTE_STORAGE_MESSAGES_H
#define POSTHASTE_STORAGE_MESSAGES_H

#include "storage/storage.h"

#define STORAGE_MESSAGE_FIRST ((int64_t)1 << 40)
#define STORAGE_MESSAGE_LANES 4
#define STORAGE_MESSAGE_CONTENT_MAX_BYTES ((size_t)16 << 20)

static inline bool storage_is_message(int64_t recipient_id)
{
    return recipient_id >= STORAGE_MESSAGE_FIRST;
}

struct storage_message_new {
    const char *email;       /* normal form of base/address.h */
    const char *sender;      /* domain of the From address */
    const char *stream_spec; /* JSON: the stream's own content, when it has to be made */
    const char *content;     /* JSON */
    uint8_t digest[32];      /* of `content` */
    const char *attributes;  /* JSON object */
    const char *labels;      /* JSON object */
    bool transactional;      /* goes to somebody who has unsubscribed, too */
    int64_t now_ms, expires_ms;
};
struct storage_message_made {
    int64_t id, campaign_id;
    int lane;
    bool stream_made; /* the stream begins with it */
};
/* Durable when it returns 0. A recipient that is not known yet is stored, on no list. */
int storage_message_post(struct storage *storage, const struct storage_message_new *message,
                         struct storage_message_made *made, struct error *err);

struct storage_message {
    int64_t id, campaign_id, recipient_id, delivery_id; /* delivery_id 0: nothing came of it yet */
    const char *email, *labels;
    bool transactional, uncertain;
    enum delivery_state state;
    int attempts, code;
    int64_t created_ms, expires_ms, updated_ms, next_attempt_ms;
    const char *enhanced, *reply; /* of the last attempt; "" when none */
};
typedef int storage_message_cb(void *context, const struct storage_message *message);
int storage_message_get(struct storage_reader *reader, int64_t id, storage_message_cb *each, void *context,
                        struct error *err);
/* Newest first: ids < before (0 = from the newest), at most `limit`; state -1 = any; email NULL = any. One call looks
 * at a bounded number of messages: `*reached` is the last id looked at, 0 = there are no more. */
int storage_message_page(struct storage_reader *reader, int64_t before, int limit, int state, const char *email,
                         storage_message_cb *each, void *context, int64_t *reached, struct error *err);
/* Sums of all streams; states[PENDING] is derived. */
int storage_message_totals(struct storage_reader *reader, int64_t *audience, int64_t states[DELIVERY_STATE_COUNT],
                           struct error *err);

typedef int storage_message_content_cb(void *context, const char *content);
int storage_message_content(struct storage_reader *reader, int64_t content_id, storage_message_content_cb *each,
                            void *context, struct error *err);

#endif
