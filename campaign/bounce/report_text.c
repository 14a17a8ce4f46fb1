/*
 * report_text.c - reports that were written for people: qmail, Exim, sendmail before DSN, OpenSMTPD, Exchange, Notes,
 * the providers' own.
 *
 * They all do the same: they name the address, at the start of a line or behind "550", and near it they quote what went
 * wrong; then the returned message follows behind a line of its own. So instead of one parser for each program there is
 * one for the habit. What belongs to an address are the lines from it to the next address; in a transcript of sendmail,
 * where the verdict stands last, the lines since the address before it.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/str.h"
#include "campaign/bounce/report_private.h"
#include "campaign/json_text.h"

long report_find(const char *text, size_t len, const char *needle)
{
    size_t needle_len = strlen(needle);
    for (size_t i = 0; i + needle_len <= len; i++) {
        if (ascii_lower(text[i]) == ascii_lower(needle[0]) && strncasecmp(text + i, needle, needle_len) == 0)
            return (long)i;
    }
    return -1;
}

/* ---- addresses ---- */

static bool is_local_char(char c)
{
    return c != '\0' && (strchr("!#$%&'*+-/=?^_`{|}~.", c) != NULL || (c >= '0' && c <= '9') ||
                         (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c > 127);
}

static bool is_domain_char(char c)
{
    return c == '-' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c > 127;
}

size_t report_find_address(const char *text, size_t len, size_t *start)
{
    for (size_t at = 1; at + 1 < len; at++) {
        if (text[at] != '@')
            continue;
        size_t begin = at, end = at + 1;
        if (text[at - 1] == '"') {
            begin = at - 1;
            while (begin > 0 && text[begin - 1] != '"' && text[begin - 1] != '\n')
                begin--;
            if (begin > 0)
                begin--;
        } else {
            while (begin > 0 && is_local_char(text[begin - 1]))
                begin--;
        }
        while (end < len && is_domain_char(text[end]))
            end++;
        while (end > at + 1 && (text[end - 1] == '.' || text[end - 1] == '-'))
            end--;
        if (begin < at && end > at + 1 && memchr(text + at, '.', end - at) != NULL &&
            end - begin < REPORT_ADDRESS_BYTES) {
            *start = begin;
            return end - begin;
        }
    }
    return 0;
}

void report_copy_address(char out[REPORT_ADDRESS_BYTES], const char *text, size_t len)
{
    size_t start;
    size_t found = report_find_address(text, len, &start);
    out[0] = '\0';
    if (found > 0) {
        memcpy(out, text + start, found);
        out[found] = '\0';
        return;
    }
    /* No mailbox, such as "@mx.example.org" or a command: what stands there, so that one sees whom it concerns. */
    const char *semicolon = memchr(text, ';', len);
    if (semicolon != NULL) {
        len -= (size_t)(semicolon + 1 - text);
        text = semicolon + 1;
    }
    while (len > 0 && (ascii_is_space(*text) || *text == '<'))
        text++, len--;
    while (len > 0 && (ascii_is_space(text[len - 1]) || text[len - 1] == '>'))
        len--;
    len = MIN_OF(len, (size_t)REPORT_ADDRESS_BYTES - 1);
    memcpy(out, text, len);
    out[len] = '\0';
    str_make_line(out);
}

/* ---- what the server said ---- */

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
           c == '-' || c == '=' || c == '/' || c == '@';
}

/* The first reply code in the text: its index, or -1. */
static long find_code(const char *text)
{
    for (size_t i = 0; text[i] != '\0'; i++) {
        if ((text[i] != '4' && text[i] != '5') || (i > 0 && is_word(text[i - 1])))
            continue;
        if (text[i + 1] >= '0' && text[i + 1] <= '7' && ascii_is_digit(text[i + 2]) &&
            (text[i + 3] == '\0' || strchr(" -:,;#", text[i + 3]) != NULL))
            return (long)i;
    }
    return -1;
}

static void find_enhanced(const char *text, char out[12])
{
    for (size_t i = 0; text[i] != '\0'; i++) {
        if ((text[i] != '4' && text[i] != '5') || text[i + 1] != '.' ||
            (i > 0 && (is_word(text[i - 1]) && text[i - 1] != '-' && text[i - 1] != '=')))
            continue;
        struct bounce_line split;
        bounce_line_split(text + i, &split);
        if (split.code == 0 && split.enhanced[0] != '\0') {
            memcpy(out, split.enhanced, sizeof(split.enhanced));
            return;
        }
    }
}

static enum outcome_stage find_stage(const char *text)
{
    static const struct {
        const char *words;
        enum outcome_stage stage;
    } table[] = {
        {"initial connection", STAGE_GREETING},
        {"refused to talk to me", STAGE_GREETING},
        {"reply to RCPT TO", STAGE_RCPT},
        {"after RCPT TO", STAGE_RCPT},
        {">>> RCPT TO", STAGE_RCPT},
        {"does not like recipient", STAGE_RCPT},
        {"our RCPT TO", STAGE_RCPT},
        {"reply to MAIL FROM", STAGE_MAIL},
        {"after MAIL FROM", STAGE_MAIL},
        {">>> MAIL FROM", STAGE_MAIL},
        {"sender was rejected", STAGE_MAIL},
        {"our MAIL FROM", STAGE_MAIL},
        {"end of DATA", STAGE_CONTENT},
        {"reply to DATA", STAGE_DATA},
        {"after DATA", STAGE_DATA},
        {">>> DATA", STAGE_DATA},
        {"final DATA", STAGE_CONTENT},
        {"after I sent the message", STAGE_CONTENT},
        {"while in DATA", STAGE_DATA},
        {"SMTP command DATA", STAGE_DATA},
        {"SMTP command: DATA", STAGE_DATA},
    };
    size_t len = strlen(text);
    for (size_t i = 0; i < countof(table); i++) {
        if (report_find(text, len, table[i].words) >= 0)
            return table[i].stage;
    }
    return STAGE_NONE;
}

/* White space becomes one blank each, control bytes too. */
static void clean_text(char out[BOUNCE_TEXT_BYTES], const char *text, size_t len)
{
    size_t used = 0;
    for (size_t i = 0; i < len && used < BOUNCE_TEXT_BYTES - 1; i++) {
        bool space = ascii_is_space(text[i]) || text[i] == '\0';
        if (space && (used == 0 || out[used - 1] == ' '))
            continue;
        out[used++] = space ? ' ' : text[i];
    }
    out[used] = '\0';
    str_make_line(out);
}

static enum outcome_stage find_stage_in(const char *text, size_t len)
{
    char clean[BOUNCE_TEXT_BYTES];
    clean_text(clean, text, len);
    return find_stage(clean);
}

/* Drops the codes that head each line of a reply, which would stand between the words. */
static void drop_codes(char *text, uint16_t code)
{
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        bool begins = from == text || from[-1] == ' ';
        if (begins && code != 0 && strtoul(from, NULL, 10) == code &&
            (from[3] == '-' || from[3] == ' ' || from[3] == ':')) {
            struct bounce_line split;
            bounce_line_split(from, &split);
            if (split.code == code) {
                from = split.text;
                continue;
            }
        }
        *to++ = *from++;
    }
    *to = '\0';
}

void report_make_words(struct report *report, const char *text, size_t end)
{
    clean_text(report->words, text, end);
}

void report_take_reply(struct report_recipient *recipient, const char *text, size_t len)
{
    char clean[BOUNCE_TEXT_BYTES];
    clean_text(clean, text, len);
    long code_at = find_code(clean);
    if (code_at >= 0)
        recipient->code =
            (uint16_t)strtoul((const char[4]){clean[code_at], clean[code_at + 1], clean[code_at + 2], 0}, NULL, 10);
    if (recipient->stage == STAGE_NONE)
        recipient->stage = find_stage(clean);
    char enhanced[12] = "";
    find_enhanced(clean, enhanced);
    if (enhanced[0] != '\0' && strcmp(enhanced + 1, ".0.0") != 0)
        memcpy(recipient->enhanced, enhanced, sizeof(enhanced));
    /* The server's own words begin with its code; what the reporting one tells before would only mislead. */
    char *words = clean + (code_at > 0 ? code_at : 0);
    drop_codes(words, recipient->code);
    (void)str_copy(recipient->text, sizeof(recipient->text), words);
}

/* ---- where the returned message begins ---- */

size_t report_text_end(const char *text)
{
    /* Between dashes; and those that are clear enough as the end of a plain sentence. */
    static const char *const dashed_marks[] = {
        "original message", "copy of the message", "copy of your message", "original mail",
        "returned message", "unsent message",      "headers follow",       "header of the original",
        "below this line",  "returned mail",       "message follows",
    };
    static const char *const plain_marks[] = {"original message follows", "original message:", "headers follow",
                                              "original mail as follows", "returned mail follows"};
    static const char *const heads[] = {"Received:", "Return-Path:", "DKIM-Signature:", "X-Received:"};
    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        size_t len = (size_t)(end - line);
        const char *begin = line;
        while (begin < end && (*begin == ' ' || *begin == '\t'))
            begin++;
        bool dashed = begin[0] == '-' && begin[1] == '-';
        for (size_t i = 0; dashed && i < countof(dashed_marks) && len < 120; i++) {
            if (report_find(line, len, dashed_marks[i]) >= 0)
                return (size_t)(line - text);
        }
        for (size_t i = 0; i < countof(plain_marks) && len < 120; i++) {
            if (report_find(line, len, plain_marks[i]) >= 0)
                return (size_t)(line - text);
        }
        for (size_t i = 0; i < countof(heads); i++) {
            if (begin == line && str_starts_nocase(line, heads[i]) && line != text)
                return (size_t)(line - text);
        }
        line = *end != '\0' ? end + 1 : end;
    }
    return strlen(text);
}

/* ---- who ---- */

static bool is_service(const char *address)
{
    static const char *const locals[] = {"postmaster@", "mailer-daemon@", "abuse@",   "support@",
                                         "noreply@",    "no-reply@",      "helpdesk@"};
    for (size_t i = 0; i < countof(locals); i++) {
        if (str_starts_nocase(address, locals[i]))
            return true;
    }
    return false;
}

static bool is_own(const struct report_own *own, const char *address)
{
    for (size_t i = 0; i < countof(own->addresses); i++) {
        if (own->addresses[i] != NULL && str_eq_nocase(own->addresses[i], address))
            return true;
    }
    return false;
}

static struct report_recipient *known(struct report *report, size_t first, const char *address)
{
    for (size_t i = first; i < report->recipient_count; i++) {
        if (str_eq_nocase(report->recipients[i].address, address))
            return &report->recipients[i];
    }
    return NULL;
}

/* Who may be taken: ever less strict rounds, until somebody is found. */
enum round { ROUND_LINE_START, ROUND_ANYWHERE, ROUND_OWN, ROUND_COUNT };

/* "  <x@y>", "550 5.1.1 <x@y>", "x@y: …", "<<< 550 <x@y>": how the address stands in its line. */
static bool at_line_start(const char *line, size_t start, bool *verdict)
{
    size_t i = 0;
    *verdict = false;
    while (i < start && (ascii_is_space(line[i]) || strchr("<>|*(\"'", line[i]) != NULL))
        i++;
    if (i < start && (line[i] == '4' || line[i] == '5') && ascii_is_digit(line[i + 1]) && ascii_is_digit(line[i + 2])) {
        *verdict = true;
        i += 3;
        while (i < start && (ascii_is_space(line[i]) || strchr("<.-0123456789", line[i]) != NULL))
            i++;
    }
    return i == start;
}

struct place {
    struct report_recipient *recipient;
    size_t begin, end; /* of the lines that are about it */
    bool verdict;      /* the line with its address is the verdict of a transcript, and ends it */
};

static size_t search(struct report *report, const char *text, size_t end, const struct report_own *own,
                     enum round round, struct place places[REPORT_RECIPIENTS_MAX])
{
    size_t count = 0, first = report->recipient_count, after_last = 0;
    for (size_t at = 0; at < end;) {
        const char *line = text + at;
        const char *newline = memchr(line, '\n', end - at);
        size_t len = newline != NULL ? (size_t)(newline - line) : end - at;
        size_t next = at + len + (newline != NULL), start;
        size_t found = report_find_address(line, MIN_OF(len, (size_t)1000), &start);
        char address[REPORT_ADDRESS_BYTES];
        bool verdict = false;
        if (found > 0) {
            report_copy_address(address, line + start, found);
            bool begins = at_line_start(line, start, &verdict);
            bool fits = round == ROUND_OWN || (!is_own(own, address) && !is_service(address));
            if (round == ROUND_LINE_START)
                fits = fits && begins;
            if (report_find(line, len, "contact") >= 0)
                fits = false;
            struct report_recipient *recipient = fits ? known(report, first, address) : NULL;
            if (recipient == NULL && fits && (round == ROUND_LINE_START || count == 0) &&
                (recipient = report_add(report)) != NULL) {
                memcpy(recipient->address, address, sizeof(recipient->address));
                places[count] = (struct place){recipient, verdict ? after_last : at, end, verdict};
                if (count > 0 && places[count - 1].end == end)
                    places[count - 1].end = at;
                count++;
            }
            if (recipient != NULL && verdict && count > 0 && places[count - 1].recipient == recipient &&
                places[count - 1].verdict) {
                places[count - 1].end = next;
                after_last = next;
            }
        }
        at = next;
    }
    return count;
}

/* The last part of a sentence in front of the first address may be the reason ("User not listed …\n x@y"). */
static void take_text(struct place *place, const char *text, size_t end)
{
    struct report_recipient *recipient = place->recipient;
    report_take_reply(recipient, text + place->begin, place->end - place->begin);
    size_t address_len = strlen(recipient->address), text_len = strlen(recipient->text);
    if (recipient->code == 0 && text_len < address_len + 12) {
        recipient->text[0] = '\0';
        report_take_reply(recipient, text, end);
    }
}

size_t report_text_recipients(struct report *report, const char *text, size_t end, const struct report_own *own,
                              bool line_starts)
{
    struct place places[REPORT_RECIPIENTS_MAX];
    size_t count = 0;
    for (int round = 0; round < (line_starts ? ROUND_ANYWHERE : ROUND_COUNT) && count == 0; round++)
        count = search(report, text, end, own, (enum round)round, places);
    for (size_t i = 0; i < count; i++)
        take_text(&places[i], text, end);
    return count;
}

void report_text_complete(struct report *report, const char *text, size_t end)
{
    for (size_t i = 0; i < report->recipient_count; i++) {
        struct report_recipient *recipient = &report->recipients[i];
        if (recipient->address[0] == '\0')
            memcpy(recipient->address, recipient->original, sizeof(recipient->address));
        if (recipient->text[0] != '\0') {
            if (recipient->stage == STAGE_NONE && report->recipient_count == 1)
                recipient->stage = find_stage_in(text, end);
            continue;
        }
        char enhanced[12];
        memcpy(enhanced, recipient->enhanced, sizeof(enhanced));
        size_t begin = 0, stop = end;
        long at = recipient->address[0] != '\0' ? report_find(text, end, recipient->address) : -1;
        if (at >= 0 && report->recipient_count > 1) {
            begin = (size_t)at;
            for (size_t other = 0; other < report->recipient_count; other++) {
                long there =
                    other == i ? -1 : report_find(text + begin, stop - begin, report->recipients[other].address);
                if (there > 0)
                    stop = begin + (size_t)there;
            }
        }
        report_take_reply(recipient, text + begin, stop - begin);
        if (enhanced[0] == '\0' || strcmp(enhanced + 1, ".0.0") == 0)
            continue;
        memcpy(recipient->enhanced, enhanced, sizeof(enhanced));
        if (recipient->code == 0) /* nobody quoted: the status code says more than our sentences around it */
            recipient->text[0] = '\0';
    }
}

/* ---- notifications in JSON ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void add_json(struct report *report, const json_t *row)
{
    struct report_recipient *recipient = report_add(report);
    if (recipient == NULL)
        return;
    const char *address = text_of(row, "emailAddress"), *said = text_of(row, "diagnosticCode");
    struct bounce_line split;
    report_copy_address(recipient->address, address, strlen(address));
    bounce_line_split(text_of(row, "status"), &split);
    memcpy(recipient->enhanced, split.enhanced, sizeof(recipient->enhanced));
    if (str_starts_nocase(text_of(row, "action"), "delay"))
        recipient->action = REPORT_DELAYED;
    report_take_reply(recipient, said, strlen(said));
}

size_t report_json(struct report *report, const char *text)
{
    /* Mail systems fold the long line; within JSON a line break is never part of a text. */
    char *flat = str_dup(text), *to = flat;
    if (flat == NULL)
        return 0;
    for (const char *from = flat; *from != '\0'; from++) {
        if (*from != '\n' && *from != '\r')
            *to++ = *from;
    }
    *to = '\0';
    json_t *root = json_text_reads(flat, JSON_DISABLE_EOF_CHECK, NULL);
    free(flat);
    size_t before = report->recipient_count, i;
    const char *type = text_of(root, "notificationType");
    const json_t *rows = json_object_get(json_object_get(root, "bounce"), "bouncedRecipients");
    json_t *row;
    if (strcmp(type, "Bounce") == 0) {
        json_array_foreach(rows, i, row)
        {
            add_json(report, row);
        }
        report->kind = REPORT_BOUNCE;
    } else if (strcmp(type, "Complaint") == 0) {
        rows = json_object_get(json_object_get(root, "complaint"), "complainedRecipients");
        json_array_foreach(rows, i, row)
        {
            add_json(report, row);
        }
        report->kind = REPORT_COMPLAINT;
        (void)str_copy(report->feedback_type, sizeof(report->feedback_type), "abuse");
    }
    json_decref(root);
    return report->recipient_count - before;
}
