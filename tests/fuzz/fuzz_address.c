/*
 * fuzz_address.c - e-mail addresses and domains: whatever is accepted is in bounds and stays as it is when it is read
 * again.
 */
#include "base/address.h"
#include "tests/fuzz/fuzz.h"

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    }
    return false;
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct error err = {""};
    struct address first, again;
    char domain[DOMAIN_MAX_BYTES + 1], same[DOMAIN_MAX_BYTES + 1];
    if (address_parse((const char *)data, size, &first, &err) == 0) {
        size_t len = strlen(first.text);
        assure(len <= ADDRESS_MAX_BYTES && first.at >= 1 && first.at <= ADDRESS_LOCAL_MAX_BYTES);
        assure(first.text[first.at] == '@' && !has_control(first.text));
        assure(address_parse(first.text, len, &again, &err) == 0);
        assure(strcmp(first.text, again.text) == 0 && first.at == again.at && first.utf8 == again.utf8);
    } else {
        assure(err.text[0] != '\0');
    }
    if (domain_normalise((const char *)data, size, domain, &err) == 0) {
        assure(strchr(domain, '@') == NULL && !has_control(domain));
        assure(domain_normalise(domain, strlen(domain), same, &err) == 0);
        assure(strcmp(domain, same) == 0);
    }
    return 0;
}
