/* Making of ledger lines. By hand and not with jansson, since this is done for each message at 15,000 a second. */
#include "tests/sink/record.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sink/clock.h"
#include "tests/sink/tls.h"

enum {
    RECORD_FIRST = 16,
    REPLY_LIMIT_BYTES = 1024, /* of a reply, in the ledger */
};

void records_free(struct records *records)
{
    text_free(&records->text);
    text_free(&records->channel);
    free(records->queue);
    *records = (struct records){0};
}

static void begin(struct text *text, const char *event, uint64_t connection)
{
    text_add_string(text, "{\"event\":\"");
    text_add_string(text, event);
    text_add_string(text, "\",\"t_us\":");
    text_add_number(text, clock_monotonic_us());
    text_add_string(text, ",\"wall_us\":");
    text_add_number(text, clock_wall_us());
    text_add_string(text, ",\"conn\":");
    text_add_number(text, connection);
}

static void add_key(struct text *text, const char *key, const char *value)
{
    text_add(text, ",\"", 2);
    text_add_string(text, key);
    text_add(text, "\":", 2);
    text_add_json_string(text, value);
}

static void add_flag(struct text *text, const char *key, bool value)
{
    text_add(text, ",\"", 2);
    text_add_string(text, key);
    text_add_string(text, value ? "\":true" : "\":false");
}

static void add_channel(struct text *text, const struct records *records)
{
    static const char clear[] = ",\"tls\":null,\"cipher\":null,\"resumed\":false,\"sni\":null";

    if (text_length(&records->channel) == 0)
        text_add(text, clear, sizeof(clear) - 1);
    else
        text_add(text, text_bytes(&records->channel), text_length(&records->channel));
}

void records_set_channel(struct records *records, const struct tls_facts *facts)
{
    text_clear(&records->channel);
    add_key(&records->channel, "tls", facts->version);
    add_key(&records->channel, "cipher", facts->cipher);
    add_flag(&records->channel, "resumed", facts->resumed);
    add_key(&records->channel, "sni", facts->sni);
}

static void add_note(struct records *records, uint64_t connection, const struct note *note)
{
    static const char *const events[] = {[NOTE_MESSAGE] = "message",
                                         [NOTE_REJECT] = "reject",
                                         [NOTE_DROP] = "drop",
                                         [NOTE_VIOLATION] = "violation",
                                         [NOTE_AUTH] = "auth"};
    struct text *text = &records->text;

    begin(text, events[note->kind], connection);
    if (note->kind == NOTE_AUTH) {
        add_key(text, "mechanism", note->what);
        add_key(text, "auth", note->auth);
        add_channel(text, records);
        return;
    }
    if (note->kind == NOTE_VIOLATION) {
        add_key(text, "what", note->what);
        add_key(text, "where", note->stage);
    } else if (note->kind != NOTE_MESSAGE) {
        add_key(text, "stage", note->stage);
    }
    add_key(text, "from", note->from);
    add_key(text, "to", note->to);
    if (note->kind == NOTE_DROP) {
        add_flag(text, "after_eod", note->has_content);
        add_flag(text, "accepted", note->accepted);
    }
    if (note->has_content) {
        add_key(text, "message_id", note->message_id);
        text_add_string(text, ",\"size\":");
        text_add_number(text, note->size_bytes);
        add_key(text, "via", note->via);
        if (note->file != NULL)
            add_key(text, "file", note->file);
    }
    if (note->kind == NOTE_MESSAGE) {
        add_channel(text, records);
        add_key(text, "auth", note->auth);
    }
}

static struct record *new_record(struct records *records)
{
    if (records->first == records->last) {
        records->first = 0;
        records->last = 0;
    }
    if (records->last == records->capacity && records->first >= records->capacity / 2 && records->first > 0) {
        size_t count = records->last - records->first;

        memmove(records->queue, records->queue + records->first, count * sizeof(*records->queue));
        records->first = 0;
        records->last = count;
    }
    if (records->last == records->capacity) {
        records->capacity = records->capacity == 0 ? RECORD_FIRST : records->capacity * 2;
        records->queue = sink_realloc(records->queue, records->capacity * sizeof(*records->queue));
    }
    return &records->queue[records->last++];
}

void records_add(struct records *records, uint64_t connection, const struct note *note, uint64_t stream_end)
{
    struct record *record = new_record(records);
    size_t before = text_length(&records->text);

    *record = (struct record){
        .stream_end = stream_end,
        .awaited = note->kind == NOTE_MESSAGE && note->first && note->reply != NULL,
    };
    add_note(records, connection, note);
    record->line_length = text_length(&records->text) - before;
    if (note->kind == NOTE_MESSAGE || note->kind == NOTE_REJECT) {
        if (note->reply == NULL)
            text_add_json_string(&records->text, NULL);
        else
            text_add_json(&records->text, note->reply,
                          note->reply_length < REPLY_LIMIT_BYTES ? note->reply_length : REPLY_LIMIT_BYTES);
        record->reply_length = text_length(&records->text) - before - record->line_length;
    }
}

/* Takes the first record out, into the ledger. */
static void finish_first(struct records *records, struct ledger *ledger, bool told)
{
    const struct record *record = &records->queue[records->first++];
    struct text *lines = ledger_lines(ledger);
    const char *line = text_bytes(&records->text);

    if (lines != NULL) {
        text_add(lines, line, record->line_length);
        if (record->reply_length > 0) {
            text_add_string(lines, ",\"reply\":");
            if (told)
                text_add(lines, line + record->line_length, record->reply_length);
            else
                text_add(lines, "null", 4);
        }
        text_add(lines, "}\n", 2);
        ledger_added(ledger);
    }
    text_take(&records->text, record->line_length + record->reply_length);
}

void records_settle(struct records *records, uint64_t written, struct ledger *ledger)
{
    while (records->first < records->last && records->queue[records->first].stream_end <= written)
        finish_first(records, ledger, true);
}

void records_lose(struct records *records, struct ledger *ledger, struct counts *counts)
{
    while (records->first < records->last) {
        counts->replies_lost += records->queue[records->first].awaited ? 1 : 0;
        finish_first(records, ledger, false);
    }
}

void record_connect(struct ledger *ledger, const struct records *records, uint64_t connection, const char *peer,
                    const char *local)
{
    struct text *lines = ledger_lines(ledger);

    if (lines == NULL)
        return;
    begin(lines, "connect", connection);
    add_key(lines, "peer", peer);
    add_key(lines, "local", local);
    add_channel(lines, records);
    text_add(lines, "}\n", 2);
    ledger_added(ledger);
}

void record_handshake(struct ledger *ledger, const struct records *records, uint64_t connection, const char *error)
{
    struct text *lines = ledger_lines(ledger);

    if (lines == NULL)
        return;
    begin(lines, "handshake", connection);
    add_channel(lines, records);
    add_key(lines, "error", error);
    text_add(lines, "}\n", 2);
    ledger_added(ledger);
}

void record_close(struct ledger *ledger, uint64_t connection, uint64_t messages, const struct session *session,
                  const char *by)
{
    struct text *lines = ledger_lines(ledger);

    if (lines == NULL)
        return;
    begin(lines, "close", connection);
    text_add_string(lines, ",\"messages\":");
    text_add_number(lines, messages);
    text_add_string(lines, ",\"commands\":");
    text_add_number(lines, session_commands(session, false));
    text_add_string(lines, ",\"secure_commands\":");
    text_add_number(lines, session_commands(session, true));
    add_key(lines, "by", by);
    text_add(lines, "}\n", 2);
    ledger_added(ledger);
}
