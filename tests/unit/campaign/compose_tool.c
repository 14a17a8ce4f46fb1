/*
 * compose_tool.c - composes messages for tests that are written in other languages.
 *
 * Each line of standard input is one JSON object:
 *   {"spec": {…}, "recipient": {"id": 1, "email": "…", "attributes": {…} or "text"}, "campaign_id", "campaign_name",
 * "lists": […], "partials": {…}, "public_url", "bounce_domain", "now_ms", "key": PEM, "selector", "second_key",
 * "second_selector", "preview": true} and each is answered by one line:
 * {"mail_from","message","eight_bit","smtputf8","missing"} (with preview also "subject","html","text"), or
 * {"error", "problems": [{"field","message"}]}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "campaign/message/message.h"

static const char mac_secret[] = "a secret of the tests, 32 bytes.";

static const char *text_of(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : otherwise;
}

static json_t *answer_problem(const struct problem *problem, const struct error *err)
{
    json_t *problems = json_array();
    for (size_t i = 0; i < problem->count && i < PROBLEM_FIELDS_MAX; i++)
        json_array_append_new(problems, json_pack("{s:s, s:s}", "field", problem->fields[i].field, "message",
                                                  problem->fields[i].message));
    return json_pack("{s:s, s:o}", "error", err->text, "problems", problems);
}

static void add_message(json_t *answer, const struct composed *message)
{
    json_object_set_new(answer, "mail_from", json_string(message->mail_from));
    json_object_set_new(answer, "message", json_stringn(message->data, message->size_bytes));
    json_object_set_new(answer, "eight_bit", json_boolean(message->eight_bit));
    json_object_set_new(answer, "smtputf8", json_boolean(message->smtputf8));
    json_object_set_new(answer, "missing", json_boolean(message->missing));
}

static void add_links(json_t *answer, const struct content *content)
{
    const char *const *urls;
    size_t count = content_links(content, &urls);
    json_t *links = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(links, json_string(urls[i]));
    json_object_set_new(answer, "links", links);
}

static int compose(struct composer *composer, const struct content *content, const json_t *request, json_t *answer,
                   struct error *err)
{
    const json_t *recipient_json = json_object_get(request, "recipient");
    const json_t *attributes = json_object_get(recipient_json, "attributes");
    char *dumped = json_is_object(attributes) ? json_dumps(attributes, JSON_COMPACT) : NULL;
    struct message_recipient recipient = {
        .id = json_integer_value(json_object_get(recipient_json, "id")),
        .email = text_of(recipient_json, "email", ""),
        .attributes_json = dumped != NULL ? dumped : json_string_value(attributes),
    };
    json_int_t now_ms = json_integer_value(json_object_get(request, "now_ms"));
    int rc;
    if (json_is_true(json_object_get(request, "preview"))) {
        struct message_preview preview;
        rc = message_preview(composer, content, &recipient, now_ms, &preview, err);
        if (rc == 0) {
            add_message(answer, &preview.message);
            json_object_set_new(answer, "subject", json_string(preview.subject));
            json_object_set_new(answer, "html", json_string(preview.html));
            json_object_set_new(answer, "text", json_string(preview.text));
            message_preview_finish(&preview);
        }
    } else {
        struct composed message;
        rc = message_compose(composer, content, &recipient, now_ms, &message, err);
        if (rc == 0)
            add_message(answer, &message);
        free(message.block);
    }
    free(dumped);
    return rc;
}

static int load_key(const json_t *request, const char *name, struct content_signer *signer, struct error *err)
{
    const char *pem = text_of(request, name, NULL);
    return pem != NULL ? dkim_key_load(pem, strlen(pem), &signer->key, err) : 0;
}

static json_t *serve(struct composer *composer, const struct mac_key *mac, const json_t *request)
{
    static const char *names[16];
    struct problem problem = {.count = 0};
    struct error err = {{0}};
    struct content *content = NULL;
    const json_t *lists = json_object_get(request, "lists");
    struct content_options options = {
        .spec = json_object_get(request, "spec"),
        .partials = json_object_get(request, "partials"),
        .links = json_object_get(request, "links"),
        .campaign_id = json_integer_value(json_object_get(request, "campaign_id")),
        .campaign_name = text_of(request, "campaign_name", "A campaign"),
        .list_names = names,
        .public_url = text_of(request, "public_url", "https://mail.example.com"),
        .bounce_domain = text_of(request, "bounce_domain", ""),
        .mac = mac,
    };
    for (; options.list_count < json_array_size(lists) && options.list_count < 16; options.list_count++)
        names[options.list_count] = json_string_value(json_array_get(lists, options.list_count));
    int rc = load_key(request, "key", &options.signers[0], &err);
    options.signers[0].selector = text_of(request, "selector", "s1");
    if (rc == 0)
        rc = load_key(request, "second_key", &options.signers[1], &err);
    options.signers[1].selector = text_of(request, "second_selector", "s2");
    if (rc == 0)
        rc = content_compile(&options, &content, &problem, &err);
    json_t *answer = json_object();
    if (rc == 0)
        rc = compose(composer, content, request, answer, &err);
    if (rc == 0)
        add_links(answer, content);
    if (rc < 0) {
        json_decref(answer);
        answer = answer_problem(&problem, &err);
    }
    content_unref(content);
    dkim_key_unref(options.signers[0].key);
    dkim_key_unref(options.signers[1].key);
    return answer;
}

int main(void)
{
    struct mac_key *mac = mac_key_create(mac_secret, sizeof(mac_secret) - 1);
    struct composer *composer = NULL;
    struct error err = {{0}};
    char *line = NULL;
    size_t line_bytes = 0;
    ssize_t len;
    if (mac == NULL || composer_create(&composer, &err) < 0)
        return 1;
    while ((len = getline(&line, &line_bytes, stdin)) > 0) {
        json_error_t why;
        json_t *request = json_loadb(line, (size_t)len, JSON_ALLOW_NUL, &why);
        if (request == NULL) {
            fprintf(stderr, "compose_tool: %s\n", why.text);
            return 1;
        }
        json_t *answer = serve(composer, mac, request);
        json_dumpf(answer, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        fflush(stdout);
        json_decref(answer);
        json_decref(request);
    }
    free(line);
    composer_free(composer);
    mac_key_free(mac);
    return 0;
}
