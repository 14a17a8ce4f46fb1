/*
 * json.h - JSON at the border: bounded parsing, fields checked against a table, pages, times.
 */
#ifndef POSTHASTE_API_HTTP_JSON_H
#define POSTHASTE_API_HTTP_JSON_H

#include <jansson.h>

#include "api/http/request.h"
#include "campaign/campaign.h"

#define JSON_DEPTH_MAX 32

/*
 * Parses one JSON document (RFC 8259) of untrusted bytes: no duplicate keys, no NUL, at most JSON_DEPTH_MAX levels. 0,
 * or -EINVAL with line and column.
 */
int json_parse(const char *bytes, size_t len, json_t **out, struct error *err) ATTR_MUSTCHECK;

enum field_type { FIELD_TEXT, FIELD_BOOL, FIELD_INTEGER, FIELD_OBJECT, FIELD_ARRAY };
struct field {
    const char *name;
    enum field_type type;
    bool required;
    size_t max; /* TEXT: bytes; ARRAY: elements; 0 = 64 KiB / 1,000 */
    void *out;  /* const char ** | bool * | int64_t * | json_t ** (borrowed); left as it is when the field is missing */
};
/*
 * Reads `object` by the table: unknown fields (with the nearest known name as a hint), wrong types, missing and
 * over-long values become problems, named with `prefix` in front ("" or "recipients[3]."). A text must not be blank
 * when it is required. True when there was no problem.
 */
bool fields_read(const json_t *object, const char *prefix, const struct field *fields, size_t count,
                 struct problem *problem);

/* What a value is, for messages: "a text", "an object", "null" … */
const char *json_kind(const json_t *value);

/* RFC 3339, or null for 0. */
json_t *json_time(int64_t wall_ms);
/* The text made valid UTF-8 in one line; NULL becomes "". */
json_t *json_line(const char *text);
/* Text that is a JSON object, as that object; {} when it is none. */
json_t *json_attributes(const char *text);

/* ---- pages: {"data":[…],"next":…|null,"total":N} ---- */
#define PAGE_LIMIT_DEFAULT 100
#define PAGE_LIMIT_MAX 1000

/* Reads `limit` and a numeric `cursor` (0 = from the start). False: problems were added. `after` may be NULL for text
 * cursors. */
bool page_read(const struct request *request, int *limit, int64_t *after, struct problem *problem);

/*
 * Collects rows. Ask the database for `limit` + 1 of them; page_take() is false for the one too many, which only shows
 * that there is a next page.
 */
struct page {
    bool failed; /* no memory for a row: page_json() then gives NULL, for a page with a hole would pass for whole */
    json_t *data;
    int limit;
    char next[320]; /* cursor behind the last row taken */
    bool more;
};
bool page_init(struct page *page, int limit);                       /* false: no memory */
bool page_take(struct page *page, json_t *row, const char *cursor); /* takes over the reference */
bool page_take_id(struct page *page, json_t *row, int64_t cursor);
void page_continue(struct page *page, int64_t cursor); /* there is more to look at behind it, full or not */
json_t *page_json(struct page *page,
                  int64_t total); /* ends the page, NULL = no memory; total < 0 = not counted (null) */
void page_drop(struct page *page);

#endif
