/*
 * fuzz_receive.c - what a client says to the listener: in one piece and in many it gets the same replies and hands over
 * the same mails, no line of which ends with anything but CRLF; and no memory stays behind.
 *
 * The first byte says how large the pieces are.
 */
#include "engine/receive/session.h"
#include "tests/fuzz/fuzz.h"

struct talk {
    struct receive_budget budget;
    uint64_t mails, replies; /* digests */
    size_t taken_bytes;
    bool waiting;
};

static void note(uint64_t *digest, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        *digest = *digest * 31 + ((const uint8_t *)bytes)[i];
}

static bool may_be_mailed(void *context, const char *address)
{
    (void)context;
    assure(strlen(address) <= 256 && strpbrk(address, "\r\n") == NULL);
    return address[0] != 'n';
}

static void take(void *context, struct receive_session *session)
{
    struct talk *talk = context;
    struct receive_content content;
    receive_content_take(session, &content);
    assure(content.recipient_count > 0 && content.recipient_count <= RECEIVE_RECIPIENTS_MAX);
    const char *text = buffer_text(&content.data);
    for (size_t i = 0; i < content.data.len; i++) {
        assure(text[i] != '\n' || (i > 0 && text[i - 1] == '\r'));
        assure(text[i] != '\r' || (i + 1 < content.data.len && text[i + 1] == '\n'));
    }
    note(&talk->mails, text, content.data.len);
    talk->taken_bytes = content.data.len;
    talk->waiting = true;
    receive_content_finish(&content);
}

static void answer(struct talk *talk, struct receive_session *session)
{
    while (talk->waiting) {
        talk->waiting = false;
        receive_budget_return(&talk->budget, talk->taken_bytes);
        receive_session_answer(session, RECEIVE_TAKEN);
    }
    struct buffer *out = receive_session_output(session);
    note(&talk->replies, out->data, out->len);
    buffer_consume(out, out->len);
}

static uint64_t run(const uint8_t *data, size_t size, size_t piece)
{
    struct talk talk = {.budget = {.max_bytes = 1 << 20}};
    const struct receive_settings settings = {.hostname = "mx.test",
                                              .message_bytes = 20000,
                                              .tls = true,
                                              .budget = &talk.budget,
                                              .context = &talk,
                                              .recipient = may_be_mailed,
                                              .mail = take};
    struct receive_session *session = receive_session_create(&settings, NULL);
    assure(session != NULL);
    /* A client that pipelines behind STARTTLS is cut off when it does so in one piece, and in many too. */
    for (size_t at = 0; at < size && !receive_wants_close(session); at += piece) {
        size_t len = MIN_OF(piece, size - at);
        char *bytes = fuzz_copy(data + at, len);
        receive_session_feed(session, bytes, len);
        free(bytes);
        answer(&talk, session);
    }
    receive_session_free(session);
    assure(talk.budget.used_bytes == 0);
    return talk.mails * 31 + talk.replies;
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    size_t piece = 1 + fuzz_byte(&input) % 64u;
    size_t left = MIN_OF(input.left, (size_t)8000); /* what may wait behind a mail is bounded, and is more than this */
    assure(run(input.at, left, left + 1) == run(input.at, left, piece));
    return 0;
}
