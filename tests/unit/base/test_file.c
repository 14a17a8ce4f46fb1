/* test_file.c - a file is replaced whole or not at all. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

#include "base/file.h"
#include "base/str.h"

static char *dir;

static int make_dir(void **state)
{
    (void)state;
    dir = str_dup("/tmp/posthaste-file-XXXXXX");
    return dir != NULL && mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    int rc = rmdir(dir);
    free(dir);
    return rc;
}

static char *path_of(const char *name)
{
    char *path = str_printf("%s/%s", dir, name);
    assert_non_null(path);
    return path;
}

static void assert_holds(const char *path, const char *text)
{
    char found[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    found[fread(found, 1, sizeof(found) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(found, text);
}

static void replaces_the_whole(void **state)
{
    (void)state;
    char *path = path_of("state"), *aside = path_of("state.new");
    struct stat about;
    assert_int_equal(file_replace(path, "a longer text", 13), 0);
    assert_holds(path, "a longer text");
    FILE *left = fopen(aside, "w"); /* by a process that died */
    assert_non_null(left);
    fputs("half", left);
    fclose(left);
    assert_int_equal(file_replace(path, "short", 5), 0);
    assert_holds(path, "short");
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    assert_int_equal(access(aside, F_OK), -1);
    assert_int_equal(file_replace(path, "", 0), 0);
    assert_holds(path, "");
    assert_int_equal(unlink(path), 0);
    free(path);
    free(aside);
}

static void keeps_what_was_there(void **state)
{
    (void)state;
    char *path = path_of("state"), *nowhere = path_of("none/state"), *aside = path_of("state.new");
    assert_int_equal(file_replace(nowhere, "x", 1), -ENOENT);
    assert_int_equal(file_replace(path, "before", 6), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit was, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    tight = (struct rlimit){.rlim_cur = 3, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int rc = file_replace(path, "after", 5);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(rc, -EFBIG);
    assert_holds(path, "before");
    assert_int_equal(access(aside, F_OK), -1);
    assert_int_equal(unlink(path), 0);
    free(path);
    free(nowhere);
    free(aside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_the_whole),
        cmocka_unit_test(keeps_what_was_there),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
