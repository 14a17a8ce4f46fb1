/*
 * sending_domain.c - a domain that mail is sent from, and its DKIM key.
 *
 * The key is a file of mode 0600 in data_dir/dkim, written whole under another name and renamed, so that there is never half a key; the
 * database holds its name and the record to publish. The file comes first: a registered domain without a key could not be sent from, a key without a
 * registration is only a file. A rotation (RFC 6376 section 3.1) is one step for each call, and each step is durable: make new keys; see them in DNS and
 * sign with them; keep the old ones' records for as long as their signatures may be looked at; retire them. A key file that is already there is used, not overwritten: somebody may have published it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"
#include "dkim/dkim.h"

#include "campaign/campaign.h"
#include "campaign/sending_domain.h"

#define KEY_FILE_MAX_BYTES 16384
#define SELECTOR_MAX_BYTES 60 /* a label has 63; the Ed25519 key's is longer by its suffix */
#define ED25519_SUFFIX "e"
#define DNS_WAIT_MS 10000

static bool selector_valid(const char *selector)
{
    size_t len = strlen(selector);
    if (len == 0 || len > 63 || selector[0] == '-' || selector[len - 1] == '-')
        return false;
    return strspn(selector, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static int make_dir(const char *path, struct error *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_errno(err, -errno, "cannot create %s", path);
}

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done == 0 ? -EIO : -errno;
        bytes += done;
        len -= (size_t)done;
    }
    return 0;
}

/* The whole file durably under `path`, never seen half; 1 = there is a file of that name. */
static int write_key(const char *path, const struct buffer *pem, struct error *err)
{
    char *temporary = str_printf("%s.%ld.new", path, (long)getpid());
    if (temporary == NULL)
        return error_memory(err);
    int result = 0;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        result = error_errno(err, -errno, "cannot create %s", temporary);
        free(temporary);
        return result;
    }
    result = write_all(fd, pem->data, pem->len);
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && link(temporary, path) != 0) /* link, not rename: it never replaces */
        result = errno == EEXIST ? 1 : -errno;
    (void)unlink(temporary);
    free(temporary);
    return result < 0 ? error_errno(err, result, "cannot write %s", path) : result;
}

int sending_domain_load_key(const char *data_dir, const char *key_file, struct dkim_key **out, struct error *err)
{
    char pem[KEY_FILE_MAX_BYTES + 1];
    char *path = str_printf("%s/%s", data_dir, key_file);
    if (path == NULL)
        return error_memory(err);
    int result = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        result = error_errno(err, -errno, "cannot read the DKIM key %s", path);
    } else {
        size_t len = fread(pem, 1, sizeof(pem), file);
        if (ferror(file))
            result = error_set(err, -EIO, "cannot read the DKIM key %s", path);
        else if (len > KEY_FILE_MAX_BYTES)
            result = error_set(err, -EINVAL, "the DKIM key %s is longer than %d bytes", path, KEY_FILE_MAX_BYTES);
        else
            result = dkim_key_load(pem, len, out, err);
        if (result == -EINVAL)
            (void)error_prefix(err, result, "DKIM key %s", path);
        (void)fclose(file);
    }
    explicit_bzero(pem, sizeof(pem));
    free(path);
    return result;
}

/* Makes the key file unless it is there already. */
static int ensure_key(const char *data_dir, const char *key_file, bool ed25519, struct error *err)
{
    char *dir = str_printf("%s/dkim", data_dir);
    char *path = str_printf("%s/%s", data_dir, key_file);
    struct buffer pem = BUFFER_INIT(KEY_FILE_MAX_BYTES);
    int result = dir == NULL || path == NULL ? error_memory(err) : make_dir(dir, err);
    if (result == 0 && access(path, F_OK) != 0) {
        result = ed25519 ? dkim_key_generate_ed25519(&pem, err) : dkim_key_generate(&pem, err);
        if (result == 0)
            result = write_key(path, &pem, err);
        if (result > 0)
            result = 0; /* somebody else made it meanwhile: that one counts */
    }
    if (pem.data != NULL)
        explicit_bzero(pem.data, pem.len);
    buffer_finish(&pem);
    free(dir);
    free(path);
    return result;
}

/* An RSA key for everybody and an Ed25519 key (RFC 8463) beside it, with their records. */
struct pair {
    struct storage_dkim_key keys[2];
    char *files[2], *selectors[2];
    struct buffer records[2];
};

static void pair_finish(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        free(pair->files[i]);
        free(pair->selectors[i]);
        buffer_finish(&pair->records[i]);
    }
}

static int pair_make(const char *data_dir, const char *domain, const char *selector, enum dkim_key_state state,
                     struct pair *pair, struct error *err)
{
    *pair = (struct pair){.records = {BUFFER_INIT(0), BUFFER_INIT(0)}};
    int result = 0;
    for (int i = 0; i < 2 && result == 0; i++) {
        struct dkim_key *key = NULL;
        pair->selectors[i] = str_printf("%s%s", selector, i == 0 ? "" : ED25519_SUFFIX);
        pair->files[i] = str_printf("dkim/%s.%s%s.pem", domain, selector, i == 0 ? "" : ED25519_SUFFIX);
        if (pair->selectors[i] == NULL || pair->files[i] == NULL)
            return error_memory(err);
        result = ensure_key(data_dir, pair->files[i], i == 1, err);
        if (result == 0)
            result = sending_domain_load_key(data_dir, pair->files[i], &key, err);
        if (result == 0)
            result = dkim_record(key, &pair->records[i], err);
        dkim_key_unref(key);
        const char *record = buffer_text(&pair->records[i]);
        pair->keys[i] = (struct storage_dkim_key){.domain = domain,
                                                  .selector = pair->selectors[i],
                                                  .algorithm = strstr(record, "k=ed25519") != NULL ? "ed25519" : "rsa",
                                                  .key_file = pair->files[i],
                                                  .record = record,
                                                  .state = state,
                                                  .created_ms = clock_wall_ms()};
    }
    return result;
}

static int register_pair(struct storage *storage, const char *domain, const struct pair *pair, struct error *err)
{
    struct storage_domain row = {
        .name = domain,
        .selector = pair->keys[0].selector,
        .key_file = pair->keys[0].key_file,
        .dkim_record = pair->keys[0].record,
        .created_ms = pair->keys[0].created_ms,
    };
    return storage_domain_register(storage, &row, pair->keys, 2, err);
}

int sending_domain_add(struct storage *storage, const struct config *config, const char *domain, const char *selector,
                       struct problem *problem, struct error *err)
{
    char name[DOMAIN_MAX_BYTES + 1];
    struct error why = {""};
    struct pair pair;
    if (selector == NULL)
        selector = "ph1";
    if (domain_normalise(domain, strlen(domain), name, &why) != 0)
        problem_add(problem, "domain", "%s", why.text);
    if (!selector_valid(selector) || strlen(selector) > SELECTOR_MAX_BYTES)
        problem_add(problem, "selector", "must be 1 to %d of a-z, 0-9 and inner hyphens", SELECTOR_MAX_BYTES);
    if (problem->count > 0)
        return error_set(err, -EINVAL, "%s", problem->fields[0].message);
    int result = pair_make(config->data_dir, name, selector, DKIM_KEY_USED, &pair, err);
    if (result == 0)
        result = register_pair(storage, name, &pair, err);
    pair_finish(&pair);
    return result;
}

/* ---- rotation ---- */

int sending_domain_same_key(const char *published, const char *record)
{
    const char *wanted = strstr(record, "p=");
    assure(wanted != NULL);
    wanted += 2;
    /* Tags are separated by semicolons; white space may stand anywhere in a value (RFC 6376 section 3.2). */
    for (const char *tag = published; tag != NULL; tag = strchr(tag, ';') != NULL ? strchr(tag, ';') + 1 : NULL) {
        tag += strspn(tag, " \t\r\n");
        if (tag[0] != 'p' || tag[1 + strspn(tag + 1, " \t")] != '=')
            continue;
        const char *have = strchr(tag, '=') + 1;
        const char *want = wanted;
        for (; *have != '\0' && *have != ';'; have++) {
            if (ascii_is_space(*have))
                continue;
            if (*want == '\0' || *have != *want++)
                return 0;
        }
        return *want == '\0';
    }
    return 0;
}

struct rotation {
    const char *data_dir;
    struct domain_rotation *out;
    unsigned counts[DKIM_KEY_STATE_COUNT];
    int64_t old_since_ms;
    char *names[2], *records[2]; /* of the NEXT keys */
    char selector[SELECTOR_MAX_BYTES + 4]; /* of the RSA key that signs */
    unsigned total;
    bool failed;
};

static int look_at_key(void *context, const struct storage_dkim_key *key)
{
    struct rotation *rotation = context;
    rotation->total++;
    unsigned n = rotation->counts[key->state]++;
    if (key->state == DKIM_KEY_OLD)
        rotation->old_since_ms = MAX_OF(rotation->old_since_ms, key->changed_ms);
    if (key->state == DKIM_KEY_USED && strcmp(key->algorithm, "rsa") == 0)
        (void)str_copy(rotation->selector, sizeof(rotation->selector), key->selector);
    if (key->state == DKIM_KEY_NEXT && n < 2) {
        rotation->names[n] = str_printf("%s._domainkey.%s", key->selector, key->domain);
        rotation->records[n] = str_dup(key->record);
        rotation->failed |= rotation->names[n] == NULL || rotation->records[n] == NULL;
    }
    return 0;
}

/* "ph1" -> "ph2": the number at the end, or 2 where there is none; a file of that name is used, not overwritten. */
static int next_selector(const char *selector, char *out, size_t out_bytes)
{
    size_t base = strlen(selector);
    uint64_t number = 1;
    while (base > 0 && ascii_is_digit(selector[base - 1]))
        base--;
    if (selector[base] != '\0' && str_parse_u64(selector + base, 1000000, &number) != 0)
        number = 1;
    int n = snprintf(out, out_bytes, "%.*s%llu", (int)base, selector, (unsigned long long)number + 1);
    return n > 0 && (size_t)n < out_bytes && n <= SELECTOR_MAX_BYTES ? 0 : -EINVAL;
}

static int make_next(struct storage *storage, const char *domain, struct rotation *rotation, struct error *err)
{
    char selector[SELECTOR_MAX_BYTES + 8];
    struct pair pair;
    if (next_selector(rotation->selector, selector, sizeof(selector)) != 0)
        return error_set(err, -EINVAL, "the selector %s cannot be counted on", rotation->selector);
    int result = pair_make(rotation->data_dir, domain, selector, DKIM_KEY_NEXT, &pair, err);
    if (result == 0)
        result = storage_dkim_keys_add(storage, pair.keys, 2, err);
    pair_finish(&pair);
    if (result == 0)
        rotation->out->step = ROTATION_MADE;
    return result;
}

/* 1 = every record of the NEXT keys is in DNS; 0 = not, and what is missing stands in `out`. */
static int published(struct resolver *resolver, struct rotation *rotation, struct error *err)
{
    for (int i = 0; i < 2 && rotation->names[i] != NULL; i++) {
        struct resolve_answer *answer = resolver_wait(resolver, rotation->names[i], RESOLVE_TXT, DNS_WAIT_MS);
        bool same = false;
        if (answer == NULL)
            return error_memory(err);
        for (size_t k = 0; k < answer->count && !same; k++)
            same = sending_domain_same_key(answer->records[k].text, rotation->records[i]) == 1;
        const char *why = answer->status == RESOLVE_FAILED  ? answer->why
                          : answer->status == RESOLVE_FOUND ? "another record is published there"
                                                            : "nothing is published there";
        if (!same)
            (void)snprintf(rotation->out->why, sizeof(rotation->out->why), "%s: %s", rotation->names[i], why);
        resolve_answer_free(answer);
        if (!same)
            return 0;
    }
    return 1;
}

static int check_next(struct storage *storage, const struct config *config, const char *domain,
                      struct rotation *rotation, struct error *err)
{
    struct resolver *resolver = NULL;
    int result = resolver_start(config, &resolver, err);
    if (result == 0)
        result = published(resolver, rotation, err);
    resolver_stop(resolver);
    if (result < 0)
        return result;
    rotation->out->step = result == 1 ? ROTATION_SWITCHED : ROTATION_WAITS;
    return result == 1 ? storage_dkim_keys_switch(storage, domain, clock_wall_ms(), err) : 0;
}

int sending_domain_rotate(struct storage *storage, struct storage_reader *reader, const struct config *config,
                          const char *domain, struct domain_rotation *out, struct error *err)
{
    char name[DOMAIN_MAX_BYTES + 1];
    struct rotation rotation = {.data_dir = config->data_dir, .out = out};
    *out = (struct domain_rotation){.step = ROTATION_WAITS};
    if (domain_normalise(domain, strlen(domain), name, err) != 0)
        return STORAGE_NOT_FOUND;
    int result = storage_dkim_keys_list(reader, name, look_at_key, &rotation, err);
    int64_t keep_until_ms = rotation.old_since_ms + SENDING_DOMAIN_KEEP_MS;
    if (result == 0 && rotation.failed)
        result = error_memory(err);
    else if (result == 0 && rotation.total == 0)
        result = STORAGE_NOT_FOUND;
    else if (result == 0 && rotation.counts[DKIM_KEY_NEXT] > 0)
        result = check_next(storage, config, name, &rotation, err);
    else if (result == 0 && rotation.counts[DKIM_KEY_OLD] > 0 && clock_wall_ms() < keep_until_ms)
        out->wait_until_ms = keep_until_ms;
    else if (result == 0 && rotation.counts[DKIM_KEY_OLD] > 0) {
        result = storage_dkim_keys_retire(storage, name, clock_wall_ms(), err);
        out->step = ROTATION_RETIRED;
    } else if (result == 0)
        result = make_next(storage, name, &rotation, err);
    for (int i = 0; i < 2; i++) {
        free(rotation.names[i]);
        free(rotation.records[i]);
    }
    return result;
}
