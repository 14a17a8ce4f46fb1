/*
 * test_bounce_report.c - the report reader over real reports (../shared/corpora/bounces, with what another tool's
 * tables expect of each), and over mails that were made to hurt it.
 *
 * The corpus' misses are printed, one a line: recipients found, hard or not, reason. It is a yardstick, not a
 * specification: its tables disagree with themselves in places (the same words are two reasons in two of its files).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "campaign/bounce/report.h"

#define CORPUS POSTHASTE_SOURCE_ROOT "/../shared/corpora/bounces"
#define ROWS_MAX 600

static struct bounce_rules *rules;
static struct report report; /* large; one at a time */

/* The corpus' word for a reason, and ours that agree with it. */
static const struct {
    const char *theirs;
    enum bounce_reason ours[4];
} words[] = {
    {"userunknown", {REASON_USER_UNKNOWN}},
    {"hostunknown", {REASON_HOST_UNKNOWN}},
    {"notaccept", {REASON_NO_MAIL}},
    {"hasmoved", {REASON_MOVED}},
    {"mailboxfull", {REASON_MAILBOX_FULL}},
    {"suspend", {REASON_INACTIVE}},
    {"filtered", {REASON_FILTERED}},
    {"mesgtoobig", {REASON_MESSAGE_TOO_BIG}},
    {"exceedlimit", {REASON_MESSAGE_TOO_BIG}},
    {"contenterror", {REASON_CONTENT}},
    {"spamdetected", {REASON_SPAM}},
    {"virusdetected", {REASON_VIRUS}},
    {"policyviolation", {REASON_POLICY}},
    {"authfailure", {REASON_AUTHENTICATION}},
    {"badreputation", {REASON_REPUTATION}},
    {"blocked", {REASON_BLOCKED, REASON_REPUTATION, REASON_TOO_MANY_CONNECTIONS}},
    {"requireptr", {REASON_PTR}},
    {"rejected", {REASON_SENDER}},
    {"norelaying", {REASON_RELAY_DENIED}},
    {"securityerror", {REASON_SECURITY}},
    {"speeding", {REASON_RATE}},
    {"networkerror", {REASON_NETWORK}},
    {"systemerror", {REASON_SYSTEM}},
    {"mailererror", {REASON_MAILER}},
    {"expired", {REASON_EXPIRED}},
    {"onhold", {REASON_ON_HOLD}},
    {"undefined", {REASON_UNDEFINED}},
};

struct row {
    char file[64], reason[32];
    bool hard;
};
static struct row rows[ROWS_MAX];
static size_t row_count;

static char *read_all(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    char *bytes = malloc((size_t)4 << 20);
    *len = 0;
    if (file != NULL && bytes != NULL)
        *len = fread(bytes, 1, ((size_t)4 << 20) - 1, file);
    if (file != NULL)
        fclose(file);
    if (bytes != NULL)
        bytes[*len] = '\0';
    return bytes;
}

static bool load_rows(void)
{
    FILE *file = fopen(CORPUS "/expected.tsv", "r");
    char line[512];
    if (file == NULL)
        return false;
    row_count = 0;
    while (row_count < ROWS_MAX && fgets(line, sizeof(line), file) != NULL) {
        struct row *row = &rows[row_count];
        int hard;
        if (sscanf(line, "%63s %31s %d", row->file, row->reason, &hard) == 3) {
            row->hard = hard != 0;
            row_count++;
        }
    }
    fclose(file);
    return row_count > 0;
}

static bool reason_agrees(const char *theirs, enum bounce_reason ours)
{
    for (size_t i = 0; i < countof(words); i++) {
        if (strcmp(words[i].theirs, theirs) != 0)
            continue;
        for (size_t k = 0; k < countof(words[i].ours); k++) {
            if (words[i].ours[k] == ours && (ours != REASON_UNDEFINED || k == 0))
                return true;
        }
    }
    return false;
}

struct rates {
    int rows, found, hard, reason, quiet, quiet_wanted;
};

/* The table: by the kind of server, which is the file's name without its number. */
#define KINDS_MAX 100
static struct {
    char name[64];
    int rows, found, hard, reason;
} kinds[KINDS_MAX];

static void tell_kind(const char *file, const struct rates *before, const struct rates *after)
{
    size_t at = 0, len = strcspn(file, ".");
    while (len > 0 && file[len - 1] != '-')
        len--;
    len = MIN_OF(len > 0 ? len - 1 : 0, sizeof(kinds[0].name) - 1);
    while (at + 1 < KINDS_MAX && kinds[at].rows > 0 &&
           (strlen(kinds[at].name) != len || strncmp(kinds[at].name, file, len) != 0))
        at++;
    memcpy(kinds[at].name, file, len);
    kinds[at].name[len] = '\0';
    kinds[at].rows += after->rows - before->rows;
    kinds[at].found += after->found - before->found;
    kinds[at].hard += after->hard - before->hard;
    kinds[at].reason += after->reason - before->reason;
}

static void print_kinds(void)
{
    printf("%-28s %5s %5s %5s %7s\n", "kind", "rows", "found", "hard", "reason");
    for (size_t i = 0; i < KINDS_MAX && kinds[i].rows > 0; i++)
        printf("%-28s %5d %5d %5d %7d\n", kinds[i].name, kinds[i].rows, kinds[i].found, kinds[i].hard, kinds[i].reason);
}

static void judge_row(const struct row *row, size_t index, struct rates *rates)
{
    struct error err;
    (void)err;
    rates->rows++;
    if (strcmp(row->reason, "feedback") == 0) {
        bool good = report.kind == REPORT_COMPLAINT || report.kind == REPORT_FEEDBACK;
        rates->found += good, rates->hard += good, rates->reason += good;
        if (!good)
            printf("MISS %-26s not read as feedback\n", row->file);
        return;
    }
    if (report.kind != REPORT_BOUNCE || index >= report.recipient_count) {
        printf("MISS %-26s no such recipient: kind %s, %zu of them\n", row->file, report_kind_name(report.kind),
               report.recipient_count);
        return;
    }
    const struct report_recipient *recipient = &report.recipients[index];
    struct bounce_class found;
    report_classify(rules, &report, recipient, &found);
    rates->found++;
    bool hard = (found.kind == BOUNCE_HARD) == row->hard, reason = reason_agrees(row->reason, found.reason);
    rates->hard += hard, rates->reason += reason;
    if (!hard || !reason)
        printf("MISS %-26s %s%s: %s %s by line %d, not %s %s: <%s> %u %s [%s] stage %s \"%.150s\"\n", row->file,
               hard ? "" : "HARD ", reason ? "" : "REASON", bounce_kind_name(found.kind),
               bounce_reason_name(found.reason), found.line, row->hard ? "hard" : "soft", row->reason,
               recipient->address, (unsigned)recipient->code, recipient->enhanced, recipient->mx,
               outcome_stage_name(recipient->stage), recipient->text);
}

static void the_corpus_is_understood(void **state)
{
    (void)state;
    if (!load_rows())
        skip();
    struct rates rates = {0};
    for (size_t i = 0; i < row_count;) {
        char path[256];
        size_t len, same = 1;
        struct error err;
        (void)snprintf(path, sizeof(path), CORPUS "/mails/%s", rows[i].file);
        char *mail = read_all(path, &len);
        assert_non_null(mail);
        assert_int_equal(report_read(mail, len, &report, &err), 0);
        while (i + same < row_count && strcmp(rows[i + same].file, rows[i].file) == 0)
            same++;
        if (strcmp(rows[i].reason, "vacation") == 0) {
            rates.quiet_wanted++;
            rates.quiet += report.kind == REPORT_AUTO_REPLY || report.kind == REPORT_NONE;
        } else {
            const struct rates before = rates;
            for (size_t k = 0; k < same; k++)
                judge_row(&rows[i + k], k, &rates);
            tell_kind(rows[i].file, &before, &rates);
            if (report.kind == REPORT_BOUNCE && report.recipient_count > same)
                printf("MORE %-26s %zu recipients instead of %zu\n", rows[i].file, report.recipient_count, same);
        }
        report_finish(&report);
        free(mail);
        i += same;
    }
    print_kinds();
    printf("corpus: %d rows; recipient found %d (%.1f%%), hard or not as expected %d (%.1f%%), reason %d (%.1f%%); "
           "quiet %d of %d\n",
           rates.rows, rates.found, 100.0 * rates.found / rates.rows, rates.hard, 100.0 * rates.hard / rates.rows,
           rates.reason, 100.0 * rates.reason / rates.rows, rates.quiet, rates.quiet_wanted);
    assert_true(rates.found * 100 >= rates.rows * 98);
    assert_true(rates.hard * 100 >= rates.rows * 95);
    assert_true(rates.reason * 100 >= rates.rows * 90);
    assert_int_equal(rates.quiet, rates.quiet_wanted);
}

/* ---- single mails ---- */

static void read_text(const char *mail)
{
    struct error err;
    assert_int_equal(report_read(mail, strlen(mail), &report, &err), 0);
}

static void several_recipients_and_actions(void **state)
{
    (void)state;
    read_text("From: MAILER-DAEMON@mx.test\nTo: bounce+abc@us.test\nSubject: x\nMIME-Version: 1.0\n"
              "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
              "--b\nContent-Type: text/plain\n\nwords\n"
              "--b\nContent-Type: message/global-delivery-status\n\n"
              "Reporting-MTA: dns; mx.test\n\n"
              "Original-Recipient: utf-8; j\xc3\xb6rg@a.test\nFinal-Recipient: utf-8; jorg@b.test\nAction: "
              "failed\nStatus: 5.1.1\n"
              "Remote-MTA: dns; mx.b.test\nDiagnostic-Code: smtp; 550 5.1.1\n  no such user\n\n"
              "Final-Recipient: rfc822; two@a.test\nAction: delayed\nStatus: 4.4.1\n\n"
              "Final-Recipient: rfc822; three@a.test\nAction: delivered\nStatus: 2.0.0\n\n"
              "--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <m@us.test>\nSubject: s\n--b--\n");
    assert_int_equal(report.kind, REPORT_BOUNCE);
    assert_int_equal(report.recipient_count, 3);
    assert_string_equal(report.recipients[0].address, "jorg@b.test");
    assert_string_equal(report.recipients[0].original, "j\xc3\xb6rg@a.test");
    assert_string_equal(report.recipients[0].text, "no such user");
    assert_string_equal(report.recipients[0].mx, "mx.b.test");
    assert_string_equal(report.recipients[0].enhanced, "5.1.1");
    assert_int_equal(report.recipients[0].code, 550);
    assert_int_equal(report.recipients[1].action, REPORT_DELAYED);
    assert_int_equal(report.recipients[2].action, REPORT_DELIVERED);
    assert_non_null(strstr(buffer_text(&report.evidence), "<m@us.test>"));
    assert_non_null(strstr(buffer_text(&report.trace), "bounce+abc@us.test"));
    assert_null(strstr(buffer_text(&report.evidence), "bounce+abc@us.test"));
    report_finish(&report);
}

static void complaints_are_told_from_other_feedback(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum report_kind kind;
    } table[] = {{"abuse", REPORT_COMPLAINT},
                 {"fraud", REPORT_COMPLAINT},
                 {"auth-failure", REPORT_FEEDBACK},
                 {"not-spam", REPORT_FEEDBACK},
                 {"virus", REPORT_FEEDBACK}};
    for (size_t i = 0; i < countof(table); i++) {
        char mail[1000];
        (void)snprintf(mail, sizeof(mail),
                       "From: fbl@isp.test\nTo: fbl@us.test\nSubject: complaint\nMIME-Version: 1.0\n"
                       "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
                       "--b\nContent-Type: text/plain\n\nwords\n"
                       "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: %s\nVersion: 1\n"
                       "Original-Mail-From: <bounce+tok@us.test>\n\n"
                       "--b\nContent-Type: message/rfc822\n\nMessage-ID: <m@us.test>\nSubject: s\n\nbody\n--b--\n",
                       table[i].type);
        read_text(mail);
        assert_int_equal(report.kind, table[i].kind);
        assert_non_null(strstr(buffer_text(&report.evidence), "bounce+tok@us.test"));
        assert_non_null(strstr(buffer_text(&report.evidence), "<m@us.test>"));
        report_finish(&report);
    }
}

static void replies_of_people_and_robots_are_left_alone(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        enum report_kind kind;
    } table[] = {
        {"From: ann@a.test\nAuto-Submitted: auto-replied\nSubject: Re: News\n", REPORT_AUTO_REPLY},
        {"From: ann@a.test\nSubject: Out of office: News\n", REPORT_AUTO_REPLY},
        {"From: ann@a.test\nSubject: =?utf-8?q?R=C3=A9ponse_automatique?= : News\n", REPORT_AUTO_REPLY},
        {"From: ann@a.test\nX-Autoreply: yes\nSubject: x\n", REPORT_AUTO_REPLY},
        {"From: ann@a.test\nSubject: Re: News\n", REPORT_NONE},
        {"", REPORT_NONE},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char mail[1000];
        (void)snprintf(mail, sizeof(mail),
                       "%sTo: bounce+abc@us.test\n\n550 5.1.1 <you@a.test>: user unknown, I am away\n", table[i].head);
        read_text(mail);
        if (i + 1 < countof(table))
            assert_int_equal(report.kind, table[i].kind);
        report_finish(&report);
    }
}

static void an_unsubscribe_by_mail_is_seen(void **state)
{
    (void)state;
    read_text("From: ann@a.test\nTo: <unsubscribe+AbC234@us.test>\nSubject: unsubscribe\n\n\n");
    assert_string_equal(report.unsubscribe_to, "abc234");
    report_finish(&report);
}

static void only_parts_and_fields_make_a_mail_automatic(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        bool automatic;
    } table[] = {
        {"From: ann@a.test\nSubject: unsubscribe\n", false},
        {"From: Bounce House <info@bouncehouse.test>\nSubject: unsubscribe\n", false},
        {"From: postmaster@a.test\nSubject: unsubscribe\n", false},
        {"From: office-admin@a.test\nSubject: unsubscribe\n", false},
        {"From: ann@a.test\nSubject: my delayed answer\n", false},
        {"From: ann@a.test\nSubject: on holiday, and no more news please\n", false},
        {"From: <>\nSubject: x\n", true},
        {"Subject: x\n", true},
        {"From: ann@a.test\nX-Failed-Recipients: b@b.test\nSubject: x\n", true},
        {"From: MAILER-DAEMON@a.test\nAuto-Submitted: auto-replied\nSubject: x\n", true},
        {"From: ann@a.test\nX-Autoreply: yes\nSubject: x\n", true},
        {"From: ann@a.test\nSubject: x\nMIME-Version: 1.0\nContent-Type: message/delivery-status\n", false},
        {"From: ann@a.test\nSubject: x\nMIME-Version: 1.0\nContent-Type: message/delivery-status\n\n"
         "Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; b@b.test\nAction: failed\nStatus: 5.1.1\n",
         true},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char mail[1000];
        (void)snprintf(mail, sizeof(mail), "To: unsubscribe+abc@us.test\n%s\nStop it.\n", table[i].head);
        read_text(mail);
        assert_int_equal(report.automatic, table[i].automatic);
        assert_string_equal(report.unsubscribe_to, "abc");
        report_finish(&report);
    }
}

/* ---- mails that were made to hurt ---- */

static int64_t read_timed(const struct buffer *mail)
{
    struct error err;
    int64_t began_ms = clock_monotonic_ms();
    assert_false(mail->failed);
    assert_int_equal(report_read(mail->data, mail->len, &report, &err), 0);
    report_finish(&report);
    return clock_monotonic_ms() - began_ms;
}

#define BOUND_MS 20000 /* generous: sanitizers, a busy machine; without bounds it would be hours */

static void ten_thousand_nested_parts(void **state)
{
    (void)state;
    struct buffer mail = BUFFER_INIT((size_t)8 << 20);
    buffer_append_str(&mail, "From: MAILER-DAEMON@mx.test\nSubject: failure notice\nMIME-Version: 1.0\nContent-Type: "
                             "multipart/mixed; boundary=b0\n\n");
    for (int i = 0; i < 10000; i++)
        buffer_printf(&mail, "--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", i, i + 1);
    buffer_append_str(&mail, "--b10000\nContent-Type: text/plain\n\n<x@y.test>: 550 5.1.1 unknown\n");
    assert_true(read_timed(&mail) < BOUND_MS);
    buffer_clear(&mail);
    buffer_append_str(&mail, "From: MAILER-DAEMON@mx.test\nSubject: failure notice\nContent-Type: message/rfc822\n\n");
    for (int i = 0; i < 10000; i++)
        buffer_append_str(&mail, "Content-Type: message/rfc822\n\n");
    assert_true(read_timed(&mail) < BOUND_MS);
    buffer_finish(&mail);
}

static void fifty_megabytes(void **state)
{
    (void)state;
    struct buffer mail = BUFFER_INIT((size_t)64 << 20);
    buffer_append_str(&mail,
                      "From: MAILER-DAEMON@mx.test\nSubject: failure notice\n\n<x@y.test>:\n550 5.1.1 user unknown\n");
    while (mail.len < (size_t)50 << 20)
        buffer_append_str(&mail, "<a@b.test> 550 5.1.1 user unknown and so on and so on and so on\n");
    assert_true(read_timed(&mail) < BOUND_MS);
    buffer_clear(&mail);
    buffer_append_str(&mail, "Subject: ");
    while (mail.len < (size_t)2 << 20)
        buffer_append_str(&mail, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@");
    assert_true(read_timed(&mail) < BOUND_MS);
    buffer_finish(&mail);
}

static void many_fields_and_recipients(void **state)
{
    (void)state;
    struct buffer mail = BUFFER_INIT((size_t)8 << 20);
    struct error err;
    buffer_append_str(&mail,
                      "From: MAILER-DAEMON@mx.test\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n"
                      "--b\nContent-Type: message/delivery-status\n\n");
    for (int i = 0; i < 5000; i++)
        buffer_printf(&mail, "Final-Recipient: rfc822; u%d@a.test\nAction: failed\nStatus: 5.1.1\n\n", i);
    buffer_append_str(&mail, "--b--\n");
    assert_int_equal(report_read(mail.data, mail.len, &report, &err), 0);
    assert_int_equal(report.recipient_count, REPORT_RECIPIENTS_MAX);
    report_finish(&report);
    buffer_finish(&mail);
}

/* NUL in each place that is read as text leaves the sound group beside it as it is; a mail of nothing else is nothing.
 */
static void nul_is_a_byte_like_another(void **state)
{
    (void)state;
    static const char mail[] = "From: MAILER-DAEMON@mx.test\0\nSubject: failure\0notice\nMIME-Version: 1.0\n"
                               "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
                               "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\0.test\n\n"
                               "Final-Recipient: rfc822; a\0b@a.test\nAction: fai\0led\nStatus: 5.1\0.1\n\n"
                               "Final-Recipient: rfc822; good@a.test\nAction: failed\nStatus: 5.1.1\n\n--b--\n";
    struct error err;
    assert_int_equal(report_read(mail, sizeof(mail) - 1, &report, &err), 0);
    assert_int_equal(report.recipient_count, 2);
    assert_string_equal(report.recipients[1].address, "good@a.test");
    assert_string_equal(report.recipients[1].enhanced, "5.1.1");
    report_finish(&report);
    struct buffer zeros = BUFFER_INIT((size_t)8 << 20);
    static const char block[4096];
    while (zeros.len < (size_t)4 << 20)
        buffer_append(&zeros, block, sizeof(block));
    assert_true(read_timed(&zeros) < BOUND_MS);
    buffer_finish(&zeros);
}

/* Every file of the corpus, cut at every fiftieth byte and with bytes flipped by a fixed generator. */
static void damaged_reports_do_no_harm(void **state)
{
    (void)state;
    DIR *folder = opendir(CORPUS "/mails");
    if (folder == NULL)
        skip();
    uint32_t seed = 7;
    int files = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char path[600];
        size_t len;
        struct error err;
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), CORPUS "/mails/%s", entry->d_name);
        char *mail = read_all(path, &len);
        for (int round = 0; round < 12; round++) {
            size_t cut = round < 4 ? len * (size_t)(round + 1) / 5 : len;
            for (int flips = 0; round >= 4 && flips < 20 && len > 0; flips++) {
                seed = seed * 1664525 + 1013904223;
                mail[seed % len] = (char)(seed >> 16);
            }
            /* A copy of its own size: a read past its end is seen. */
            char *copy = malloc(cut + 1);
            assert_non_null(copy);
            memcpy(copy, mail, cut);
            assert_int_equal(report_read(copy, cut, &report, &err), 0);
            for (size_t i = 0; i < report.recipient_count; i++) {
                struct bounce_class found;
                report_classify(rules, &report, &report.recipients[i], &found);
                assert_true(utf8_valid(report.recipients[i].text, strlen(report.recipients[i].text)));
            }
            report_finish(&report);
            free(copy);
        }
        free(mail);
        files++;
    }
    closedir(folder);
    assert_true(files > 100);
}

static int load(void **state)
{
    (void)state;
    struct error err = {""};
    int failed = bounce_rules_load(POSTHASTE_SOURCE_ROOT "/share/bounce-rules.conf", &rules, &err);
    if (failed)
        fprintf(stderr, "%s\n", err.text);
    return failed;
}

static int unload(void **state)
{
    (void)state;
    bounce_rules_free(rules);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_is_understood),
        cmocka_unit_test(several_recipients_and_actions),
        cmocka_unit_test(complaints_are_told_from_other_feedback),
        cmocka_unit_test(replies_of_people_and_robots_are_left_alone),
        cmocka_unit_test(an_unsubscribe_by_mail_is_seen),
        cmocka_unit_test(only_parts_and_fields_make_a_mail_automatic),
        cmocka_unit_test(ten_thousand_nested_parts),
        cmocka_unit_test(fifty_megabytes),
        cmocka_unit_test(many_fields_and_recipients),
        cmocka_unit_test(nul_is_a_byte_like_another),
        cmocka_unit_test(damaged_reports_do_no_harm),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
