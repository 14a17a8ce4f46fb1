/*
 * DATA, BDAT, and the end of data.
 *
 * The stage "EOD" is the moment when the content is there to its last byte. It is the only place where a message
 * becomes accepted, and the place where the script can be cruel: whoever loses the reply to it cannot know (RFC 1047).
 *
 * A BDAT chunk that is refused is still read (RFC 3030 2: the client may have sent it already) and answered when it is
 * over. A script that closes or stalls at BDAT does so at once, in the middle of the chunk.
 */
#include "tests/sink/session_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sink/store.h"

static const struct answer answer_sequence = {503, "5.5.1", "Bad sequence of commands"};
static const struct answer answer_no_recipients = {554, "5.5.1", "No valid recipients"};
static const struct answer answer_too_big = {552, "5.3.4", "Message too big for system"};

static void begin_content(struct session *session)
{
    const struct session_settings *settings = session->settings;

    content_begin(&session->content, settings->strict, settings->store->folder != NULL, settings->size_limit_bytes);
}

void session_data(struct session *session, const struct command *command)
{
    static const struct answer go_ahead = {354, NULL, "End data with <CR><LF>.<CR><LF>"};
    static const struct answer no_arguments = {501, "5.5.4", "DATA takes no parameters"};
    const struct answer *answer = &go_ahead;
    const struct action *action = NULL;

    if (session->transaction != TRANSACTION_MAIL) {
        session_refuse(session, "DATA", NULL, &answer_sequence);
        return;
    }
    if (command->rest.length > 0) {
        session_refuse(session, "DATA", NULL, &no_arguments);
        return;
    }
    if (session->recipient_count == 0)
        answer = &answer_no_recipients;
    action = session_consult(session, "DATA", NULL);
    if (session_settle(session, "DATA", NULL, session_tell(session, action, answer), 3)) {
        begin_content(session);
        session->mode = INPUT_DATA;
    }
    /* A refused DATA leaves the transaction open, as in Postfix: a client that goes on with MAIL and no RSET gets 503.
     */
}

/* One ledger line for each recipient; two where content was taken and the client is left without a word. */
static void note_end(struct session *session, struct note *note, bool accepted)
{
    note->stage = "EOD";
    note->from = text_length(&session->from) > 0 ? text_bytes(&session->from) : NULL;
    note->reply = session->said;
    note->reply_length = session->said_length;
    note->has_content = true;
    note->auth = session->user;
    note->accepted = accepted;
    for (size_t i = 0; i == 0 || i < session->recipient_count; i++) {
        note->to = session->recipient_count > 0 ? session->recipients[i] : NULL;
        note->first = i == 0;
        if (accepted) {
            note->kind = NOTE_MESSAGE;
            session->host->note(session->context, note);
        }
        if (session->said == NULL || !accepted) {
            note->kind = session->said == NULL ? NOTE_DROP : NOTE_REJECT;
            session->host->note(session->context, note);
        }
    }
}

/* The sink's own reasons against a content, NULL if there are none. Stores it on the way. */
static const struct answer *judge(struct session *session, struct note *note, char name[STORE_NAME_BYTES])
{
    static const struct answer bare_lf = {554, "5.6.0", "bare LF in content"};
    static const struct answer bare_cr = {554, "5.6.0", "bare CR in content"};
    static const struct answer cannot_store = {451, "4.3.0", "Cannot store the message"};
    struct content *content = &session->content;
    struct store *store = session->settings->store;
    const char *fault;

    content_finish(content);
    note->size_bytes = content->size_bytes;
    note->message_id = content_message_id(content);
    store->number++;
    if (session->recipient_count == 0)
        return &answer_no_recipients;
    if (content->size_bytes > content->size_limit_bytes)
        return &answer_too_big;
    if (content->keep) {
        if (store_write(store, store->number, text_bytes(&content->body), text_length(&content->body), name) != 0)
            return &cannot_store;
        note->file = name;
    }
    fault = content_fault(content);
    if (fault == NULL)
        return NULL;
    session_violation(session, "EOD", fault);
    return strcmp(fault, "bare LF") == 0 ? &bare_lf : &bare_cr;
}

static void finish_message(struct session *session, const char *via, const struct action *otherwise)
{
    char name[STORE_NAME_BYTES];
    char queued[48] = "";
    struct note note = {.via = via};
    const struct answer ok = {250, "2.0.0", queued};
    const struct answer *wrong = judge(session, &note, name);
    const struct action *action = NULL;
    struct told told;
    bool accepted;

    session->mode = INPUT_COMMAND;
    if (wrong == NULL) {
        action = session_consult(session, "EOD", NULL);
        action = action == NULL ? otherwise : action;
        (void)snprintf(queued, sizeof(queued), "Ok: queued as %" PRIu64, session->settings->store->number);
    }
    told = session_tell(session, action, wrong == NULL ? &ok : wrong);
    accepted = wrong == NULL && told.code / 100 == 2;
    if (action != NULL && action->accept >= 0)
        accepted = action->accept == 1;
    note_end(session, &note, accepted);
    session_end_transaction(session);
}

static void check_behind(struct session *session, bool more)
{
    if (!more || session->pipelining_noted || session->mode != INPUT_COMMAND ||
        session_offers(session, EXTENSION_PIPELINING))
        return;
    session->pipelining_noted = true;
    session_violation(session, "EOD", "pipelined without PIPELINING");
}

size_t session_take_data(struct session *session, const char *bytes, size_t length)
{
    bool ended;
    size_t used = content_take_data(&session->content, bytes, length, &ended);

    if (ended) {
        finish_message(session, "DATA", NULL);
        check_behind(session, used < length);
    }
    return used;
}

/* A chunk that will be read and refused. */
static void discard_chunk(struct session *session, const struct answer *refusal, const struct action *action)
{
    session->chunk.discard = true;
    session->chunk.refusal = *refusal;
    session->chunk.action = action;
}

static void refuse_chunk(struct session *session)
{
    struct told told = session_tell(session, session->chunk.action, &session->chunk.refusal);

    /* Class 0 is never met: whatever the code, this is a reject or a drop. */
    session_settle(session, "BDAT", NULL, told, 0);
    if (session->chunk.last)
        session_end_transaction(session);
    else if (session->transaction != TRANSACTION_NONE)
        session->transaction = TRANSACTION_FAILED;
}

static void finish_chunk(struct session *session)
{
    static const struct answer ok = {250, "2.0.0", "Ok: chunk received"};
    const struct action *action = session->chunk.action;

    session->mode = INPUT_COMMAND;
    if (session->chunk.discard)
        refuse_chunk(session);
    else if (session->chunk.last)
        finish_message(session, "BDAT", action);
    else
        session_settle(session, "BDAT", NULL, session_tell(session, action, &ok), 2);
}

size_t session_take_chunk(struct session *session, const char *bytes, size_t length)
{
    size_t used = session->chunk.left_bytes < length ? (size_t)session->chunk.left_bytes : length;

    if (!session->chunk.discard)
        content_take_chunk(&session->content, bytes, used);
    session->chunk.left_bytes -= used;
    if (session->chunk.left_bytes == 0) {
        finish_chunk(session);
        check_behind(session, used < length);
    }
    return used;
}

/* "BDAT" SP chunk-size [SP "LAST"] (RFC 3030 2). */
static bool read_chunk(const struct command *command, struct chunk *chunk)
{
    struct slice words = command->rest;
    struct slice size;
    struct slice none;

    *chunk = (struct chunk){0};
    if (!command_next_parameter(&words, &size, &none) || none.at != NULL || !slice_number(&size, &chunk->left_bytes))
        return false;
    if (!command_next_parameter(&words, &size, &none))
        return true;
    chunk->last = slice_is(&size, "LAST");
    return chunk->last && none.at == NULL && !command_next_parameter(&words, &size, &none);
}

/* Decides over a chunk before its first byte. False: the script has ended the session here. */
static bool admit_chunk(struct session *session)
{
    static const struct answer not_offered = {502, "5.5.1", "CHUNKING was not offered"};
    static const struct answer refused = {554, "5.0.0", "Refused"};
    struct chunk *chunk = &session->chunk;
    const struct action *action;
    uint64_t before_bytes = session->transaction == TRANSACTION_CHUNKS ? session->content.size_bytes : 0;

    if (!session_offers(session, EXTENSION_CHUNKING)) {
        session_violation(session, "BDAT", "BDAT without CHUNKING");
        discard_chunk(session, &not_offered, NULL);
        return true;
    }
    if (session->transaction == TRANSACTION_NONE || session->transaction == TRANSACTION_FAILED) {
        discard_chunk(session, &answer_sequence, NULL);
        return true;
    }
    if (session->recipient_count == 0) {
        discard_chunk(session, &answer_no_recipients, NULL);
        return true;
    }
    if (before_bytes + chunk->left_bytes > session->settings->size_limit_bytes) {
        discard_chunk(session, &answer_too_big, NULL);
        return true;
    }
    session->chunks++;
    action = session_consult(session, "BDAT", NULL);
    if (action != NULL && action->kind != ACTION_ORDINARY && action->code == 0) {
        session_settle(session, "BDAT", NULL, session_tell(session, action, &refused), 2);
        return false;
    }
    if (action != NULL && action->kind != ACTION_ORDINARY && action->code / 100 != 2) {
        discard_chunk(session, &refused, action);
        return true;
    }
    chunk->action = action;
    if (session->transaction == TRANSACTION_MAIL)
        begin_content(session);
    session->transaction = TRANSACTION_CHUNKS;
    return true;
}

void session_bdat(struct session *session, const struct command *command)
{
    static const struct answer syntax = {501, "5.5.4", "Syntax: BDAT count [LAST]"};
    static const struct manner leave = {.after = AFTER_CLOSE};

    if (!read_chunk(command, &session->chunk)) {
        /* Without a count nobody knows where the next command begins. */
        session_violation(session, "BDAT", "malformed BDAT");
        session_refuse(session, "BDAT", NULL, &syntax);
        session->host->send(session->context, "", 0, &leave);
        session->mode = INPUT_OVER;
        return;
    }
    if (!admit_chunk(session))
        return;
    session->mode = INPUT_CHUNK;
    if (session->chunk.left_bytes == 0)
        finish_chunk(session);
}
