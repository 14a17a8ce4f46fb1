/*
 * letter.c - header, body and signatures in one block.
 */
#include "campaign/tlsrpt/letter.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "campaign/sending_domain.h"

#define HEADER_BYTES ((size_t)16 << 10)
#define BODY_BYTES ((size_t)8 << 20)
#define SIGNATURE_LIFE_S (14 * 86400)

struct letter {
    atomic_uint references;
    size_t size;
    char data[];
};

struct signing {
    struct mailer *mailer;
    const struct tlsrpt_head *head;
    const struct buffer *header, *body;
    struct buffer *out;
    struct error *err;
    unsigned count;
};

static int sign(void *context, const struct storage_dkim_key *key)
{
    struct signing *signing = context;
    struct dkim_key *loaded = NULL;
    struct dkim_signer *signer = NULL;
    if (key->state != DKIM_KEY_USED)
        return 0;
    int64_t now_s = clock_wall_ms() / 1000;
    int r = sending_domain_load_key(signing->mailer->config->data_dir, key->key_file, &loaded, signing->err);
    if (r == 0)
        r = dkim_signer_create(loaded, signing->head->submitter, key->selector, &signer, signing->err);
    if (r == 0)
        r = dkim_signer_sign(signer, signing->header->data, signing->header->len, signing->body->data,
                             signing->body->len, now_s, now_s + SIGNATURE_LIFE_S, signing->out, signing->err);
    dkim_signer_free(signer);
    dkim_key_unref(loaded);
    signing->count += r == 0;
    return r;
}

static void put(struct letter *letter, const struct buffer *bytes)
{
    if (bytes->len > 0)
        memcpy(letter->data + letter->size, bytes->data, bytes->len);
    letter->size += bytes->len;
}

int letter_make(struct mailer *mailer, struct storage_reader *reader, const struct tlsrpt_head *head, const char *to,
                const struct buffer *gzip, struct letter **out, struct error *err)
{
    struct buffer header = BUFFER_INIT(HEADER_BYTES), body = BUFFER_INIT(BODY_BYTES),
                  signatures = BUFFER_INIT(HEADER_BYTES);
    struct letter *letter = NULL;
    *out = NULL;
    tlsrpt_mail(head, to, gzip, clock_wall_ms(), &header, &body);
    struct signing signing = {
        .mailer = mailer, .head = head, .header = &header, .body = &body, .out = &signatures, .err = err};
    int r = header.failed || body.failed ? error_memory(err)
                                         : storage_dkim_keys_list(reader, head->submitter, sign, &signing, err);
    if (r == 0 && signing.count == 0)
        r = error_set(err, -ENOENT, "there is no DKIM key for %s", head->submitter);
    buffer_append_str(&header, "\r\n");
    if (r == 0) {
        letter = calloc(1, sizeof *letter + signatures.len + header.len + body.len);
        if (letter == NULL || signatures.failed || header.failed)
            r = error_memory(err);
    }
    if (r == 0) {
        atomic_init(&letter->references, 1);
        put(letter, &signatures);
        put(letter, &header);
        put(letter, &body);
        *out = letter;
        letter = NULL;
    }
    free(letter);
    buffer_finish(&header);
    buffer_finish(&body);
    buffer_finish(&signatures);
    return r;
}

void letter_unref(struct letter *letter)
{
    if (letter != NULL && atomic_fetch_sub(&letter->references, 1) == 1)
        free(letter);
}

struct copy { /* one try */
    struct engine_message message;
    struct letter *letter;
};

static void release(struct engine_message *message)
{
    struct copy *copy = container_of(message, struct copy, message);
    letter_unref(copy->letter);
    free(copy);
}

struct engine_message *letter_message(struct letter *letter)
{
    struct copy *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    atomic_fetch_add(&letter->references, 1);
    copy->letter = letter;
    /* Nobody wants a bounce of it: the null path (RFC 5321 section 4.5.5). */
    copy->message =
        (struct engine_message){.mail_from = "", .data = letter->data, .size_bytes = letter->size, .release = release};
    return &copy->message;
}
