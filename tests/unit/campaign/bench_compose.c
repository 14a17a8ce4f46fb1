/*
 * bench_compose.c - what composing and signing one 10 KB multipart message with six merge fields costs, as a share of
 * what OpenSSL alone makes of the same key on the same core; and how two threads do against one. Not part of the test
 * suite; scripts/bench compose runs it.
 *
 *     bench_compose [SECONDS]
 *
 * Messages and bare signatures are made turn by turn, so that whatever else runs on the machine weighs on both alike;
 * so are one thread and two.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "campaign/message/message.h"

#define TURN 100 /* messages, then signatures */
#define THREADS 2

static double now_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static json_t *make_spec(void)
{
    struct buffer html = BUFFER_INIT(0);
    struct buffer text = BUFFER_INIT(0);
    buffer_append_str(&html, "<html><body><p>Dear {{first_name}} {{last_name|friend}},</p>\n");
    for (int i = 0; html.len < 6000; i++)
        buffer_printf(&html,
                      "  <tr><td style=\"padding: 4px\">Offer number %d of this week, fine w\xc3\xa4re</td></tr>\n", i);
    buffer_append_str(&html, "<p>Your city: {{address.city}}</p>\n{{#points}}<p>Points: {{points}}</p>\n{{/points}}<a "
                             "href=\"{{unsubscribe_url}}\">Unsubscribe</a></body></html>\n");
    buffer_append_str(&text, "Dear {{first_name}} {{last_name|friend}},\n\n");
    for (int i = 0; text.len < 2600; i++)
        buffer_printf(&text, "* Offer number %d of this week, which nobody should miss\n", i);
    buffer_append_str(&text, "Your city: {{address.city}}\nUnsubscribe: {{unsubscribe_url}}\n");
    json_t *spec = json_pack("{s:{s:s, s:s}, s:s, s:s, s:s}", "from", "email", "news@example.com", "name",
                             "Example News", "subject", "{{first_name}}, our offers of the week", "html",
                             buffer_text(&html), "text", buffer_text(&text));
    buffer_finish(&html);
    buffer_finish(&text);
    return spec;
}

/* Composes `count` messages; exits when that fails, for then there is nothing to measure. */
static void compose_some(struct composer *composer, const struct content *content, int64_t first, int count)
{
    struct error err = {{0}};
    for (int i = 0; i < count; i++) {
        struct composed message;
        const struct message_recipient recipient = {.id = first + i,
                                                    .email = "someone.with.a.name@example.net",
                                                    .attributes_json =
                                                        "{\"first_name\":\"Zo\xc3\xab\",\"last_name\":\"O'Brien\","
                                                        "\"address\":{\"city\":\"K\xc3\xb6ln\"},\"points\":1234}"};
        if (message_compose(composer, content, &recipient, 1795456970000 + i, &message, &err) < 0) {
            fprintf(stderr, "bench_compose: %s\n", err.text);
            exit(1);
        }
        free(message.block);
    }
}

/* The private-key operation as `openssl speed` does it. */
struct bare {
    EVP_PKEY *key;
    EVP_PKEY_CTX *rsa;
    EVP_MD_CTX *ed25519;
};

static bool bare_open(struct bare *bare, const struct buffer *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    *bare = (struct bare){.key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)};
    BIO_free(bio);
    if (bare->key == NULL)
        return false;
    if (EVP_PKEY_is_a(bare->key, "RSA")) {
        bare->rsa = EVP_PKEY_CTX_new(bare->key, NULL);
        return bare->rsa != NULL && EVP_PKEY_sign_init(bare->rsa) == 1;
    }
    bare->ed25519 = EVP_MD_CTX_new();
    return bare->ed25519 != NULL && EVP_DigestSignInit(bare->ed25519, NULL, NULL, NULL, bare->key) == 1;
}

static void bare_close(struct bare *bare)
{
    EVP_PKEY_CTX_free(bare->rsa);
    EVP_MD_CTX_free(bare->ed25519);
    EVP_PKEY_free(bare->key);
}

static void bare_sign(struct bare *bare, int count)
{
    static const unsigned char digest[36] = {1};
    unsigned char signature[512];
    for (int i = 0; i < count; i++) {
        size_t len = sizeof(signature);
        int ok = bare->rsa != NULL ? EVP_PKEY_sign(bare->rsa, signature, &len, digest, sizeof(digest))
                                   : EVP_DigestSign(bare->ed25519, signature, &len, digest, 32);
        if (ok != 1)
            exit(1);
    }
}

static struct content *make_content(const json_t *spec, const struct mac_key *mac, struct dkim_key *key)
{
    static const char *const lists[] = {"Weekly News"};
    const struct content_options options = {.spec = spec,
                                            .campaign_id = 42,
                                            .campaign_name = "Spring",
                                            .list_names = lists,
                                            .list_count = 1,
                                            .public_url = "https://mail.example.com",
                                            .bounce_domain = "",
                                            .mac = mac,
                                            .signers = {{.key = key, .selector = "s1"}}};
    struct content *content = NULL;
    struct error err = {{0}};
    if (content_compile(&options, &content, NULL, &err) < 0) {
        fprintf(stderr, "bench_compose: %s\n", err.text);
        exit(1);
    }
    return content;
}

/* Seconds of processor time for one message; with `bare` also the share of the bare signature in it. */
static double measure(const struct content *content, struct bare *bare, double limit_s, double *ratio)
{
    struct composer *composer = NULL;
    if (composer_create(&composer, NULL) < 0)
        exit(1);
    double spent[2] = {0, 0};
    int64_t count = 0;
    compose_some(composer, content, 0, TURN); /* the key is prepared, memory is there */
    for (double end = now_s(CLOCK_MONOTONIC) + limit_s; now_s(CLOCK_MONOTONIC) < end; count += TURN) {
        double t0 = now_s(CLOCK_THREAD_CPUTIME_ID);
        compose_some(composer, content, count, TURN);
        double t1 = now_s(CLOCK_THREAD_CPUTIME_ID);
        if (bare != NULL)
            bare_sign(bare, TURN);
        spent[0] += t1 - t0;
        spent[1] += now_s(CLOCK_THREAD_CPUTIME_ID) - t1;
    }
    composer_free(composer);
    *ratio = spent[1] / spent[0];
    return spent[0] / (double)count;
}

struct worker {
    const struct content *content;
    double end_s;
    int64_t count;
    double cpu_s;
    pthread_t thread;
};

static void *work(void *context)
{
    struct worker *worker = context;
    struct composer *composer = NULL;
    if (composer_create(&composer, NULL) < 0)
        exit(1);
    while (now_s(CLOCK_MONOTONIC) < worker->end_s) {
        compose_some(composer, worker->content, worker->count, 10);
        worker->count += 10;
    }
    composer_free(composer);
    worker->cpu_s = now_s(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

struct pace {
    double per_s, per_cpu_s; /* messages */
};

static struct pace run_threads(const struct content *content, int threads, double limit_s)
{
    struct worker workers[THREADS];
    double begin = now_s(CLOCK_MONOTONIC);
    double count = 0;
    double cpu_s = 0;
    for (int i = 0; i < threads; i++) {
        workers[i] = (struct worker){.content = content, .end_s = begin + limit_s};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            exit(1);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        count += (double)workers[i].count;
        cpu_s += workers[i].cpu_s;
    }
    return (struct pace){count / (now_s(CLOCK_MONOTONIC) - begin), count / cpu_s};
}

/* Two threads against one, by the clock and by processor time: on a busy machine only the latter tells of ourselves. */
static struct pace measure_scaling(const struct content *content, double limit_s)
{
    struct pace sum[THREADS] = {{0, 0}, {0, 0}};
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < THREADS; i++) {
            struct pace pace = run_threads(content, i + 1, limit_s / 8);
            sum[i].per_s += pace.per_s;
            sum[i].per_cpu_s += pace.per_cpu_s;
        }
    return (struct pace){sum[1].per_s / sum[0].per_s, THREADS * sum[1].per_cpu_s / sum[0].per_cpu_s};
}

int main(int argc, char **argv)
{
    double limit_s = argc > 1 ? atof(argv[1]) : 3;
    struct mac_key *mac = mac_key_create("key of the bench", 16);
    json_t *spec = make_spec();
    struct buffer pem[2] = {BUFFER_INIT(0), BUFFER_INIT(0)};
    struct dkim_key *keys[2] = {NULL, NULL};
    struct content *contents[2] = {NULL, NULL};
    struct bare bare[2];
    struct error err = {{0}};
    double ratio[3] = {0, 0, 0};
    double signed_us[2] = {0, 0};
    if (mac == NULL || spec == NULL || limit_s <= 0 || dkim_key_generate(&pem[0], &err) < 0 ||
        dkim_key_generate_ed25519(&pem[1], &err) < 0)
        return 1;
    struct content *content = make_content(spec, mac, NULL);
    double unsigned_us = measure(content, NULL, limit_s, &ratio[2]) * 1e6;
    content_unref(content);
    for (int i = 0; i < 2; i++) {
        if (dkim_key_load(pem[i].data, pem[i].len, &keys[i], &err) < 0 || !bare_open(&bare[i], &pem[i]))
            return 1;
        contents[i] = make_content(spec, mac, keys[i]);
        signed_us[i] = measure(contents[i], &bare[i], limit_s, &ratio[i]) * 1e6;
    }
    struct pace scaling = measure_scaling(contents[0], 2 * limit_s);
    printf("RESULT compose_us=%.1f rsa_ratio=%.3f ed25519_ratio=%.3f scaling=%.2f scaling_cpu=%.2f "
           "rsa_message_us=%.1f ed25519_message_us=%.1f\n",
           unsigned_us, ratio[0], ratio[1], scaling.per_s, scaling.per_cpu_s, signed_us[0], signed_us[1]);
    for (int i = 0; i < 2; i++) {
        bare_close(&bare[i]);
        content_unref(contents[i]);
        dkim_key_unref(keys[i]);
        buffer_finish(&pem[i]);
    }
    json_decref(spec);
    mac_key_free(mac);
    return 0;
}
