/*
 * mx_address.c - addresses out of the DNS as the engine needs them; what kind each is, base/inet.c says.
 */
#include "engine/net/mx_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/inet.h"

enum mx_address_kind mx_address_kind(const struct mx_address *address)
{
    _Static_assert((int)MX_ADDRESS_PUBLIC == (int)INET_PUBLIC && (int)MX_ADDRESS_PRIVATE == (int)INET_PRIVATE &&
                       (int)MX_ADDRESS_NEVER == (int)INET_NEVER,
                   "the same kinds under another name");
    return (enum mx_address_kind)inet_kind(address->bytes, address->v6);
}

int mx_address_from_rdata(const void *data, int len, bool v6, struct mx_address *out)
{
    if (len != (v6 ? 16 : 4))
        return -EINVAL;
    *out = (struct mx_address){.v6 = v6};
    memcpy(out->bytes, data, (size_t)len);
    return 0;
}

int mx_address_parse(const char *text, struct mx_address *out)
{
    bool v6 = strchr(text, ':') != NULL;
    *out = (struct mx_address){.v6 = v6};
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, out->bytes) == 1 ? 0 : -EINVAL;
}

bool mx_address_equal(const struct mx_address *a, const struct mx_address *b)
{
    return a->v6 == b->v6 && memcmp(a->bytes, b->bytes, a->v6 ? 16 : 4) == 0;
}

const char *mx_address_text(const struct mx_address *address, char out[MX_ADDRESS_TEXT_BYTES])
{
    assure(inet_ntop(address->v6 ? AF_INET6 : AF_INET, address->bytes, out, MX_ADDRESS_TEXT_BYTES) != NULL);
    return out;
}

void mx_address_socket(const struct mx_address *address, uint16_t port, struct stream_address *out)
{
    *out = (struct stream_address){0};
    if (address->v6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&in6.sin6_addr, address->bytes, 16);
        memcpy(&out->storage, &in6, sizeof in6);
        out->len = sizeof in6;
    } else {
        struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&in4.sin_addr, address->bytes, 4);
        memcpy(&out->storage, &in4, sizeof in4);
        out->len = sizeof in4;
    }
}
