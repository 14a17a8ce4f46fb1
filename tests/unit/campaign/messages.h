/*
 * messages.h - the campaign's content as the tests of messages compile it: one MAC key, one DKIM key, one pair of
 * lists, campaign 42.
 */
#ifndef POSTHASTE_TESTS_UNIT_CAMPAIGN_MESSAGES_H
#define POSTHASTE_TESTS_UNIT_CAMPAIGN_MESSAGES_H

#include "tests/unit/base/unit.h"

#include "campaign/message/message.h"

#define BOTH                                                                                                           \
    "{\"from\":{\"email\":\"News@Example.com\",\"name\":\"Example\"},\"reply_to\":\"help@example.com\",\"subject\":"   \
    "\"Hi {{name}}\","                                                                                                 \
    "\"html\":\"<p>Hi {{name}}</p>\\n<a href=\\\"{{unsubscribe_url}}\\\">out</a>\\n\",\"text\":\"Hi "                  \
    "{{name}}\\n{{unsubscribe_url}}\\n\","                                                                             \
    "\"headers\":{\"X-Fixed\":\"one\",\"X-Own\":\"{{x.y}}\"},\"tags\":[\"Spring Sale\"]}"

#define NOW_MS INT64_C(1795456970123)

static struct mac_key *mac;
static struct dkim_key *key;
static struct buffer record;

ATTR_UNUSED static int open_keys(void **state)
{
    (void)state;
    struct buffer pem = BUFFER_INIT(0);
    struct error err = {{0}};
    mac = mac_key_create("key of the tests", 16);
    int rc = mac == NULL ? -1 : dkim_key_generate(&pem, &err);
    if (rc == 0)
        rc = dkim_key_load(pem.data, pem.len, &key, &err);
    if (rc == 0)
        rc = dkim_record(key, &record, &err);
    buffer_finish(&pem);
    return rc;
}

ATTR_UNUSED static int close_keys(void **state)
{
    (void)state;
    dkim_key_unref(key);
    mac_key_free(mac);
    buffer_finish(&record);
    return 0;
}

static const char *const list_names[] = {"Weekly News", "Other"};

ATTR_UNUSED static int compile(const char *spec_text, struct dkim_key *with, struct content **out,
                               struct problem *problem, struct error *err)
{
    json_error_t why;
    json_t *spec = json_loads(spec_text, JSON_ALLOW_NUL, &why);
    if (spec == NULL)
        fail_msg("%s: %s", spec_text, why.text);
    struct content_options options = {.spec = spec,
                                      .campaign_id = 42,
                                      .campaign_name = "Spring",
                                      .list_names = list_names,
                                      .list_count = 2,
                                      .public_url = "https://mail.example.com/",
                                      .bounce_domain = "",
                                      .mac = mac,
                                      .signers = {{.key = with, .selector = "s1"}}};
    int rc = content_compile(&options, out, problem, err);
    json_decref(spec);
    return rc;
}

ATTR_UNUSED static struct content *compiled(const char *spec, struct dkim_key *with)
{
    struct problem problem = {.count = 0};
    struct error err = {{0}};
    struct content *content = NULL;
    if (compile(spec, with, &content, &problem, &err) != 0)
        fail_msg("%s: %s, %s: %s", spec, err.text, problem.fields[0].field, problem.fields[0].message);
    return content;
}

#endif
