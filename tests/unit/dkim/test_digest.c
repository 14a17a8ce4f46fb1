/* test_digest.c - SHA-256 and HMAC-SHA-256 against published vectors (FIPS 180-4 examples, RFC 4231), comparison,
 * randomness, threads. */
#include "tests/unit/base/unit.h"

#include <errno.h>
#include <pthread.h>

#include "dkim/digest.h"

static void to_hex(const uint8_t *bytes, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        sprintf(out + 2 * i, "%02x", bytes[i]);
}

static void sha256_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        uint8_t digest[32];
        char hex[65];
        assert_int_equal(digest_sha256(cases[i].text, strlen(cases[i].text), digest), 0);
        to_hex(digest, 32, hex);
        assert_string_equal(hex, cases[i].hex);
    }
}

/* RFC 4231 section 4; case 5 is cut to 128 bits there. */
static const struct vector {
    uint8_t key_byte; /* repeated; 0: `key` */
    const char *key;
    size_t key_len;
    const char *data;
    uint8_t data_byte; /* repeated; 0: `data` */
    size_t data_len;
    const char *hex;
} vectors[] = {
    {0x0b, NULL, 20, "Hi There", 0, 8, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {0, "Jefe", 4, "what do ya want for nothing?", 0, 28,
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {0xaa, NULL, 20, NULL, 0xdd, 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {0, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19", 25,
     NULL, 0xcd, 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {0x0c, NULL, 20, "Test With Truncation", 0, 20, "a3b6167473100ee06e0c796c2955552b"},
    {0xaa, NULL, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 0, 54,
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {0xaa, NULL, 131,
     "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed "
     "before being used by the HMAC algorithm.",
     0, 152, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

static void hmac_rfc_4231(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(vectors); i++) {
        const struct vector *v = &vectors[i];
        char key[200];
        char data[200];
        if (v->key != NULL)
            memcpy(key, v->key, v->key_len);
        else
            memset(key, v->key_byte, v->key_len);
        if (v->data != NULL)
            memcpy(data, v->data, v->data_len);
        else
            memset(data, v->data_byte, v->data_len);
        struct mac_key *mac = mac_key_create(key, v->key_len);
        assert_non_null(mac);
        for (int again = 0; again < 3; again++) { /* the prepared key is not used up */
            uint8_t out[32];
            char hex[65];
            assert_int_equal(mac_sha256(mac, data, v->data_len, out), 0);
            to_hex(out, 32, hex);
            hex[strlen(v->hex)] = '\0';
            assert_string_equal(hex, v->hex);
        }
        mac_key_free(mac);
    }
    mac_key_free(NULL);
}

static void empty_key_and_empty_data(void **state)
{
    (void)state;
    uint8_t out[32];
    char hex[65];
    struct mac_key *mac = mac_key_create(NULL, 0);
    assert_non_null(mac);
    assert_int_equal(mac_sha256(mac, "", 0, out), 0);
    to_hex(out, 32, hex);
    assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    mac_key_free(mac);
}

static void *hammer(void *context)
{
    const struct mac_key *mac = context;
    for (int i = 0; i < 2000; i++) {
        uint8_t out[32];
        char hex[65];
        if (mac_sha256(mac, "what do ya want for nothing?", 28, out) != 0)
            return context;
        to_hex(out, 32, hex);
        if (strcmp(hex, vectors[1].hex) != 0)
            return context;
    }
    return NULL;
}

static void one_key_for_many_threads(void **state)
{
    (void)state;
    struct mac_key *mac = mac_key_create("Jefe", 4);
    pthread_t threads[4];
    for (size_t i = 0; i < countof(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, mac), 0);
    for (size_t i = 0; i < countof(threads); i++) {
        void *failed = mac;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    mac_key_free(mac);
}

static void comparison_and_randomness(void **state)
{
    (void)state;
    uint8_t a[64];
    uint8_t b[64];
    assert_int_equal(random_bytes(a, sizeof(a)), 0);
    assert_int_equal(random_bytes(b, sizeof(b)), 0);
    assert_false(digest_equal(a, b, sizeof(a)));
    memcpy(b, a, sizeof(a));
    assert_true(digest_equal(a, b, sizeof(a)));
    for (size_t i = 0; i < sizeof(a) * 8; i++) {
        b[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_false(digest_equal(a, b, sizeof(a)));
        b[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    assert_true(digest_equal(a, b, 0));
    assert_int_equal(random_bytes(a, 0), 0);
}

static void base64_and_back(void **state)
{
    (void)state;
    uint8_t bytes[64];
    uint8_t back[64];
    char text[96];
    for (size_t len = 1; len <= sizeof(bytes); len++) {
        assert_int_equal(random_bytes(bytes, len), 0);
        digest_base64(bytes, len, text);
        assert_int_equal(digest_unbase64(text, back, sizeof(back)), len);
        assert_memory_equal(back, bytes, len);
        assert_int_equal(digest_unbase64(text, back, len - 1), -EINVAL);
    }
    static const char *const wrong[] = {"", "a", "abc", "ab?=", "====", "abcd="};
    for (size_t i = 0; i < countof(wrong); i++)
        assert_int_equal(digest_unbase64(wrong[i], back, sizeof(back)), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_vectors),
        cmocka_unit_test(hmac_rfc_4231),
        cmocka_unit_test(empty_key_and_empty_data),
        cmocka_unit_test(one_key_for_many_threads),
        cmocka_unit_test(comparison_and_randomness),
        cmocka_unit_test(base64_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
