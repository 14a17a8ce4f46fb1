/*
 * The script: which occasions of a session get something else than the ordinary answer.
 *
 *     {"seed": 1, "rules": [{"command": "RCPT", "share": 0.1, "reply": "451 4.3.0 later"}, ...]}
 *
 * The first rule whose keys all match decides. README.md lists every key. A rule is asked only about commands that are
 * in sequence (and about DATA without a valid recipient, which is a case of its own in RFC 2920 3.1), so that counters
 * count what they seem to count.
 */
#ifndef TESTS_SINK_SCRIPT_H
#define TESTS_SINK_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What becomes of the connection once the bytes of an action are out. */
enum after {
    AFTER_GO_ON,
    AFTER_CLOSE, /* an orderly close */
    AFTER_RESET, /* RST */
    AFTER_HOLD,  /* nothing more is ever said; the peer has to close */
};

/* How bytes go out. All zero is the ordinary way. */
struct manner {
    uint32_t delay_ms;  /* on top of the round trip delay of the whole sink */
    uint32_t drip_ms;   /* above 0: one byte every so many ms */
    bool endless;       /* the bytes again and again until the peer closes */
    bool close_notify;  /* TLS ends before the bytes, which go out in clear text */
    uint32_t cut_bytes; /* above 0: only so many bytes of the server's part of the TLS handshake, then `after` */
    enum after after;
};

enum action_kind {
    ACTION_ORDINARY, /* the ordinary reply, in an unusual manner */
    ACTION_SILENT,   /* no bytes */
    ACTION_BYTES,    /* these bytes are the reply */
    ACTION_PARTIAL,  /* these bytes are a reply that stops half-way */
};

struct action {
    enum action_kind kind;
    char *bytes; /* owned by the script; may hold NUL */
    size_t length;
    int code; /* the reply code that a client would read; 500 when there is none to read; 0 when no reply gets complete
               */
    int accept; /* at EOD: 1 or 0 to say whether the content counts as accepted; -1: as the reply says */
    struct manner manner;
};

/* One question to the script. */
struct occasion {
    const char *command;           /* "CONNECT", "TLS", a verb, or "EOD" */
    const char *from;              /* reverse-path, NULL when there is none yet */
    const char *const *recipients; /* the one of RCPT; from DATA on, all accepted ones */
    size_t recipient_count;
    uint64_t connection;    /* number of the connection, from 1 */
    uint64_t message;       /* number of the transaction on this connection, from 1; 0 before the first */
    uint64_t chunk;         /* number of the BDAT in its transaction, from 1; 0 elsewhere */
    bool secure;            /* inside TLS */
    bool authenticated;     /* behind AUTH */
    const char *local;      /* "127.0.0.2:2525" */
    size_t local_ip_length; /* how much of `local` is the address */
};

struct script;

/* Reads FILE. On failure prints one line to stderr that names file and place, and returns NULL. */
struct script *script_load(const char *path);

void script_free(struct script *script);

/* The action of the first rule that matches, or NULL: the ordinary answer. It lives as long as the script. Counts the
 * match. */
const struct action *script_decide(struct script *script, const struct occasion *occasion);

#endif
