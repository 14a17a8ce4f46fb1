/*
 * stage_times.c - a few numbers, short, for they are in every row (see stage_times.h). By hand, for they are written
 * for each message, and snprintf() takes a tenth of the time of the whole row.
 */
#include "storage/stage_times.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

static const char letters[STAGE_COUNT] = {
    [STAGE_NONE] = 'n', [STAGE_COMPOSE] = 'o',  [STAGE_DNS] = 'd',  [STAGE_CONNECT] = 'c',
    [STAGE_TLS] = 't',  [STAGE_GREETING] = 'g', [STAGE_EHLO] = 'e', [STAGE_AUTH] = 'a',
    [STAGE_MAIL] = 'm', [STAGE_RCPT] = 'r',     [STAGE_DATA] = 'b', [STAGE_CONTENT] = 'f',
};

void stage_times_write(const uint32_t times_ms[STAGE_COUNT], char out[STAGE_TIMES_BYTES])
{
    char *at = out;
    for (size_t stage = 0; stage < STAGE_COUNT; stage++) {
        if (times_ms[stage] == 0)
            continue;
        char digits[10];
        size_t count = 0;
        for (uint32_t left = times_ms[stage]; left > 0; left /= 10)
            digits[count++] = (char)('0' + left % 10);
        *at++ = letters[stage];
        while (count > 0)
            *at++ = digits[--count];
    }
    *at = '\0';
}

static enum outcome_stage stage_of(const char *word, size_t len)
{
    for (enum outcome_stage stage = STAGE_NONE; stage < STAGE_COUNT; stage++) {
        const char *name = outcome_stage_name(stage);
        if ((len == 1 && word[0] == letters[stage]) || (strlen(name) == len && memcmp(name, word, len) == 0))
            return stage;
    }
    return STAGE_COUNT;
}

void stage_times_read(const char *text, uint32_t times_ms[STAGE_COUNT])
{
    memset(times_ms, 0, STAGE_COUNT * sizeof(*times_ms));
    while (*text != '\0') {
        size_t word = 0, digits = 0;
        uint64_t value = 0;
        while (islower((unsigned char)text[word]))
            word++;
        enum outcome_stage stage = stage_of(text, word);
        text += word + (text[word] == ':');
        for (; isdigit((unsigned char)text[digits]); digits++)
            value = value > UINT32_MAX ? value : value * 10 + (uint64_t)(text[digits] - '0');
        text += digits;
        if (stage < STAGE_COUNT && digits > 0)
            times_ms[stage] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
        if (word + digits == 0 && *text != '\0')
            text++;
    }
}
