/* test_config_live.c - snapshots: held by readers at work, told apart key by key, fixed keys as they were. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/config_live.h"
#include "base/str.h"

static char folder[] = "/tmp/posthaste-live-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    unlink("test.conf");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct error err = {0};
    FILE *file = fopen("test.conf", "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    if (config_load("test.conf", &config, &err) != 0)
        fail_msg("%s", err.text);
    return config;
}

struct told {
    char text[16384];
    int live, fixed;
};

static void note(void *context, bool fixed, const char *sentence)
{
    struct told *told = context;
    size_t len = strlen(told->text);
    (void)snprintf(told->text + len, sizeof told->text - len, "%s%s\n", fixed ? "! " : "", sentence);
    *(fixed ? &told->fixed : &told->live) += 1;
}

static void nothing_changes_with_the_same_file(void **state)
{
    (void)state;
    static const char text[] = "route \"*\" { host = \"127.0.0.1\" }\nsource \"a\" { address = \"192.0.2.1\" }\n";
    struct config *now = load(text), *next = load(text);
    struct told told = {.text = ""};
    assert_int_equal(config_adopt(now, next, note, &told), 0);
    assert_string_equal(told.text, "");
    config_free(now);
    config_free(next);
}

static void each_difference_is_told(void **state)
{
    (void)state;
    struct config *now = load("log_level = \"info\"\nprofiles = \"none\"\nprofile \"default\" { rate = \"5/s\" }\n"
                              "domain \"a.test\" { rate = \"1/s\" }\nbounces { domain = \"b.test\" }\n"
                              "pool \"default\" { sources = { \"x\" } }\nsource \"x\" { address = \"192.0.2.1\" }\n");
    struct config *next = load("log_level = \"debug\"\nprofiles = \"none\"\nprofile \"default\" { rate = \"50/s\" }\n"
                               "domain \"c.test\" { rate = \"1/s\" }\nbounces { domain = \"b.test\" soft_bounces = 7 }\n"
                               "pool \"default\" { sources = { \"y\", \"x\" } }\n"
                               "source \"x\" { address = \"192.0.2.1\" weight = 3 }\n"
                               "source \"y\" { address = \"192.0.2.2\" }\n");
    struct told told = {.text = ""};
    assert_int_equal(config_adopt(now, next, note, &told), 8);
    assert_string_equal(told.text, "log_level = \"debug\", was \"info\"\n"
                                   "source \"x\": weight = 3, was 1\n"
                                   "source \"y\" is new\n"
                                   "pool \"default\": sources = { \"y\", \"x\" }, was { \"x\" }\n"
                                   "profile \"default\": rate = \"50/s\", was \"5/s\"\n"
                                   "domain \"a.test\" is gone\n"
                                   "domain \"c.test\" is new\n"
                                   "bounces: soft_bounces = 7, was 5\n");
    config_free(now);
    config_free(next);
}

static void fixed_keys_stay_as_they_were(void **state)
{
    (void)state;
    struct config *now = load("hostname = \"a.test\"\nloops = 1\nlisten = \"127.0.0.1:1111\"\nmta_sts = true\n");
    struct config *next =
        load("hostname = \"b.test\"\nloops = 2\nlisten = \"[::1]:2222\"\nmta_sts = false\nmx_port = 2525\n"
             "preflight = \"off\"\npreflight_every = \"2d\"\ndns { server = \"127.0.0.1@53\" }\n"
             "bounces { listen = \"127.0.0.1:26\" domain = \"r.test\" feedback = \"x\" }\nevents { log = \"e\" }\n");
    struct told told = {.text = ""};
    assert_true(config_adopt(now, next, note, &told) > 10);
    assert_int_equal(told.live, 0);
    assert_string_equal(next->hostname, "a.test");
    assert_string_equal(next->listen_host, "127.0.0.1");
    assert_int_equal(next->listen_port, 1111);
    assert_string_equal(next->public_url, "http://127.0.0.1:1111");
    assert_string_equal(next->dns_server, "");
    assert_string_equal(next->bounces.listen_host, "");
    assert_string_equal(next->events.log, "");
    assert_int_equal(next->loops, 1);
    assert_int_equal(next->mx_port, 25);
    assert_int_equal(next->preflight, PREFLIGHT_ENFORCE);
    assert_true(next->mta_sts);
    struct told again = {.text = ""};
    assert_int_equal(config_adopt(now, next, note, &again), 0); /* nothing is left of it */
    config_free(now);
    config_free(next);
}

static void a_flood_is_counted(void **state)
{
    (void)state;
    static char many[20000];
    size_t len = 0;
    for (int i = 0; i < 300; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, "domain \"d%d.test\" { rate = \"1/s\" }\n", i);
    struct config *now = load(""), *next = load(many);
    struct told told = {.text = ""};
    assert_int_equal(config_adopt(now, next, note, &told), 300);
    assert_int_equal(told.live, CONFIG_CHANGES_MAX + 1);
    assert_non_null(strstr(told.text, "and 200 more\n"));
    config_free(now);
    config_free(next);
}

enum { READERS = 4, ROUNDS = 300 };
static atomic_bool done;

static void *read_on(void *context)
{
    struct config_live *live = context;
    while (!atomic_load(&done)) {
        const struct config *config = config_live_hold(live);
        const struct config *mine = config_hold(config);
        config_drop(config);
        /* Both are of one file, whatever happens beside us. */
        assert_int_equal(mine->limits.burst, mine->retry_first_ms);
        config_drop(mine);
    }
    return NULL;
}

static void readers_keep_what_they_hold(void **state)
{
    (void)state;
    pthread_t readers[READERS];
    struct config_live live;
    struct config *config = load("retry { first = \"1ms\" }\nlimits { burst = 1 }\nprofiles = \"none\"\n");
    config_live_init(&live, config);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &live), 0);
    for (int i = 2; i < ROUNDS; i++) {
        struct config *next = load("profiles = \"none\"\n");
        next->retry_first_ms = i;
        next->limits.burst = (uint32_t)i;
        config_live_set(&live, next);
    }
    atomic_store(&done, true);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_int_equal(atomic_load(&live.generation), ROUNDS - 1);
    config_live_finish(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changes_with_the_same_file), cmocka_unit_test(each_difference_is_told),
        cmocka_unit_test(fixed_keys_stay_as_they_were),       cmocka_unit_test(a_flood_is_counted),
        cmocka_unit_test(readers_keep_what_they_hold),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
