/*
 * client.c - talks to the server and turns its problem documents into sentences. Bounded: answers up to 64 MiB, five
 * seconds to connect, a minute in all, no redirects.
 */
#include "api/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/cli/output.h"
#include "base/buffer.h"
#include "base/str.h"

#define ANSWER_MAX_BYTES ((size_t)64 << 20)
#define CONNECT_TIMEOUT_S 5L
#define CALL_TIMEOUT_S 60L

struct client {
    CURL *curl;
    const struct config *config; /* the command's */
    char url[256];
    char authorization[320]; /* "Authorization: Bearer …", "" = none */
    char certificate[1024];  /* of the server of this data_dir, "" = the system's authorities decide */
    struct buffer answer;
    bool unreachable, refused, hushed;
    char problem[1024]; /* the last failure */
};

static bool is_loopback(const char *url)
{
    static const char *const starts[] = {"http://127.",  "http://localhost",  "http://[::1]",
                                         "https://127.", "https://localhost", "https://[::1]"};
    for (size_t i = 0; i < countof(starts); i++) {
        if (!str_starts_nocase(url, starts[i]))
            continue;
        char after = url[strlen(starts[i])];
        const char *host = strstr(url, "://") + 3;
        return i % 3 == 0 ? ascii_is_digit(after) && strspn(host, "0123456789.") == strcspn(host, ":/")
                          : after == '\0' || after == ':' || after == '/';
    }
    return false;
}

/* First line of a small file in data_dir; false when there is none. */
static bool read_small(const char *data_dir, const char *name, char *out, int out_bytes)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", data_dir, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool read = fgets(out, out_bytes, file) != NULL;
    (void)fclose(file);
    if (read)
        out[strcspn(out, "\r\n")] = '\0';
    return read;
}

/* `ours`: it is the server of this configuration, not one that the environment names. */
static void find_url(const struct config *config, char *url, size_t url_bytes, bool *ours)
{
    char line[512];
    const char *given = getenv("POSTHASTE_URL");
    *ours = true;
    if (given != NULL && given[0] != '\0') {
        (void)str_copy(url, url_bytes, given);
        *ours = is_loopback(given);
    } else if (read_small(config->data_dir, "serve.json", line, sizeof(line))) {
        json_t *state = json_loads(line, 0, NULL);
        const char *text = json_string_value(json_object_get(state, "url"));
        (void)str_copy(url, url_bytes, text != NULL ? text : "");
        json_decref(state);
    } else {
        url[0] = '\0';
    }
    if (url[0] == '\0')
        (void)snprintf(url, url_bytes, strchr(config->listen_host, ':') != NULL ? "%s://[%s]:%u" : "%s://%s:%u",
                       config->tls_cert[0] != '\0' ? "https" : "http", config->listen_host,
                       (unsigned)config->listen_port);
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        url[--len] = '\0';
}

static void find_token(const struct config *config, const char *url, char *out, size_t out_bytes)
{
    char line[256];
    const char *token = getenv("POSTHASTE_TOKEN");
    if (token == NULL || token[0] == '\0') {
        const char *given = getenv("POSTHASTE_URL");
        bool ours = given == NULL || given[0] == '\0' || is_loopback(url);
        token = ours && read_small(config->data_dir, "local.token", line, sizeof(line)) ? line : "";
    }
    out[0] = '\0';
    if (token[0] != '\0')
        (void)snprintf(out, out_bytes, "Authorization: Bearer %s", token);
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct buffer *answer = context;
    buffer_append(answer, bytes, size * count);
    return answer->failed ? 0 : size * count;
}

/* Before each call: a server that was restarted has a new local token, and may have another address. */
static void locate(struct client *client)
{
    bool ours;
    find_url(client->config, client->url, sizeof(client->url), &ours);
    if (ours)
        (void)str_copy(client->certificate, sizeof(client->certificate), client->config->tls_cert);
    find_token(client->config, client->url, client->authorization, sizeof(client->authorization));
}

struct client *client_open(struct cli *cli)
{
    if (cli_open_config(cli) != CLI_DONE)
        return NULL;
    struct client *client = calloc(1, sizeof(*client));
    if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        (client->curl = curl_easy_init()) == NULL) {
        free(client);
        (void)out_fail("libcurl cannot be used");
        return NULL;
    }
    client->answer = BUFFER_INIT(ANSWER_MAX_BYTES);
    client->config = cli->config;
    locate(client);
    return client;
}

void client_close(struct client *client)
{
    if (client == NULL)
        return;
    curl_easy_cleanup(client->curl);
    curl_global_cleanup();
    buffer_finish(&client->answer);
    free(client);
}

const char *client_url(const struct client *client)
{
    return client->url;
}

bool client_unreachable(const struct client *client)
{
    return client->unreachable;
}

void client_hush(struct client *client, bool hushed)
{
    client->hushed = hushed;
}

bool client_refused(const struct client *client)
{
    return client->refused;
}

const char *client_problem(const struct client *client)
{
    return client->problem;
}

static int ATTR_PRINTF(2, 3) fail(struct client *client, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(client->problem, sizeof(client->problem), format, args);
    va_end(args);
    return client->hushed ? CLI_FAILED : out_fail("%s", client->problem);
}

/* Whether an error before number `i` says the same: several findings may come from one record that is missing. */
static bool is_told(const json_t *errors, size_t i)
{
    const json_t *message = json_object_get(json_array_get(errors, i), "message");
    for (size_t k = 0; k < i; k++) {
        if (json_equal(json_object_get(json_array_get(errors, k), "message"), message))
            return true;
    }
    return false;
}

static int print_problem(struct client *client, long status, const json_t *problem)
{
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const json_t *errors = json_object_get(problem, "errors");
    if (status == 401 && client->authorization[0] == '\0')
        return fail(client, "%s wants a token: set POSTHASTE_TOKEN (make one with: posthaste token create)",
                    client->url);
    if (detail == NULL)
        return fail(client, "%s answered with HTTP status %ld", client->url, status);
    const char *unready = json_string_value(json_object_get(json_object_get(problem, "preflight"), "domain"));
    size_t i;
    json_t *error;
    if (unready != NULL) {
        json_array_foreach(errors, i, error)
        {
            if (!is_told(errors, i))
                (void)fail(client, "%s", json_string_value(json_object_get(error, "message")));
        }
        return fail(client,
                    "%s is not ready for bulk mail, nothing was launched; see: posthaste domain check %s (--force "
                    "launches all the same)",
                    unready, unready);
    }
    if (json_array_size(errors) <= 1)
        return fail(client, "%s", detail);
    json_array_foreach(errors, i, error)
    {
        const char *field = json_string_value(json_object_get(error, "field"));
        const char *message = json_string_value(json_object_get(error, "message"));
        (void)fail(client, "%s: %s", field != NULL ? field : "?", message != NULL ? message : "?");
    }
    return CLI_FAILED;
}

static int perform(struct client *client, const char *method, const char *url, const char *body,
                   struct curl_slist *headers, long *status)
{
    CURL *curl = client->curl;
    char reason[CURL_ERROR_SIZE] = "";
    curl_easy_reset(curl);
    buffer_clear(&client->answer);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &client->answer);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, CALL_TIMEOUT_S);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "posthaste/" POSTHASTE_VERSION);
    if (is_loopback(url))
        (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (client->certificate[0] != '\0') {
        /* Our own server's certificate is the one to trust, whatever name it is for: we reach it by its address. */
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, client->certificate);
        (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (body != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
    }
    CURLcode rc = curl_easy_perform(curl);
    bool nobody = rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST;
    /* One that went away in the middle of an answer is being restarted, as often as not. */
    client->unreachable = nobody || rc == CURLE_GOT_NOTHING || rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR;
    if (nobody)
        return fail(client, "no server answers at %s; start it with: posthaste serve (or set POSTHASTE_URL)",
                    client->url);
    if (rc != CURLE_OK)
        return fail(client, "%s: %s", client->url, reason[0] != '\0' ? reason : curl_easy_strerror(rc));
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    return CLI_DONE;
}

static int understand(struct client *client, long status, json_t **out)
{
    json_t *answer = client->answer.len > 0 ? json_loadb(client->answer.data, client->answer.len, 0, NULL) : NULL;
    if (status >= 200 && status < 300 && (answer != NULL || client->answer.len == 0)) {
        *out = answer;
        return CLI_DONE;
    }
    client->refused = status >= 400 && status < 500;
    int rc = status >= 200 && status < 300 ? fail(client, "%s did not answer with JSON; is it posthaste?", client->url)
                                           : print_problem(client, status, answer);
    json_decref(answer);
    return rc;
}

int client_call(struct client *client, const char *method, const char *path, const json_t *body, json_t **out)
{
    client->unreachable = client->refused = false;
    locate(client);
    char *url = str_printf("%s%s", client->url, path);
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
    struct curl_slist *more = headers != NULL && client->authorization[0] != '\0'
                                  ? curl_slist_append(headers, client->authorization)
                                  : headers;
    struct curl_slist *all =
        more != NULL && text != NULL ? curl_slist_append(more, "Content-Type: application/json") : more;
    int rc;
    long status = 0;
    *out = NULL;
    if (url == NULL || all == NULL || (body != NULL && text == NULL))
        rc = fail(client, "out of memory");
    else
        rc = perform(client, method, url, text, all, &status);
    if (rc == CLI_DONE)
        rc = understand(client, status, out);
    curl_slist_free_all(headers);
    free(text);
    free(url);
    return rc;
}
