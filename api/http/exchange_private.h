/*
 * exchange_private.h - one request in the making; private to the three exchange*.c. One HTTP thread at a time.
 */
#ifndef POSTHASTE_API_HTTP_EXCHANGE_PRIVATE_H
#define POSTHASTE_API_HTTP_EXCHANGE_PRIVATE_H

#include "api/http/exchange.h"
#include "api/http/gzip.h"

/* So much of a refused body is read and thrown away, so that a simple client gets to read the answer. */
#define DRAIN_MAX_BYTES (2 * (uint64_t)HTTP_BODY_MAX_BYTES)

struct exchange {
    struct http_server *server;
    struct watch_entry *watch;
    char *target;
    struct request request;
    struct response response;
    const struct route *route;
    bool begun;
    bool refused; /* the response is there already */
    bool at_once; /* send it without reading the body */
    bool packs;   /* the client takes gzip */
    struct gunzip *gunzip;
    uint64_t received;  /* bytes of the body as they came */
    uint64_t unpacked;  /* and after gzip */
    uint64_t next_step; /* upload: when `received` gets here, the deadline is renewed */
};

#define REFUSE(exchange, status, ...)                                                                                  \
    do {                                                                                                               \
        (exchange)->refused = true;                                                                                    \
        response_problem(&(exchange)->response, status, __VA_ARGS__);                                                  \
    } while (0)

/* The head is complete: decides, or remembers a refusal. */
void exchange_begin(struct exchange *exchange, struct MHD_Connection *connection, const char *method);
/* A reader of the database for the request; false: refused by now. */
bool exchange_take_reader(struct exchange *exchange);

uint64_t exchange_body_limit(const struct route *route);
/* A file without a name for an upload; false: refused by now. */
bool exchange_open_spool(struct exchange *exchange);
/* Unpacked bytes find their place: 0, else the request is refused by now. */
int exchange_keep_bytes(void *context, const char *bytes, size_t len);
/* A piece of the body. MHD_NO ends the connection: for a client that goes on sending what was refused long ago. */
enum MHD_Result exchange_take_body(struct exchange *exchange, const char *bytes, size_t len);
void exchange_end_body(struct exchange *exchange);

#endif
