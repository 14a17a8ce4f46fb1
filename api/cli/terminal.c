/*
 * terminal.c - colours, sizes and widths. How wide a character is says the C library's table for UTF-8, whatever locale
 * the person has: what the program prints is UTF-8 in any case.
 */
#include "api/cli/terminal.h"

#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/str.h"

#define ESCAPE '\033'

static bool never;

void tone_never(void)
{
    never = true;
}

static bool has_colours(FILE *file)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    int descriptor = fileno(file);
    if (never || (no_color != NULL && no_color[0] != '\0') || term == NULL || term[0] == '\0' ||
        strcmp(term, "dumb") == 0)
        return false;
    return isatty(descriptor >= 0 ? descriptor : STDOUT_FILENO) == 1;
}

const char *tone_begin(FILE *file, enum tone tone)
{
    static const char *const sequences[TONE_COUNT] = {"",         "\033[1m",  "\033[2m", "\033[32m",
                                                      "\033[33m", "\033[31m", "\033[36m"};
    return tone != TONE_PLAIN && has_colours(file) ? sequences[tone] : "";
}

const char *tone_end(FILE *file)
{
    return has_colours(file) ? "\033[0m" : "";
}

enum tone tone_of(const char *word)
{
    static const struct {
        const char *word;
        enum tone tone;
    } tones[] = {
        {"running", TONE_BUSY},    {"sending", TONE_BUSY},      {"finished", TONE_GOOD},  {"delivered", TONE_GOOD},
        {"ok", TONE_GOOD},         {"active", TONE_GOOD},       {"enabled", TONE_GOOD},   {"paused", TONE_WARN},
        {"scheduled", TONE_WARN},  {"deferred", TONE_WARN},     {"uncertain", TONE_WARN}, {"warning", TONE_WARN},
        {"cancelled", TONE_QUIET}, {"draft", TONE_QUIET},       {"bounced", TONE_BAD},    {"failed", TONE_BAD},
        {"error", TONE_BAD},       {"unsubscribed", TONE_WARN}, {"failing", TONE_BAD},    {"disabled", TONE_QUIET}};
    for (size_t i = 0; i < countof(tones); i++) {
        if (strcmp(tones[i].word, word) == 0)
            return tones[i].tone;
    }
    return TONE_PLAIN;
}

bool terminal_size(int descriptor, int *columns, int *rows)
{
    struct winsize size = {0};
    if (isatty(descriptor) != 1 || ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
        return false;
    *columns = size.ws_col;
    *rows = size.ws_row;
    return true;
}

static size_t cells_of(uint32_t code_point)
{
    static locale_t utf8; /* for the life of the process */
    if (code_point >= 0x20 && code_point < 0x7f)
        return 1;
    if (utf8 == (locale_t)0)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (utf8 == (locale_t)0)
        return 1;
    locale_t before = uselocale(utf8);
    int cells = wcwidth((wchar_t)code_point);
    (void)uselocale(before);
    return cells < 0 ? 1 : (size_t)cells;
}

/* Length of the escape sequence (CSI) at `text`, 0 when there is none. */
static size_t escape_length(const char *text)
{
    if (text[0] != ESCAPE || text[1] != '[')
        return 0;
    size_t len = 2 + strspn(text + 2, "0123456789;?");
    return text[len] != '\0' ? len + 1 : len;
}

/* The character at `at`: its bytes, and its cells. What is no UTF-8 counts as a character of one byte. */
static size_t step(const char *at, size_t *cells)
{
    uint32_t code_point;
    size_t bytes = utf8_decode(at, strnlen(at, 4), &code_point);
    *cells = bytes > 0 ? cells_of(code_point) : 1;
    return bytes > 0 ? bytes : 1;
}

size_t text_fitting(const char *text, size_t room)
{
    size_t at = 0, used = 0;
    while (text[at] != '\0') {
        size_t cells, escape = escape_length(text + at);
        if (escape > 0) {
            at += escape;
            continue;
        }
        size_t bytes = step(text + at, &cells);
        if (used + cells > room)
            break;
        used += cells;
        at += bytes;
    }
    return at;
}

size_t text_width(const char *text)
{
    size_t width = 0;
    while (*text != '\0') {
        size_t cells;
        text += step(text, &cells);
        width += cells;
    }
    return width;
}
