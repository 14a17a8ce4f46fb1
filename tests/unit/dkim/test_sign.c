/*
 * test_sign.c - signatures, judged by libopendkim: messages of every shape verify, and whatever a forger changes makes
 * them fail. dkimpy judges the same in tests/e2e/test_dkim.py.
 */
#include "keys.h"

#include <errno.h>
#include <time.h>

#include "dkim/canon.h"

static struct dkim_key *rsa;
static struct dkim_signer *rsa_signer;
static struct buffer rsa_record;
static int64_t now_s;

static int open_keys(void **state)
{
    (void)state;
    struct error err = {{0}};
    now_s = time(NULL);
    rsa = load_key(make_rsa(1024));
    assert_int_equal(dkim_signer_create(rsa, "example.com", "s1", &rsa_signer, &err), 0);
    assert_int_equal(dkim_record(rsa, &rsa_record, &err), 0);
    return 0;
}

static int close_keys(void **state)
{
    (void)state;
    dkim_signer_free(rsa_signer);
    dkim_key_unref(rsa);
    buffer_finish(&rsa_record);
    return 0;
}

/* A body that does not end with CRLF gets one first, as SMTP has it: libopendkim does not add the one that RFC 6376
 * section 3.4.4 asks for. */
static void sign_with(struct dkim_signer *signer, const char *header, const char *body_text, size_t text_len,
                      struct buffer *message)
{
    struct error err = {{0}};
    struct buffer whole = BUFFER_INIT(0);
    buffer_append(&whole, body_text, text_len);
    if (text_len > 0 && (text_len < 2 || memcmp(body_text + text_len - 2, "\r\n", 2) != 0))
        buffer_append(&whole, "\r\n", 2);
    const char *body = buffer_text(&whole);
    size_t body_len = whole.len;
    buffer_clear(message);
    if (dkim_signer_sign(signer, header, strlen(header), body, body_len, now_s, now_s + 86400, message, &err) != 0)
        fail_msg("%s", err.text);
    buffer_append_str(message, header);
    buffer_append_str(message, "\r\n");
    buffer_append(message, body, body_len);
    buffer_finish(&whole);
    assert_false(message->failed);
}

static void assert_check(const struct buffer *message, const char *record, int expected)
{
    struct error err = {{0}};
    int rc = dkim_check(message->data, message->len, record, &err);
    if (rc != expected)
        fail_msg("check says %d \"%s\", expected %d, of:\n%s", rc, err.text, expected, message->data);
}

static const char plain_header[] = "From: News <news@example.com>\r\nTo: a@example.net\r\nSubject: Hello\r\n"
                                   "Date: Mon, 23 Nov 2026 17:25:09 +0000\r\nMessage-ID: <1@example.com>\r\n";

/* failures.md row 8: every body of at most six of CR, LF, dot, letter and space, its line ends made CRLF as the
 * composer does. */
static void every_short_body_verifies(void **state)
{
    (void)state;
    static const char letters[] = {'\r', '\n', '.', 'a', ' '};
    struct buffer message = BUFFER_INIT(0);
    unsigned checked = 0;
    for (unsigned len = 0; len <= 6; len++) {
        unsigned count = 1;
        for (unsigned i = 0; i < len; i++)
            count *= countof(letters);
        for (unsigned n = 0; n < count; n++) {
            char body[16];
            size_t body_len = 0;
            char before = 0;
            for (unsigned i = 0, rest = n; i < len; i++, rest /= countof(letters)) {
                char c = letters[rest % countof(letters)];
                if (c == '\r' || (c == '\n' && before != '\r')) {
                    body[body_len++] = '\r';
                    body[body_len++] = '\n';
                } else if (c != '\n') {
                    body[body_len++] = c;
                }
                before = c;
            }
            sign_with(rsa_signer, plain_header, body, body_len, &message);
            assert_check(&message, rsa_record.data, 0);
            checked++;
        }
    }
    assert_int_equal(checked, 19531);
    buffer_finish(&message);
}

static const struct {
    const char *header, *body;
} messages[] = {
    {"From: a@example.com\r\n", ""},
    {"From: a@example.com\r\n", "no line end"},
    {"From: a@example.com\r\n", "\r\n\r\n"},
    {"FROM : a@example.com\r\nSUBJECT:x\r\nsubject: y\r\nTo:\t b@example.net \t\r\n", "body\r\n"},
    {"From: a@example.com\r\nSubject: folded\r\n  over\r\n\tthree lines \r\nTo: b@example.net\r\n",
     " \t lead\r\nmid  dle \r\n\r\n"},
    {"Received: from x\r\n by y; date\r\nFrom: a@example.com\r\nX-Own: 1\r\nCc: b@example.net\r\nCc: c@example.net\r\n",
     "x\r\n"},
    {"From: a@example.com\r\nSubject:\r\nTo:\r\n", "..\r\n.\r\n"},
    {"From: \"A, B: C\" <a@example.com>\r\nSender: s@example.com\r\nReply-To: r@example.com\r\nIn-Reply-To: <1@x>\r\n"
     "References: <1@x>\r\n <2@x>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n"
     "Content-Transfer-Encoding: quoted-printable\r\nList-Id: <news.example.com>\r\n"
     "List-Unsubscribe: <https://example.com/u/abc>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
     "Feedback-ID: 1:a:b:c\r\nDate: Mon, 23 Nov 2026 17:25:09 +0000\r\nMessage-ID: <2@example.com>\r\n",
     "long=20text\r\n"},
};

static void table_verifies_with(struct dkim_key *key)
{
    struct error err = {{0}};
    struct dkim_signer *signer = NULL;
    struct buffer record = BUFFER_INIT(0);
    struct buffer message = BUFFER_INIT(0);
    assert_int_equal(dkim_signer_create(key, "mail.example.com", "s_1.x-y", &signer, &err), 0);
    assert_int_equal(dkim_record(key, &record, &err), 0);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < countof(messages); i++) {
            sign_with(signer, messages[i].header, messages[i].body, strlen(messages[i].body), &message);
            assert_check(&message, record.data, 0);
        }
    dkim_signer_free(signer);
    buffer_finish(&record);
    buffer_finish(&message);
    dkim_key_unref(key);
}

static void table_verifies_rsa_1024(void **state)
{
    (void)state;
    table_verifies_with(load_key(make_rsa(1024)));
}

static void table_verifies_rsa_2048(void **state)
{
    (void)state;
    table_verifies_with(load_key(make_rsa(2048)));
}

static void table_verifies_rsa_4096(void **state)
{
    (void)state;
    table_verifies_with(load_key(make_rsa(4096)));
}

/* OpenSSL's Ed25519 and RFC 8463, if the distribution's libopendkim was built with them. */
static void table_verifies_ed25519(void **state)
{
    (void)state;
    table_verifies_with(load_key(make_ed25519()));
}

static void random_messages_verify(void **state)
{
    (void)state;
    static const char *const words[] = {"a",  "word ", " ",       "\t",       "\r\n",  "\r\n\r\n",
                                        "  ", ".",     "=20\r\n", "\xc3\xa4", "From ", ":"};
    uint64_t seed = 42;
    struct buffer header = BUFFER_INIT(0);
    struct buffer body = BUFFER_INIT(0);
    struct buffer message = BUFFER_INIT(0);
    for (int round = 0; round < 1000; round++) {
        buffer_clear(&header);
        buffer_clear(&body);
        buffer_append_str(&header, "From: x@example.com\r\nSubject:");
        for (size_t n = random_below(&seed, 20); n > 0; n--) {
            static const char *const values[] = {" ", "\t", "a", "bc", "\r\n d", ":", "\r\n\te", "\xc3\xa4"};
            buffer_append_str(&header, values[random_below(&seed, countof(values))]);
        }
        buffer_append_str(&header, "\r\nTo: y@example.net\r\n");
        for (size_t n = random_below(&seed, 300); n > 0; n--)
            buffer_append_str(&body, words[random_below(&seed, countof(words))]);
        sign_with(rsa_signer, header.data, buffer_text(&body), body.len, &message);
        assert_check(&message, rsa_record.data, 0);
    }
    buffer_finish(&header);
    buffer_finish(&body);
    buffer_finish(&message);
}

/* What stands between the two parts of a signed message replaced, inserted or added. */
static void assert_change_fails(const char *find, const char *replacement)
{
    static const char header[] =
        "From: News <news@example.com>\r\nTo: a@example.net\r\nSubject: Hello\r\nDate: Mon, 23 Nov 2026 17:25:09 "
        "+0000\r\n"
        "Message-ID: <1@example.com>\r\nReply-To: r@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\nList-Id: <l.example.com>\r\nList-Unsubscribe: "
        "<https://e/u/1>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: 1:2:3:4\r\n";
    static const char body[] = "The body.\r\nSecond line.\r\n";
    struct buffer message = BUFFER_INIT(0);
    struct buffer changed = BUFFER_INIT(0);
    sign_with(rsa_signer, header, body, strlen(body), &message);
    assert_check(&message, rsa_record.data, 0);
    if (find == NULL) {
        buffer_append(&changed, message.data, message.len);
        buffer_append_str(&changed, replacement);
    } else {
        const char *at = strstr(strstr(message.data, "\r\nFrom:"), find);
        assert_non_null(at);
        buffer_append(&changed, message.data, (size_t)(at - message.data));
        buffer_append_str(&changed, replacement);
        buffer_append_str(&changed, at + strlen(find));
    }
    assert_check(&changed, rsa_record.data, 1);
    buffer_finish(&message);
    buffer_finish(&changed);
}

static void changes_are_found(void **state)
{
    (void)state;
    assert_change_fails("The body", "the body");
    assert_change_fails("Second", "SecoNd");
    assert_change_fails(NULL, "appended text\r\n");
    assert_change_fails("news@example.com", "evil@example.com");
    assert_change_fails("a@example.net", "b@example.net");
    assert_change_fails("Hello", "Hullo");
    assert_change_fails("r@example.com", "q@example.com");
    assert_change_fails("<1@example.com>", "<2@example.com>");
    assert_change_fails("17:25:09", "17:25:10");
    assert_change_fails("text/plain", "text/html");
    assert_change_fails("quoted-printable", "8bit");
    assert_change_fails("<https://e/u/1>", "<https://e/u/2>");
    assert_change_fails("One-Click", "Two-Click");
    assert_change_fails("<l.example.com>", "<m.example.com>");
    assert_change_fails("1:2:3:4", "1:2:3:5");
}

/* failures.md row 30: an added field of an oversigned name, in front of and behind the real one. */
static void added_fields_are_found(void **state)
{
    (void)state;
    static const char *const added[] = {
        "From: evil@example.com\r\n",
        "Subject: Buy\r\n",
        "To: c@example.net\r\n",
        "Date: Tue, 24 Nov 2026 17:25:09 +0000\r\n",
        "Content-Type: text/html\r\n",
        "List-Unsubscribe: <https://evil/>\r\n",
        "List-Unsubscribe-Post: evil=1\r\n",
    };
    for (size_t i = 0; i < countof(added); i++) {
        char text[128];
        snprintf(text, sizeof(text), "%sFrom: News", added[i]);
        assert_change_fails("From: News", text);
        snprintf(text, sizeof(text), "1:2:3:4\r\n%s", added[i]);
        assert_change_fails("1:2:3:4\r\n", text);
    }
}

static void field_is_well_formed(void **state)
{
    (void)state;
    struct buffer field = BUFFER_INIT(0);
    struct error err = {{0}};
    uint8_t hash[32];
    assert_int_equal(dkim_body_hash("x\r\n", 3, hash), 0);
    assert_int_equal(
        dkim_signer_sign_hashed(rsa_signer, plain_header, strlen(plain_header), hash, 1700000000, 0, &field, &err), 0);
    assert_true(
        strncmp(
            field.data,
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=example.com; s=s1;\r\n\tt=1700000000;\r\n",
            90) == 0);
    assert_null(strstr(field.data, "l="));
    assert_null(strstr(field.data, "x="));
    assert_non_null(strstr(field.data, "h=From:From:To:To:Subject:Subject:Date:Date:Message-ID:"));
    assert_non_null(strstr(field.data, "List-Unsubscribe"));
    for (const char *line = field.data; *line != '\0';) {
        size_t len = strcspn(line, "\r");
        assert_true(len > 0 && len <= 78);
        assert_memory_equal(line + len, "\r\n", 2);
        line += len + 2;
        assert_true(*line == '\0' || *line == '\t');
    }
    buffer_finish(&field);
}

static void hashed_and_whole_agree(void **state)
{
    (void)state;
    struct buffer a = BUFFER_INIT(0);
    struct buffer b = BUFFER_INIT(0);
    uint8_t hash[32];
    assert_int_equal(dkim_body_hash("x \r\n", 4, hash), 0);
    assert_int_equal(dkim_signer_sign_hashed(rsa_signer, plain_header, strlen(plain_header), hash, 5, 9, &a, NULL), 0);
    assert_int_equal(dkim_signer_sign(rsa_signer, plain_header, strlen(plain_header), "x \r\n", 4, 5, 9, &b, NULL), 0);
    assert_string_equal(a.data, b.data); /* PKCS #1 v1.5 is deterministic */
    assert_non_null(strstr(a.data, "t=5; x=9;"));
    buffer_finish(&a);
    buffer_finish(&b);
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header, *why;
    } cases[] = {
        {"", "no From"},
        {"To: a@example.net\r\n", "no From"},
        {"From: a@example.com", "does not end with CRLF"},
        {"From: a@example.com\n", "does not end with CRLF"},
        {"From: a@example.com\r\nSubject: x\n", "does not end with CRLF"},
        {"From: a@example.com\r\nSubject: x\r\n y", "does not end with CRLF"},
        {"From: a@example.com\r\nno colon\r\n", "no name"},
        {": a@example.com\r\n", "no name"},
        {"From: a@example.com\r\n\r\n", "no name"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        struct error err = {{0}};
        buffer_append_str(&out, "kept");
        assert_int_equal(
            dkim_signer_sign(rsa_signer, cases[i].header, strlen(cases[i].header), "", 0, now_s, 0, &out, &err),
            -EINVAL);
        assert_string_equal(out.data, "kept");
        if (strstr(err.text, cases[i].why) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].why);
        buffer_finish(&out);
    }
    struct buffer many = BUFFER_INIT(0);
    struct buffer out = BUFFER_INIT(0);
    buffer_append_str(&many, "From: a@example.com\r\n");
    for (int i = 0; i < 255; i++)
        buffer_append_str(&many, "X: y\r\n");
    assert_int_equal(dkim_signer_sign(rsa_signer, many.data, many.len, "", 0, now_s, 0, &out, NULL), 0);
    buffer_append_str(&many, "X: y\r\n");
    assert_int_equal(dkim_signer_sign(rsa_signer, many.data, many.len, "", 0, now_s, 0, &out, NULL), -EINVAL);
    buffer_finish(&many);
    buffer_finish(&out);
}

static void full_output_is_an_error(void **state)
{
    (void)state;
    for (size_t limit = 1; limit < 900; limit += 13) {
        struct buffer out = BUFFER_INIT(limit);
        int rc = dkim_signer_sign(rsa_signer, plain_header, strlen(plain_header), "", 0, now_s, 0, &out, NULL);
        assert_true(rc == (limit < 100 ? -ENOMEM : rc == 0 ? 0 : -ENOMEM));
        assert_true(rc != 0 || out.len > 400);
        buffer_finish(&out);
    }
}

static void check_tells_the_cases_apart(void **state)
{
    (void)state;
    struct buffer message = BUFFER_INIT(0);
    struct buffer twice = BUFFER_INIT(0);
    struct buffer unsigned_message = BUFFER_INIT(0);
    sign_with(rsa_signer, plain_header, "x\r\n", 3, &message);
    assert_check(&message, NULL, 1);
    assert_check(&message, "", 1);
    assert_check(&message, "v=DKIM1; k=rsa; p=", 1); /* revoked */
    assert_check(&message, "v=DKIM1; k=rsa; p=AAAA", 1);
    buffer_append_str(&unsigned_message, plain_header);
    buffer_append_str(&unsigned_message, "\r\nx\r\n");
    assert_check(&unsigned_message, rsa_record.data, 2);
    /* A good signature does not cover up for a bad one. */
    buffer_append_str(&twice, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s1; h=From; "
                              "bh=AAAA; b=AAAA\r\n");
    buffer_append(&twice, message.data, message.len);
    assert_check(&twice, rsa_record.data, 1);
    /* Expired. */
    struct buffer old = BUFFER_INIT(0);
    assert_int_equal(
        dkim_signer_sign(rsa_signer, plain_header, strlen(plain_header), "x\r\n", 3, 1000, 2000, &old, NULL), 0);
    buffer_append(&old, unsigned_message.data, unsigned_message.len);
    assert_check(&old, rsa_record.data, 1);
    buffer_finish(&message);
    buffer_finish(&twice);
    buffer_finish(&unsigned_message);
    buffer_finish(&old);
}

static void many_signatures_from_one_signer(void **state)
{
    (void)state;
    struct buffer message = BUFFER_INIT(0);
    for (int i = 0; i < 2000; i++)
        sign_with(rsa_signer, messages[i % (int)countof(messages)].header, "body\r\n", 6, &message);
    assert_check(&message, rsa_record.data, 0);
    buffer_finish(&message);
}

struct asked {
    int lookups, good;
};

static int look_up_nothing(void *context, const char *name, struct buffer *record)
{
    struct asked *asked = context;
    (void)name;
    (void)record;
    asked->lookups++;
    return 1;
}

static void count_voucher(void *context, const char *domain)
{
    struct asked *asked = context;
    (void)domain;
    asked->good++;
}

/* A stranger's report may carry as many as fit into a mail, each of them a question to a name server of his. */
static void of_many_signatures_few_are_looked_at(void **state)
{
    (void)state;
    struct dkim_key *key = load_key(make_ed25519());
    struct buffer signatures = BUFFER_INIT(0), message = BUFFER_INIT(0);
    struct error err = {{0}};
    static const char header[] = "From: a@example.com\r\nSubject: report\r\n", body[] = "body\r\n";
    for (int i = 0; i < 3000; i++) {
        struct dkim_signer *signer;
        char selector[16];
        (void)snprintf(selector, sizeof(selector), "s%d", i);
        assert_int_equal(dkim_signer_create(key, "example.com", selector, &signer, &err), 0);
        assert_int_equal(dkim_signer_sign(signer, header, sizeof(header) - 1, body, sizeof(body) - 1, 1700000000, 0,
                                          &signatures, &err), 0);
        dkim_signer_free(signer);
    }
    buffer_append(&message, signatures.data, signatures.len);
    buffer_append_str(&message, header);
    buffer_append_str(&message, "\r\n");
    buffer_append_str(&message, body);
    struct asked asked = {0};
    assert_int_equal(dkim_vouchers(message.data, message.len, look_up_nothing, count_voucher, &asked, &err), 0);
    assert_int_equal(asked.lookups, DKIM_SIGNATURES_MAX);
    assert_int_equal(asked.good, 0);
    buffer_finish(&message);
    buffer_finish(&signatures);
    dkim_key_unref(key);
}

static void a_line_of_returns_is_no_field(void **state)
{
    (void)state;
    static const char *const mails[] = {"\r\r\n\r\nbody\r\n", "Subject: x\r\n\r\r\nFrom: a@example.com\r\n\r\nbody\r\n",
                                        "Subject: x\r\n\r\r\r\n", "Subject: x\n\r"};
    for (size_t i = 0; i < countof(mails); i++) {
        struct asked asked = {0};
        struct error err = {{0}};
        int rc = dkim_vouchers(mails[i], strlen(mails[i]), look_up_nothing, count_voucher, &asked, &err);
        assert_int_equal(rc, -EIO);
        assert_int_equal(asked.good, 0);
    }
}

/* Row 30 of the catalogue of failures wants a million under the sanitizers: POSTHASTE_SIGNS=1000000. */
static void thousands_of_signatures(void **state)
{
    (void)state;
    const char *wanted = getenv("POSTHASTE_SIGNS");
    long count = wanted != NULL ? atol(wanted) : 20000;
    struct error err = {{0}};
    struct dkim_key *key = load_key(make_ed25519());
    struct dkim_signer *signer = NULL;
    struct buffer record = BUFFER_INIT(0), message = BUFFER_INIT(0);
    assert_int_equal(dkim_signer_create(key, "example.com", "s1", &signer, &err), 0);
    assert_int_equal(dkim_record(key, &record, &err), 0);
    for (long i = 0; i < count; i++) {
        sign_with(signer, messages[i % (int)countof(messages)].header, "body\r\n", (size_t)(i % 7), &message);
        if (i % 10000 == 0)
            assert_check(&message, record.data, 0);
    }
    buffer_finish(&message);
    buffer_finish(&record);
    dkim_signer_free(signer);
    dkim_key_unref(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_verifies_rsa_1024),   cmocka_unit_test(table_verifies_rsa_2048),
        cmocka_unit_test(table_verifies_rsa_4096),   cmocka_unit_test(table_verifies_ed25519),
        cmocka_unit_test(random_messages_verify),    cmocka_unit_test(changes_are_found),
        cmocka_unit_test(added_fields_are_found),    cmocka_unit_test(field_is_well_formed),
        cmocka_unit_test(hashed_and_whole_agree),    cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(full_output_is_an_error),   cmocka_unit_test(check_tells_the_cases_apart),
        cmocka_unit_test(of_many_signatures_few_are_looked_at), cmocka_unit_test(a_line_of_returns_is_no_field),
        cmocka_unit_test(thousands_of_signatures),   cmocka_unit_test(many_signatures_from_one_signer),
        cmocka_unit_test(every_short_body_verifies),
    };
    return cmocka_run_group_tests(tests, open_keys, close_keys);
}
