/*
 * fuzz_transport.c - what others publish about TLS to their hosts: MTA-STS policies (RFC 8461), the TXT records that
 * announce them, TLSA records (RFC 6698). The first byte says which; records are a length and as many bytes.
 */
#include "base/error.h"
#include "engine/net/sts.h"
#include "engine/site/dane.h"
#include "tests/fuzz/fuzz.h"

#define RECORDS_MAX 64

static void policy(const uint8_t *data, size_t size)
{
    struct error err = {""};
    struct sts_policy *policy = NULL;
    char *text = fuzz_copy(data, size);
    int rc = sts_policy_parse(text, size, "20261126", &policy, &err);
    assure(rc == 0 ? policy != NULL : policy == NULL && err.text[0] != '\0');
    if (policy != NULL) {
        assure(policy->mx_count <= STS_MX_MAX && policy->max_age_s >= 0 && policy->max_age_s <= 31557600);
        for (size_t i = 0; i < policy->mx_count; i++)
            assure(policy->mx[i][0] != '\0' && memchr(policy->mx[i], '\0', sizeof policy->mx[i]) != NULL);
    }
    sts_policy_release(policy);
    free(text);
}

static void records(struct fuzz_input *input, bool tlsa)
{
    char *data[RECORDS_MAX], id[40] = "";
    int lens[RECORDS_MAX];
    size_t count = 0;
    for (; input->left > 0 && count < RECORDS_MAX; count++) {
        size_t wanted = fuzz_byte(input), len = MIN_OF(wanted, input->left);
        data[count] = fuzz_copy(input->at, len);
        lens[count] = (int)len;
        input->at += len;
        input->left -= len;
    }
    if (tlsa) {
        struct tls_dane *dane = NULL;
        enum dane_state state = dane_read((const char *const *)data, lens, count, &dane);
        assure(state == DANE_USABLE ? dane != NULL && dane->count > 0 && dane->count <= TLS_DANE_MAX
                                    : state == DANE_ANY && dane == NULL);
        for (size_t i = 0; dane != NULL && i < dane->count; i++)
            assure(dane->records[i].len > 0 && dane->records[i].matching <= 2 && dane->records[i].data != NULL);
        dane_release(dane);
    } else if (sts_record_id((const char *const *)data, lens, count, id)) {
        size_t len = strnlen(id, sizeof id);
        assure(len >= 1 && len <= 32 &&
               strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == len);
    }
    while (count > 0)
        free(data[--count]);
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    switch (fuzz_byte(&input)) {
    case 'p':
        policy(input.at, input.left);
        return 0;
    case 't':
        records(&input, false);
        return 0;
    case 'd':
        records(&input, true);
        return 0;
    default:
        return 0;
    }
}
