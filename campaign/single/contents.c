/*
 * contents.c - a small table of contents, and one of the keys of their From domains.
 *
 * Reading happens under the lock, for there is one reader of the database; compiling does not. Two composers that want
 * the same content at the same time may both compile it: that costs a moment, not a message. The table is bounded in
 * number and in bytes, since a content may hold attachments; what is too large for it is compiled each time.
 */
#include "campaign/single/contents.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#include "campaign/signing.h"

#define KEPT_MAX 64
#define KEPT_BYTES_MAX ((size_t)32 << 20)
#define SENDERS_MAX 16
#define FRESH_MS ((int64_t)60000)

struct kept {
    int64_t id, campaign_id; /* id 0: free */
    struct content *content;
    size_t bytes;
    int64_t made_ms, used_ms; /* monotonic */
};

struct sender {
    char domain[DOMAIN_MAX_BYTES + 1]; /* "" = free */
    struct signing signing;
    int64_t made_ms;
};

struct contents {
    struct mailer *mailer;
    pthread_mutex_t lock;
    struct storage_reader *reader;
    struct kept kept[KEPT_MAX];
    size_t bytes;
    struct sender senders[SENDERS_MAX];
    size_t next_sender;
};

int contents_create(struct mailer *mailer, struct contents **out, struct error *err)
{
    struct contents *contents = calloc(1, sizeof(*contents));
    if (contents == NULL)
        return error_memory(err);
    contents->mailer = mailer;
    int result = storage_reader_open(mailer->storage, &contents->reader, err);
    if (result != 0) {
        free(contents);
        return result;
    }
    pthread_mutex_init(&contents->lock, NULL);
    *out = contents;
    return 0;
}

static void drop(struct contents *contents, struct kept *kept)
{
    content_unref(kept->content);
    contents->bytes -= kept->bytes;
    *kept = (struct kept){0};
}

void contents_free(struct contents *contents)
{
    if (contents == NULL)
        return;
    for (size_t i = 0; i < KEPT_MAX; i++)
        drop(contents, &contents->kept[i]);
    for (size_t i = 0; i < SENDERS_MAX; i++)
        signing_finish(&contents->senders[i].signing);
    storage_reader_close(contents->reader);
    pthread_mutex_destroy(&contents->lock);
    free(contents);
}

/* ---- under the lock ---- */

static struct kept *find(struct contents *contents, int64_t campaign_id, int64_t content_id, int64_t now_ms)
{
    for (size_t i = 0; i < KEPT_MAX; i++) {
        struct kept *kept = &contents->kept[i];
        if (kept->id != content_id || kept->campaign_id != campaign_id)
            continue;
        if (now_ms - kept->made_ms < FRESH_MS)
            return kept;
        drop(contents, kept);
        return NULL;
    }
    return NULL;
}

/* The free place, or the one that was used the longest ago. */
static struct kept *make_room(struct contents *contents, size_t bytes)
{
    for (;;) {
        struct kept *oldest = &contents->kept[0], *unused = NULL;
        for (size_t i = 0; i < KEPT_MAX; i++) {
            struct kept *kept = &contents->kept[i];
            if (kept->id == 0)
                unused = kept;
            else if (oldest->id == 0 || kept->used_ms < oldest->used_ms)
                oldest = kept;
        }
        if (unused != NULL && contents->bytes + bytes <= KEPT_BYTES_MAX)
            return unused;
        drop(contents, oldest);
    }
}

static void keep(struct contents *contents, int64_t campaign_id, int64_t content_id, struct content *content,
                 size_t bytes)
{
    int64_t now_ms = clock_monotonic_ms();
    if (bytes > KEPT_BYTES_MAX / 4 || find(contents, campaign_id, content_id, now_ms) != NULL)
        return;
    struct kept *kept = make_room(contents, bytes);
    *kept = (struct kept){content_id, campaign_id, content_ref(content), bytes, now_ms, now_ms};
    contents->bytes += bytes;
}

/* Copies of the keys in use, referenced. */
static int copy_signing(const struct signing *from, struct signing *out, struct error *err)
{
    bool copied = true;
    *out = (struct signing){.count = from->count};
    for (size_t i = 0; i < from->count; i++) {
        out->keys[i] = dkim_key_ref(from->keys[i]);
        out->selectors[i] = str_dup(from->selectors[i]);
        copied = copied && out->selectors[i] != NULL;
    }
    return copied ? 0 : error_memory(err);
}

/* signing_finish() in any case. No key is nobody's message's fault: -EAGAIN, for one may be made. */
static int find_keys(struct contents *contents, const json_t *spec, struct signing *out, struct error *err)
{
    const char *from = json_string_value(json_object_get(json_object_get(spec, "from"), "email"));
    struct address address;
    int64_t now_ms = clock_monotonic_ms();
    *out = (struct signing){0};
    if (from == NULL || address_parse(from, strlen(from), &address, err) != 0)
        return error_set(err, -EINVAL, "the From address is not one");
    struct sender *sender = NULL;
    for (size_t i = 0; i < SENDERS_MAX && sender == NULL; i++)
        if (strcmp(contents->senders[i].domain, address_domain(&address)) == 0)
            sender = &contents->senders[i];
    if (sender != NULL && now_ms - sender->made_ms < FRESH_MS)
        return copy_signing(&sender->signing, out, err);
    if (sender == NULL)
        sender = &contents->senders[contents->next_sender++ % SENDERS_MAX];
    signing_finish(&sender->signing);
    *sender = (struct sender){.made_ms = now_ms};
    int result = signing_find(contents->mailer, contents->reader, spec, &sender->signing, NULL, err);
    sender->signing.err = NULL; /* the caller's */
    if (result == 0) {
        (void)str_copy(sender->domain, sizeof(sender->domain), address_domain(&address));
        return copy_signing(&sender->signing, out, err);
    }
    signing_finish(&sender->signing);
    *sender = (struct sender){.made_ms = 0};
    return result == -EINVAL ? -EAGAIN : result;
}

static int copy_text(void *context, const char *text)
{
    char **copy = context;
    *copy = str_dup(text);
    return *copy != NULL ? 0 : -ENOMEM;
}

static int parse(const char *text, json_t **out, struct error *err)
{
    json_error_t why;
    *out = json_text_reads(text, 0, &why);
    if (*out != NULL)
        return 0;
    return json_error_code(&why) == json_error_out_of_memory
               ? error_memory(err)
               : error_set(err, -EINVAL, "the message's content is not JSON");
}

/* ---- without it ---- */

static int compile(const struct contents *contents, int64_t campaign_id, const json_t *stored,
                   const struct signing *signing, struct content **out, struct error *err)
{
    const struct mailer *mailer = contents->mailer;
    struct problem problem = {.count = 0};
    const struct content_options options = {
        .spec = json_object_get(stored, "spec"),
        .partials = json_object_get(stored, "partials"),
        .campaign_id = campaign_id,
        .campaign_name = "",
        .public_url = mailer->config->public_url,
        .bounce_domain = mailer->config->bounce_domain,
        .mac = token_ring_key(mailer->ring, 0), /* a stream has no end, so its tokens stay with the first key */
        .signers = {{.key = signing->keys[0], .selector = signing->selectors[0]},
                    {.key = signing->keys[1], .selector = signing->selectors[1]}},
        .signature_life_s = mailer->config->signature_expires_ms / 1000,
        .transactional = json_is_true(json_object_get(stored, "transactional")),
    };
    int result = content_compile(&options, out, &problem, err);
    if (result == -EINVAL && problem.count > 0)
        (void)error_set(err, result, "%s: %s", problem.fields[0].field, problem.fields[0].message);
    return result;
}

int contents_get(struct contents *contents, int64_t campaign_id, int64_t content_id, struct content **out,
                 struct error *err)
{
    struct signing signing = {0};
    char *text = NULL;
    json_t *stored = NULL;
    int64_t now_ms = clock_monotonic_ms();
    pthread_mutex_lock(&contents->lock);
    struct kept *kept = find(contents, campaign_id, content_id, now_ms);
    if (kept != NULL) {
        kept->used_ms = now_ms;
        *out = content_ref(kept->content);
        pthread_mutex_unlock(&contents->lock);
        return 0;
    }
    int result = storage_message_content(contents->reader, content_id, copy_text, &text, err);
    if (result > 0)
        result = error_set(err, -EINVAL, "the message's content is gone from the database");
    if (result == 0)
        result = parse(text, &stored, err);
    if (result == 0)
        result = find_keys(contents, json_object_get(stored, "spec"), &signing, err);
    pthread_mutex_unlock(&contents->lock);
    if (result == 0)
        result = compile(contents, campaign_id, stored, &signing, out, err);
    if (result == 0) {
        pthread_mutex_lock(&contents->lock);
        keep(contents, campaign_id, content_id, *out, strlen(text));
        pthread_mutex_unlock(&contents->lock);
    }
    signing_finish(&signing);
    json_decref(stored);
    free(text);
    return result;
}
