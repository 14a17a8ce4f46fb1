/*
 * test_sasl_credentials.c - the file with user and password: what is read, what is refused, and that a refusal leaves
 * nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/smtp/credentials.h"

static char folder[64];
static char path[96];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/posthaste-credentials-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/login", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static void put_file(const char *text, size_t len, mode_t mode)
{
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void content_is_two_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *user, *password; /* NULL = refused */
    } cases[] = {
        {"tim\nsecret\n", "tim", "secret"},
        {"tim\nsecret", "tim", "secret"},
        {"tim\r\nsecret\r\n", "tim", "secret"},
        {" tim \n two words \n", " tim ", " two words "},
        {"j\xc3\xbcrgen@example.org\np\xc3\xa4ss#\"'\n", "j\xc3\xbcrgen@example.org", "p\xc3\xa4ss#\"'"},
        {"", NULL, NULL},
        {"\n", NULL, NULL},
        {"tim\n", NULL, NULL},
        {"tim\n\n", NULL, NULL},
        {"\nsecret\n", NULL, NULL},
        {"tim\nsecret\nmore\n", NULL, NULL},
        {"tim\nsecret\n\n", NULL, NULL},
        {"tim\nsec\rret\n", NULL, NULL},
        {"tim\nsec\tret\n", NULL, NULL},
        {"tim\n\xff\xfe\n", NULL, NULL},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct credentials c;
        struct error err = {{0}};
        put_file(cases[i].text, strlen(cases[i].text), 0600);
        int rc = credentials_load(path, &c, &err);
        if (cases[i].user != NULL) {
            assert_int_equal(rc, 0);
            assert_string_equal(c.user, cases[i].user);
            assert_string_equal(c.password, cases[i].password);
        } else {
            static const struct credentials empty;
            assert_int_equal(rc, -EINVAL);
            assert_non_null(strstr(err.text, path));
            assert_null(strstr(err.text, "secret"));
            assert_null(strstr(err.text, "tim"));
            assert_memory_equal(&c, &empty, sizeof c);
        }
    }
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    struct credentials c;
    char text[4096];
    for (size_t len = CREDENTIAL_MAX_BYTES - 1; len <= CREDENTIAL_MAX_BYTES + 1; len++) {
        for (int crlf = 0; crlf < 2; crlf++) {
            int n = snprintf(text, sizeof text, "%0*d%s%0*d%s", (int)len, 1, crlf != 0 ? "\r\n" : "\n", (int)len, 2,
                             crlf != 0 ? "\r\n" : "\n");
            put_file(text, (size_t)n, 0600);
            assert_int_equal(credentials_load(path, &c, NULL), len <= CREDENTIAL_MAX_BYTES ? 0 : -EINVAL);
        }
    }
    memset(text, 'a', sizeof text);
    put_file(text, sizeof text, 0600);
    assert_int_equal(credentials_load(path, &c, NULL), -EINVAL);
    put_file("ti\0m\nsecret\n", 12, 0600);
    assert_int_equal(credentials_load(path, &c, NULL), -EINVAL);
}

static void a_password_alone_is_one_line(void **state)
{
    (void)state;
    struct credentials c;
    put_file("secret\n", 7, 0600);
    assert_int_equal(credentials_load_password(path, "tim", &c, NULL), 0);
    assert_string_equal(c.user, "tim");
    assert_string_equal(c.password, "secret");
    put_file("tim\nsecret\n", 11, 0600);
    assert_int_equal(credentials_load_password(path, "tim", &c, NULL), -EINVAL);
    assert_string_equal(c.password, "");
    put_file("", 0, 0600);
    assert_int_equal(credentials_load_password(path, "tim", &c, NULL), -EINVAL);
}

static void only_the_owner_may_read(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        int rc;
    } cases[] = {
        {0600, 0},       {0400, 0},       {0700, 0},       {0640, -EACCES}, {0604, -EACCES}, {0644, -EACCES},
        {0620, -EACCES}, {0602, -EACCES}, {0610, -EACCES}, {0601, -EACCES}, {0666, -EACCES}, {0440, -EACCES},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct credentials c;
        struct error err = {{0}};
        put_file("tim\nsecret\n", 11, cases[i].mode);
        assert_int_equal(credentials_load(path, &c, &err), cases[i].rc);
        if (cases[i].rc != 0)
            assert_non_null(strstr(err.text, "chmod 600"));
    }
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    struct credentials c;
    struct error err = {{0}};
    (void)unlink(path);
    assert_int_equal(credentials_load(path, &c, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(credentials_load(folder, &c, &err), -EACCES);
    assert_int_equal(credentials_load("/dev/null", &c, &err), -EACCES);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(credentials_load(path, &c, &err), -EACCES); /* and does not wait for a writer */
    assert_int_equal(credentials_load("", &c, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_is_two_lines),         cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(a_password_alone_is_one_line), cmocka_unit_test(only_the_owner_may_read),
        cmocka_unit_test(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
