/*
 * suppress.c - `posthaste suppress …`: on the database directly; a running server honours an entry from its next claim
 * on.
 *
 * Import takes whatever other senders export: one address a line, or CSV with the address in the first column. Rows
 * that are no addresses are told and counted, never guessed at. What export wrote comes back as it was: under its header
 * the apostrophes that keep a spreadsheet from running a cell are taken off again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/output.h"
#include "api/csv_out.h"
#include "api/http/json.h"
#include "api/suppression.h"
#include "api/views.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"
#include "dkim/dkim.h"

#define BATCH_ROWS 1000
#define LINE_MAX_BYTES ((size_t)64 << 10)
#define REJECTS_TOLD 10
#define REASON_BYTES 40
#define ORIGIN_BYTES (500 + 1) /* as long as the API takes it */

/* The --reason, or NULL after saying that it is not one. */
static const char *read_reason(const struct cli *cli)
{
    const char *reason = cli_value(cli, "reason");
    if (reason == NULL)
        return "manual";
    if (suppression_reason_known(reason))
        return reason;
    (void)out_fail("--reason must be " SUPPRESSION_REASONS);
    return NULL;
}

/* What --list and --expires say, the same for all. CLI_DONE; else it was said what is wrong. The database is open. */
struct scope {
    int64_t list_id, expires_ms;
};

static int read_scope(struct cli *cli, struct scope *scope)
{
    const char *list = cli_value(cli, "list"), *expires = cli_value(cli, "expires");
    struct error err = {""};
    *scope = (struct scope){0};
    if (expires != NULL && suppression_expiry(expires, clock_wall_ms(), &scope->expires_ms) != 0) {
        (void)out_fail("--expires must be a time ahead like 2026-12-01T08:00:00Z, or a duration like 30d");
        return CLI_USAGE;
    }
    int rc = list == NULL ? 0 : suppression_list(cli->reader, list, &scope->list_id, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("there is no list \"%s\"", list);
    return rc == 0 ? CLI_DONE : out_condition(rc, "list", &err);
}

int cli_suppress_add(struct cli *cli)
{
    const char *reason = read_reason(cli);
    char emails[CLI_ARGUMENTS_MAX][ADDRESS_MAX_BYTES + 1];
    struct storage_suppression items[CLI_ARGUMENTS_MAX];
    struct error err = {""};
    struct scope scope;
    int64_t added = 0;
    if (reason == NULL)
        return CLI_USAGE;
    int code = cli_open_storage(cli);
    if (code == CLI_DONE)
        code = read_scope(cli, &scope);
    if (code != CLI_DONE)
        return code;
    for (int i = 0; i < cli->argument_count; i++) {
        if (suppression_email(cli->arguments[i], emails[i], &err) != 0)
            return out_fail("\"%s\": %s", cli->arguments[i], err.text);
        items[i] = (struct storage_suppression){.email = emails[i],
                                                .reason = reason,
                                                .origin = "cli",
                                                .created_ms = clock_wall_ms(),
                                                .expires_ms = scope.expires_ms,
                                                .list_id = scope.list_id};
    }
    int rc = storage_suppression_add_many(cli->storage, items, (size_t)cli->argument_count, &added, &err);
    if (rc != 0)
        return out_condition(rc, "suppression", &err);
    if (cli->json)
        return out_json(
            json_pack("{s:I, s:I}", "added", (json_int_t)added, "known", (json_int_t)(cli->argument_count - added)));
    out_line("added %lld, known before %lld", (long long)added, (long long)(cli->argument_count - added));
    return CLI_DONE;
}

int cli_suppress_remove(struct cli *cli)
{
    char email[ADDRESS_MAX_BYTES + 1];
    struct error err = {""};
    struct scope scope;
    if (suppression_email(cli->arguments[0], email, &err) != 0)
        return out_fail("\"%s\": %s", cli->arguments[0], err.text);
    int code = cli_open_storage(cli);
    if (code == CLI_DONE)
        code = read_scope(cli, &scope);
    if (code != CLI_DONE)
        return code;
    int rc = storage_suppression_remove(cli->storage, email, scope.list_id, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("%s is not suppressed", email);
    if (rc != 0)
        return out_condition(rc, "suppression", &err);
    if (cli->json)
        return out_json(json_pack("{s:s, s:b}", "email", email, "removed", 1));
    out_line("%s may be mailed again", email);
    return CLI_DONE;
}

/* ---- reading ---- */

static int append_suppression(void *context, const struct storage_suppression *suppression)
{
    (void)json_array_append_new(context, view_suppression(suppression));
    return 0;
}

int cli_suppress_list(struct cli *cli)
{
    const char *limit_text = cli_value(cli, "limit");
    uint64_t limit = 100;
    struct error err = {""};
    int64_t total = 0;
    if (limit_text != NULL && (str_parse_u64(limit_text, 1000000, &limit) != 0 || limit == 0)) {
        (void)out_fail("--limit must be a number from 1 to 1000000");
        return CLI_USAGE;
    }
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    json_t *rows = json_array();
    int rc = storage_suppression_page(cli->reader, NULL, (int)limit, append_suppression, rows, &total, &err);
    if (rc < 0) {
        json_decref(rows);
        return out_condition(rc, "suppressions", &err);
    }
    if (cli->json)
        return out_json(json_pack("{s:o, s:I}", "data", rows, "total", (json_int_t)total));
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, "llllll", "EMAIL", "LIST", "REASON", "SINCE", "UNTIL", "ORIGIN", NULL);
    json_array_foreach(rows, i, row)
    {
        static const char *const columns[] = {"email", "list", "reason", "created_at", "expires_at", "origin"};
        for (size_t k = 0; k < countof(columns); k++) {
            const char *text = json_string_value(json_object_get(row, columns[k]));
            table_cell(&table, text != NULL ? text : "");
        }
    }
    table_print(&table, stdout, "no address is suppressed", 0);
    if ((uint64_t)total > limit)
        out_line("… and %lld more (--limit N, or posthaste suppress export)", (long long)(total - (int64_t)limit));
    json_decref(rows);
    return CLI_DONE;
}

static const char *const EXPORTED[] = {"email", "reason", "origin", "created_at", "expires_at", "list"};

struct export
{
    FILE *file;
    struct buffer row;
    bool raw;
    int64_t rows;
    char last[ADDRESS_MAX_BYTES + 1];
    int64_t last_list;
};

static int write_suppression(void *context, const struct storage_suppression *suppression)
{
    struct export *out = context;
    char when[RFC3339_BYTES], *origin = strdup(suppression->origin);
    if (origin == NULL)
        return error_memory(NULL);
    str_make_line(origin); /* a row a line: import reads by lines */
    buffer_clear(&out->row);
    csv_text(&out->row, suppression->email, out->raw);
    csv_comma(&out->row);
    csv_text(&out->row, suppression->reason, out->raw);
    csv_comma(&out->row);
    csv_text(&out->row, origin, out->raw);
    free(origin);
    csv_comma(&out->row);
    csv_text(&out->row, time_format_rfc3339(suppression->created_ms, when), out->raw);
    csv_comma(&out->row);
    csv_text(&out->row, suppression->expires_ms != 0 ? time_format_rfc3339(suppression->expires_ms, when) : "", out->raw);
    csv_comma(&out->row);
    csv_text(&out->row, suppression->list_name, out->raw);
    csv_end_row(&out->row);
    (void)fwrite(buffer_text(&out->row), 1, out->row.len, out->file);
    (void)str_copy(out->last, sizeof(out->last), suppression->email);
    out->last_list = suppression->list_id;
    out->rows++;
    return 0;
}

static int export_all(struct cli *cli, struct export *out, struct error *err)
{
    int64_t before;
    for (size_t i = 0; i < countof(EXPORTED); i++)
        fprintf(out->file, "%s%s", EXPORTED[i], i + 1 < countof(EXPORTED) ? "," : "\r\n");
    do {
        char last[sizeof(out->last)];
        (void)str_copy(last, sizeof(last), out->last);
        const struct storage_suppression_place after = {.email = last, .list_id = out->last_list};
        before = out->rows;
        int rc = storage_suppression_page(cli->reader, &after, BATCH_ROWS, write_suppression, out, NULL, err);
        if (rc < 0)
            return rc;
    } while (out->rows == before + BATCH_ROWS);
    return 0;
}

int cli_suppress_export(struct cli *cli)
{
    const char *path = cli->argument_count > 0 && strcmp(cli->arguments[0], "-") != 0 ? cli->arguments[0] : NULL;
    struct export out = {.file = stdout, .row = BUFFER_INIT((size_t)1 << 20), .raw = cli_flag(cli, "raw")};
    struct error err = {""};
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    if (path != NULL && (out.file = fopen(path, "we")) == NULL)
        return out_fail("cannot write %s: %s", path, strerror(errno));
    int rc = export_all(cli, &out, &err);
    buffer_finish(&out.row);
    bool failed = fflush(out.file) != 0 || ferror(out.file) != 0;
    if (path != NULL)
        failed |= fclose(out.file) != 0;
    if (rc < 0)
        return out_condition(rc, "suppressions", &err);
    if (failed && path != NULL) /* main tells of standard output */
        return out_fail("cannot write %s", path);
    if (path != NULL && cli->json)
        return out_json(json_pack("{s:I, s:s}", "rows", (json_int_t)out.rows, "file", path));
    if (path != NULL)
        out_line("wrote %lld addresses to %s", (long long)out.rows, path);
    return CLI_DONE;
}

/* ---- import ---- */

/* The columns that an import knows, by the names that our export writes; without a header: address, reason. */
enum column { COLUMN_EMAIL, COLUMN_REASON, COLUMN_ORIGIN, COLUMN_EXPIRES, COLUMN_LIST, COLUMN_COUNT };
#define COLUMNS_MAX 64

struct intake {
    struct cli *cli;
    const char *path, *reason;
    bool hash;    /* keep digests in place of addresses */
    bool guarded; /* a file of our own: cells that a spreadsheet would run have an apostrophe in front */
    struct scope scope;
    int columns[COLUMNS_MAX]; /* enum column, or -1 */
    char emails[BATCH_ROWS][ADDRESS_MAX_BYTES + 1];
    char reasons[BATCH_ROWS][REASON_BYTES];
    char origins[BATCH_ROWS][ORIGIN_BYTES];
    struct storage_suppression items[BATCH_ROWS];
    size_t count;
    int64_t line, read, added, rejected;
    int64_t reasons_unknown, reason_line; /* so many, the first in this line */
    char list_name[256]; /* the last one that was looked up */
    int64_t list_id;
};

/* Cuts the next cell off *rest (RFC 4180 quoting; `,` `;` or tab), in place. */
static char *next_cell(char **rest)
{
    char *cell = *rest;
    char *out = cell;
    char *at = cell;
    bool quoted = *at == '"';
    if (quoted)
        at++;
    while (*at != '\0') {
        if (quoted && *at == '"' && at[1] == '"')
            at++;
        else if (quoted && *at == '"') {
            quoted = false;
            at++;
            continue;
        } else if (!quoted && strchr(",;\t", *at) != NULL)
            break;
        *out++ = *at++;
    }
    *rest = *at != '\0' ? at + 1 : at;
    *out = '\0';
    return cell;
}

static int flush_batch(struct intake *intake, struct error *err)
{
    int64_t added = 0;
    if (intake->count == 0)
        return 0;
    int rc = storage_suppression_add_many(intake->cli->storage, intake->items, intake->count, &added, err);
    intake->added += added;
    intake->count = 0;
    return rc;
}

static void tell_reject(struct intake *intake, const char *text, const char *why)
{
    if (++intake->rejected <= REJECTS_TOLD)
        (void)out_fail("%s line %lld: \"%.80s\": %s", intake->path, (long long)intake->line, text, why);
}

/* True for a header row: then it says which column is what. */
static bool read_header(struct intake *intake, char *const cells[], size_t count)
{
    static const char *const names[COLUMN_COUNT] = {"email", "reason", "origin", "expires_at", "list"};
    const char *first = cells[0];
    if (!str_eq_nocase(first, "email") && !str_eq_nocase(first, "address") && !str_eq_nocase(first, "e-mail") &&
        !str_eq_nocase(first, "sha256"))
        return false;
    for (size_t i = 1; i < count; i++) {
        intake->columns[i] = -1;
        for (int column = COLUMN_REASON; column < COLUMN_COUNT; column++) {
            if (str_eq_nocase(cells[i], names[column]))
                intake->columns[i] = column;
        }
    }
    intake->guarded = count == countof(EXPORTED) && !cli_flag(intake->cli, "raw");
    for (size_t i = 0; i < countof(EXPORTED); i++)
        intake->guarded = intake->guarded && str_eq_nocase(cells[i], EXPORTED[i]);
    return true;
}

static int find_list(struct intake *intake, const char *name, int64_t *id, struct error *err)
{
    if (name[0] == '\0') {
        *id = intake->scope.list_id;
        return 0;
    }
    if (strcmp(name, intake->list_name) != 0) {
        int64_t found; /* of a list that is not there it is 0, all lists, or its number: never one to keep */
        int rc = suppression_list(intake->cli->reader, name, &found, err);
        if (rc != 0)
            return rc;
        intake->list_id = found;
        (void)str_copy(intake->list_name, sizeof(intake->list_name), name);
    }
    *id = intake->list_id;
    return 0;
}

/* Fills in the next item: 0; 1 = rejected, and told. */
static int read_item(struct intake *intake, const char *const cells[COLUMN_COUNT], struct error *err)
{
    struct storage_suppression *item = &intake->items[intake->count];
    char *email = intake->emails[intake->count], *reason = intake->reasons[intake->count];
    struct error why = {""};
    *item = (struct storage_suppression){.created_ms = clock_wall_ms(), .expires_ms = intake->scope.expires_ms};
    if (suppression_email(cells[COLUMN_EMAIL], email, &why) != 0) {
        tell_reject(intake, cells[COLUMN_EMAIL], why.text);
        return 1;
    }
    int rc = find_list(intake, cells[COLUMN_LIST], &item->list_id, err);
    const char *expires = cells[COLUMN_EXPIRES];
    bool timed = expires[0] == '\0' || suppression_expiry(expires, item->created_ms, &item->expires_ms) == 0;
    if (rc == STORAGE_NOT_FOUND || !timed) {
        tell_reject(intake, cells[COLUMN_EMAIL], rc == STORAGE_NOT_FOUND ? "there is no such list" : "expires_at is no time, or over");
        return 1;
    }
    if (rc < 0)
        return rc;
    if (intake->hash && strchr(email, '@') != NULL) {
        char digest[SUPPRESSION_HASH_BYTES + 1];
        if (storage_suppression_hash(digest_sha256, email, digest) != 0)
            return error_set(err, -EIO, "a digest could not be made");
        (void)str_copy(email, ADDRESS_MAX_BYTES + 1, digest);
    }
    bool known = suppression_reason_known(cells[COLUMN_REASON]);
    if (!known && cells[COLUMN_REASON][0] != '\0' && intake->reasons_unknown++ == 0)
        intake->reason_line = intake->line;
    (void)str_copy(reason, REASON_BYTES, known ? cells[COLUMN_REASON] : intake->reason);
    (void)str_copy(intake->origins[intake->count], ORIGIN_BYTES, cells[COLUMN_ORIGIN]);
    str_make_line(intake->origins[intake->count]);
    item->email = email;
    item->reason = reason;
    item->origin = intake->origins[intake->count][0] != '\0' ? intake->origins[intake->count] : "cli import";
    return 0;
}

static int take_line(struct intake *intake, char *line, struct error *err)
{
    char *rest = line, *cells[COLUMNS_MAX];
    const char *chosen[COLUMN_COUNT] = {"", "", "", "", ""};
    size_t count = 0;
    if (intake->line == 1 && strncmp(rest, "\xef\xbb\xbf", 3) == 0)
        rest += 3;
    do {
        cells[count++] = next_cell(&rest);
    } while (*rest != '\0' && count < COLUMNS_MAX);
    if ((intake->line == 1 && read_header(intake, cells, count)) || cells[0][0] == '\0')
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (intake->columns[i] >= 0)
            chosen[intake->columns[i]] = intake->guarded ? csv_unguard(cells[i]) : cells[i];
    }
    intake->read++;
    int rc = read_item(intake, chosen, err);
    if (rc != 0)
        return MIN_OF(rc, 0);
    return ++intake->count == BATCH_ROWS ? flush_batch(intake, err) : 0;
}

static int take_file(struct intake *intake, FILE *file, struct error *err)
{
    static const char too_long[] = "the line is too long";
    char *line = malloc(LINE_MAX_BYTES);
    int rc = 0;
    if (line == NULL)
        return error_memory(err);
    while (rc == 0 && fgets(line, (int)LINE_MAX_BYTES, file) != NULL) {
        size_t len = strlen(line);
        intake->line++;
        if (len + 1 == LINE_MAX_BYTES && line[len - 1] != '\n') {
            int c;
            while ((c = getc(file)) != EOF && c != '\n') {
            }
            intake->read++;
            tell_reject(intake, "", too_long);
            continue;
        }
        line[strcspn(line, "\r\n")] = '\0';
        rc = take_line(intake, line, err);
    }
    free(line);
    if (rc == 0 && ferror(file))
        rc = error_errno(err, -EIO, "cannot read %s", intake->path);
    return rc == 0 ? flush_batch(intake, err) : rc;
}

static int report(const struct intake *intake)
{
    int64_t known = intake->read - intake->added - intake->rejected;
    /* Other senders have words of their own; nobody is left out for that. */
    if (intake->reasons_unknown == 1)
        fprintf(stderr, "posthaste: the reason in line %lld is not one of " SUPPRESSION_REASONS
                        "; it was taken for %s\n",
                (long long)intake->reason_line, intake->reason);
    else if (intake->reasons_unknown > 1)
        fprintf(stderr, "posthaste: %lld reasons, the first in line %lld, are not one of " SUPPRESSION_REASONS
                        "; they were taken for %s\n",
                (long long)intake->reasons_unknown, (long long)intake->reason_line, intake->reason);
    int done = intake->read > 0 && intake->rejected == intake->read ? CLI_FAILED : CLI_DONE;
    if (intake->cli->json) {
        int told = out_json(json_pack("{s:I, s:I, s:I, s:I, s:I}", "read", (json_int_t)intake->read, "added",
                                      (json_int_t)intake->added, "known", (json_int_t)known, "rejected",
                                      (json_int_t)intake->rejected, "reasons_unknown",
                                      (json_int_t)intake->reasons_unknown));
        return told == CLI_DONE ? done : told;
    }
    if (intake->rejected > REJECTS_TOLD)
        fprintf(stderr, "posthaste: … and %lld more lines that were not taken\n",
                (long long)(intake->rejected - REJECTS_TOLD));
    out_line("read %lld, added %lld, known %lld, rejected %lld", (long long)intake->read, (long long)intake->added,
             (long long)known, (long long)intake->rejected);
    return done;
}

static int import_from(struct cli *cli, FILE *file, const char *path, const char *reason)
{
    struct error err = {""};
    struct intake *intake = calloc(1, sizeof(*intake));
    if (intake == NULL)
        return out_fail("out of memory");
    intake->cli = cli;
    intake->path = path;
    intake->reason = reason;
    intake->hash = cli_flag(cli, "hash");
    for (size_t i = 0; i < COLUMNS_MAX; i++)
        intake->columns[i] = i < COLUMN_ORIGIN ? (int)i : -1;
    int code = read_scope(cli, &intake->scope);
    if (code == CLI_DONE) {
        int rc = take_file(intake, file, &err);
        code = rc == 0 ? report(intake) : out_condition(rc, path, &err);
    }
    free(intake);
    return code;
}

int cli_suppress_import(struct cli *cli)
{
    const char *path = cli->arguments[0];
    const char *reason = read_reason(cli);
    if (reason == NULL)
        return CLI_USAGE;
    bool from_stdin = strcmp(path, "-") == 0;
    FILE *file = from_stdin ? stdin : fopen(path, "re");
    if (file == NULL)
        return out_fail("cannot read %s: %s", path, strerror(errno));
    int rc = cli_open_storage(cli);
    if (rc == CLI_DONE)
        rc = import_from(cli, file, from_stdin ? "standard input" : path, reason);
    if (!from_stdin)
        (void)fclose(file);
    return rc;
}
