/*
 * STARTTLS (RFC 3207) and AUTH (RFC 4954): what changes who the client is, not what it sends.
 *
 * Success of STARTTLS is a 220 (of ours or the script's), behind which the connection speaks TLS. Success of AUTH is a
 * 235. The script is asked at the AUTH command and again at each response of the exchange, always after the mechanism
 * has had its say, so that it may put anything in place of a challenge; as long as it says 334 the exchange goes on.
 */
#include "tests/sink/session_private.h"

#include <string.h>

#include "tests/sink/base64.h"

static const struct answer answer_sequence = {503, "5.5.1", "Bad sequence of commands"};
static const struct answer answer_not_base64 = {501, "5.5.2", "Cannot decode"};

void session_starttls(struct session *session, const struct command *command)
{
    static const struct answer ready = {220, "2.0.0", "Ready to start TLS"};
    static const struct answer no_parameters = {501, "5.5.4", "STARTTLS takes no parameters"};
    const struct action *action;

    if (session->secure || !session_offers(session, EXTENSION_STARTTLS)) {
        session_unknown(session, command);
        return;
    }
    if (command->rest.length > 0 || session->transaction != TRANSACTION_NONE) {
        session_refuse(session, "STARTTLS", NULL, command->rest.length > 0 ? &no_parameters : &answer_sequence);
        return;
    }
    action = session_consult(session, "STARTTLS", NULL);
    if (session_settle(session, "STARTTLS", NULL, session_tell(session, action, &ready), 2)) {
        session->mode = INPUT_TLS;
        session->host->secure(session->context);
    }
}

/* The ordinary answer to a step, in session->reply; its code. */
static int prepare_answer(struct session *session, enum sasl_step step)
{
    static const struct answer accepted = {235, "2.7.0", "Authentication succeeded"};
    static const struct answer refused = {535, "5.7.8", "Authentication credentials invalid"};
    static const struct answer malformed = {501, "5.5.2", "Not what this mechanism says here"};
    const struct answer *answer = &malformed;
    struct text *reply = &session->reply;

    text_clear(reply);
    if (step == SASL_CONTINUE) {
        text_add_string(reply, "334 ");
        base64_encode(reply, text_bytes(&session->sasl.challenge), text_length(&session->sasl.challenge));
        text_add(reply, "\r\n", 2);
        return 334;
    }
    if (step != SASL_MALFORMED)
        answer = step == SASL_ACCEPTED ? &accepted : &refused;
    session_put_answer(session, answer);
    return answer->code;
}

static void end_exchange(struct session *session)
{
    sasl_free(&session->sasl);
    if (session->mode == INPUT_AUTH)
        session->mode = INPUT_COMMAND;
}

static void answer_step(struct session *session, enum sasl_step step)
{
    const struct action *action = session_consult(session, "AUTH", NULL);
    const char *mechanism = sasl_mechanism_name(session->sasl.mechanism);
    int code = prepare_answer(session, step);
    struct told told = session_tell_ready(session, action, code);
    struct note note = {.kind = NOTE_AUTH, .what = mechanism};

    session->sasl_over = step != SASL_CONTINUE;
    if (told.code == 334 && !told.ended) {
        session->mode = INPUT_AUTH;
        return;
    }
    if (session_settle(session, "AUTH", NULL, told, 2)) {
        session->user = session->settings->account->user;
        note.auth = session->user;
        session->host->note(session->context, &note);
    }
    end_exchange(session);
}

/* What the client gave in base64 goes to session->decoded. */
static bool decode(struct session *session, const char *at, size_t length)
{
    text_clear(&session->decoded);
    return base64_decode(&session->decoded, at, length);
}

/* Why AUTH may not come now; NULL: it may. */
static const struct answer *refusal(struct session *session)
{
    static const struct answer needs_tls = {538, "5.7.11", "Encryption required for authentication"};
    static const struct answer not_offered = {502, "5.5.1", "AUTH was not offered"};

    if (!session_offers(session, EXTENSION_AUTH)) {
        session_violation(session, "AUTH", session->secure ? "AUTH was not offered" : "AUTH in clear text");
        return session->secure ? &not_offered : &needs_tls;
    }
    return session->user != NULL || session->transaction != TRANSACTION_NONE ? &answer_sequence : NULL;
}

void session_auth(struct session *session, const struct command *command)
{
    static const struct answer unknown = {504, "5.5.4", "Mechanism not known"};
    struct slice words = command->rest;
    struct slice name = {"", 0};
    const char *initial;
    enum sasl_mechanism mechanism;
    const struct answer *wrong;

    if (session->settings->account == NULL) {
        session_unknown(session, command);
        return;
    }
    initial = memchr(words.at, ' ', words.length);
    name = words;
    if (initial != NULL) {
        name.length = (size_t)(initial - words.at);
        initial++;
    }
    wrong = refusal(session);
    mechanism = sasl_mechanism_named(name.at, name.length);
    if (wrong == NULL && (mechanism & session->settings->mechanisms) == 0)
        wrong = &unknown;
    if (wrong == NULL && initial != NULL) {
        size_t length = (size_t)(words.at + words.length - initial);
        bool empty = length == 1 && *initial == '='; /* RFC 4954 4: a present, empty initial response */

        if (!decode(session, initial, empty ? 0 : length))
            wrong = &answer_not_base64;
    }
    if (wrong != NULL) {
        session_refuse(session, "AUTH", NULL, wrong);
        return;
    }
    answer_step(session, sasl_begin(&session->sasl, mechanism, session->settings->account, session->settings->hostname,
                                    initial == NULL ? NULL : &session->decoded));
}

void session_auth_response(struct session *session, const char *line, size_t length)
{
    static const struct answer cancelled = {501, "5.7.0", "Authentication cancelled"};
    bool asterisk = length == 1 && *line == '*';
    enum sasl_step step = SASL_REFUSED;

    if (asterisk || !decode(session, line, length)) {
        session_refuse(session, "AUTH", NULL, asterisk ? &cancelled : &answer_not_base64);
        end_exchange(session);
        return;
    }
    if (!session->sasl_over)
        step = sasl_respond(&session->sasl, &session->decoded);
    answer_step(session, step);
}
