/*
 * config_private.h - what the files of the configuration reader share: one table of sections and keys.
 *
 * The table is the only place that knows the keys. From it come the options that libconfuse accepts, the conversion of
 * each value into its field of struct config, the hints for mistyped keys, and `config show`. To add a key: a field in
 * config.h, its default in config_keys.c, a row there. A key that is read only once, or that may not change under a
 * running server, is marked `fixed` (config_live.h).
 */
#ifndef POSTHASTE_BASE_CONFIG_PRIVATE_H
#define POSTHASTE_BASE_CONFIG_PRIVATE_H

#include "base/buffer.h"
#include "base/config.h"

enum config_kind {
    KIND_HOSTNAME,  /* char *: one or more LDH labels */
    KIND_PATH,      /* char *: not empty */
    KIND_LISTEN,    /* char * and, at count_offset, uint16_t: "HOST:PORT", "[IPV6]:PORT" */
    KIND_URL,       /* char *: http(s), trailing slashes removed */
    KIND_DOMAIN,    /* char *: a domain in normal form, or "" */
    KIND_DNS,       /* char *: "IP" or "IP@PORT", or "" */
    KIND_HOST,      /* char *: name or address without brackets */
    KIND_ADDRESS,   /* char *: IPv4 or IPv6 */
    KIND_LEVEL,     /* enum log_level */
    KIND_UNCERTAIN, /* enum on_uncertain */
    KIND_PREFLIGHT, /* enum preflight_mode */
    KIND_TLS,       /* enum tls_policy */
    KIND_BOOL,      /* bool: "true", "false"; also "on", "off" */
    KIND_TEXT,      /* char *: anything but "" and control characters */
    KIND_U32,       /* uint32_t in min..max */
    KIND_PORT,      /* uint16_t in min..max */
    KIND_DURATION,  /* int64_t milliseconds in min..max */
    KIND_RATE,      /* struct rate */
    KIND_SHARE,     /* uint32_t millionths: "5%", "0.1%", "off" */
    KIND_BYTE_RATE, /* the same; its number may end in k, M or G */
    KIND_DAY_RATE,  /* the same, "N/d" */
    KIND_FACTOR,    /* double, 1 to 10 */
    KIND_NAMES,     /* char **, size_t: names of other sections, none twice */
    KIND_PATTERNS,  /* char **, size_t: domains and ".suffix"es */
};

struct config_key {
    const char *name;
    enum config_kind kind;
    size_t offset;       /* of the field in the section's struct */
    size_t count_offset; /* lists: of their size_t; KIND_LISTEN: of the port */
    int64_t min, max;
    bool required;
    bool fixed; /* takes effect at a start only: config_live.h */
};

enum config_title { TITLE_NONE, TITLE_NAME, TITLE_PATTERN };

struct config_section {
    const char *name; /* NULL: the top of the file */
    const struct config_key *keys;
    size_t key_count;
    enum config_title title;           /* TITLE_NONE: the keys are fields of struct config itself */
    size_t array_offset, count_offset; /* of the pointer to the structs and of their number in struct config */
    size_t item_bytes;                 /* size of one struct; its title is its first field, a char * */
};

#define CONFIG_SECTIONS 16
#define CONFIG_KEYS_MAX 48                                           /* in one section */
extern const struct config_section config_sections[CONFIG_SECTIONS]; /* [0] is the top */
extern const struct config_section *const config_profile_section;

bool config_kind_is_list(enum config_kind kind);

/* Names of the enums as the file spells them; NULL past the end. */
const char *config_tls_name(size_t policy);
const char *config_uncertain_name(size_t policy);
const char *config_preflight_name(size_t mode);
const char *config_bool_name(size_t value);

/* A struct config with every default but listen_host's public_url, which depends on what is read. NULL: no memory. */
struct config *config_defaults(void);
/* Adds an item with its defaults to the section's array and takes over `title`; NULL: no memory, `title` stays the
 * caller's. */
void *config_add_item(struct config *config, const struct config_section *section, char *title);

/* Refuses what libconfuse's lexer would swallow without a word, and blanks the comments (see config_scan.c). -EINVAL
 * with "FILE:LINE: …". */
int config_scan(const char *file, char *text, size_t len, struct error *err) ATTR_MUSTCHECK;

/* Reads NUL-terminated text into a config that holds the defaults. -EINVAL with "FILE:LINE: key: …", -ENOMEM. */
int config_read(const char *file, const char *text, struct config *config, struct error *err) ATTR_MUSTCHECK;
/* The profiles that come with the program: the file that config->profiles_file names, as text in *out (to be freed).
 * The name goes to config->files[1]. */
int config_profiles_text(struct config *config, char **out, struct error *err) ATTR_MUSTCHECK;
/* Of a file of at most 4 MiB. -ENOENT and others as config_load(). */
int config_read_file(const char *file, struct buffer *out, struct error *err) ATTR_MUSTCHECK;
extern const char config_profiles_builtin[]; /* share/profiles.conf, made at build time */
/* The value as the file spells it; "unset" for what has no spelling of its own. */
void config_put_value(struct buffer *out, const struct config_key *key, const void *item);
/* Empties a list, so that a later file replaces it. */
void config_clear_list(const struct config_key *key, void *item);

/* Converts one value and puts it into (or adds it to) its field of `item`. err gets the reason alone. */
int config_set_value(const struct config_key *key, const char *text, void *item, struct error *err) ATTR_MUSTCHECK;
/* A section's title in its normal form, newly allocated in *out. */
int config_set_title(enum config_title title, const char *text, char **out, struct error *err) ATTR_MUSTCHECK;

#endif
