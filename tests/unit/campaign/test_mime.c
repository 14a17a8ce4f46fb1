/* test_mime.c - quoted-printable against a decoder of the test's own, parts encoded ahead against parts encoded at
 * once, header fields. */
#include "tests/unit/base/addresses.h"
#include "tests/unit/base/unit.h"

#include <errno.h>

#include "base/address.h"
#include "base/base64.h"
#include "campaign/message/base64.h"
#include "campaign/message/header.h"
#include "campaign/message/mime.h"

static void encode_pieces(const char *text, size_t len, const size_t *cuts, size_t cut_count, struct buffer *out)
{
    struct qp qp = QP_INIT(out);
    size_t from = 0;
    for (size_t i = 0; i <= cut_count; i++) {
        size_t to = i < cut_count ? cuts[i] : len;
        qp_write(&qp, text + from, to - from);
        from = to;
    }
    qp_end(&qp);
    assert_false(out->failed);
}

static void qp_table(void **state)
{
    (void)state;
    static const struct {
        const char *text, *encoded;
    } cases[] = {
        {"", ""},
        {"a", "a\r\n"},
        {"a\n", "a\r\n"},
        {"a\r\nb\rc\nd", "a\r\nb\r\nc\r\nd\r\n"},
        {"\r\r\n\n", "\r\n\r\n\r\n"},
        {"=", "=3D\r\n"},
        {"a \nb\t\n \n", "a=20\r\nb=09\r\n=20\r\n"},
        {"end ", "end=20\r\n"},
        {" lead", " lead\r\n"},
        {".\n..\na.", "=2E\r\n=2E.\r\na.\r\n"},
        {"\xc3\xa4\xe2\x82\xac", "=C3=A4=E2=82=AC\r\n"},
        {"\x01\x7f\v", "=01=7F=0B\r\n"},
        {"From x", "From x\r\n"},
        /* 75 and 76 characters, and a space in the last column */
        {"123456789012345678901234567890123456789012345678901234567890123456789012345",
         "123456789012345678901234567890123456789012345678901234567890123456789012345\r\n"},
        {"1234567890123456789012345678901234567890123456789012345678901234567890123456",
         "123456789012345678901234567890123456789012345678901234567890123456789012345=\r\n6\r\n"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234 \n",
         "12345678901234567890123456789012345678901234567890123456789012345678901234=\r\n=20\r\n"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234=",
         "12345678901234567890123456789012345678901234567890123456789012345678901234=\r\n=3D\r\n"},
        {"123456789012345678901234567890123456789012345678901234567890123456789012=",
         "123456789012345678901234567890123456789012345678901234567890123456789012=3D\r\n"},
        {"123456789012345678901234567890123456789012345678901234567890123456789012345.",
         "123456789012345678901234567890123456789012345678901234567890123456789012345=\r\n=2E\r\n"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        encode_pieces(cases[i].text, strlen(cases[i].text), NULL, 0, &out);
        assert_string_equal(buffer_text(&out), cases[i].encoded);
        buffer_finish(&out);
    }
    struct buffer out = BUFFER_INIT(0);
    encode_pieces("a\0b\0", 4, NULL, 0, &out);
    assert_string_equal(out.data, "ab\r\n");
    buffer_finish(&out);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes and checks the rules on the way: line lengths, no white space before CRLF, only printable ASCII, no dot in
 * front. */
static void decode_checked(const struct buffer *encoded, struct buffer *out)
{
    buffer_clear(out);
    const char *text = buffer_text(encoded);
    for (size_t at = 0; at < encoded->len;) {
        const char *cr = memchr(text + at, '\r', encoded->len - at);
        assert_non_null(cr);
        size_t len = (size_t)(cr - (text + at));
        assert_true(cr[1] == '\n' && len <= 76);
        assert_true(len == 0 || (text[at] != '.' && cr[-1] != ' ' && cr[-1] != '\t'));
        bool soft = false;
        for (size_t i = at; i < at + len; i++) {
            char c = text[i];
            assert_true(c == '\t' || (c >= ' ' && c <= '~'));
            if (c != '=') {
                buffer_append_char(out, c);
            } else if (i == at + len - 1) {
                soft = true;
            } else {
                assert_true(hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0);
                buffer_append_char(out, (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2])));
                i += 2;
            }
        }
        if (!soft)
            buffer_append_char(out, '\n');
        at += len + 2;
    }
}

/* What the decoder must see: LF line ends, no NUL, a last line that ends. */
static void plain_form(const char *text, size_t len, struct buffer *out)
{
    buffer_clear(out);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' && i > 0 && text[i - 1] == '\r')
            continue;
        if (text[i] != '\0')
            buffer_append_char(out, text[i] == '\r' ? '\n' : text[i]);
    }
    if (out->len > 0 && out->data[out->len - 1] != '\n')
        buffer_append_char(out, '\n');
}

static void random_texts_come_back_however_they_are_cut(void **state)
{
    (void)state;
    static const char *const pieces[] = {"word",
                                         " ",
                                         "\t",
                                         "\n",
                                         "\r\n",
                                         "\r",
                                         "=",
                                         ".",
                                         "\xc3\xa4",
                                         "  ",
                                         "\x01",
                                         "a longer run of plain words",
                                         "0123456789012345678901234567890123456789"};
    uint64_t seed = 99;
    struct buffer text = BUFFER_INIT(0);
    struct buffer whole = BUFFER_INIT(0);
    struct buffer cut = BUFFER_INIT(0);
    struct buffer decoded = BUFFER_INIT(0);
    struct buffer expected = BUFFER_INIT(0);
    for (int round = 0; round < 10000; round++) {
        buffer_clear(&text);
        buffer_clear(&whole);
        buffer_clear(&cut);
        for (size_t n = random_below(&seed, 60); n > 0; n--)
            buffer_append_str(&text, pieces[random_below(&seed, countof(pieces))]);
        size_t cuts[3];
        for (size_t i = 0; i < 3; i++)
            cuts[i] = random_below(&seed, text.len + 1);
        for (size_t i = 0; i < 2; i++)
            for (size_t j = 0; j < 2; j++)
                if (cuts[j] > cuts[j + 1]) {
                    size_t swap = cuts[j];
                    cuts[j] = cuts[j + 1];
                    cuts[j + 1] = swap;
                }
        encode_pieces(buffer_text(&text), text.len, NULL, 0, &whole);
        encode_pieces(buffer_text(&text), text.len, cuts, 3, &cut);
        assert_string_equal(buffer_text(&whole), buffer_text(&cut));
        decode_checked(&whole, &decoded);
        plain_form(buffer_text(&text), text.len, &expected);
        assert_string_equal(buffer_text(&decoded), buffer_text(&expected));
    }
    buffer_finish(&text);
    buffer_finish(&whole);
    buffer_finish(&cut);
    buffer_finish(&decoded);
    buffer_finish(&expected);
}

/* A part must give what encoding its whole rendering gives: the encoding ahead is only a shortcut. */
static void parts_equal_their_rendering(void **state)
{
    (void)state;
    static const char *const pieces[] = {"text",
                                         " ",
                                         "\n",
                                         "\r\n",
                                         "{{a}}",
                                         "{{b}}",
                                         "{{{c}}}",
                                         "{{none}}",
                                         "=",
                                         ".",
                                         "{{d}}",
                                         "{{#a}}.x{{b}}\nline\n.{{/a}}",
                                         "{{^b}} \n{{/b}}",
                                         "{{#list}}{{.}}\n.whole\n line {{/list}}",
                                         "{{#list}}\n{{#list}}\n.{{.}}\n{{/list}}\n{{/list}}",
                                         "a whole line of the template\n",
                                         "0123456789012345678901234567890123456789"};
    static const char *const values[] = {"",    " ",   "\n",       "\r", "\r\n",
                                         "v",   "<&>", "\xc3\xbc", ".",  "long long value, long long value",
                                         " \r", "x ",  "\n\n."};
    uint64_t seed = 1234;
    for (int round = 0; round < 20000; round++) {
        struct buffer source = BUFFER_INIT(0);
        struct buffer plain = BUFFER_INIT(0);
        struct buffer expected = BUFFER_INIT(0);
        struct buffer got = BUFFER_INIT(0);
        struct template *template = NULL;
        struct part *part = NULL;
        unsigned missing[2] = {0, 0};
        enum template_escape escape = round % 2 == 0 ? TEMPLATE_PLAIN : TEMPLATE_HTML;
        for (size_t n = random_below(&seed, 14); n > 0; n--)
            buffer_append_str(&source, pieces[random_below(&seed, countof(pieces))]);
        json_t *attributes = json_object();
        for (int i = 0; i < 4; i++)
            json_object_set_new(attributes, (const char *[]){"a", "b", "c", "d"}[i],
                                json_string(values[random_below(&seed, countof(values))]));
        json_object_set_new(attributes, "list", json_pack("[s, s]", " ", "\n."));
        struct template_values from = {.attributes = attributes};
        assert_int_equal(template_compile(buffer_text(&source), source.len, NULL, &template, NULL), 0);
        assert_int_equal(part_create(template, escape, &part), 0);
        assert_int_equal(template_render(part_template(part), &from, escape, &plain, &missing[0]), 0);
        encode_pieces(buffer_text(&plain), plain.len, NULL, 0, &expected);
        assert_int_equal(part_render(part, &from, 1 << 20, &got, &missing[1]), 0);
        if (strcmp(buffer_text(&got), buffer_text(&expected)) != 0)
            fail_msg("template:\n%s\ngives\n%s\nexpected\n%s", source.data, got.data, expected.data);
        assert_int_equal(missing[0], missing[1]);
        json_decref(attributes);
        part_free(part);
        buffer_finish(&source);
        buffer_finish(&plain);
        buffer_finish(&expected);
        buffer_finish(&got);
    }
}

static void base64_comes_back_however_it_is_cut(void **state)
{
    (void)state;
    uint64_t seed = 77;
    for (int round = 0; round < 5000; round++) {
        char bytes[400];
        size_t len = random_below(&seed, sizeof(bytes));
        char decoded[BASE64_DECODED_MAX_BYTES(1024)];
        struct buffer encoded = BUFFER_INIT(sizeof(decoded));
        struct base64 base64;
        for (size_t i = 0; i < len; i++)
            bytes[i] = (char)random_below(&seed, 256);
        base64_begin(&base64, &encoded, false);
        for (size_t at = 0; at < len;) {
            size_t wanted = 1 + random_below(&seed, 80);
            size_t n = MIN_OF(len - at, wanted);
            base64_write(&base64, bytes + at, n);
            at += n;
        }
        base64_end(&base64);
        assert_int_equal(base64_decode(buffer_text(&encoded), encoded.len, true, decoded), len);
        assert_memory_equal(decoded, bytes, len);
        for (const char *line = buffer_text(&encoded); *line != '\0'; line = strstr(line, "\r\n") + 2)
            assert_true(strcspn(line, "\r") <= 76 && strcspn(line, "\r") > 0);
        buffer_finish(&encoded);
    }
}

/* Text in base64 has the line ends of a message too, whatever was given and however it was cut. */
static void base64_of_text_has_crlf(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a\r", "\nb\n\nc\r\r", "\n", "\rd"};
    char decoded[64] = "";
    struct buffer encoded = BUFFER_INIT(sizeof(decoded));
    struct base64 base64;
    base64_begin(&base64, &encoded, true);
    for (size_t i = 0; i < countof(pieces); i++)
        base64_write(&base64, pieces[i], strlen(pieces[i]));
    base64_write(&base64, "e\0f", 3);
    base64_end(&base64);
    assert_true(base64_decode(encoded.data, encoded.len, true, decoded) > 0);
    assert_string_equal(decoded, "a\r\nb\r\n\r\nc\r\n\r\n\r\ndef\r\n");
    buffer_finish(&encoded);
}

static void encoding_is_chosen_by_content(void **state)
{
    (void)state;
    static const struct {
        const char *text, *encoding;
    } cases[] = {
        {"", "quoted-printable"},
        {"plain", "quoted-printable"},
        {"Gr\xc3\xbc\xc3\x9f"
         "e aus K\xc3\xb6ln, das Wetter ist sch\xc3\xb6n",
         "quoted-printable"},
        {"\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, {{name}}\n", "base64"},
        {"<p>{{name}}\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e</p>", "base64"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct template *template = NULL;
        struct part *part = NULL;
        assert_int_equal(template_compile(cases[i].text, strlen(cases[i].text), NULL, &template, NULL), 0);
        assert_int_equal(part_create(template, TEMPLATE_PLAIN, &part), 0);
        assert_string_equal(part_encoding(part), cases[i].encoding);
        part_free(part);
    }
}

static void file_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *field;
    } cases[] = {
        {"a.pdf", "Content-Disposition: inline;\r\n filename=\"a.pdf\"\r\n"},
        {"a \"b\\.pdf", "Content-Disposition: inline;\r\n filename=\"a \\\"b\\\\.pdf\"\r\n"},
        {"Pr\xc3\xa4sent\r\nX: y.pdf",
         "Content-Disposition: inline;\r\n filename*=utf-8''Pr%C3%A4sent%20%20X%3A%20y.pdf\r\n"},
        {"=?utf-8?Q?x?=", "Content-Disposition: inline;\r\n filename*=utf-8''%3D%3Futf-8%3FQ%3Fx%3F%3D\r\n"},
        {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5",
         "Content-Disposition: inline;\r\n "
         "filename*0*=utf-8''%E6%97%A5%E6%9C%AC%E8%AA%9E%E6%97%A5%E6%9C%AC%E8%AA%9E;\r\n filename*1*=%E6%97%A5\r\n"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        header_disposition(&out, "inline", cases[i].name);
        assert_string_equal(buffer_text(&out), cases[i].field);
        buffer_finish(&out);
    }
}

static void parts_are_bounded(void **state)
{
    (void)state;
    struct template *template = NULL;
    struct part *part = NULL;
    struct buffer out = BUFFER_INIT(0);
    unsigned missing = 0;
    json_t *attributes = json_pack("{s:s}", "a", "0123456789");
    struct template_values values = {.attributes = attributes};
    assert_int_equal(template_compile("{{a}}\nline\n{{a}}", 16, NULL, &template, NULL), 0);
    assert_int_equal(part_create(template, TEMPLATE_PLAIN, &part), 0);
    assert_int_equal(part_render(part, &values, 26, &out, &missing), 0);
    assert_int_equal(part_render(part, &values, 25, &out, &missing), -E2BIG);
    struct buffer small = BUFFER_INIT(20);
    assert_int_equal(part_render(part, &values, 100, &small, &missing), -ENOMEM);
    json_decref(attributes);
    part_free(part);
    part_free(NULL);
    buffer_finish(&out);
    buffer_finish(&small);
}

static void header_table(void **state)
{
    (void)state;
    static const struct {
        const char *value, *field;
    } cases[] = {
        {"plain", "Subject: plain\r\n"},
        {"", "Subject: \r\n"},
        {"two  spaces", "Subject: two  spaces\r\n"},
        {"a\r\nBcc: evil@example.com", "Subject: a  Bcc: evil@example.com\r\n"},
        {"a\r\n\r\nbody", "Subject: a    body\r\n"},
        {"\tlead and trail\n", "Subject: lead and trail\r\n"},
        {"\xc3\xa4", "Subject: =?utf-8?B?w6Q=?=\r\n"},
        {"mostly plain \xc3\xa4 text", "Subject: =?utf-8?Q?mostly_plain_=C3=A4_text?=\r\n"},
        {"=?utf-8?B?DQpYOg==?=", "Subject: =?utf-8?B?PT91dGYtOD9CP0RRcFlPZz09Pz0=?=\r\n"},
        {"x\xe2\x80\xa8y\xc2\x85z", "Subject: x y z\r\n"}, /* U+2028, U+0085 */
        {"bad \xff utf-8", "Subject: bad ? utf-8\r\n"},
        {"a \x7f b", "Subject: a   b\r\n"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        header_text(&out, "Subject", cases[i].value, strlen(cases[i].value));
        assert_string_equal(out.data, cases[i].field);
        buffer_finish(&out);
    }
    struct buffer out = BUFFER_INIT(0);
    header_text(&out, "Subject", "a\0b", 3);
    assert_string_equal(out.data, "Subject: a b\r\n");
    buffer_finish(&out);
}

static void mailbox_table(void **state)
{
    (void)state;
    static const struct {
        const char *display, *field;
    } cases[] = {
        {"", "From: a@example.com\r\n"},
        {"Plain Name", "From: Plain Name <a@example.com>\r\n"},
        {"John Q. Public", "From: \"John Q. Public\" <a@example.com>\r\n"},
        {"Say \"hi\" \\ you", "From: \"Say \\\"hi\\\" \\\\ you\" <a@example.com>\r\n"},
        {"evil@example.com, x", "From: \"evil@example.com, x\" <a@example.com>\r\n"},
        {"B\xc3\xbc"
         "cher",
         "From: =?utf-8?Q?B=C3=BCcher?= <a@example.com>\r\n"},
        {"(comment) <x@y>", "From: \"(comment) <x@y>\" <a@example.com>\r\n"},
        {"a\r\nTo: b", "From: \"a  To: b\" <a@example.com>\r\n"},
        {"\r\n", "From: <a@example.com>\r\n"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        header_mailbox(&out, "From", cases[i].display, "a@example.com");
        if (i == 5)
            assert_true(strstr(out.data, "=?utf-8?") != NULL && strstr(out.data, "?= <a@example.com>\r\n") != NULL);
        else
            assert_string_equal(out.data, cases[i].field);
        buffer_finish(&out);
    }
}

/* One field, whatever goes in: CRLF only at folds, no line over 998, over 78 only where nothing can be folded, encoded
 * words within their limits. */
static void assert_one_field(const struct buffer *field, bool can_fold)
{
    const char *line = field->data;
    for (size_t number = 0; *line != '\0'; number++) {
        size_t len = strcspn(line, "\r\n");
        assert_true(line[len] == '\r' && line[len + 1] == '\n');
        assert_true(len <= 998 && (!can_fold || len <= 78));
        if (number > 0)
            assert_true(line[0] == ' ' && strspn(line, " \t") < len);
        for (size_t i = 0; i < len; i++)
            assert_true(line[i] >= ' ' && line[i] <= '~');
        for (const char *word = line; (word = strstr(word, "=?utf-8?")) != NULL && word < line + len; word += 8)
            assert_true(strstr(word + 10, "?=") != NULL && strstr(word + 10, "?=") + 2 - word <= 75);
        line += len + 2;
    }
    assert_int_equal(line - field->data, field->len);
}

static void any_value_is_one_field(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "word",         " ", "\r\n", "\n", "\r", "\xc3\xa4",      "\xf0\x9f\x98\x80", "=?", "?=", "\t", "\xff", "\x01",
        "\xe2\x80\xa8", ",", "\"",   "\\", "<",  "a longer word", "\xc2\x85",         ":"};
    uint64_t seed = 77;
    for (int round = 0; round < 20000; round++) {
        struct buffer value = BUFFER_INIT(0);
        struct buffer field = BUFFER_INIT(0);
        for (size_t n = random_below(&seed, 80); n > 0; n--)
            buffer_append_str(&value, pieces[random_below(&seed, countof(pieces))]);
        header_text(&field, "X-A-Field", buffer_text(&value), value.len);
        assert_one_field(&field, false);
        buffer_clear(&field);
        header_mailbox(&field, "X-A-Field", buffer_text(&value), "a@example.com");
        assert_one_field(&field, false);
        buffer_finish(&value);
        buffer_finish(&field);
    }
}

static void long_values(void **state)
{
    (void)state;
    struct buffer value = BUFFER_INIT(0);
    struct buffer field = BUFFER_INIT(0);
    for (int i = 0; i < 100; i++)
        buffer_append_str(&value, "some words ");
    header_text(&field, "Subject", value.data, value.len);
    assert_one_field(&field, true);
    buffer_clear(&value);
    buffer_clear(&field);
    for (int i = 0; i < 899; i++)
        buffer_append_char(&value, 'x');
    header_text(&field, "Subject", value.data, value.len); /* one long word stays as it is */
    assert_int_equal(field.len, 9 + 899 + 2);
    buffer_clear(&field);
    for (int i = 0; i < 100000; i++)
        buffer_append_char(&value, 'x');
    header_text(&field, "Subject", value.data,
                value.len); /* a longer one is encoded, so that it can be folded, and is cut */
    assert_one_field(&field, true);
    assert_true(field.len < 4000);
    buffer_clear(&value);
    buffer_clear(&field);
    buffer_append_str(&value, "Hello A");
    for (int i = 0; i < 1200; i++)
        buffer_append_char(&value, i % 2 == 0 ? ' ' : '\n');
    buffer_append_str(&value, "B");
    header_text(&field, "Subject", value.data, value.len); /* so is white space, which stands on the line of its word */
    assert_one_field(&field, true);
    buffer_clear(&value);
    buffer_clear(&field);
    for (int i = 0; i < 1000; i++)
        buffer_append_str(&value, "\xe2\x82\xac");
    header_text(&field, "A-Field-With-A-Name-That-Is-As-Long-As-A-Line-May-Be-Or-Nearly-So", value.data, value.len);
    assert_one_field(&field, false);
    buffer_finish(&value);
    buffer_finish(&field);
}

static void addresses_that_may_stand_in_a_header(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool valid, utf8;
    } cases[] = {
        {"a@example.com", true, false},
        {"a.b+c@example.com", true, false},
        {"\xc3\xa4@example.com", true, true},
        {"", false, false},
        {"a", false, false},
        {"@example.com", false, false},
        {"a@", false, false},
        {"a@b@example.com", false, false},
        {"a b@example.com", false, false},
        {"a\r\nX: y@example.com", false, false},
        {"a\n@example.com", false, false},
        {"a@example.com\r\n", false, false},
        {"a>@example.com", false, false},
        {"a,b@example.com", false, false},
        {"\"a\"@example.com", false, false},
        {"a@ex\xc3\xa4mple.com", false, false},
        {"\xe2\x80\xa8@example.com", false, false},
        {"\xc2\x85@example.com", false, false},
        {"\xff@example.com", false, false},
        {"a\x7f@example.com", false, false},
        {"=?utf-8?B?DQpYOg==?=@example.com", false, false},
        {"a=b?@example.com", true, false},
        {"a@example.com=?x?=", false, false},
        {"a@exa/mple.com", false, false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        bool utf8 = false;
        assert_int_equal(header_address_valid(cases[i].address, &utf8), cases[i].valid);
        assert_true(!cases[i].valid || utf8 == cases[i].utf8);
    }
    char longest[ADDRESS_MAX_BYTES + 2];
    memset(longest, 'a', sizeof(longest));
    longest[3] = '@';
    longest[ADDRESS_MAX_BYTES] = '\0';
    assert_true(header_address_valid(longest, &(bool){0}));
    longest[ADDRESS_MAX_BYTES] = 'a';
    longest[ADDRESS_MAX_BYTES + 1] = '\0';
    assert_false(header_address_valid(longest, &(bool){0}));
}

/* A recipient who was imported can be mailed: nothing is taken there that is refused here. */
static void addresses_in_normal_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(good_addresses); i++) {
        bool utf8 = false;
        if (!header_address_valid(good_addresses[i].out, &utf8))
            fail_msg("%s", good_addresses[i].out);
        assert_int_equal(utf8, good_addresses[i].utf8);
    }
    for (int c = 1; c < 128 * 128; c++) { /* any two characters in a local part */
        char text[] = "abcd@b.c";
        struct address address;
        text[1] = (char)(c / 128);
        text[2] = (char)(c % 128);
        if (address_parse(text, sizeof text - 1, &address, NULL) == 0 &&
            !header_address_valid(address.text, &(bool){0}))
            fail_msg("%s", address.text);
    }
}

static void names_of_fields(void **state)
{
    (void)state;
    static const char *const protected_names[] = {"from",
                                                  "TO",
                                                  "Bcc",
                                                  "Subject",
                                                  "content-type",
                                                  "Content-Anything",
                                                  "Received",
                                                  "list-unsubscribe",
                                                  "DKIM-Signature",
                                                  "MIME-version",
                                                  "Return-Path",
                                                  "resent-to",
                                                  "Message-Id",
                                                  "ARC-Seal"};
    static const char *const free_names[] = {"X-Campaign", "Precedence",     "Organization", "X-From",
                                             "Froms",      "Auto-Submitted", "References"};
    static const char *const invalid[] = {
        "",
        "a b",
        "a:",
        "a\r\n",
        "\xc3\xa4",
        "a\t",
        "a2345678901234567890123456789012345678901234567890123456789012345678901234567"};
    for (size_t i = 0; i < countof(protected_names); i++)
        assert_true(header_name_valid(protected_names[i]) && header_name_protected(protected_names[i]));
    for (size_t i = 0; i < countof(free_names); i++)
        assert_true(header_name_valid(free_names[i]) && !header_name_protected(free_names[i]));
    for (size_t i = 0; i < countof(invalid); i++)
        assert_false(header_name_valid(invalid[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qp_table),
        cmocka_unit_test(random_texts_come_back_however_they_are_cut),
        cmocka_unit_test(parts_equal_their_rendering),
        cmocka_unit_test(parts_are_bounded),
        cmocka_unit_test(base64_comes_back_however_it_is_cut),
        cmocka_unit_test(base64_of_text_has_crlf),
        cmocka_unit_test(encoding_is_chosen_by_content),
        cmocka_unit_test(file_names),
        cmocka_unit_test(header_table),
        cmocka_unit_test(mailbox_table),
        cmocka_unit_test(any_value_is_one_field),
        cmocka_unit_test(long_values),
        cmocka_unit_test(addresses_that_may_stand_in_a_header),
        cmocka_unit_test(addresses_in_normal_form),
        cmocka_unit_test(names_of_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
