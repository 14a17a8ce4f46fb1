/* test_token.c - tokens: they come back, fit where they go, and nothing but what we made passes (failures.md row 27).
 */
#include "tests/unit/base/unit.h"

#include "campaign/message/token.h"

static struct mac_key *mac;

static int open_key(void **state)
{
    (void)state;
    mac = mac_key_create("key", 3);
    return mac != NULL ? 0 : -1;
}

static int close_key(void **state)
{
    (void)state;
    mac_key_free(mac);
    return 0;
}

static const int64_t ids[] = {0,        1, 31, 255, 256, 65535, 65536, 10000000, INT64_C(1) << 32, INT64_C(1) << 56,
                              INT64_MAX};

static void ids_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(ids); i++)
        for (size_t j = 0; j < countof(ids); j++)
            for (int purpose = 0; purpose < TOKEN_PURPOSE_COUNT; purpose++) {
                char text[TOKEN_MAX_BYTES + 1];
                char again[TOKEN_MAX_BYTES + 1];
                int64_t campaign = -1;
                int64_t recipient = -1;
                assert_int_equal(token_make(mac, (enum token_purpose)purpose, ids[i], ids[j], text), 0);
                assert_int_equal(token_make(mac, (enum token_purpose)purpose, ids[i], ids[j], again), 0);
                assert_string_equal(text, again);
                assert_true(strlen(text) <= TOKEN_MAX_BYTES && strlen(text) + strlen("bounce+") <= 64);
                assert_int_equal(strspn(text, "abcdefghijklmnopqrstuvwxyz234567"), strlen(text));
                assert_int_equal(
                    token_parse(mac, (enum token_purpose)purpose, text, strlen(text), &campaign, &recipient), 0);
                assert_int_equal(campaign, ids[i]);
                assert_int_equal(recipient, ids[j]);
            }
}

static void assert_refused(const char *text, size_t len)
{
    int64_t campaign = -1;
    int64_t recipient = -1;
    if (token_parse(mac, TOKEN_UNSUBSCRIBE, text, len, &campaign, &recipient) != 1)
        fail_msg("a forged token passes: %.*s", (int)len, text);
    assert_int_equal(campaign, 0);
    assert_int_equal(recipient, 0);
}

static void every_flipped_bit_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(ids); i++) {
        char text[TOKEN_MAX_BYTES + 1];
        assert_int_equal(token_make(mac, TOKEN_UNSUBSCRIBE, ids[i], ids[countof(ids) - 1 - i], text), 0);
        size_t len = strlen(text);
        for (size_t bit = 0; bit < len * 8; bit++) {
            text[bit / 8] = (char)(text[bit / 8] ^ (1 << (bit % 8)));
            assert_refused(text, len);
            text[bit / 8] = (char)(text[bit / 8] ^ (1 << (bit % 8)));
        }
    }
}

static void every_other_letter_fails(void **state)
{
    (void)state;
    char text[TOKEN_MAX_BYTES + 1];
    assert_int_equal(token_make(mac, TOKEN_UNSUBSCRIBE, 300, 123456, text), 0);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        char kept = text[i];
        for (int c = 0; c < 256; c++) {
            if ((char)c == kept)
                continue;
            text[i] = (char)c;
            assert_refused(text, len);
        }
        text[i] = kept;
    }
}

static void other_lengths_fail(void **state)
{
    (void)state;
    char text[200] = "";
    assert_int_equal(token_make(mac, TOKEN_UNSUBSCRIBE, 300, 123456, text), 0);
    size_t len = strlen(text);
    for (size_t n = 0; n < sizeof(text); n++)
        if (n != len)
            assert_refused(text, n);
    memset(text + len, 'a', sizeof(text) - len);
    for (size_t n = len + 1; n < sizeof(text); n++)
        assert_refused(text, n);
}

static void purposes_keys_and_pairs_do_not_mix(void **state)
{
    (void)state;
    struct mac_key *other = mac_key_create("kez", 3);
    char text[TOKEN_PURPOSE_COUNT][TOKEN_MAX_BYTES + 1];
    int64_t campaign;
    int64_t recipient;
    for (int i = 0; i < TOKEN_PURPOSE_COUNT; i++)
        assert_int_equal(token_make(mac, (enum token_purpose)i, 5, 6, text[i]), 0);
    for (int i = 0; i < TOKEN_PURPOSE_COUNT; i++)
        for (int j = 0; j < TOKEN_PURPOSE_COUNT; j++) {
            assert_int_equal(token_parse(mac, (enum token_purpose)j, text[i], strlen(text[i]), &campaign, &recipient),
                             i != j);
            assert_int_equal(token_parse(other, (enum token_purpose)j, text[i], strlen(text[i]), &campaign, &recipient),
                             1);
        }
    /* The MAC of one pair under the ids of another. */
    char a[TOKEN_MAX_BYTES + 1];
    char b[TOKEN_MAX_BYTES + 1];
    assert_int_equal(token_make(mac, TOKEN_UNSUBSCRIBE, 1, 100, a), 0);
    assert_int_equal(token_make(mac, TOKEN_UNSUBSCRIBE, 1, 101, b), 0);
    for (size_t cut = 1; cut < strlen(a); cut++) {
        char mixed[TOKEN_MAX_BYTES + 1];
        memcpy(mixed, a, cut);
        memcpy(mixed + cut, b + cut, strlen(b + cut) + 1);
        if (strcmp(mixed, a) != 0 && strcmp(mixed, b) != 0)
            assert_refused(mixed, strlen(mixed));
    }
    mac_key_free(other);
}

static void random_texts_fail(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 100000; round++) {
        char text[TOKEN_MAX_BYTES];
        size_t len = random_below(&seed, sizeof(text) + 1);
        for (size_t i = 0; i < len; i++)
            text[i] = "abcdefghijklmnopqrstuvwxyz234567"[random_below(&seed, 32)];
        assert_refused(text, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_come_back),
        cmocka_unit_test(every_flipped_bit_fails),
        cmocka_unit_test(every_other_letter_fails),
        cmocka_unit_test(other_lengths_fail),
        cmocka_unit_test(purposes_keys_and_pairs_do_not_mix),
        cmocka_unit_test(random_texts_fail),
    };
    return cmocka_run_group_tests(tests, open_key, close_key);
}
