/*
 * test_gzip.c - what is packed unpacks, in any cut; damage and bombs end early.
 */
#include "tests/unit/api/unit.h"

#include <errno.h>

#include "api/http/gzip.h"

static int keep(void *context, const char *bytes, size_t len)
{
    struct buffer *out = context;
    buffer_append(out, bytes, len);
    return out->failed ? -E2BIG : 0;
}

static int unpack(const struct buffer *packed, size_t cut, size_t limit, struct buffer *out)
{
    struct error err = {""};
    *out = BUFFER_INIT(limit);
    struct gunzip *gunzip = gunzip_create(keep, out);
    assert_non_null(gunzip);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < packed->len; at += cut)
        rc = gunzip_feed(gunzip, packed->data + at, MIN_OF(cut, packed->len - at), &err);
    if (rc != 0)
        assert_int_equal(gunzip_feed(gunzip, "x", 1, &err), rc);
    if (rc == 0)
        rc = gunzip_end(gunzip, &err);
    gunzip_free(gunzip);
    return rc;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct buffer plain = BUFFER_INIT(0);
    struct buffer packed = BUFFER_INIT(0);
    struct buffer out;
    for (int i = 0; i < 20000; i++)
        buffer_printf(&plain, "person%d@example.test,%d\n", i, i * i % 977);
    assert_int_equal(gzip_pack(plain.data, plain.len, &packed), 0);
    assert_true(packed.len < plain.len / 3);
    static const size_t cuts[] = {1, 7, 4096, 1 << 30};
    for (size_t i = 0; i < countof(cuts); i++) {
        assert_int_equal(unpack(&packed, cuts[i], 0, &out), 0);
        assert_int_equal(out.len, plain.len);
        assert_memory_equal(out.data, plain.data, plain.len);
        buffer_finish(&out);
    }
    /* Two members are one body, and nothing behind the last one is let by. */
    size_t one = packed.len;
    assert_int_equal(gzip_pack(plain.data, 10, &packed), 0);
    for (size_t i = 0; i < countof(cuts); i++) {
        assert_int_equal(unpack(&packed, cuts[i], 0, &out), 0);
        assert_int_equal(out.len, plain.len + 10);
        buffer_finish(&out);
    }
    packed.len = one;
    buffer_append_str(&packed, "garbage behind it");
    assert_int_equal(unpack(&packed, 5, 0, &out), -EINVAL);
    buffer_finish(&out);
    buffer_finish(&packed);
    buffer_finish(&plain);
}

static void test_damage(void **state)
{
    (void)state;
    struct buffer packed = BUFFER_INIT(0);
    struct buffer out;
    assert_int_equal(gzip_pack("hello, hello, hello", 19, &packed), 0);
    size_t whole = packed.len;
    for (packed.len = 0; packed.len < whole; packed.len++) {
        assert_int_equal(unpack(&packed, 3, 0, &out), -EINVAL);
        buffer_finish(&out);
    }
    for (size_t i = 0; i < whole; i++) {
        packed.data[i] = (char)(packed.data[i] ^ 0x55);
        (void)unpack(&packed, 1, 1 << 20, &out); /* some bytes of the header mean nothing; none may hang or crash */
        buffer_finish(&out);
        packed.data[i] = (char)(packed.data[i] ^ 0x55);
    }
    buffer_finish(&packed);
}

static void test_bomb(void **state)
{
    (void)state;
    size_t size = (size_t)32 << 20;
    char *zeros = calloc(1, size);
    struct buffer packed = BUFFER_INIT(0);
    struct buffer out;
    assert_non_null(zeros);
    assert_int_equal(gzip_pack(zeros, size, &packed), 0);
    free(zeros);
    assert_true(packed.len < 200000);
    assert_int_equal(unpack(&packed, 1 << 30, 1 << 20, &out), -E2BIG);
    assert_true(out.len <= 1 << 20);
    buffer_finish(&out);
    buffer_finish(&packed);
}

static void test_accept_encoding(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool accepted;
    } cases[] = {
        {NULL, false},           {"", false},           {"gzip", true},
        {"deflate, GZIP", true}, {"gzip;q=0", false},   {"gzip; q=0.0", false},
        {"gzip;q=0.001", true},  {"*", true},           {"*;q=0", false},
        {"gzip;q=0, *", false},  {"br, *;q=0.5", true}, {"identity", false},
        {"gzipped", false},      {"x-gzip", true},      {"gzip ;Q=0", false},
        {"br;q=0, gzip", true},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        if (gzip_accepted(cases[i].value) != cases[i].accepted)
            fail_msg("Accept-Encoding: %s", cases[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_bomb), cmocka_unit_test(test_accept_encoding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
