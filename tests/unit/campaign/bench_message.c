/*
 * bench_message.c - microseconds to compose one 10 KB two-part message in one thread, without and with an RSA-2048
 * signature. Not part of the test suite.
 *
 *     bench_message [SECONDS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "campaign/message/message.h"

static double microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* A newsletter: a greeting and offers with names in them, static markup between. `one_line`: minified, so that nothing
 * can be encoded ahead. */
static json_t *make_spec(bool one_line)
{
    struct buffer html = BUFFER_INIT(0);
    struct buffer text = BUFFER_INIT(0);
    const char *end = one_line ? "" : "\n";
    buffer_printf(&html, "<html><body><p>Dear {{first_name}} {{last_name}},</p>%s", end);
    for (int i = 0; html.len < 6000; i++)
        buffer_printf(&html,
                      "  <tr><td style=\"padding: 4px\">Offer number %d of this week, fine w\xc3\xa4re</td></tr>%s", i,
                      end);
    buffer_printf(&html,
                  "<p>Your city: {{address.city}}</p>%s<p>Points: {{points}}</p>%s<a "
                  "href=\"{{unsubscribe_url}}\">Unsubscribe</a></body></html>%s",
                  end, end, end);
    buffer_append_str(&text, "Dear {{first_name}} {{last_name}},\n\n");
    for (int i = 0; text.len < 2600; i++)
        buffer_printf(&text, "* Offer number %d of this week, which nobody should miss%s", i, one_line ? " " : "\n");
    buffer_append_str(&text, "Your city: {{address.city}}\nUnsubscribe: {{unsubscribe_url}}\n");
    json_t *spec = json_pack("{s:{s:s, s:s}, s:s, s:s, s:s, s:{s:s}}", "from", "email", "news@example.com", "name",
                             "Example News", "subject", "{{first_name}}, our offers of the week", "html",
                             buffer_text(&html), "text", buffer_text(&text), "headers", "X-Campaign", "spring");
    buffer_finish(&html);
    buffer_finish(&text);
    return spec;
}

static int run(const char *what, bool one_line, const struct mac_key *mac, struct dkim_key *key, double limit_s)
{
    static const char *const lists[] = {"Weekly News"};
    json_t *spec = make_spec(one_line);
    struct content_options options = {.spec = spec,
                                      .campaign_id = 42,
                                      .campaign_name = "Spring",
                                      .list_names = lists,
                                      .list_count = 1,
                                      .public_url = "https://mail.example.com",
                                      .bounce_domain = "",
                                      .mac = mac,
                                      .signers = {{.key = key, .selector = "s1"}}};
    struct content *content = NULL;
    struct composer *composer = NULL;
    struct error err = {{0}};
    struct problem problem = {.count = 0};
    if (content_compile(&options, &content, &problem, &err) < 0 || composer_create(&composer, &err) < 0) {
        fprintf(stderr, "%s %s\n", err.text, problem.count > 0 ? problem.fields[0].message : "");
        return 1;
    }
    struct message_recipient recipient = {.email = "someone.with.a.name@example.net",
                                          .attributes_json =
                                              "{\"first_name\":\"Zo\xc3\xab\",\"last_name\":\"O'Brien\",\"address\":{"
                                              "\"city\":\"K\xc3\xb6ln\"},\"points\":1234,\"plan\":\"gold\"}"};
    double begin = microseconds();
    double now = begin;
    long count = 0;
    size_t size = 0;
    while (now - begin < limit_s * 1e6) {
        for (int i = 0; i < 100; i++) {
            struct composed message;
            recipient.id = ++count;
            if (message_compose(composer, content, &recipient, 1795456970000 + count, &message, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                return 1;
            }
            size = message.size_bytes;
            free(message.block);
        }
        now = microseconds();
    }
    printf("RESULT compose_%s_us=%.1f bytes=%zu\n", what, (now - begin) / (double)count, size);
    composer_free(composer);
    content_unref(content);
    json_decref(spec);
    return 0;
}

int main(int argc, char **argv)
{
    double limit_s = argc > 1 ? atof(argv[1]) : 1;
    struct mac_key *mac = mac_key_create("key of the bench", 16);
    struct buffer pem = BUFFER_INIT(0);
    struct dkim_key *key = NULL;
    struct error err = {{0}};
    if (mac == NULL || dkim_key_generate(&pem, &err) < 0 || dkim_key_load(pem.data, pem.len, &key, &err) < 0)
        return 1;
    int failed = run("unsigned", false, mac, NULL, limit_s) + run("unsigned_one_line", true, mac, NULL, limit_s) +
                 run("signed", false, mac, key, limit_s);
    buffer_finish(&pem);
    dkim_key_unref(key);
    mac_key_free(mac);
    return failed > 0;
}
