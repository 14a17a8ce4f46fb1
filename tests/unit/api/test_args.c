/*
 * test_args.c - the command line is understood as its help says, and what is wrong with it is said with a hint.
 */
#include "tests/unit/api/unit.h"

#include "api/cli/campaign.h"
#include "api/cli/cli.h"
#include "api/nearest.h"

#define WORDS_MAX 12

static int parse(struct cli *cli, const char *const *words, struct error *err)
{
    static char copies[WORDS_MAX + 1][64];
    char *argv[WORDS_MAX + 2];
    int argc = 1;
    size_t count;
    const struct cli_command *commands = cli_commands(&count);
    (void)str_copy(copies[0], sizeof(copies[0]), "posthaste");
    argv[0] = copies[0];
    for (; words[argc - 1] != NULL; argc++) {
        (void)str_copy(copies[argc], sizeof(copies[argc]), words[argc - 1]);
        argv[argc] = copies[argc];
    }
    argv[argc] = NULL;
    return cli_parse(cli, commands, count, argc, argv, err);
}

#define PARSE(cli, err, ...) parse(cli, (const char *const[]){__VA_ARGS__, NULL}, err)

static void test_options_and_arguments(void **state)
{
    (void)state;
    struct cli cli;
    struct error err = {""};
    assert_int_equal(PARSE(&cli, &err, "-c", "x.conf", "import", "people.csv", "--list=news", "--skip", "--json"), 0);
    assert_string_equal(cli.command->words, "import");
    assert_string_equal(cli.config_file, "x.conf");
    assert_string_equal(cli_value(&cli, "list"), "news");
    assert_true(cli_flag(&cli, "skip"));
    assert_false(cli_flag(&cli, "update"));
    assert_true(cli.json);
    assert_int_equal(cli.argument_count, 1);
    assert_string_equal(cli.arguments[0], "people.csv");

    assert_int_equal(PARSE(&cli, &err, "import", "-l", "a", "-"), 0);
    assert_string_equal(cli.arguments[0], "-");
    assert_int_equal(PARSE(&cli, &err, "import", "-lnews", "--", "--odd-name.csv"), 0);
    assert_string_equal(cli_value(&cli, "list"), "news");
    assert_string_equal(cli.arguments[0], "--odd-name.csv");
    assert_int_equal(PARSE(&cli, &err, "import", "--list", "", "x"), 0);
    assert_string_equal(cli_value(&cli, "list"), "");
}

static void test_words(void **state)
{
    (void)state;
    struct cli cli;
    struct error err = {""};
    assert_int_equal(PARSE(&cli, &err, "list"), 0);
    assert_string_equal(cli.command->words, "list");
    assert_int_equal(PARSE(&cli, &err, "list", "create", "x"), 0);
    assert_string_equal(cli.command->words, "list create");
    assert_int_equal(PARSE(&cli, &err, "campaign", "create", "--list", "a", "--list", "b"), 0);
    assert_string_equal(cli_value_nth(&cli, "list", 0), "a");
    assert_string_equal(cli_value_nth(&cli, "list", 1), "b");
    assert_null(cli_value_nth(&cli, "list", 2));
    assert_int_equal(PARSE(&cli, &err, "--version"), 0);
    assert_string_equal(cli.command->words, "version");
    assert_int_equal(PARSE(&cli, &err, "campaign", "--help"), 0);
    assert_string_equal(cli.group, "campaign");
    assert_int_equal(PARSE(&cli, &err, "campaign", "launch", "--help"), 0); /* help needs no arguments */
    assert_true(cli.help);
    const char *const nothing[] = {NULL};
    assert_int_equal(parse(&cli, nothing, &err), 0);
    assert_null(cli.command);
}

static void test_wrong_use(void **state)
{
    (void)state;
    static const struct {
        const char *words[6], *says;
    } cases[] = {
        {{"imprt"}, "import"},
        {{"campain", "launch"}, "campaign"},
        {{"campaign", "lanch", "1"}, "launch"},
        {{"campaign"}, "second word"},
        {{"campaign", "xyzzyxyzzy"}, "there are"},
        {{"xyzzy"}, "help"},
        {{"import", "--lst", "x", "f"}, "--list"},
        {{"import", "--nonsense", "f"}, "--help"},
        {{"import", "--list"}, "NAME"},
        {{"import", "--skip=1", "f"}, "no value"},
        {{"import", "--list", "a", "--list", "b", "f"}, "twice"},
        {{"import", "--list", "a"}, "FILE"},
        {{"import", "--list", "a", "f", "g"}, "too many"},
        {{"campaign", "launch"}, "ID"},
        {{"--nonsense"}, "nonsense"},
        {{"version", "x"}, "too many"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct cli cli;
        struct error err = {""};
        assert_int_equal(parse(&cli, cases[i].words, &err), -EINVAL);
        if (strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s %s: %s", cases[i].words[0], cases[i].words[1], err.text);
    }
}

static void test_too_much(void **state)
{
    (void)state;
    enum { MANY = 400 };
    char *argv[MANY];
    char program[] = "posthaste", first[] = "suppress", second[] = "add", word[] = "a@b.test", option[] = "--list",
         create[] = "create", campaign[] = "campaign";
    size_t count;
    const struct cli_command *commands = cli_commands(&count);
    struct cli cli;
    struct error err = {""};
    argv[0] = program;
    argv[1] = first;
    argv[2] = second;
    for (int i = 3; i < MANY; i++)
        argv[i] = word;
    assert_int_equal(cli_parse(&cli, commands, count, MANY, argv, &err), -EINVAL);
    argv[1] = campaign;
    argv[2] = create;
    for (int i = 3; i + 1 < MANY; i += 2) {
        argv[i] = option;
        argv[i + 1] = word;
    }
    assert_int_equal(cli_parse(&cli, commands, count, MANY - 1, argv, &err), -EINVAL);
}

/* The table itself: what the help prints must be parseable and complete. */
static void test_table(void **state)
{
    (void)state;
    size_t count;
    const struct cli_command *commands = cli_commands(&count);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(commands[i].run);
        assert_true(commands[i].summary[0] != '\0' && commands[i].summary[strlen(commands[i].summary) - 1] != '.');
        assert_true(commands[i].min_arguments <= commands[i].max_arguments &&
                    commands[i].max_arguments <= CLI_ARGUMENTS_MAX);
        assert_int_equal(commands[i].max_arguments == 0, commands[i].arguments[0] == '\0');
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(commands[i].words, commands[k].words);
        for (const struct cli_option *option = commands[i].options; option != NULL && option->name != NULL; option++) {
            assert_non_null(option->help);
            for (const struct cli_option *common = CLI_COMMON_OPTIONS; common->name != NULL; common++)
                assert_true(strcmp(common->name, option->name) != 0 &&
                            (option->letter == 0 || common->letter != option->letter));
        }
    }
}

/* Whoever adds a command decides here, or in audit_cli.c, whether the audit log has it. */
static void test_what_changes(void **state)
{
    (void)state;
    static const char *const unnoted[] = {
        /* reads only; a copy or a smaller file of the same database is no change of it */
        "list", "list show", "recipient show", "snippet show", "snippet list", "domain show", "domain check",
        "domain list", "suppress list", "suppress export", "bounce classify", "link-key list", "token list",
        "webhook list", "webhook show", "db check", "db backup", "db vacuum", "config check", "config show",
        "completion bash", "completion zsh", "completion words", "version", "help",
        /* done, and noted, by the server */
        "serve", "campaign create", "campaign launch", "campaign pause", "campaign resume", "campaign cancel",
        "campaign list", "campaign show", "campaign winner", "campaign stats", "campaign watch", "campaign preview",
        "campaign test", "campaign links", "status", "top", "site show", "site explain", "site suspend", "site resume",
        "site suspensions", "source show",
    };
    size_t count, found = 0;
    const struct cli_command *commands = cli_commands(&count);
    for (size_t i = 0; i < count; i++) {
        bool quiet = false;
        for (size_t k = 0; k < countof(unnoted); k++)
            quiet |= strcmp(unnoted[k], commands[i].words) == 0;
        found += quiet;
        if (quiet == cli_is_changing(commands[i].words))
            fail_msg("\"%s\" is noted in the audit log, or is not: one of both", commands[i].words);
    }
    assert_int_equal(found, countof(unnoted));
}

static void test_nearest(void **state)
{
    (void)state;
    assert_int_equal(edit_distance("", ""), 0);
    assert_int_equal(edit_distance("launch", "lanch"), 1);
    assert_int_equal(edit_distance("launch", "luanch"), 1); /* a swap is one error */
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
    assert_int_equal(edit_distance("abc", ""), 3);
    char text[64];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_true(edit_distance(text, "x") == SIZE_MAX);
    struct nearest nearest = nearest_begin("ls");
    nearest_offer(&nearest, "top");
    assert_null(nearest.best);
}

static void expect_sender(const char *text, const char *email, const char *name)
{
    json_t *sender = campaign_parse_sender(text);
    assert_non_null(sender);
    assert_string_equal(json_string_value(json_object_get(sender, "email")), email);
    if (name == NULL)
        assert_null(json_object_get(sender, "name"));
    else
        assert_string_equal(json_string_value(json_object_get(sender, "name")), name);
    json_decref(sender);
}

static void test_senders(void **state)
{
    (void)state;
    expect_sender("news@example.com", "news@example.com", NULL);
    expect_sender("News <news@example.com>", "news@example.com", "News");
    expect_sender("  \"News, daily\"  <news@example.com>", "news@example.com", "News, daily");
    expect_sender("<news@example.com>", "news@example.com", "");
    expect_sender("Nachrichten für alle <n@e.com>", "n@e.com", "Nachrichten für alle");
    expect_sender("broken <news@example.com", "broken <news@example.com", NULL);
    assert_null(campaign_parse_sender("\xff <a@b.test>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_and_arguments),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_what_changes),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_senders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
