/*
 * segment_match.c - asks a segment about one recipient.
 *
 * SQLite fetches, C decides: one statement gives for each test the value it is about, and the tree is walked over the
 * row. So what a comparison means (a number that CSV brought as text, a date, a value that is not there) is written
 * once, here, and the SQL holds nothing but fixed pieces and parameters.
 *
 * Each test has three columns: value, kind of value, and for CONTAINS whether a list holds it.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "storage/segment_private.h"

#define COLUMNS_PER_TEST 3
#define FIRST_COLUMN 1 /* before them: the recipient's id */
#define NUMBER_TEXT_MAX 64

void segment_free(struct segment *segment)
{
    if (segment == NULL)
        return;
    sqlite3_finalize(segment->statement);
    free(segment->nodes);
    free(segment->values);
    free(segment->bytes);
    free(segment);
}

/* ---- preparing ---- */

static bool is_test(const struct segment_node *node)
{
    return node->kind > SEGMENT_NOT;
}

/* What became of the campaign's delivery, as a set of 1 << enum segment_event. */
#define EVENTS                                                                                                         \
    "(SELECT 1 + 2 * (d.state = 2) + 4 * (d.state = 4) + 8 * EXISTS (SELECT 1 FROM hit h"                              \
    " WHERE h.recipient_id = d.recipient_id AND h.campaign_id = d.campaign_id AND h.first > 0)"                        \
    " + 16 * EXISTS (SELECT 1 FROM hit h WHERE h.recipient_id = d.recipient_id"                                        \
    " AND h.campaign_id = d.campaign_id AND h.link > 0 AND h.first > 0)"                                               \
    " + 128 * EXISTS (SELECT 1 FROM unsubscribe u WHERE u.recipient_id = d.recipient_id"                               \
    " AND u.campaign_id = d.campaign_id)"                                                                              \
    " FROM delivery d WHERE d.recipient_id = r.id AND d.campaign_id = ?%d)"
_Static_assert(SEGMENT_EVENT_DELIVERED == 1 && SEGMENT_EVENT_BOUNCED == 2 && SEGMENT_EVENT_OPENED == 3 &&
                   SEGMENT_EVENT_CLICKED == 4 && SEGMENT_EVENT_UNSUBSCRIBED == 7,
               "the sums in EVENTS");

/* Parameter 1 is the recipient; each test has the next two. */
static void append_columns(struct buffer *sql, struct segment_node *node, int test)
{
    int name = 2 + 2 * test, value = name + 1;
    node->column = FIRST_COLUMN + COLUMNS_PER_TEST * test;
    switch (node->kind) {
    case SEGMENT_ATTRIBUTE:
        buffer_printf(sql, ", json_extract(r.a, ?%d), json_type(r.a, ?%d)", name, name);
        if (node->op == SEGMENT_CONTAINS)
            buffer_printf(sql,
                          ", CASE json_type(r.a, ?%d) WHEN 'array' THEN"
                          " EXISTS (SELECT 1 FROM json_each(r.a, ?%d) e WHERE e.atom = ?%d) END",
                          name, name, value);
        else
            buffer_append_str(sql, ", NULL");
        return;
    case SEGMENT_EMAIL:
        buffer_append_str(sql, ", r.email, 'text', NULL");
        return;
    case SEGMENT_DOMAIN:
        buffer_append_str(sql, ", (SELECT n.name FROM domain n WHERE n.id = r.domain_id), 'text', NULL");
        return;
    case SEGMENT_CREATED:
        buffer_append_str(sql, ", r.created, 'time', NULL");
        return;
    case SEGMENT_LIST:
        buffer_printf(sql,
                      ", (SELECT m.status FROM member m WHERE m.list_id = ?%d AND m.lane = r.lane"
                      " AND m.recipient_id = r.id), 'integer', NULL",
                      name);
        return;
    case SEGMENT_CAMPAIGN:
        buffer_printf(sql, ", " EVENTS ", 'integer', NULL", name);
        return;
    case SEGMENT_AND:
    case SEGMENT_OR:
    case SEGMENT_NOT:
    case SEGMENT_KIND_END:
        break;
    }
}

static int bind_test(sqlite3_stmt *statement, const struct segment *segment, const struct segment_node *node)
{
    int name = 2 + 2 * ((node->column - FIRST_COLUMN) / COLUMNS_PER_TEST);
    if (node->kind != SEGMENT_ATTRIBUTE)
        return node->kind == SEGMENT_LIST || node->kind == SEGMENT_CAMPAIGN
                   ? sqlite3_bind_int64(statement, name, node->id)
                   : SQLITE_OK;
    int code = sqlite3_bind_text(statement, name, node->name, -1, SQLITE_STATIC);
    if (code != SQLITE_OK || node->op != SEGMENT_CONTAINS)
        return code;
    const struct segment_value *value = &segment->values[node->value];
    return value->type == SEGMENT_TEXT ? sqlite3_bind_text(statement, name + 1, value->text, -1, SQLITE_STATIC)
                                       : sqlite3_bind_double(statement, name + 1, value->number);
}

static int prepare(struct db *db, struct segment *segment, struct error *err)
{
    struct buffer sql = BUFFER_INIT(SEGMENT_BYTES_MAX * 4);
    int tests = 0;
    buffer_append_str(&sql, "SELECT r.id");
    for (size_t i = 0; i < segment->node_count; i++) {
        if (is_test(&segment->nodes[i]))
            append_columns(&sql, &segment->nodes[i], tests++);
    }
    /* Attributes that are no JSON (a file that somebody else wrote) have nothing in them; json_extract would fail. */
    buffer_append_str(&sql, " FROM (SELECT id, email, domain_id, lane, created,"
                            " iif(json_valid(attributes), attributes, '{}') AS a FROM recipient WHERE id = ?1) r");
    int code = SQLITE_NOMEM;
    if (!sql.failed)
        code = sqlite3_prepare_v3(db->handle, sql.data, (int)sql.len, 0, &segment->statement, NULL);
    for (size_t i = 0; code == SQLITE_OK && i < segment->node_count; i++) {
        if (is_test(&segment->nodes[i]))
            code = bind_test(segment->statement, segment, &segment->nodes[i]);
    }
    buffer_finish(&sql);
    return code == SQLITE_OK ? 0 : db_failure(db, code, err);
}

static int copy_program(struct segment *segment, sqlite3_stmt *row, struct error *err)
{
    size_t len = (size_t)MAX_OF(sqlite3_column_bytes(row, 0), 0);
    const void *blob = sqlite3_column_blob(row, 0);
    if (blob == NULL || len > segment_program_bytes_max)
        return error_set(err, -EIO, "what is stored is no segment");
    segment->bytes = malloc(sizeof(len) + len);
    if (segment->bytes == NULL)
        return error_memory(err);
    memcpy(segment->bytes, &len, sizeof(len));
    memcpy(segment->bytes + sizeof(len), blob, len);
    segment->now_ms = db_int(row, 1);
    return 0;
}

int segment_load(struct db *db, int64_t campaign_id, struct segment **out, struct error *err)
{
    *out = NULL;
    sqlite3_stmt *row = db_query(db, err,
                                 "SELECT s.program, c.launched FROM campaign_segment s JOIN campaign c"
                                 " ON c.id = s.campaign_id WHERE s.campaign_id = ?",
                                 DB_I(campaign_id));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    struct segment *segment = calloc(1, sizeof(*segment));
    int failed = segment == NULL ? error_memory(err) : copy_program(segment, row, err);
    db_end(row);
    if (!failed)
        failed = segment_decode(segment, err);
    if (!failed)
        failed = prepare(db, segment, err);
    if (failed) {
        segment_free(segment);
        return failed == -ENOMEM ? failed : -EIO;
    }
    *out = segment;
    return 0;
}

/* ---- what is there ---- */

enum found_type { FOUND_NOTHING, FOUND_TEXT, FOUND_NUMBER, FOUND_BOOL, FOUND_TIME, FOUND_OTHER };
struct found {
    enum found_type type;
    const char *text;
    double number;
};

static struct found look(sqlite3_stmt *row, int column)
{
    const char *type = db_text(row, column + 1);
    if (sqlite3_column_type(row, column) == SQLITE_NULL)
        return (struct found){.type = FOUND_NOTHING, .text = ""};
    if (strcmp(type, "text") == 0)
        return (struct found){.type = FOUND_TEXT, .text = db_text(row, column)};
    struct found found = {.type = FOUND_NUMBER, .text = "", .number = sqlite3_column_double(row, column)};
    if (strcmp(type, "true") == 0 || strcmp(type, "false") == 0)
        found.type = FOUND_BOOL;
    else if (strcmp(type, "time") == 0)
        found.type = FOUND_TIME;
    else if (strcmp(type, "integer") != 0 && strcmp(type, "real") != 0)
        found.type = FOUND_OTHER;
    return found;
}

/* A number, or the text of one as CSV brings it. */
static bool as_number(const struct found *found, double *out)
{
    if (found->type == FOUND_NUMBER) {
        *out = found->number;
        return true;
    }
    const char *text = found->text;
    if (found->type != FOUND_TEXT || strnlen(text, NUMBER_TEXT_MAX) == NUMBER_TEXT_MAX ||
        strspn(text, "0123456789+-.eE") != strlen(text) || text[0] == '\0')
        return false; /* strtod() alone would take blanks, "inf" and hexadecimal digits */
    char *end;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

/* A time with its date, or a date alone (its first moment, in UTC). */
static bool as_time(const struct found *found, int64_t *out_ms)
{
    if (found->type == FOUND_TIME) {
        *out_ms = (int64_t)found->number;
        return true;
    }
    if (found->type != FOUND_TEXT)
        return false;
    if (time_parse_rfc3339(found->text, out_ms) == 0)
        return true;
    char text[40];
    if (strlen(found->text) != 10)
        return false;
    (void)snprintf(text, sizeof(text), "%.10sT00:00:00Z", found->text);
    return time_parse_rfc3339(text, out_ms) == 0;
}

/* ---- tests ---- */

static bool equal(const struct found *found, const struct segment_value *value)
{
    double number;
    switch (value->type) {
    case SEGMENT_TEXT:
        return found->type == FOUND_TEXT && strcmp(found->text, value->text) == 0;
    case SEGMENT_NUMBER:
        return as_number(found, &number) && number == value->number;
    case SEGMENT_BOOL:
        if (found->type == FOUND_TEXT)
            return str_eq_nocase(found->text, value->number != 0 ? "true" : "false");
        return found->type == FOUND_BOOL && found->number == value->number;
    }
    return false;
}

/* < 0, 0, > 0; false: they cannot be compared. */
static bool compare(const struct found *found, const struct segment_value *value, int *order)
{
    double number;
    if (value->type == SEGMENT_TEXT) {
        *order = strcmp(found->text, value->text);
        return found->type == FOUND_TEXT;
    }
    if (value->type != SEGMENT_NUMBER || !as_number(found, &number))
        return false;
    *order = (number > value->number) - (number < value->number);
    return true;
}

static bool has_event(int64_t events, int64_t event)
{
    int64_t delivered = events >> SEGMENT_EVENT_DELIVERED & 1;
    if (event == SEGMENT_EVENT_NOT_OPENED)
        return delivered && !(events >> SEGMENT_EVENT_OPENED & 1);
    if (event == SEGMENT_EVENT_NOT_CLICKED)
        return delivered && !(events >> SEGMENT_EVENT_CLICKED & 1);
    return event >= 0 && event < SEGMENT_EVENT_END && (events >> event & 1);
}

static bool is(const struct segment_node *node, const struct found *found, int64_t wanted)
{
    if (node->kind == SEGMENT_CAMPAIGN)
        return found->type != FOUND_NOTHING && has_event((int64_t)found->number, wanted);
    return found->type == FOUND_NOTHING ? wanted < 0 : (int64_t)found->number == wanted;
}

static bool in_time(const struct segment *segment, const struct segment_node *node, const struct found *found)
{
    int64_t at_ms, value_ms = (int64_t)segment->values[node->value].number;
    if (!as_time(found, &at_ms))
        return false;
    if (node->op == SEGMENT_BEFORE)
        return at_ms < value_ms;
    if (node->op == SEGMENT_AFTER)
        return at_ms >= value_ms;
    return at_ms <= segment->now_ms && at_ms > segment->now_ms - value_ms;
}

static bool is_in(const struct segment *segment, const struct segment_node *node, const struct found *found)
{
    for (unsigned i = 0; i < node->count; i++) {
        if (equal(found, &segment->values[node->value + i]))
            return true;
    }
    return false;
}

static bool test(const struct segment *segment, const struct segment_node *node)
{
    struct found found = look(segment->statement, node->column);
    const struct segment_value *value = &segment->values[node->value];
    int order = 0;
    switch (node->op) {
    case SEGMENT_EQ:
        return equal(&found, value);
    case SEGMENT_NE:
        return !equal(&found, value);
    case SEGMENT_LT:
        return compare(&found, value, &order) && order < 0;
    case SEGMENT_LTE:
        return compare(&found, value, &order) && order <= 0;
    case SEGMENT_GT:
        return compare(&found, value, &order) && order > 0;
    case SEGMENT_GTE:
        return compare(&found, value, &order) && order >= 0;
    case SEGMENT_IN:
        return is_in(segment, node, &found);
    case SEGMENT_CONTAINS:
        if (sqlite3_column_type(segment->statement, node->column + 2) != SQLITE_NULL)
            return db_int(segment->statement, node->column + 2) != 0;
        return found.type == FOUND_TEXT && value->type == SEGMENT_TEXT && strstr(found.text, value->text) != NULL;
    case SEGMENT_STARTS:
        return found.type == FOUND_TEXT && strncmp(found.text, value->text, strlen(value->text)) == 0;
    case SEGMENT_EXISTS:
        return (found.type != FOUND_NOTHING) == (value->number != 0);
    case SEGMENT_BEFORE:
    case SEGMENT_AFTER:
    case SEGMENT_WITHIN:
        return in_time(segment, node, &found);
    case SEGMENT_IS:
        return is(node, &found, (int64_t)value->number);
    case SEGMENT_NONE:
    case SEGMENT_OP_END:
        break;
    }
    return false;
}

static bool holds(const struct segment *segment, unsigned at)
{
    const struct segment_node *node = &segment->nodes[at];
    if (is_test(node))
        return test(segment, node);
    if (node->kind == SEGMENT_NOT)
        return !holds(segment, at + 1);
    bool wanted = node->kind == SEGMENT_OR;
    for (unsigned i = 0, member = at + 1; i < node->count; i++, member = segment->nodes[member].end) {
        if (holds(segment, member) == wanted)
            return wanted;
    }
    return !wanted;
}

int segment_match(struct db *db, struct segment *segment, int64_t recipient_id, struct error *err)
{
    if (sqlite3_bind_int64(segment->statement, 1, recipient_id) != SQLITE_OK)
        return db_failure(db, sqlite3_errcode(db->handle), err);
    int more = db_step(db, segment->statement, err);
    if (more <= 0)
        return more;
    int result = holds(segment, 0);
    db_end(segment->statement);
    return result;
}
