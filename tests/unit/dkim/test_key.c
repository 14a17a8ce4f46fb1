/* test_key.c - private keys: the ones that are taken, the ones that are refused and why, and the record for DNS. */
#include "keys.h"

#include <errno.h>

static void generated_key_loads(void **state)
{
    (void)state;
    struct buffer pem = BUFFER_INIT(0);
    struct error err = {{0}};
    struct dkim_key *key = NULL;
    assert_int_equal(dkim_key_generate(&pem, &err), 0);
    assert_non_null(strstr(pem.data, "-----BEGIN PRIVATE KEY-----")); /* PKCS #8 */
    assert_int_equal(dkim_key_load(pem.data, pem.len, &key, &err), 0);
    struct buffer record = BUFFER_INIT(0);
    assert_int_equal(dkim_record(key, &record, &err), 0);
    assert_true(strncmp(record.data, "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", 50) == 0);
    assert_int_equal(record.len, 18 + 392);
    assert_null(strpbrk(record.data, "\r\n\""));
    dkim_key_unref(dkim_key_ref(key));
    dkim_key_unref(key);
    dkim_key_unref(NULL);
    buffer_finish(&record);
    buffer_finish(&pem);
}

static void generated_ed25519_key_loads(void **state)
{
    (void)state;
    struct buffer pem = BUFFER_INIT(0);
    struct buffer record = BUFFER_INIT(0);
    struct error err = {{0}};
    struct dkim_key *key = NULL;
    assert_int_equal(dkim_key_generate_ed25519(&pem, &err), 0);
    assert_int_equal(dkim_key_load(pem.data, pem.len, &key, &err), 0);
    assert_int_equal(dkim_record(key, &record, &err), 0);
    assert_int_equal(record.len, 22 + 44);
    dkim_key_unref(key);
    buffer_finish(&pem);
    buffer_finish(&record);
}

static void ed25519_record_is_the_raw_key(void **state)
{
    (void)state;
    struct error err = {{0}};
    struct dkim_key *key = load_key(make_ed25519());
    struct buffer record = BUFFER_INIT(0);
    assert_int_equal(dkim_record(key, &record, &err), 0);
    assert_true(strncmp(record.data, "v=DKIM1; k=ed25519; p=", 22) == 0);
    assert_int_equal(record.len, 22 + 44);
    buffer_finish(&record);
    dkim_key_unref(key);
}

static void assert_refused(const char *pem, size_t len, const char *why)
{
    struct error err = {{0}};
    struct dkim_key *key = (struct dkim_key *)1;
    assert_int_equal(dkim_key_load(pem, len, &key, &err), -EINVAL);
    assert_null(key);
    if (strstr(err.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void bad_texts_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "not a key",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "\x30\x82\x04\xbd\x02\x01",
    };
    for (size_t i = 0; i < countof(texts); i++)
        assert_refused(texts[i], strlen(texts[i]), "not a private key in PEM form");
    char *large = calloc(1, 100000);
    assert_refused(large, 100000, "too large");
    free(large);
}

static void wrong_kinds_are_refused(void **state)
{
    (void)state;
    const struct {
        EVP_PKEY *key;
        const char *pass;
        int public_only;
        const char *why;
    } cases[] = {
        {EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), NULL, 0, "type EC"},
        {EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), NULL, 0, "type X25519"},
        {make_rsa(512), NULL, 0, "512 bits"},
        {make_rsa(1016), NULL, 0, "1016 bits"},
        {make_rsa(1024), "secret", 0, "pass phrase"},
        {make_rsa(1024), NULL, 1, "not a private key"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer pem = BUFFER_INIT(0);
        key_to_pem(cases[i].key, cases[i].pass, cases[i].public_only, &pem);
        assert_refused(pem.data, pem.len, cases[i].why);
        buffer_finish(&pem);
    }
}

static void truncated_and_flipped_keys_never_crash(void **state)
{
    (void)state;
    struct buffer pem = BUFFER_INIT(0);
    key_to_pem(make_ed25519(), NULL, 0, &pem);
    for (size_t len = 0; len < pem.len - 1; len++) {
        struct dkim_key *key = NULL;
        if (dkim_key_load(pem.data, len, &key, NULL) == 0)
            dkim_key_unref(key);
    }
    for (size_t i = 0; i < pem.len; i++) {
        struct dkim_key *key = NULL;
        pem.data[i] ^= 1;
        if (dkim_key_load(pem.data, pem.len, &key, NULL) == 0)
            dkim_key_unref(key);
        pem.data[i] ^= 1;
    }
    buffer_finish(&pem);
}

static void smallest_key_is_taken(void **state)
{
    (void)state;
    dkim_key_unref(load_key(make_rsa(1024)));
}

static void signer_names_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *domain, *selector;
    } cases[] = {
        {"", "s"},
        {"example.com", ""},
        {"exa mple.com", "s"},
        {"example.com; x=1", "s"},
        {"example..com", "s"},
        {".example", "s"},
        {"example.com.", "s"},
        {"example.com", "a;b"},
        {"example.com", "a b"},
        {"ex\r\nample.com", "s"},
        {"example.com", "0123456789012345678901234567890123456789012345678901234567890123456789"},
    };
    struct dkim_key *key = load_key(make_ed25519());
    for (size_t i = 0; i < countof(cases); i++) {
        struct dkim_signer *signer = NULL;
        struct error err = {{0}};
        assert_int_equal(dkim_signer_create(key, cases[i].domain, cases[i].selector, &signer, &err), -EINVAL);
        assert_null(signer);
        assert_string_not_equal(err.text, "");
    }
    dkim_signer_free(NULL);
    dkim_key_unref(key);
}

static void zone_text_is_cut_at_255(void **state)
{
    (void)state;
    char value[600];
    struct buffer out = BUFFER_INIT(0);
    memset(value, 'a', 511);
    value[511] = '\0';
    assert_int_equal(dkim_record_zone_text(value, &out), 0);
    assert_int_equal(out.len, 511 + 2 + 2 * 3);
    assert_memory_equal(out.data + 256, "\" \"", 3);
    assert_memory_equal(out.data + 256 + 3 + 255, "\" \"a\"", 5);
    buffer_clear(&out);
    assert_int_equal(dkim_record_zone_text("", &out), 0);
    assert_string_equal(out.data, "\"\"");
    buffer_clear(&out);
    assert_int_equal(dkim_record_zone_text("a\"b\\c", &out), 0);
    assert_string_equal(out.data, "\"a\\\"b\\\\c\"");
    buffer_clear(&out);
    assert_int_equal(dkim_record_name("ph1", "example.com", &out), 0);
    assert_string_equal(out.data, "ph1._domainkey.example.com");
    buffer_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_key_loads),           cmocka_unit_test(generated_ed25519_key_loads),
        cmocka_unit_test(ed25519_record_is_the_raw_key), cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(wrong_kinds_are_refused),       cmocka_unit_test(truncated_and_flipped_keys_never_crash),
        cmocka_unit_test(smallest_key_is_taken),         cmocka_unit_test(signer_names_are_checked),
        cmocka_unit_test(zone_text_is_cut_at_255),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
