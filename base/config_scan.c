/*
 * config_scan.c - a look at the file before libconfuse gets it.
 *
 * libconfuse's lexer is forgiving where an operator needs to be told: a section that is never closed ends quietly with
 * the file, so does an open comment; a stray '*' or ';' vanishes; "${" runs to the next brace, over quotes and lines;
 * and after an unclosed string the lexer stays in its string state for the next file. So this pass refuses those, with
 * the line where the thing was opened. It also blanks the comments, because libconfuse 3.3 counts the lines of comments
 * wrongly, and its messages would name the wrong place. What it lets through is well-formed at the level of tokens; the
 * grammar, the keys and the values are checked after it.
 */
#include "base/config_private.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"

#define DEPTH_MAX 8

struct scan {
    const char *file;
    char *at, *end;
    int line;
    int open_lines[DEPTH_MAX];
    size_t depth;
    struct error *err;
};

static int refuse(struct scan *scan, int line, const char *what)
{
    return error_set(scan->err, -EINVAL, "%s:%d: %s", scan->file, line, what);
}

/* Line breaks stay, so that lines keep their numbers. */
static void blank(char *from, const char *to)
{
    for (; from < to; from++) {
        if (*from != '\n')
            *from = ' ';
    }
}

/* `at` is on a '$'. "${NAME}" and "${NAME:-default}" are replaced by the environment's value. */
static int scan_variable(struct scan *scan)
{
    scan->at++;
    if (scan->at == scan->end || *scan->at != '{')
        return 0;
    for (; scan->at < scan->end; scan->at++) {
        if (*scan->at == '}') {
            scan->at++;
            return 0;
        }
        if (*scan->at == '\n' || *scan->at == '"')
            break;
    }
    return refuse(scan, scan->line, "\"${\" is not closed by '}'");
}

static int scan_string(struct scan *scan)
{
    char quote = *scan->at++;
    while (scan->at < scan->end && *scan->at != '\n') {
        char c = *scan->at;
        if (c == quote) {
            scan->at++;
            return 0;
        }
        if (c == '$' && quote == '"') {
            int rc = scan_variable(scan);
            if (rc < 0)
                return rc;
            continue;
        }
        if ((uint8_t)c < ' ' || c == 0x7f)
            return refuse(scan, scan->line, "a control character in a string");
        scan->at++;
        if (c != '\\' || scan->at == scan->end || *scan->at == '\n')
            continue;
        /* libconfuse would make control bytes of \n, \033 or \x00; no value has a use for one. */
        if (quote == '"' && strchr("\\\"'$", *scan->at) == NULL)
            return refuse(scan, scan->line, "only \\\\, \\\", \\' and \\$ may follow a backslash in a string");
        scan->at++;
    }
    return refuse(scan, scan->line, "a string is not closed at the end of its line");
}

static int scan_block_comment(struct scan *scan)
{
    int opened = scan->line;
    char *start = scan->at;
    for (scan->at += 2; scan->end - scan->at >= 2; scan->at++) {
        if (scan->at[0] == '*' && scan->at[1] == '/') {
            scan->at += 2;
            blank(start, scan->at);
            return 0;
        }
        if (*scan->at == '\n')
            scan->line++;
    }
    return refuse(scan, opened, "a comment is not closed");
}

static int scan_brace(struct scan *scan)
{
    if (*scan->at++ == '{') {
        if (scan->depth == DEPTH_MAX)
            return refuse(scan, scan->line, "too many '{' inside one another");
        scan->open_lines[scan->depth++] = scan->line;
        return 0;
    }
    if (scan->depth == 0)
        return refuse(scan, scan->line, "'}' without a '{'");
    scan->depth--;
    return 0;
}

static bool unquoted_char(char c)
{
    return (uint8_t)c >= 0x80 || (c > ' ' && c != 0x7f && strchr("#\"'={}()+,*;", c) == NULL);
}

static int scan_token(struct scan *scan)
{
    char c = *scan->at;
    char next = scan->end - scan->at >= 2 ? scan->at[1] : '\0';
    if (c == '\n') {
        scan->line++;
        scan->at++;
        return 0;
    }
    if (c == '#' || (c == '/' && next == '/')) {
        char *newline = memchr(scan->at, '\n', (size_t)(scan->end - scan->at));
        newline = newline != NULL ? newline : scan->end;
        blank(scan->at, newline);
        scan->at = newline;
        return 0;
    }
    if (c == '/' && next == '*')
        return scan_block_comment(scan);
    if (c == '"' || c == '\'')
        return scan_string(scan);
    if (c == '{' || c == '}')
        return scan_brace(scan);
    if (c == '$')
        return scan_variable(scan);
    if (c == '+' && next == '=') {
        scan->at += 2;
        return 0;
    }
    if (unquoted_char(c) || ascii_is_space(c) || c == '=' || c == ',') {
        scan->at++;
        return 0;
    }
    char what[64];
    snprintf(what, sizeof(what), (uint8_t)c < ' ' || c == 0x7f ? "a control character" : "'%c' outside of quotes", c);
    return refuse(scan, scan->line, what);
}

int config_scan(const char *file, char *text, size_t len, struct error *err)
{
    struct scan scan = {.file = file, .at = text, .end = text + len, .line = 1, .err = err};
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        memset(text, ' ', 3);            /* a byte order mark */
    if (memchr(text, '\0', len) != NULL) /* the rest would not be read */
        return error_set(err, -EINVAL, "%s: contains a NUL byte", file);
    if (!utf8_valid(text, len))
        return error_set(err, -EINVAL, "%s: is not UTF-8 text", file);
    while (scan.at < scan.end) {
        int rc = scan_token(&scan);
        if (rc < 0)
            return rc;
    }
    if (scan.depth > 0)
        return refuse(&scan, scan.open_lines[scan.depth - 1], "'{' is not closed");
    return 0;
}
