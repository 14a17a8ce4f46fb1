/* What the parts of the session share: session.c (input, answers), session_verbs.c (commands), session_content.c (DATA,
 * BDAT, end of data), session_auth.c (STARTTLS, AUTH). */
#ifndef TESTS_SINK_SESSION_PRIVATE_H
#define TESTS_SINK_SESSION_PRIVATE_H

#include "tests/sink/command.h"
#include "tests/sink/content.h"
#include "tests/sink/extensions.h"
#include "tests/sink/sasl.h"
#include "tests/sink/session.h"
#include "tests/sink/text.h"

enum { SESSION_RECIPIENT_LIMIT = 1000 }; /* RFC 5321 4.5.3.1.8 asks for at least 100 */

/* How the next bytes of the client are to be read. */
enum input_mode {
    INPUT_COMMAND,
    INPUT_DATA,  /* content up to the final dot */
    INPUT_CHUNK, /* chunk.left bytes of BDAT */
    INPUT_AUTH,  /* one line: the response to a challenge */
    INPUT_TLS,   /* behind STARTTLS: what came in clear text is thrown away (RFC 3207 4.2) */
    INPUT_OVER,  /* not at all */
};

enum transaction_state {
    TRANSACTION_NONE,
    TRANSACTION_MAIL,   /* MAIL accepted */
    TRANSACTION_CHUNKS, /* at least one BDAT chunk accepted */
    TRANSACTION_FAILED, /* a BDAT chunk was refused: everything up to LAST or RSET is (RFC 3030 2) */
};

/* An ordinary answer. `enhanced` (RFC 2034) is left out where it was not offered; NULL: there is none for it. */
struct answer {
    int code;
    const char *enhanced;
    const char *text;
};

struct chunk {
    uint64_t left_bytes;
    bool last;
    bool discard;                /* the chunk is refused: its bytes are skipped */
    struct answer refusal;       /* what is said then, unless `action` says something else */
    const struct action *action; /* of the script, for this BDAT */
};

struct session {
    const struct session_settings *settings;
    const struct session_host *host;
    void *context;
    uint64_t connection;
    const char *local;
    size_t local_ip_length;

    enum input_mode mode;
    struct text line;      /* the beginning of a command line whose end has not come */
    bool line_too_long;    /* the line exceeds its bound; what follows up to its end is thrown away */
    bool pipelining_noted; /* said so once for this connection */
    bool more_behind;      /* more bytes of the client stood behind the current command */
    bool refused;          /* the greeting was not 220: only QUIT is served */
    bool greeted;          /* HELO or EHLO accepted */
    bool extended;         /* it was EHLO */
    enum transaction_state transaction;
    uint64_t transactions;    /* begun on this connection */
    uint64_t chunks;          /* BDATs of the transaction */
    uint64_t commands;        /* lines taken */
    uint64_t secure_commands; /* of them inside TLS */
    bool secure;              /* inside TLS */
    const char *user;         /* authenticated by AUTH; NULL: nobody is */
    struct sasl sasl;         /* the AUTH exchange that goes on */
    bool sasl_over;           /* it has come to its end; only a script keeps the client in it */
    struct text decoded;      /* a response of AUTH */
    struct text from;         /* C string */
    bool smtputf8;            /* MAIL had the parameter */
    char **recipients;        /* accepted ones, each an allocated C string */
    size_t recipient_count;
    size_t recipient_capacity;
    struct content content;
    struct chunk chunk;
    struct text reply; /* the answer being made */
    const char *said;  /* the reply for the ledger, without the last CRLF */
    size_t said_length;
};

/* What became of an answer. */
struct told {
    int code;   /* what the client reads; 0: no complete reply */
    bool ended; /* the session is over or stalled with it */
};

/* --- session.c --- */

/* The script's word on this command; `recipient` is the one of RCPT, NULL for all that were accepted. */
const struct action *session_consult(struct session *session, const char *command, const char *recipient);

/* Says `answer`, or what `action` has in its place. Sets `said`. */
struct told session_tell(struct session *session, const struct action *action, const struct answer *answer);

/* Makes the answer in session->reply. */
void session_put_answer(struct session *session, const struct answer *answer);

/* The same as session_tell() with an answer that stands ready in session->reply. */
struct told session_tell_ready(struct session *session, const struct action *action, int code);

/* Says `answer` and notes the refusal. */
void session_refuse(struct session *session, const char *stage, const char *to, const struct answer *answer);

/* Notes what became of a command that has no ledger line when it goes well: the reject, the drop, or nothing. True: it
 * went well. */
bool session_settle(struct session *session, const char *stage, const char *to, struct told told, int good_class);

void session_note(struct session *session, enum note_kind kind, const char *stage, const char *to);
void session_violation(struct session *session, const char *stage, const char *what);
void session_end_transaction(struct session *session);
/* True if the client may use it: offered, and the client said EHLO. */
bool session_offers(const struct session *session, unsigned extension);

/* What has been offered or would be, as the connection stands: inside TLS or not, HELO or EHLO. */
unsigned session_offered(const struct session *session);

/* --- session_auth.c --- */

void session_starttls(struct session *session, const struct command *command);
void session_auth(struct session *session, const struct command *command);

/* Takes the client's response to a challenge; `line` is without its line end. */
void session_auth_response(struct session *session, const char *line, size_t length);

/* --- session_verbs.c --- */

/* A verb that has no row: the script may still know an answer, so that a test can play a server that knows more. */
void session_unknown(struct session *session, const struct command *command);

void session_command(struct session *session, const char *line, size_t length);

/* --- session_content.c --- */

void session_data(struct session *session, const struct command *command);
void session_bdat(struct session *session, const struct command *command);
size_t session_take_data(struct session *session, const char *bytes, size_t length);
size_t session_take_chunk(struct session *session, const char *bytes, size_t length);

#endif
