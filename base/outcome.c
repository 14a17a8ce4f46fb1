/*
 * outcome.c - the names of outcome classes and stages, and the one way to begin a struct outcome.
 *
 * outcome_set() leaves a text that is one line of valid UTF-8 whatever a server sent, so that it may go into the
 * database, JSON and the log as it is.
 */
#include "base/outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

const char *outcome_class_name(enum outcome_class class_)
{
    static const char *const names[] = {
        [OUTCOME_DELIVERED] = "delivered", [OUTCOME_TEMPORARY] = "temporary", [OUTCOME_PERMANENT] = "permanent",
        [OUTCOME_TRANSPORT] = "transport", [OUTCOME_UNCERTAIN] = "uncertain", [OUTCOME_COMPOSE] = "compose",
        [OUTCOME_EXPIRED] = "expired",     [OUTCOME_RELEASED] = "released",
    };
    assure((size_t)class_ < countof(names));
    return names[class_];
}

const char *outcome_stage_name(enum outcome_stage stage)
{
    static const char *const names[STAGE_COUNT] = {
        [STAGE_NONE] = "none", [STAGE_COMPOSE] = "compose",   [STAGE_DNS] = "dns",   [STAGE_CONNECT] = "connect",
        [STAGE_TLS] = "tls",   [STAGE_GREETING] = "greeting", [STAGE_EHLO] = "ehlo", [STAGE_AUTH] = "auth",
        [STAGE_MAIL] = "mail", [STAGE_RCPT] = "rcpt",         [STAGE_DATA] = "data", [STAGE_CONTENT] = "content",
    };
    assure((size_t)stage < countof(names));
    return names[stage];
}

void outcome_set(struct outcome *outcome, enum outcome_class class_, enum outcome_stage stage, const char *format, ...)
{
    /* Formatted aside first: the arguments may point into the outcome that is about to be cleared. */
    char text[sizeof(outcome->text)];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    str_make_line(text);
    *outcome = (struct outcome){.class_ = class_, .stage = stage};
    str_copy(outcome->text, sizeof(outcome->text), text);
}
