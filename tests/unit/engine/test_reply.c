/*
 * test_reply.c - the reply parser: grammar, bounds, and random bytes in random pieces.
 */
#include <errno.h>

#include "engine/smtp/reply.h"
#include "engine/smtp/verdict.h"
#include "tests/unit/engine/unit.h"

struct reply_case {
    const char *name, *bytes;
    int status; /* of the first reply */
    uint16_t code;
    const char *enhanced, *text;
    size_t used; /* 0 = all */
};

static const struct reply_case cases[] = {
    {"one line", "250 ok\r\n", REPLY_COMPLETE, 250, "", "ok", 0},
    {"code alone", "553\r\n", REPLY_COMPLETE, 553, "", "", 0},
    {"empty text", "250 \r\n", REPLY_COMPLETE, 250, "", "", 0},
    {"enhanced", "550 5.1.1 no such user\r\n", REPLY_COMPLETE, 550, "5.1.1", "no such user", 0},
    {"enhanced alone", "250 2.0.0\r\n", REPLY_COMPLETE, 250, "2.0.0", "", 0},
    {"enhanced of another class is text", "550 4.1.1 x\r\n", REPLY_COMPLETE, 550, "", "4.1.1 x", 0},
    {"enhanced with long parts", "550 5.123.456 x\r\n", REPLY_COMPLETE, 550, "5.123.456", "x", 0},
    {"enhanced too long is text", "550 5.1234.1 x\r\n", REPLY_COMPLETE, 550, "", "5.1234.1 x", 0},
    {"enhanced cut off is text", "550 5.1. x\r\n", REPLY_COMPLETE, 550, "", "5.1. x", 0},
    {"lines", "250-a\r\n250-b\r\n250 c\r\n", REPLY_COMPLETE, 250, "", "a\nb\nc", 0},
    {"enhanced on each line", "550-5.7.1 a\r\n550 5.7.1 b\r\n", REPLY_COMPLETE, 550, "5.7.1", "a\nb", 0},
    {"another enhanced on a later line stays", "550-5.7.1 a\r\n550 5.7.2 b\r\n", REPLY_COMPLETE, 550, "5.7.1",
     "a\n5.7.2 b", 0},
    {"last line without a space", "553-\r\n553\r\n", REPLY_COMPLETE, 553, "", "\n", 0},
    {"stops behind the reply", "250 a\r\n250 b\r\n", REPLY_COMPLETE, 250, "", "a", 7},
    {"control bytes become spaces", "250 a\tb\001c\177d\r\n", REPLY_COMPLETE, 250, "", "a b c d", 0},
    {"bare CR inside becomes a space", "250 a\rb\r\n", REPLY_COMPLETE, 250, "", "a b", 0},
    {"any second digit", "571 x\r\n", REPLY_COMPLETE, 571, "", "x", 0},
    {"incomplete", "250 a", REPLY_MORE, 0, NULL, NULL, 0},
    {"incomplete lines", "250-a\r\n250", REPLY_MORE, 0, NULL, NULL, 0},
    {"bare LF", "250 a\n", -EPROTO, 0, NULL, NULL, 0},
    {"bare LF in a later line", "250-a\r\n250 b\n", -EPROTO, 0, NULL, NULL, 0},
    {"mixed codes", "250-a\r\n251 b\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"two digits", "25 a\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"four digits", "2500 a\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"first digit 9", "999 a\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"first digit 1", "150 a\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"first digit 6", "600 a\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"no digits", "hello\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"empty line", "\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"leading space", " 250 a\r\n", -EPROTO, 0, NULL, NULL, 0},
    {"tab behind the code", "250\ta\r\n", -EPROTO, 0, NULL, NULL, 0},
};

static void check_case(const struct reply_case *c, size_t piece)
{
    struct reply_parser parser;
    reply_parser_init(&parser);
    size_t len = strlen(c->bytes), used = 0;
    int status = REPLY_MORE;
    while (status == REPLY_MORE && used < len) {
        size_t take = MIN_OF(piece, len - used), before = used;
        status = reply_feed(&parser, c->bytes + used, take, &used);
        if (status == REPLY_MORE)
            assert_int_equal(used - before, take);
    }
    if (status != c->status)
        print_error("case %s in pieces of %zu: %d\n", c->name, piece, status);
    assert_int_equal(status, c->status);
    if (status < 0)
        assert_non_null(parser.fault);
    if (status != REPLY_COMPLETE)
        return;
    assert_int_equal(used, c->used == 0 ? len : c->used);
    assert_int_equal(parser.reply.code, c->code);
    assert_string_equal(parser.reply.enhanced, c->enhanced);
    assert_string_equal(parser.reply.text, c->text);
    assert_false(reply_begun(&parser));
}

static void grammar_whole_and_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        for (size_t piece = 1; piece <= 32; piece++)
            check_case(&cases[i], piece);
    }
}

static void nul_in_the_text_becomes_a_space(void **state)
{
    (void)state;
    struct reply_parser parser;
    size_t used = 0;
    reply_parser_init(&parser);
    assert_int_equal(reply_feed(&parser, "250 a\0b\r\n", 9, &used), REPLY_COMPLETE);
    assert_string_equal(parser.reply.text, "a b");
}

static void endless_line_is_refused(void **state)
{
    (void)state;
    struct reply_parser parser;
    char bytes[512];
    reply_parser_init(&parser);
    memset(bytes, 'a', sizeof bytes);
    memcpy(bytes, "250 ", 4);
    size_t fed = 0;
    int status = REPLY_MORE;
    while (status == REPLY_MORE && fed < 1 << 20) {
        size_t used = 0;
        status = reply_feed(&parser, bytes, sizeof bytes, &used);
        fed += sizeof bytes;
    }
    assert_int_equal(status, -EPROTO);
    assert_true(fed <= REPLY_LINE_MAX_BYTES + sizeof bytes);
}

static void longest_line_is_taken(void **state)
{
    (void)state;
    struct reply_parser parser;
    char bytes[REPLY_LINE_MAX_BYTES + 1];
    for (size_t over = 0; over < 2; over++) {
        size_t len = REPLY_LINE_MAX_BYTES + over, used = 0;
        memset(bytes, 'a', sizeof bytes);
        memcpy(bytes, "250 ", 4);
        memcpy(bytes + len - 2, "\r\n", 2);
        reply_parser_init(&parser);
        assert_int_equal(reply_feed(&parser, bytes, len, &used), over == 0 ? REPLY_COMPLETE : -EPROTO);
    }
}

static void endless_lines_are_refused(void **state)
{
    (void)state;
    struct reply_parser parser;
    reply_parser_init(&parser);
    int status = REPLY_MORE, lines = 0;
    while (status == REPLY_MORE && lines < 100000) {
        size_t used = 0;
        status = reply_feed(&parser, "250-x\r\n", 7, &used);
        lines++;
    }
    assert_int_equal(status, -EPROTO);
    assert_int_equal(lines, REPLY_LINES_MAX + 1);
}

static void huge_reply_is_refused(void **state)
{
    (void)state;
    struct reply_parser parser;
    char bytes[1000];
    memset(bytes, 'a', sizeof bytes);
    memcpy(bytes, "250-", 4);
    memcpy(bytes + sizeof bytes - 2, "\r\n", 2);
    reply_parser_init(&parser);
    int status = REPLY_MORE;
    size_t total = 0;
    while (status == REPLY_MORE && total < 10 * REPLY_MAX_BYTES) {
        size_t used = 0;
        status = reply_feed(&parser, bytes, sizeof bytes, &used);
        total += sizeof bytes;
    }
    assert_int_equal(status, -EPROTO);
    assert_true(total <= REPLY_MAX_BYTES + sizeof bytes);
}

static void random_bytes_never_break_it(void **state)
{
    (void)state;
    static const char alphabet[] = "2345 -0159\r\n\r\nab.\0\377";
    uint64_t seed = 42;
    for (int round = 0; round < 20000; round++) {
        struct reply_parser parser;
        char bytes[64];
        size_t len = 1 + random_below(&seed, sizeof bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = alphabet[random_below(&seed, sizeof alphabet - 1)];
        if (random_below(&seed, 2) == 0 && len > 8)
            memcpy(bytes, "250-", 4);
        reply_parser_init(&parser);
        size_t at = 0;
        while (at < len) {
            size_t used = 0, take = 1 + random_below(&seed, len - at);
            int status = reply_feed(&parser, bytes + at, take, &used);
            assert_true(used <= take);
            if (status < 0)
                break;
            at += used;
            if (status == REPLY_MORE) {
                assert_int_equal(used, take);
                continue;
            }
            assert_in_range(parser.reply.code, 200, 599);
            assert_int_equal(strlen(parser.reply.text), parser.reply.text_len);
            assert_int_equal(bytes[at - 1], '\n');
        }
    }
}

static void verdicts(void **state)
{
    (void)state;
    static const struct {
        enum smtp_step step;
        uint16_t code;
        enum verdict verdict;
    } table[] = {
        {STEP_GREETING, 220, VERDICT_OK},
        {STEP_GREETING, 250, VERDICT_SENSELESS},
        {STEP_GREETING, 554, VERDICT_PERMANENT},
        {STEP_GREETING, 450, VERDICT_TEMPORARY},
        {STEP_GREETING, 421, VERDICT_CLOSING},
        {STEP_EHLO, 250, VERDICT_OK},
        {STEP_EHLO, 502, VERDICT_UNKNOWN},
        {STEP_EHLO, 503, VERDICT_PERMANENT},
        {STEP_MAIL, 250, VERDICT_OK},
        {STEP_MAIL, 220, VERDICT_SENSELESS},
        {STEP_MAIL, 354, VERDICT_SENSELESS},
        {STEP_MAIL, 503, VERDICT_SENSELESS},
        {STEP_MAIL, 550, VERDICT_PERMANENT},
        {STEP_RCPT, 251, VERDICT_OK},
        {STEP_RCPT, 354, VERDICT_SENSELESS},
        {STEP_RCPT, 452, VERDICT_TEMPORARY},
        {STEP_DATA, 354, VERDICT_OK},
        {STEP_DATA, 250, VERDICT_SENSELESS},
        {STEP_DATA, 334, VERDICT_SENSELESS},
        {STEP_DATA, 554, VERDICT_PERMANENT},
        {STEP_CONTENT, 250, VERDICT_OK},
        {STEP_CONTENT, 354, VERDICT_SENSELESS},
        {STEP_CONTENT, 221, VERDICT_SENSELESS},
        {STEP_BDAT, 502, VERDICT_UNKNOWN},
        {STEP_BDAT, 503, VERDICT_SENSELESS},
        {STEP_QUIT, 221, VERDICT_OK},
        {STEP_RSET, 250, VERDICT_OK},
    };
    for (size_t i = 0; i < countof(table); i++)
        assert_int_equal(verdict_of(table[i].step, table[i].code), table[i].verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar_whole_and_in_pieces), cmocka_unit_test(nul_in_the_text_becomes_a_space),
        cmocka_unit_test(endless_line_is_refused),     cmocka_unit_test(longest_line_is_taken),
        cmocka_unit_test(endless_lines_are_refused),   cmocka_unit_test(huge_reply_is_refused),
        cmocka_unit_test(random_bytes_never_break_it), cmocka_unit_test(verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
