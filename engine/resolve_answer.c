/*
 * resolve_answer.c - from records as they were on the wire to text, and the names of the reverse tree (RFC 1035 section
 * 3.5, RFC 3596 section 2.5).
 *
 * A record that cannot be read is counted and passed over: one broken record of a stranger must not hide the others.
 */
#include "engine/resolve_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/net/mx_address.h"
#include "engine/net/mx_name.h"

#define RECORDS_MAX 1024
#define RECORD_BYTES_MAX ((size_t)64 << 10) /* RDATA cannot be longer */

const char *resolve_type_name(enum resolve_type type)
{
    switch (type) {
    case RESOLVE_A:
        return "A";
    case RESOLVE_CNAME:
        return "CNAME";
    case RESOLVE_PTR:
        return "PTR";
    case RESOLVE_MX:
        return "MX";
    case RESOLVE_TXT:
        return "TXT";
    case RESOLVE_AAAA:
        return "AAAA";
    case RESOLVE_TLSA:
        return "TLSA";
    }
    return "?";
}

void resolve_answer_free(struct resolve_answer *answer)
{
    free(answer);
}

struct resolve_answer *resolve_answer_failed(const char *why)
{
    struct resolve_answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL)
        return NULL;
    answer->status = RESOLVE_FAILED;
    (void)str_copy(answer->why, sizeof answer->why, why);
    return answer;
}

/* The strings of a TXT record, joined (RFC 7208 section 3.3). */
static ssize_t read_strings(const unsigned char *data, size_t len, char *out)
{
    size_t used = 0;
    if (len == 0)
        return -EINVAL;
    for (size_t at = 0; at < len; at += 1u + data[at]) {
        if (at + 1u + data[at] > len)
            return -EINVAL;
        memcpy(out + used, data + at + 1, data[at]);
        used += data[at];
    }
    return (ssize_t)used;
}

static ssize_t read_name(const unsigned char *data, size_t len, char *out)
{
    char name[MX_NAME_BYTES];
    enum mx_name_result result = mx_name_from_wire(data, len, name);
    if (result == MX_NAME_BAD)
        return -EINVAL;
    size_t bytes = result == MX_NAME_ROOT ? 0 : strlen(name);
    memcpy(out, name, bytes);
    return (ssize_t)bytes;
}

static ssize_t read_address(const unsigned char *data, size_t len, bool v6, char *out)
{
    struct mx_address address;
    char text[MX_ADDRESS_TEXT_BYTES];
    if (mx_address_from_rdata(data, (int)len, v6, &address) < 0)
        return -EINVAL;
    size_t bytes = strlen(mx_address_text(&address, text));
    memcpy(out, text, bytes);
    return (ssize_t)bytes;
}

/* Bytes of text written to `out`, which has room for any; -EINVAL: not a record of this type. */
static ssize_t read_record(enum resolve_type type, const unsigned char *data, size_t len, char *out,
                           struct resolve_record *record)
{
    switch (type) {
    case RESOLVE_A:
    case RESOLVE_AAAA:
        return read_address(data, len, type == RESOLVE_AAAA, out);
    case RESOLVE_MX:
        if (len < 3)
            return -EINVAL;
        record->preference = (uint16_t)(data[0] << 8 | data[1]);
        return read_name(data + 2, len - 2, out);
    case RESOLVE_CNAME:
    case RESOLVE_PTR:
        return read_name(data, len, out);
    case RESOLVE_TXT:
        return read_strings(data, len, out);
    case RESOLVE_TLSA:
        memcpy(out, data, len);
        return (ssize_t)len;
    }
    return -EINVAL;
}

static size_t text_room(const struct dns_answer *from, size_t count)
{
    size_t room = 0;
    for (size_t i = 0; i < count; i++)
        room += MAX_OF((size_t)MAX_OF(from->lens[i], 0), (size_t)MX_ADDRESS_TEXT_BYTES) + 1;
    return room;
}

struct resolve_answer *resolve_answer_make(enum resolve_type type, const struct dns_answer *from)
{
    size_t count = MIN_OF(from->count, (size_t)RECORDS_MAX);
    struct resolve_answer *answer =
        calloc(1, sizeof *answer + count * sizeof(struct resolve_record) + text_room(from, count));
    if (answer == NULL)
        return NULL;
    struct resolve_record *records = (struct resolve_record *)(void *)(answer + 1);
    char *text = (char *)(records + count);
    static const enum resolve_status statuses[] = {
        [DNS_FOUND] = RESOLVE_FOUND,
        [DNS_NO_DATA] = RESOLVE_NO_DATA,
        [DNS_NO_NAME] = RESOLVE_NO_NAME,
        [DNS_FAILED] = RESOLVE_FAILED,
    };
    answer->status = statuses[from->status];
    answer->secure = from->secure;
    answer->bogus = from->bogus;
    answer->ttl_s = from->ttl_s;
    answer->records = records;
    (void)str_copy(answer->why, sizeof answer->why, from->text);
    for (size_t i = 0; i < count; i++) {
        struct resolve_record *record = &records[answer->count];
        size_t len = (size_t)MAX_OF(from->lens[i], 0);
        const unsigned char *data = (const unsigned char *)from->data[i];
        ssize_t bytes = len <= RECORD_BYTES_MAX ? read_record(type, data, len, text, record) : -EINVAL;
        if (bytes < 0) {
            answer->malformed++;
            continue;
        }
        record->text = text;
        record->len = (size_t)bytes;
        text += bytes + 1; /* the block is zeroed: there is the NUL */
        answer->count++;
    }
    if (answer->status == RESOLVE_FOUND && answer->count == 0)
        answer->status = RESOLVE_NO_DATA;
    return answer;
}

bool resolve_address_is_private(const char *address)
{
    struct mx_address parsed;
    return mx_address_parse(address, &parsed) == 0 && mx_address_kind(&parsed) != MX_ADDRESS_PUBLIC;
}

int resolve_reverse_name(const char *address, char out[RESOLVE_REVERSE_BYTES])
{
    unsigned char bytes[16];
    if (inet_pton(AF_INET, address, bytes) == 1) {
        (void)snprintf(out, RESOLVE_REVERSE_BYTES, "%u.%u.%u.%u.in-addr.arpa", bytes[3], bytes[2], bytes[1], bytes[0]);
        return 0;
    }
    if (inet_pton(AF_INET6, address, bytes) != 1)
        return -EINVAL;
    static const char digits[] = "0123456789abcdef";
    char *at = out;
    for (int i = 15; i >= 0; i--) {
        *at++ = digits[bytes[i] & 15];
        *at++ = '.';
        *at++ = digits[bytes[i] >> 4];
        *at++ = '.';
    }
    (void)strcpy(at, "ip6.arpa");
    return 0;
}
