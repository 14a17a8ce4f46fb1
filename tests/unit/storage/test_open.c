/*
 * test_open.c - the file, its version, its lock, and what is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/migrate.h"
#include "tests/unit/storage/support.h"

static void refused(const char *dir, bool server, int code, const char *sentence)
{
    struct error err = {.text = ""};
    struct storage *storage;
    struct storage_options options = {.data_dir = dir, .server = server};
    assert_int_equal(storage_open(&options, &storage, &err), code);
    assert_null(storage);
    if (strstr(err.text, sentence) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, sentence);
}

static void migrates_from_empty_and_from_the_same_version(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    assert_int_equal(sql_int(&fixture, "PRAGMA user_version"), storage_schema_version);
    make_list(&fixture, "news");
    fixture_close(&fixture);
    fixture_reopen(&fixture, false);
    int64_t id;
    struct error err = {.text = ""};
    must(storage_list_find(fixture.reader, "news", &id, &err));
    fixture_remove(&fixture);
}

static void makes_private_files_in_a_new_directory(void **state)
{
    (void)state;
    char base[64], dir[128], path[160];
    make_dir(base);
    (void)snprintf(dir, sizeof(dir), "%s/a", base);
    struct error err = {.text = ""};
    struct storage *storage;
    mode_t before = umask(0);
    must(storage_open(&(struct storage_options){.data_dir = dir}, &storage, &err));
    umask(before);
    struct stat status;
    assert_int_equal(stat(dir, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/posthaste.db%s", dir, i == 0 ? "" : "-wal");
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
    }
    int64_t database, wal;
    assert_int_equal(storage_sizes(storage, &database, &wal), 0);
    assert_true(database > 0 && wal > 0);
    storage_close(storage);
    remove_dir(dir);
    remove_dir(base);
}

static void refuses_a_newer_version(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    fixture_close(&fixture);
    sql_exec(&fixture, "PRAGMA user_version = 99");
    refused(fixture.dir, false, -EINVAL, "version 99, made by a newer posthaste");
    remove_dir(fixture.dir);
}

/* An old server goes on with the schema that it knows. */
static void leaves_a_served_database_as_it_is(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, true);
    char version[64];
    (void)snprintf(version, sizeof(version), "PRAGMA user_version = %d", storage_schema_version - 1);
    sql_exec(&fixture, version);
    refused(fixture.dir, false, -EBUSY, "restart the server first");
    assert_int_equal(sql_int(&fixture, "PRAGMA user_version"), storage_schema_version - 1);
    fixture_remove(&fixture);
}

static void refuses_what_is_not_ours(void **state)
{
    (void)state;
    struct fixture fixture;
    make_dir(fixture.dir);
    sql_exec(&fixture, "CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
    refused(fixture.dir, false, -EINVAL, "another program");
    remove_dir(fixture.dir);

    make_dir(fixture.dir);
    char path[128], junk[8192];
    memset(junk, 'x', sizeof(junk));
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture.dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(junk, 1, sizeof(junk), file), sizeof(junk));
    fclose(file);
    refused(fixture.dir, false, -EIO, "file is not a database");
    remove_dir(fixture.dir);
}

static void refuses_a_directory_that_is_a_file(void **state)
{
    (void)state;
    refused("/dev/null", false, -ENOTDIR, "/dev/null");
    refused("/dev/null/sub", false, -ENOTDIR, "/dev/null");
    refused("", false, -EINVAL, "no data directory");
}

/* The pages behind the first are overwritten: opening works, reading what lies there says so and does not crash. */
static void reports_a_damaged_page(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, false);
    int64_t list = make_list(&fixture, "news");
    import_range(&fixture, list, "u", "a.test", 0, 500);
    fixture_close(&fixture);
    char path[128], junk[4096];
    memset(junk, 0xA5, sizeof(junk));
    (void)snprintf(path, sizeof(path), "%s/posthaste.db", fixture.dir);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    for (off_t at = 2 * 4096; at < status.st_size; at += 4096)
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
    close(fd);
    struct error err = {.text = ""};
    struct storage *storage;
    int result = storage_open(&(struct storage_options){.data_dir = fixture.dir}, &storage, &err);
    if (result == 0) {
        int64_t id;
        result = storage_list_create(storage, "other", "", &id, &err);
        storage_close(storage);
    }
    assert_int_equal(result, -EIO);
    assert_non_null(strstr(err.text, "malformed"));
    remove_dir(fixture.dir);
}

static void lets_one_server_in(void **state)
{
    (void)state;
    struct fixture fixture;
    make_dir(fixture.dir);
    assert_int_equal(storage_server_running(fixture.dir), 0);
    fixture_reopen(&fixture, false);
    assert_int_equal(storage_server_running(fixture.dir), 0);
    fixture_close(&fixture);
    fixture_reopen(&fixture, true);
    assert_int_equal(storage_server_running(fixture.dir), 1);
    refused(fixture.dir, true, -EBUSY, "another server runs");
    assert_int_equal(storage_server_running(fixture.dir), 1); /* neither the question nor the refusal let go of it */

    struct error err = {.text = ""};
    struct storage *command;
    must(storage_open(&(struct storage_options){.data_dir = fixture.dir}, &command, &err));
    storage_close(command);
    assert_int_equal(storage_server_running(fixture.dir), 1);
    fixture_close(&fixture);
    assert_int_equal(storage_server_running(fixture.dir), 0);
    fixture_reopen(&fixture, true);
    fixture_remove(&fixture);
    assert_int_equal(storage_server_running("/nowhere/at/all"), 0);

    char path[128];
    make_dir(fixture.dir);
    (void)snprintf(path, sizeof(path), "%s/serve.lock", fixture.dir);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(storage_server_running(fixture.dir), -ELOOP); /* who knows */
    remove_dir(fixture.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(migrates_from_empty_and_from_the_same_version),
        cmocka_unit_test(makes_private_files_in_a_new_directory),
        cmocka_unit_test(refuses_a_newer_version),
        cmocka_unit_test(leaves_a_served_database_as_it_is),
        cmocka_unit_test(refuses_what_is_not_ours),
        cmocka_unit_test(refuses_a_directory_that_is_a_file),
        cmocka_unit_test(reports_a_damaged_page),
        cmocka_unit_test(lets_one_server_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
