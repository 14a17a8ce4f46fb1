/*
 * suppress.c - `posthaste suppress …`: on the database directly; a running server honours an entry from its next claim
 * on.
 *
 * Import takes whatever other senders export: one address a line, or CSV with the address in the first column. Rows
 * that are no addresses are told and counted, never guessed at.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/output.h"
#include "api/csv_out.h"
#include "api/http/json.h"
#include "api/views.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#define BATCH_ROWS 1000
#define LINE_MAX_BYTES ((size_t)64 << 10)
#define REJECTS_TOLD 10
#define REASON_BYTES 40

static bool reason_known(const char *reason)
{
    static const char *const reasons[] = {"manual", "unsubscribe", "complaint", "hard-bounce", "soft-bounce", "invalid"};
    for (size_t i = 0; i < countof(reasons); i++) {
        if (strcmp(reasons[i], reason) == 0)
            return true;
    }
    return false;
}

/* The --reason, or NULL after saying that it is not one. */
static const char *read_reason(const struct cli *cli)
{
    const char *reason = cli_value(cli, "reason");
    if (reason == NULL)
        return "manual";
    if (reason_known(reason))
        return reason;
    (void)out_fail("--reason must be manual, unsubscribe, complaint, hard-bounce, soft-bounce or invalid");
    return NULL;
}

int cli_suppress_add(struct cli *cli)
{
    const char *reason = read_reason(cli);
    struct address addresses[CLI_ARGUMENTS_MAX];
    struct storage_suppression items[CLI_ARGUMENTS_MAX];
    struct error err = {""};
    int64_t added = 0;
    if (reason == NULL)
        return CLI_USAGE;
    for (int i = 0; i < cli->argument_count; i++) {
        if (address_parse(cli->arguments[i], strlen(cli->arguments[i]), &addresses[i], &err) != 0)
            return out_fail("\"%s\": %s", cli->arguments[i], err.text);
        items[i] = (struct storage_suppression){
            .email = addresses[i].text, .reason = reason, .origin = "cli", .created_ms = clock_wall_ms()};
    }
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
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
    struct address address;
    struct error err = {""};
    if (address_parse(cli->arguments[0], strlen(cli->arguments[0]), &address, &err) != 0)
        return out_fail("\"%s\": %s", cli->arguments[0], err.text);
    if (cli_open_storage(cli) != CLI_DONE)
        return CLI_FAILED;
    int rc = storage_suppression_remove(cli->storage, address.text, 0, &err);
    if (rc == STORAGE_NOT_FOUND)
        return out_fail("%s is not suppressed", address.text);
    if (rc != 0)
        return out_condition(rc, "suppression", &err);
    if (cli->json)
        return out_json(json_pack("{s:s, s:b}", "email", address.text, "removed", 1));
    out_line("%s may be mailed again", address.text);
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
    table_begin(&table, "llll", "EMAIL", "REASON", "SINCE", "ORIGIN", NULL);
    json_array_foreach(rows, i, row)
    {
        table_cell(&table, json_string_value(json_object_get(row, "email")));
        table_cell(&table, json_string_value(json_object_get(row, "reason")));
        table_cell(&table, json_string_value(json_object_get(row, "created_at")));
        table_cell(&table, json_string_value(json_object_get(row, "origin")));
    }
    table_print(&table, stdout, "no address is suppressed", 0);
    if ((uint64_t)total > limit)
        out_line("… and %lld more (--limit N, or posthaste suppress export)", (long long)(total - (int64_t)limit));
    json_decref(rows);
    return CLI_DONE;
}

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
    char when[RFC3339_BYTES];
    buffer_clear(&out->row);
    csv_text(&out->row, suppression->email, out->raw);
    csv_comma(&out->row);
    csv_text(&out->row, suppression->reason, out->raw);
    csv_comma(&out->row);
    csv_text(&out->row, suppression->origin, out->raw);
    csv_comma(&out->row);
    csv_text(&out->row, time_format_rfc3339(suppression->created_ms, when), out->raw);
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
    fputs("email,reason,origin,created_at\r\n", out->file);
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
    if (failed)
        return out_fail("cannot write %s", path != NULL ? path : "standard output");
    if (path != NULL && cli->json)
        return out_json(json_pack("{s:I, s:s}", "rows", (json_int_t)out.rows, "file", path));
    if (path != NULL)
        out_line("wrote %lld addresses to %s", (long long)out.rows, path);
    return CLI_DONE;
}

/* ---- import ---- */

struct intake {
    struct cli *cli;
    const char *path, *reason;
    struct address addresses[BATCH_ROWS];
    char reasons[BATCH_ROWS][REASON_BYTES];
    struct storage_suppression items[BATCH_ROWS];
    size_t count;
    int64_t line, read, added, rejected;
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

static int take_line(struct intake *intake, char *line, struct error *err)
{
    struct error why = {""};
    char *rest = line;
    if (intake->line == 1 && strncmp(rest, "\xef\xbb\xbf", 3) == 0)
        rest += 3;
    const char *email = next_cell(&rest);
    const char *reason = next_cell(&rest);
    if (intake->line == 1 &&
        (str_eq_nocase(email, "email") || str_eq_nocase(email, "address") || str_eq_nocase(email, "e-mail")))
        return 0;
    if (email[0] == '\0')
        return 0;
    intake->read++;
    struct address *address = &intake->addresses[intake->count];
    if (address_parse(email, strlen(email), address, &why) != 0) {
        tell_reject(intake, email, why.text);
        return 0;
    }
    (void)str_copy(intake->reasons[intake->count], REASON_BYTES, reason_known(reason) ? reason : intake->reason);
    intake->items[intake->count] = (struct storage_suppression){.email = address->text,
                                                                .reason = intake->reasons[intake->count],
                                                                .origin = "cli import",
                                                                .created_ms = clock_wall_ms()};
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
    if (intake->cli->json)
        return out_json(json_pack("{s:I, s:I, s:I, s:I}", "read", (json_int_t)intake->read, "added",
                                  (json_int_t)intake->added, "known", (json_int_t)known, "rejected",
                                  (json_int_t)intake->rejected));
    if (intake->rejected > REJECTS_TOLD)
        fprintf(stderr, "posthaste: … and %lld more lines that were not taken\n",
                (long long)(intake->rejected - REJECTS_TOLD));
    out_line("read %lld, added %lld, known %lld, rejected %lld", (long long)intake->read, (long long)intake->added,
             (long long)known, (long long)intake->rejected);
    return CLI_DONE;
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
    int rc = take_file(intake, file, &err);
    int code = rc == 0 ? report(intake) : out_condition(rc, path, &err);
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
