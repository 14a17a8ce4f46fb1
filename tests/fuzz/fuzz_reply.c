/*
 * fuzz_reply.c - SMTP replies: the same bytes in one piece and in many say the same, within all bounds.
 *
 * The first byte says how large the pieces are; the rest comes from the server.
 */
#include "engine/smtp/reply.h"

#include <errno.h>

#include "base/str.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct reply *reply)
{
    assure(reply->code >= 200 && reply->code <= 599 && reply->lines >= 1 && reply->lines <= REPLY_LINES_MAX);
    assure(reply->text_len < sizeof reply->text && reply->text[reply->text_len] == '\0');
    assure(memchr(reply->text, '\r', reply->text_len) == NULL && memchr(reply->text, '\0', reply->text_len) == NULL);
    assure(reply->enhanced[0] == '\0' || reply->enhanced[0] == '0' + reply->code / 100);
}

/* Reads everything in pieces of at most `piece` bytes; returns a digest of what was read. */
static uint64_t read_all(const uint8_t *data, size_t size, size_t piece)
{
    struct reply_parser *parser = malloc(sizeof *parser);
    uint64_t digest = 0;
    assure(parser != NULL);
    reply_parser_init(parser);
    size_t at = 0;
    int status = REPLY_MORE;
    while (at < size && status >= 0) {
        size_t used = 0, len = MIN_OF(piece, size - at);
        char *bytes = fuzz_copy(data + at, len);
        status = reply_feed(parser, bytes, len, &used);
        free(bytes);
        assure(used <= len);
        at += used;
        if (status == REPLY_COMPLETE) {
            check(&parser->reply);
            for (size_t i = 0; i <= parser->reply.text_len; i++)
                digest = digest * 31 + (unsigned char)parser->reply.text[i];
            digest = digest * 31 + parser->reply.code * 200u + parser->reply.lines;
        } else if (status < 0) {
            assure(status == -EPROTO && parser->fault != NULL);
            digest = digest * 31 + 7;
        } else {
            assure(used == len);
        }
    }
    free(parser);
    return digest;
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    size_t piece = 1 + fuzz_byte(&input) % 64u;
    assure(read_all(input.at, input.left, input.left + 1) == read_all(input.at, input.left, piece));
    return 0;
}
