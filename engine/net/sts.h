/*
 * sts.h - MTA-STS policies (RFC 8461): fetched by HTTPS on a few threads of their own, kept for their max_age and over
 * restarts in DIR/mta-sts.state, kept too when a refresh fails.
 *
 * Who has the TXT record of _mta-sts.DOMAIN asks here what follows from it. Any thread.
 */
#ifndef POSTHASTE_ENGINE_NET_STS_H
#define POSTHASTE_ENGINE_NET_STS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/config.h"
#include "base/tls_result.h"

#define STS_MX_MAX 64
#define STS_POLICY_BYTES ((size_t)64 << 10)
#define STS_FETCH_MS 60000
#define STS_AGE_MAX_S 31557600 /* a year: section 3.2 */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

struct sts_policy { /* immutable but for the references */
    atomic_uint references;
    enum sts_mode mode;
    int64_t max_age_s;
    int64_t expires_wall_ms;
    char id[40];
    size_t mx_count;
    char mx[STS_MX_MAX][256]; /* "mx.example.com", "*.example.com" */
};
struct sts_policy *sts_policy_hold(struct sts_policy *policy); /* NULL is harmless, for both */
void sts_policy_release(struct sts_policy *policy);

/* The text of a policy file: 0, or -EINVAL with the reason; -ENOMEM. `id` is the TXT record's. */
int sts_policy_parse(const char *text, size_t len, const char *id, struct sts_policy **out,
                     struct error *err) ATTR_MUSTCHECK;
/* The id of "v=STSv1; id=…;" among records of TXT data in wire format (RFC 8461 section 3.1): false = none, or several.
 */
bool sts_record_id(const char *const *data, const int *lens, size_t count, char id[40]);
/* A host by name; "*" stands for exactly one label. */
bool sts_policy_matches(const struct sts_policy *policy, const char *host);

struct sts;
/* `config` outlives it. Reads the state file; the threads begin with the first fetch. */
int sts_create(const struct config *config, struct sts **out, struct error *err) ATTR_MUSTCHECK;
void sts_free(struct sts *sts); /* waits for what is being fetched (it is cut off); NULL is harmless */

/* The policy in force (held), or NULL. `fault` (may be NULL): why the last fetch failed, for an hour; else
 * TLS_RESULT_NONE. */
struct sts_policy *sts_find(struct sts *sts, const char *domain, enum tls_result *fault);
/* Fetches the policy with this id; `done` follows, on another thread, whatever came of it. False: not now (a fetch of
 * this id failed within the last five minutes, too many wait, no memory). */
typedef void sts_done_cb(void *context, const char *domain);
bool sts_fetch(struct sts *sts, const char *domain, const char *id, sts_done_cb *done, void *context) ATTR_MUSTCHECK;

#endif
