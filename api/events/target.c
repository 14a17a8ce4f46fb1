/*
 * target.c - the guard of webhooks.
 */
#include "api/events/target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/inet.h"
#include "base/str.h"

static bool is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return inet_kind(&((const struct sockaddr_in *)(const void *)address)->sin_addr, false) == INET_PUBLIC;
    if (address->sa_family == AF_INET6)
        return inet_kind(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, true) == INET_PUBLIC;
    return false;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct target *target = context;
    (void)purpose;
    if (!target->allow_private && !is_public(&address->addr)) {
        target->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int target_apply(struct target *target, CURL *easy, const char *url)
{
    target->refused = false;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, target);
    return code == CURLE_OK ? 0 : -ENOMEM;
}

/* A host that is a number is known now; libcurl has brought 0x7f000001 and its like into the usual form. */
static bool is_refused_number(const char *host)
{
    unsigned char bytes[16];
    char plain[INET6_ADDRSTRLEN];
    if (inet_pton(AF_INET, host, bytes) == 1)
        return inet_kind(bytes, false) != INET_PUBLIC;
    size_t len = strlen(host);
    if (host[0] != '[' || len < 3 || len - 2 >= sizeof(plain))
        return false;
    memcpy(plain, host + 1, len - 2);
    plain[len - 2] = '\0';
    plain[strcspn(plain, "%")] = '\0';
    return inet_pton(AF_INET6, plain, bytes) == 1 && inet_kind(bytes, true) != INET_PUBLIC;
}

static char *part_of(CURLU *parsed, CURLUPart part)
{
    char *text = NULL;
    return curl_url_get(parsed, part, &text, 0) == CURLUE_OK ? text : NULL;
}

static int check_parts(CURLU *parsed, bool allow_private, struct error *err)
{
    char *scheme = part_of(parsed, CURLUPART_SCHEME), *host = part_of(parsed, CURLUPART_HOST);
    char *user = part_of(parsed, CURLUPART_USER), *fragment = part_of(parsed, CURLUPART_FRAGMENT);
    int rc = 0;
    if (scheme == NULL || host == NULL || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
        rc = error_set(err, -EINVAL, "must be an address like https://example.com/hook");
    else if (user != NULL)
        rc = error_set(err, -EINVAL, "must not hold a user or a password; each request is signed");
    else if (fragment != NULL)
        rc = error_set(err, -EINVAL, "must not have a part behind #; it would not be sent");
    else if (!allow_private && (is_refused_number(host) || str_eq_nocase(host, "localhost")))
        rc = error_set(err, -EINVAL,
                       "leads to a loopback, private or reserved address (webhooks { allow_private = true } "
                       "in the configuration allows that)");
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_free(fragment);
    return rc;
}

int target_check(const char *url, bool allow_private, struct error *err)
{
    size_t len = strnlen(url, TARGET_URL_MAX_BYTES + 1);
    if (len > TARGET_URL_MAX_BYTES)
        return error_set(err, -EINVAL, "has more than %d bytes", TARGET_URL_MAX_BYTES);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)url[i] <= ' ' || url[i] == 0x7f)
            return error_set(err, -EINVAL, "must not hold white space or control characters");
    }
    CURLU *parsed = curl_url();
    if (parsed == NULL)
        return error_memory(err);
    int rc = curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK
                 ? check_parts(parsed, allow_private, err)
                 : error_set(err, -EINVAL, "must be an address like https://example.com/hook");
    curl_url_cleanup(parsed);
    return rc;
}
