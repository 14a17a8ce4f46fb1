/*
 * fuzz_sasl.c - a server's part of a login: the mechanisms it offers, then its challenges, one a line.
 *
 * The first line is "MECHANISMS", and the first byte of it '!' when the connection is in clear text. The exchange ends,
 * and what we say is one line, printable.
 */
#include "engine/smtp/sasl.h"

#include "base/str.h"
#include "tests/fuzz/fuzz.h"

static void check_response(const char *response)
{
    assure(response != NULL);
    for (; *response != '\0'; response++)
        assure(*response >= 0x20 && *response < 0x7f);
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct error err = {""};
    struct credentials who = {.user = "user", .password = "pencil"};
    struct sasl_keys keys = {0};
    struct sasl *sasl = NULL;
    char *text = fuzz_string(data, size), *rest = text;
    char *line = strsep(&rest, "\n");
    bool clear = line[0] == '!';
    struct sasl_options options = {
        .credentials = &who, .tls = !clear, .keys = &keys, .nonce = "fyko+d2lbbFgONRv9qkxdawL"};
    int r = sasl_start(line + (clear ? 1 : 0), &options, &sasl, &err);
    if (r == 0) {
        check_response(sasl_command(sasl));
        unsigned rounds = 0;
        while (r == 0 && (line = strsep(&rest, "\n")) != NULL) {
            const char *response = NULL;
            r = sasl_step(sasl, line, strlen(line), &response, &err);
            check_response(response);
            assure(++rounds <= SASL_ROUNDS_MAX + 1);
        }
        if (sasl_finish(sasl, &err) < 0)
            assure(err.text[0] != '\0');
    } else {
        assure(sasl == NULL && err.text[0] != '\0');
    }
    sasl_free(sasl);
    sasl_keys_wipe(&keys);
    free(text);
    return 0;
}
