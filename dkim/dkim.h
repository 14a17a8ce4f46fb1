/*
 * dkim.h - the door of the DKIM room (RFC 6376, RFC 8463): keys, signatures, the record to publish, and the digests
 * that other rooms borrow.
 *
 * Nothing here touches a socket, SQL or the clock: bytes and times come in, bytes go out. Keys are parsed once, never
 * per message: a dkim_key is shared and immutable, a dkim_signer is its prepared form for one thread.
 *
 * libopendkim exports functions of its own called dkim_sign, dkim_verify, dkim_header and so on; ours must not share a
 * name with any of them.
 */
#ifndef POSTHASTE_DKIM_DKIM_H
#define POSTHASTE_DKIM_DKIM_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "dkim/digest.h"

struct dkim_key;
struct dkim_signer;

/* A new RSA key (2048 bits), or Ed25519 key, as PEM (PKCS #8) text, appended to `pem`. */
int dkim_key_generate(struct buffer *pem, struct error *err) ATTR_MUSTCHECK;
int dkim_key_generate_ed25519(struct buffer *pem, struct error *err) ATTR_MUSTCHECK;
/* Parses a PEM private key (RSA >= 1024 bits, or Ed25519); references counted, any thread. */
int dkim_key_load(const char *pem, size_t len, struct dkim_key **out, struct error *err) ATTR_MUSTCHECK;
struct dkim_key *dkim_key_ref(struct dkim_key *key);
void dkim_key_unref(struct dkim_key *key);

/* The TXT value of RFC 6376 section 3.6.1, "v=DKIM1; k=rsa; p=…", one string of any length. */
int dkim_record(const struct dkim_key *key, struct buffer *out, struct error *err) ATTR_MUSTCHECK;
/* The name to publish it at: SELECTOR._domainkey.DOMAIN. */
int dkim_record_name(const char *selector, const char *domain, struct buffer *out);
/* The value as quoted strings of at most 255 octets, as a zone file wants them. */
int dkim_record_zone_text(const char *value, struct buffer *out);

/* One per thread and key. `domain` and `selector` are copied. */
int dkim_signer_create(struct dkim_key *key, const char *domain, const char *selector, struct dkim_signer **out,
                       struct error *err) ATTR_MUSTCHECK;
void dkim_signer_free(struct dkim_signer *signer);

/*
 * Signs one message: `header` (every field, CRLF line ends, without the empty line) and `body` (CRLF). Appends the
 * complete header field "DKIM-Signature: …\r\n" to `out`: rsa-sha256 (or ed25519-sha256), c=relaxed/relaxed, t= and x=
 * (0 = none) in seconds, never l=. Signed are all fields of the list in sign.c that are present, and From, Subject, To,
 * Date, Reply-To, Content-Type, List-Unsubscribe, List-Unsubscribe-Post once more than present (oversigning).
 */
int dkim_signer_sign(struct dkim_signer *signer, const char *header, size_t header_len, const char *body,
                     size_t body_len, int64_t now_s, int64_t expires_s, struct buffer *out,
                     struct error *err) ATTR_MUSTCHECK;
/* As dkim_signer_sign() where the caller has the SHA-256 of the relaxed-canonicalised body already (static bodies). */
int dkim_signer_sign_hashed(struct dkim_signer *signer, const char *header, size_t header_len,
                            const uint8_t body_sha256[32], int64_t now_s, int64_t expires_s, struct buffer *out,
                            struct error *err) ATTR_MUSTCHECK;
/* SHA-256 of the body in relaxed form (RFC 6376 3.4.4). */
int dkim_body_hash(const char *body, size_t body_len, uint8_t out[32]) ATTR_MUSTCHECK;
/* The same with what the signer has ready. */
int dkim_signer_body_hash(struct dkim_signer *signer, const char *body, size_t body_len,
                          uint8_t out[32]) ATTR_MUSTCHECK;

/* What DNS would answer for a selector. */
struct dkim_published {
    const char *selector; /* NULL = any */
    const char *record;   /* the TXT value */
};

/* A key record as it was found in DNS, any bytes. */
struct dkim_published_key {
    bool readable;                        /* a key of a kind that we know; false: nothing below counts */
    bool revoked;                         /* p= is empty */
    bool equal;                           /* the public half of `ours` */
    bool ed25519, testing, sha256, email; /* k=; t=y; h= and s= allow it */
    int bits;
};
void dkim_published_read(const char *record, size_t len, const struct dkim_key *ours, struct dkim_published_key *out);

/* Verifies every signature of a message with libopendkim against the record of its selector (none: that signature is
 * bad) - our own check before a campaign starts. 0 = all good; 1 = a signature is there but bad (why in err); 2 = no
 * signature; negative = failure. */
int dkim_check_all(const char *message, size_t len, const struct dkim_published *published, size_t count,
                   struct error *err) ATTR_MUSTCHECK;
/* The same with one record for every selector; NULL: nothing is published. */
int dkim_check(const char *message, size_t len, const char *record, struct error *err) ATTR_MUSTCHECK;

/*
 * Which domains vouch for a message of somebody else's, with libopendkim. A record is asked for by its full name
 * ("s1._domainkey.example.org"): 0 = `record` has it, 1 = there is none, negative = not known now. Only signatures that
 * cover From and the whole body count (no l=), of RSA keys of 1024 bits or more or Ed25519; at most DKIM_SIGNATURES_MAX
 * of them are looked at. `good` gets the d= of each that holds. How many hold; -EAGAIN: none, but a record could not be
 * had; other negatives: the message cannot be judged. Line ends may be LF.
 */
#define DKIM_SIGNATURES_MAX 5
typedef int dkim_lookup_fn(void *context, const char *name, struct buffer *record);
typedef void dkim_good_fn(void *context, const char *domain);
int dkim_vouchers(const char *message, size_t len, dkim_lookup_fn *lookup, dkim_good_fn *good, void *context,
                  struct error *err) ATTR_MUSTCHECK;

#endif
