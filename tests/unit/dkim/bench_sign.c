/*
 * bench_sign.c - signatures a second of one thread, RSA-2048, 10 KB messages; beside it the bare private-key operation
 * as `openssl speed rsa2048` measures it. Not part of the test suite.
 *
 *     bench_sign [SECONDS]
 */
#include "keys.h"

#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char header[] = "Date: Mon, 23 Nov 2026 17:25:09 +0000\r\nTo: someone.with.a.name@example.net\r\nSubject: "
                             "Our offers of the week, just for you\r\n"
                             "Message-ID: <knksaeh5u4zt4qn5r3p3vq7i2q4x7d6e2a@example.com>\r\nList-Unsubscribe: "
                             "<https://mail.example.com/u/knksaeh5u4zt4qn5r3p3vq7i2q4x>\r\n"
                             "From: Example News <news@example.com>\r\nReply-To: help@example.com\r\nList-Id: News "
                             "<news.example.com>\r\nFeedback-ID: 1:news:bulk:example.com\r\n"
                             "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMIME-Version: 1.0\r\nContent-Type: "
                             "multipart/alternative; boundary=\"=_posthaste_1\"\r\n";

int main(int argc, char **argv)
{
    double limit = argc > 1 ? atof(argv[1]) : 3;
    struct buffer pem = BUFFER_INIT(0);
    struct buffer body = BUFFER_INIT(0);
    struct buffer out = BUFFER_INIT(0);
    struct error err = {{0}};
    struct dkim_key *key = NULL;
    struct dkim_signer *signer = NULL;
    if (dkim_key_generate(&pem, &err) < 0 || dkim_key_load(pem.data, pem.len, &key, &err) < 0 ||
        dkim_signer_create(key, "example.com", "s1", &signer, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    while (body.len < 10240)
        buffer_append_str(&body, "    <td style=3D\"padding: 4px\">A line of text as newsletters have it</td>\r\n");
    /* Turn by turn, so that whatever else runs on the machine weighs on both alike. */
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *bare = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(bare, NULL);
    unsigned char digest[36] = {1};
    unsigned char signature[256];
    if (EVP_PKEY_sign_init(ctx) != 1)
        return 1;
    double spent[2] = {0, 0};
    double count = 0;
    while (spent[0] + spent[1] < 2 * limit) {
        double t0 = seconds();
        for (int i = 0; i < 200; i++) {
            buffer_clear(&out);
            if (dkim_signer_sign(signer, header, sizeof(header) - 1, body.data, body.len, 1700000000, 0, &out, &err) <
                0)
                return 1;
        }
        double t1 = seconds();
        for (int i = 0; i < 200; i++) {
            size_t len = sizeof(signature);
            if (EVP_PKEY_sign(ctx, signature, &len, digest, sizeof(digest)) != 1)
                return 1;
        }
        double t2 = seconds();
        spent[0] += t1 - t0;
        spent[1] += t2 - t1;
        count += 200;
    }
    printf("RESULT dkim_signs_per_s=%.0f rsa2048_per_s=%.0f ratio=%.3f\n", count / spent[0], count / spent[1],
           spent[1] / spent[0]);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(bare);
    BIO_free(bio);
    dkim_signer_free(signer);
    dkim_key_unref(key);
    buffer_finish(&pem);
    buffer_finish(&body);
    buffer_finish(&out);
    return 0;
}
