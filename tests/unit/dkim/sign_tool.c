/*
 * sign_tool.c - signs messages for tests that are written in other languages.
 *
 *     sign_tool KEYFILE DOMAIN SELECTOR TIME        one message on standard input, the signed one on standard output
 *     sign_tool --frames KEYFILE DOMAIN SELECTOR TIME    any number, each as "LENGTH\n" and that many bytes, answered
 * alike sign_tool --record KEYFILE                     the TXT value of the key sign_tool --generate a new private key
 *
 * A message is header fields, an empty line and a body, with CRLF. Exit status 1 and a sentence when something cannot
 * be done.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dkim/dkim.h"

static int fail(const char *text)
{
    fprintf(stderr, "sign_tool: %s\n", text);
    return 1;
}

static int read_stream(FILE *file, struct buffer *out)
{
    char piece[8192];
    size_t n;
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(out, piece, n);
    return ferror(file) || out->failed ? -1 : 0;
}

static int load(const char *path, struct dkim_key **key, struct error *err)
{
    struct buffer pem = BUFFER_INIT(0);
    FILE *file = fopen(path, "rb");
    if (file == NULL || read_stream(file, &pem) < 0) {
        if (file != NULL)
            fclose(file);
        return error_set(err, -1, "cannot read %s", path);
    }
    fclose(file);
    int rc = dkim_key_load(buffer_text(&pem), pem.len, key, err);
    buffer_finish(&pem);
    return rc;
}

static int sign(struct dkim_signer *signer, const char *message, size_t len, int64_t now_s, struct buffer *out,
                struct error *err)
{
    const char *empty_line = memmem(message, len, "\r\n\r\n", 4);
    if (empty_line == NULL)
        return error_set(err, -1, "the message has no empty line");
    size_t header_len = (size_t)(empty_line - message) + 2;
    buffer_clear(out);
    int rc = dkim_signer_sign(signer, message, header_len, message + header_len + 2, len - header_len - 2, now_s, 0,
                              out, err);
    buffer_append(out, message, len);
    return rc;
}

static int sign_frames(struct dkim_signer *signer, int64_t now_s, struct error *err)
{
    struct buffer message = BUFFER_INIT(0);
    struct buffer out = BUFFER_INIT(0);
    size_t len = 0;
    int rc = 0;
    while (rc == 0 && scanf("%zu", &len) == 1 && getchar() == '\n') {
        buffer_clear(&message);
        if (len > (size_t)16 << 20 || buffer_reserve(&message, len) < 0 || fread(message.data, 1, len, stdin) != len) {
            rc = error_set(err, -1, "bad frame");
            break;
        }
        rc = sign(signer, message.data, len, now_s, &out, err);
        if (rc == 0) {
            printf("%zu\n", out.len);
            fwrite(out.data, 1, out.len, stdout);
        }
    }
    buffer_finish(&message);
    buffer_finish(&out);
    return rc;
}

static int sign_one(struct dkim_signer *signer, int64_t now_s, struct error *err)
{
    struct buffer message = BUFFER_INIT(0);
    struct buffer out = BUFFER_INIT(0);
    int rc = read_stream(stdin, &message) < 0 ? error_set(err, -1, "cannot read standard input")
                                              : sign(signer, buffer_text(&message), message.len, now_s, &out, err);
    if (rc == 0)
        fwrite(out.data, 1, out.len, stdout);
    buffer_finish(&message);
    buffer_finish(&out);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {{0}};
    struct dkim_key *key = NULL;
    struct dkim_signer *signer = NULL;
    struct buffer text = BUFFER_INIT(0);
    bool frames = argc > 1 && strcmp(argv[1], "--frames") == 0;
    int rc;
    if (argc == 2 && strcmp(argv[1], "--generate") == 0) {
        rc = dkim_key_generate(&text, &err);
    } else if (argc == 3 && strcmp(argv[1], "--record") == 0) {
        rc = load(argv[2], &key, &err);
        if (rc == 0)
            rc = dkim_record(key, &text, &err);
    } else if (argc == (frames ? 6 : 5)) {
        char **args = argv + (frames ? 2 : 1);
        rc = load(args[0], &key, &err);
        if (rc == 0)
            rc = dkim_signer_create(key, args[1], args[2], &signer, &err);
        if (rc == 0)
            rc = frames ? sign_frames(signer, atoll(args[3]), &err) : sign_one(signer, atoll(args[3]), &err);
    } else {
        return fail("wrong arguments"), 2;
    }
    if (rc == 0)
        fputs(buffer_text(&text), stdout);
    buffer_finish(&text);
    dkim_signer_free(signer);
    dkim_key_unref(key);
    return rc == 0 ? 0 : fail(err.text);
}
