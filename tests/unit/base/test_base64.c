/* test_base64.c - what is base64, with and without white space, and what is not. */
#include "unit.h"

#include <errno.h>

#include "base/base64.h"

static void what_is_base64_and_what_is_not(void **state)
{
    (void)state;
    static const struct {
        const char *encoded, *plain; /* plain NULL: refused */
        bool spaced;                 /* only read when white space is passed over */
    } cases[] = {
        {"", "", false},
        {"Zg==", "f", false},
        {"Zm8=", "fo", false},
        {"Zm9v", "foo", false},
        {"Zm9vYg==", "foob", false},
        {"Zm9vYmE=", "fooba", false},
        {"Zm9vYmFy", "foobar", false},
        {"+/+/", "\xfb\xff\xbf", false},
        {" Zm\r\n9v\t", "foo", true},
        {"Zg =\n=", "f", true},
        {"Z", NULL, false},
        {"Zg", NULL, false},
        {"Zg=", NULL, false},
        {"Zg===", NULL, false},
        {"=", NULL, false},
        {"====", NULL, false},
        {"Zg==Zg==", NULL, false},
        {"Zh==", NULL, false},
        {"Zm9=", NULL, false},
        {"Zm9v=", NULL, false},
        {"Zm-v", NULL, false},
        {"Z===", NULL, false},
        {"Zm9vZ", NULL, false},
        {"Zg=v", NULL, false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        for (int spaces = 0; spaces <= 1; spaces++) {
            size_t len = strlen(cases[i].encoded);
            char *out = malloc(BASE64_DECODED_MAX_BYTES(len) + 1); /* exact but for the NUL, for the sanitizers */
            assert_non_null(out);
            ssize_t n = base64_decode(cases[i].encoded, len, spaces != 0, out);
            if (cases[i].plain == NULL || (cases[i].spaced && spaces == 0)) {
                assert_int_equal(n, -EINVAL);
            } else {
                assert_int_equal(n, strlen(cases[i].plain));
                assert_memory_equal(out, cases[i].plain, (size_t)n);
            }
            free(out);
        }
    }
}

static void a_nul_is_no_digit(void **state)
{
    (void)state;
    char out[BASE64_DECODED_MAX_BYTES(8)];
    assert_int_equal(base64_decode("Zm9v\0Zm9", 8, true, out), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_base64_and_what_is_not),
        cmocka_unit_test(a_nul_is_no_digit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
