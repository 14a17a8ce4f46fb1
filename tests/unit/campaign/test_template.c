/* test_template.c - interpolation: values of each kind, escaping, what is refused and where, text out of HTML. */
#include "tests/unit/base/unit.h"

#include <errno.h>
#include <time.h>

#include "campaign/message/html.h"
#include "campaign/message/template.h"

static void assert_renders(const char *source, const char *attributes, enum template_escape escape,
                           const char *expected, unsigned expected_missing)
{
    struct template *template = NULL;
    struct error err = {{0}};
    struct buffer out = BUFFER_INIT(0);
    unsigned missing = 0;
    if (template_compile(source, strlen(source), NULL, &template, &err) != 0)
        fail_msg("\"%s\": %s", source, err.text);
    json_t *parsed = attributes != NULL ? json_loads(attributes, JSON_ALLOW_NUL, NULL) : NULL;
    assert_true(attributes == NULL || parsed != NULL);
    struct template_values values = {.attributes = parsed};
    values.builtins[BUILTIN_CAMPAIGN_NAME] = "Spring & Co";
    values.builtins[BUILTIN_CAMPAIGN_ID] = "42";
    values.builtins[BUILTIN_RECIPIENT_EMAIL] = "a@example.net";
    values.builtins[BUILTIN_UNSUBSCRIBE_URL] = "https://e/u/1?a&b";
    assert_int_equal(template_render(template, &values, escape, &out, &missing), 0);
    if (strcmp(buffer_text(&out), expected) != 0 || missing != expected_missing)
        fail_msg("\"%s\" gives \"%s\" (%u missing), expected \"%s\" (%u)", source, buffer_text(&out), missing, expected,
                 expected_missing);
    json_decref(parsed);
    template_free(template);
    buffer_finish(&out);
}

static void values_of_each_kind(void **state)
{
    (void)state;
    static const char attributes[] =
        "{\"s\":\"text\",\"empty\":\"\",\"i\":42,\"neg\":-7,\"big\":9007199254740993,\"zero\":0,\"r\":1.5,\"whole\":3."
        "0,"
        "\"third\":0.1,\"large\":1e300,\"minus0\":-0.0,\"t\":true,\"f\":false,\"n\":null,\"o\":{\"x\":{\"y\":\"deep\"},"
        "\"n\":5},"
        "\"a\":[1],\"x.y\":\"flat\",\"First Name\":\"Ann\",\"\\u00fc\":\"umlaut\",\"o.n\":\"wins\"}";
    static const struct {
        const char *source, *expected;
        unsigned missing;
    } cases[] = {
        {"", "", 0},
        {"no tags { } {x} }}", "no tags { } {x} }}", 0},
        {"{{s}}", "text", 0},
        {"<{{ s }}>", "<text>", 0},
        {"{{s}}{{s}}", "texttext", 0},
        {"{{{s}}} {{&s}} {{& s }} {{{ s }}}", "text text text text", 0},
        {"[{{empty}}]", "[]", 0},
        {"{{i}} {{neg}} {{big}} {{zero}}", "42 -7 9007199254740993 0", 0},
        {"{{r}} {{whole}} {{third}} {{large}} {{minus0}}", "1.5 3 0.1 1e+300 0", 0},
        {"{{t}} {{f}}", "true false", 0},
        {"[{{n}}{{o}}{{a}}{{nothing}}]", "[]", 4},
        {"{{o.x.y}} [{{x.y}}] {{o.n}}", "deep [] 5", 1},
        {"[{{o.x.z}}{{o.x.y.z}}{{s.x}}{{a.0}}]", "[]", 4},
        {"{{First Name}} {{\xc3\xbc}}", "Ann umlaut", 0},
        {"a{{! a comment\n of two lines }}b", "ab", 0},
        {"{{S}}", "", 1},
        {"line\r\nline\rline\n", "line\nline\nline\n", 0},
        {"{{campaign.name}} {{recipient.email}} {{email}} {{today}}", "Spring & Co a@example.net a@example.net ", 0},
        {"{{campaign.id}} {{#campaign.id}}{{.}}{{/campaign.id}}{{^today}}no day{{/today}}", "42 42no day", 0},
        /* a text for want of a value */
        {"{{nothing|friend}} {{ s | friend }} {{empty|you there}} {{n|x}} {{o|x}}", "friend text you there x x", 0},
        {"[{{nothing|}}] {{{nothing|<b>}}} {{&nothing|a|b}} {{zero|x}} {{f|x}}", "[] <b> a|b 0 false", 0},
        {"{{nothing.at.all|deep}} {{today|some day}} {{email|x}}", "deep some day a@example.net", 0},
        /* what is false */
        {"{{#n}}n{{/n}}{{#f}}f{{/f}}{{#zero}}0{{/zero}}{{#minus0}}-0{{/minus0}}{{#empty}}e{{/empty}}{{#nothing}}x{{/"
         "nothing}}",
         "", 0},
        {"{{^n}}n{{/n}}{{^f}}f{{/f}}{{^zero}}0{{/zero}}{{^minus0}}-0{{/minus0}}{{^empty}}e{{/empty}}{{^nothing}}x{{/"
         "nothing}}",
         "nf0-0ex", 0},
        {"{{#s}}s{{.}}{{/s}} {{#i}}{{.}}{{/i}} {{#t}}{{.}}{{/t}} {{#o}}{{n}}{{x.y}}{{s}}{{/o}} {{#a}}{{.}}{{/a}}",
         "stext 42 true 5deeptext 1", 0},
        {"{{#o}}{{#x}}{{y}}{{n}}{{nothing}}{{/x}}{{/o}}", "deep5", 1},
        {"{{#o.x}}{{y}}{{/o.x}}{{^o.x.z}}no z{{/o.x.z}}{{#.}}{{s}}{{/.}}", "deepno ztext", 0},
        {"{{=<% %>=}}<%s%> {{s}} <%={{ }}=%>{{s}}", "text {{s}} text", 0},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_renders(cases[i].source, attributes, TEMPLATE_PLAIN, cases[i].expected, cases[i].missing);
    assert_renders("[{{s}}]", NULL, TEMPLATE_PLAIN, "[]", 1);
    assert_renders("[{{s}}]", "[1]", TEMPLATE_PLAIN, "[]", 1);
}

static void builtins_cannot_be_shadowed(void **state)
{
    (void)state;
    static const char attributes[] =
        "{\"unsubscribe_url\":\"http://evil/\",\"campaign.name\":\"x\",\"campaign\":{\"name\":\"y\"},"
        "\"recipient\":{\"email\":\"z\"},\"today\":\"w\",\"email\":\"own\"}";
    assert_renders("{{{unsubscribe_url}}} {{{campaign.name}}} {{recipient.email}}{{today}} {{email}}", attributes,
                   TEMPLATE_HTML, "https://e/u/1?a&b Spring & Co a@example.net own", 0);
}

static void html_escaping(void **state)
{
    (void)state;
    static const char attributes[] = "{\"v\":\"<a href=\\\"x\\\" b='c'>&`</a>\",\"ok\":\"plain \\u00e4\"}";
    assert_renders("{{v}}", attributes, TEMPLATE_HTML,
                   "&lt;a href&#61;&quot;x&quot; b&#61;&#39;c&#39;&gt;&amp;&#96;&lt;/a&gt;", 0);
    assert_renders("{{{v}}}|{{&v}}", attributes, TEMPLATE_HTML, "<a href=\"x\" b='c'>&`</a>|<a href=\"x\" b='c'>&`</a>",
                   0);
    assert_renders("{{v}}", attributes, TEMPLATE_PLAIN, "<a href=\"x\" b='c'>&`</a>", 0);
    assert_renders("<p>{{ok}}</p>", attributes, TEMPLATE_HTML, "<p>plain \xc3\xa4</p>", 0);
}

/* failures.md row 29: a value is data, whatever it looks like. */
static void values_are_not_templates(void **state)
{
    (void)state;
    assert_renders("{{a}}", "{\"a\":\"{{b}}{{{b}}}{{#x}}\",\"b\":\"secret\"}", TEMPLATE_PLAIN, "{{b}}{{{b}}}{{#x}}", 0);
}

static int compile_with(const char *source, json_t *partials, bool strict, struct template **out, struct error *err)
{
    const struct template_partials given = {.texts = partials, .strict = strict};
    return template_compile(source, strlen(source), &given, out, err);
}

static void otherwise_is_escaped_like_a_value(void **state)
{
    (void)state;
    assert_renders("{{x|A & B}} {{{x|A & B}}}", "{}", TEMPLATE_HTML, "A &amp; B A & B", 0);
}

/* failures.md row 29: neither a text nor a value can make the program run for long, or out of its stack. */
static void partials_without_end_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *source, *partials, *why;
    } cases[] = {
        {"a\n {{>p}}", "{\"p\":\"x\\n {{>p}}\"}", "partial \"p\", line 2, column"},
        {"{{>p}}", "{\"p\":\"{{>q}}\",\"q\":\"{{>p}}\"}", "without end"},
        {"{{>p}}", "{\"p\":\"{{^x}}{{>p}}{{/x}}\"}", "without end"},
        {"{{>p}}\n  {{>q}}", "{\"p\":\"\"}", "line 2, column 3: there is no partial named \"q\""},
        {"{{>p}}", "{\"p\":\"ok\\n{{#x}}\"}", "partial \"p\", line 2, column 1: the section is not closed"},
        {"{{>p}}", "{\"p\":\"{{/x}}\"}", "partial \"p\", line 1, column 1: a section is closed"},
        {"{{>a}}",
         "{\"a\":\"{{>b}}{{>b}}{{>b}}{{>b}}{{>b}}{{>b}}{{>b}}{{>b}}{{>b}}{{>b}}\",\"b\":\"{{>c}}{{>c}}{{>c}}{{>c}}{{>c}"
         "}{"
         "{>c}}{{>c}}{{>c}}{{>c}}{{>c}}\",\"c\":\"{{>d}}{{>d}}{{>d}}{{>d}}{{>d}}{{>d}}{{>d}}{{>d}}{{>d}}{{>d}}\","
         "\"d\":\"{{>e}}{{>e}}{{>e}}{{>e}}{{>e}}{{>e}}{{>e}}{{>e}}{{>e}}{{>e}}\",\"e\":\"{{>f}}{{>f}}{{>f}}{{>f}}{{>f}}"
         "{{"
         ">f}}{{>f}}{{>f}}{{>f}}{{>f}}\",\"f\":\"x\"}",
         "too often"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct template *template = NULL;
        struct error err = {{0}};
        json_t *partials = json_loads(cases[i].partials, 0, NULL);
        assert_non_null(partials);
        assert_int_equal(compile_with(cases[i].source, partials, true, &template, &err), -EINVAL);
        if (strstr(err.text, cases[i].why) == NULL)
            fail_msg("\"%s\": \"%s\" lacks \"%s\"", cases[i].source, err.text, cases[i].why);
        json_decref(partials);
    }
}

static json_t *tree(int depth)
{
    json_t *node = json_pack("{s:i, s:[]}", "d", depth, "kids");
    for (int i = depth - 1; i > 0; i--)
        node = json_pack("{s:i, s:[o]}", "d", i, "kids", node);
    return node;
}

static void depth_of_data_is_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *partial;
        int depth, rc;
    } cases[] = {{"{{d}}{{#kids}}{{>p}}{{/kids}}", 16, 0},
                 {"{{d}}{{#kids}}{{>p}}{{/kids}}", 17, -ELOOP},
                 {"{{d}}\n{{#kids}}\n  {{>p}}\n{{/kids}}\n", 16, 0},
                 {"{{d}}\n{{#kids}}\n  {{>p}}\n{{/kids}}\n", 17, -ELOOP},
                 {"{{#kids}}{{#d}}{{#d}}{{>p}}{{/d}}{{/d}}{{/kids}}", 14, -ELOOP}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct template *template = NULL;
        struct error err = {{0}};
        struct buffer out = BUFFER_INIT(0);
        json_t *partials = json_pack("{s:s}", "p", cases[i].partial);
        json_t *data = tree(cases[i].depth);
        struct template_values values = {.attributes = data};
        assert_int_equal(compile_with("{{>p}}", partials, true, &template, &err), 0);
        int rc = template_render(template, &values, TEMPLATE_PLAIN, &out, &(unsigned){0});
        assert_int_equal(rc, cases[i].rc);
        if (rc < 0) {
            assert_int_equal(template_failure(rc, &err), rc);
            assert_non_null(strstr(err.text, "deeper"));
        }
        template_free(template);
        buffer_finish(&out);
        json_decref(partials);
        json_decref(data);
    }
}

static void steps_are_bounded(void **state)
{
    (void)state;
    struct template *template = NULL;
    struct error err = {{0}};
    struct buffer out = BUFFER_INIT(0);
    json_t *list = json_array();
    for (int i = 0; i < 1000; i++)
        json_array_append_new(list, json_integer(i));
    json_t *data = json_pack("{s:o}", "a", list);
    struct template_values values = {.attributes = data};
    assert_int_equal(compile_with("{{#a}}{{#a}}{{#a}}{{#a}}{{/a}}{{/a}}{{/a}}{{/a}}", NULL, true, &template, &err), 0);
    int rc = template_render(template, &values, TEMPLATE_PLAIN, &out, &(unsigned){0});
    assert_int_equal(rc, -ETIME);
    assert_int_equal(template_failure(rc, &err), -ETIME);
    template_free(template);
    json_decref(data);
    buffer_finish(&out);
}

static void nesting_of_sections_is_bounded(void **state)
{
    (void)state;
    static const int depths[] = {TEMPLATE_SECTIONS_MAX, TEMPLATE_SECTIONS_MAX + 1, 5000};
    for (size_t i = 0; i < countof(depths); i++) {
        struct buffer source = BUFFER_INIT(0);
        struct template *template = NULL;
        struct error err = {{0}};
        for (int n = 0; n < depths[i]; n++)
            buffer_append_str(&source, "{{#x}}");
        buffer_append_char(&source, '!');
        for (int n = 0; n < depths[i]; n++)
            buffer_append_str(&source, "{{/x}}");
        int rc = compile_with(source.data, NULL, true, &template, &err);
        assert_int_equal(rc, i == 0 ? 0 : -EINVAL);
        if (rc == 0)
            assert_renders(source.data, "{\"x\":{\"x\":1}}", TEMPLATE_PLAIN, "!", 0);
        else
            assert_non_null(strstr(err.text, "line 1, column 193: sections nest too deep"));
        template_free(template);
        buffer_finish(&source);
    }
}

static void faults_name_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *source, *where, *why;
    } cases[] = {
        {"{{", "line 1, column 1:", "not closed"},
        {"a\n b {{name", "line 2, column 4:", "not closed"},
        {"\xc3\xa4\xc3\xb6 {{x}", "line 1, column 4:", "not closed"},
        {"{{ok}}\r\n\r\n{{}}", "line 3, column 1:", "no name"},
        {"{{  }}", "line 1, column 1:", "no name"},
        {"{{{}}}", "line 1, column 1:", "no name"},
        {"{{&}}", "line 1, column 1:", "no name"},
        {"{{{x}}", "line 1, column 1:", "not closed"},
        {"x {{#list}}y", "line 1, column 3:", "not closed"},
        {"{{^a}}\n {{#b}}x{{/b}}", "line 1, column 1:", "not closed"},
        {"{{/list}}", "line 1, column 1:", "not opened"},
        {"{{#a}}\n{{#b}}\n {{/a}}{{/b}}", "line 3, column 2:", "section \"b\" of line 2"},
        {"{{#a|b}}", "line 1, column 1:", "not closed"},
        {"{{>}}", "line 1, column 1:", "no name"},
        {"{{|x}}", "line 1, column 1:", "no name"},
        {"{{a|b{}}", "line 1, column 1:", "brace"},
        {"{{<part}}", "line 1, column 1:", "blocks"},
        {"{{$part}}", "line 1, column 1:", "blocks"},
        {"\n{{=<%=}}", "line 2, column 1:", "delimiters"},
        {"{{= a b c =}}", "line 1, column 1:", "delimiters"},
        {"{{= a= b =}}", "line 1, column 1:", "delimiters"},
        {"{{=<% %>}}", "line 1, column 1:", "not closed"},
        {"{{=<% %>=}}\n<%a", "line 2, column 1:", "not closed"},
        {"{{a {{b}}", "line 1, column 1:", "brace"},
        {"{{a\nb}}", "line 1, column 1:", "line break"},
        {"{{.a}}", "line 1, column 1:", "dot"},
        {"{{a.}}", "line 1, column 1:", "dot"},
        {"{{a..b}}", "line 1, column 1:", "two in a row"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct template *template = NULL;
        struct error err = {{0}};
        assert_int_equal(template_compile(cases[i].source, strlen(cases[i].source), NULL, &template, &err), -EINVAL);
        assert_null(template);
        if (strncmp(err.text, cases[i].where, strlen(cases[i].where)) != 0 || strstr(err.text, cases[i].why) == NULL)
            fail_msg("\"%s\": \"%s\" is not \"%s … %s\"", cases[i].source, err.text, cases[i].where, cases[i].why);
    }
}

static void names_and_tags_are_bounded(void **state)
{
    (void)state;
    struct buffer source = BUFFER_INIT(0);
    struct template *template = NULL;
    struct error err = {{0}};
    buffer_append_str(&source, "{{");
    for (int i = 0; i < TEMPLATE_NAME_MAX_BYTES; i++)
        buffer_append_char(&source, 'n');
    buffer_append_str(&source, "}}");
    assert_int_equal(template_compile(source.data, source.len, NULL, &template, &err), 0);
    template_free(template);
    buffer_clear(&source);
    buffer_append_str(&source, "{{n");
    for (int i = 0; i < TEMPLATE_NAME_MAX_BYTES; i++)
        buffer_append_char(&source, 'n');
    buffer_append_str(&source, "}}");
    assert_int_equal(template_compile(source.data, source.len, NULL, &template, &err), -EINVAL);
    buffer_clear(&source);
    for (int i = 0; i < TEMPLATE_TAGS_MAX; i++)
        buffer_append_str(&source, "{{x}}");
    assert_int_equal(template_compile(source.data, source.len, NULL, &template, &err), 0);
    assert_int_equal(template->count, TEMPLATE_TAGS_MAX + 1);
    template_free(template);
    buffer_append_str(&source, "{{x}}");
    assert_int_equal(template_compile(source.data, source.len, NULL, &template, &err), -EINVAL);
    assert_non_null(strstr(err.text, "too many tags"));
    buffer_finish(&source);
}

static void output_is_bounded(void **state)
{
    (void)state;
    struct template *template = NULL;
    struct error err = {{0}};
    assert_int_equal(template_compile("{{a}}{{a}}", 10, NULL, &template, &err), 0);
    json_t *attributes = json_pack("{s:s}", "a", "0123456789");
    struct template_values values = {.attributes = attributes};
    struct buffer out = BUFFER_INIT(15);
    unsigned missing = 0;
    assert_int_equal(template_render(template, &values, TEMPLATE_PLAIN, &out, &missing), -E2BIG);
    assert_true(out.failed);
    assert_int_equal(out.len, 10);
    json_decref(attributes);
    template_free(template);
    buffer_finish(&out);
}

static void any_bytes_compile_or_are_refused(void **state)
{
    (void)state;
    static const char *const pieces[] = {"{", "}",      "{{",     "}}",     "{{{", "}}}", "a",    ".",
                                         " ", "&",      "#",      "!",      "^",   "/",   "|",    ">",
                                         "=", "{{#a}}", "{{/a}}", "{{^a}}", "\n",  "\r",  "{{x}}"};
    uint64_t seed = 11;
    for (int round = 0; round < 50000; round++) {
        struct buffer source = BUFFER_INIT(0);
        struct template *template = NULL;
        for (size_t n = random_below(&seed, 12); n > 0; n--)
            buffer_append_str(&source, pieces[random_below(&seed, countof(pieces))]);
        int rc = template_compile(buffer_text(&source), source.len, NULL, &template, NULL);
        assert_true(rc == 0 ? template != NULL : rc == -EINVAL);
        template_free(template);
        buffer_finish(&source);
    }
}

static void html_to_text_table(void **state)
{
    (void)state;
    static const struct {
        const char *html, *text;
    } cases[] = {
        {"", ""},
        {"   \n ", ""},
        {"<p>One</p><p>Two</p>", "One\n\nTwo\n"},
        {"a<br>b<br/>c<br><br><br>d", "a\nb\nc\n\nd\n"},
        {"<div>a</div><div>b</div>", "a\nb\n"},
        {"<p>a  b\n\tc</p>", "a b c\n"},
        {"x <b>bold</b>, <i>it</i>alic", "x bold, italic\n"},
        {"<ul><li>one<li>two</ul>after", "- one\n- two\n\nafter\n"},
        {"<a href=\"https://e/x?a=1&amp;b=2\">Link</a>.", "Link <https://e/x?a=1&b=2>.\n"},
        {"<a href='https://e/'>https://e/</a>", "https://e/\n"},
        {"<a href=mailto:a@b.c>a@b.c</a> <a href=\"#top\">top</a> <a name=x>n</a>", "a@b.c top n\n"},
        {"<a href=\"https://e/\"><img src=x alt=\"Logo &amp; co\"></a>", "Logo & co <https://e/>\n"},
        {"<a href=\"https://e/\"><img src=x></a>", "<https://e/>\n"},
        {"<a href=\"javascript:x\">no</a>", "no\n"},
        {"<a href=\"https://1/\">one <a href=\"https://2/\">two</a>", "one <https://1/> two <https://2/>\n"},
        {"<head><title>T</title><style>p{color:red}</style></head><body>x<script>1<2</script>y</body>", "xy\n"},
        {"a<!-- <p>no</p> -->b<!DOCTYPE html><?xml?>c", "abc\n"},
        {"&lt;&gt;&amp;&quot;&apos;&nbsp;&euro;&#8364;&#x20AC;&auml;",
         "<>&\"' \xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xc3\xa4\n"},
        {"&unknown; &; & &# &#x; &#xzz; &#99999999; &#0; &#13;x &amp", "&unknown; &; & &# &#x; &#xzz; x &\n"},
        {"a &#xD800;&zwnj;&#8203;b", "a b\n"},
        {"1 < 2 > 1 <3 << </>", "1 < 2 > 1 <3 <<\n"},
        {"<p unclosed", ""},
        {"x<p title=\"a>b\">y", "x\n\ny\n"},
        {"x<script>never closed", "x\n"},
        {"<pre>  two\n  lines</pre>", "  two\n  lines\n"},
        {"<table><tr><td>a<td>b</tr><tr><td>c</table>", "a b\nc\n"},
        {"<h1>H</h1>t<hr>u", "H\n\nt\n----------\nu\n"},
        {"<ol><li>one<li>two<ul><li>in</ul><li><p>three</p></ol>x", "1. one\n2. two\n  - in\n3. three\n\nx\n"},
        {"<div style='display:none'>pre</div><p hidden>h</p><span style=\"visibility: hidden\">v</span>a"
         "<b style=\"mso-hide:all\">m</b><i style=\"display:none-x; xdisplay:none\">b</i>",
         "a\n"},
        {"<div style='xdisplay:none'>a</div>", "a\n"},
        {"<table><tr><td>a</td><td><p>b</p></td></tr>stray</table>", "stray\na\n\nb\n"},
        {"<b><p>one</b>two<p>three", "onetwo\n\nthree\n"},
        {"<noscript>n</noscript><svg><text>s</text></svg><textarea>t</textarea>z", "nz\n"},
        {"caf\xc3\xa9 <b>\xf0\x9f\x98\x80</b>", "caf\xc3\xa9 \xf0\x9f\x98\x80\n"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer out = BUFFER_INIT(0);
        assert_int_equal(html_to_text(cases[i].html, strlen(cases[i].html), &out), 0);
        if (strcmp(buffer_text(&out), cases[i].text) != 0)
            fail_msg("%s\ngives\n%s\nexpected\n%s", cases[i].html, buffer_text(&out), cases[i].text);
        buffer_finish(&out);
    }
}

static void text_template_keeps_tags(void **state)
{
    (void)state;
    static const char html[] =
        "<style>{{no}}</style><p>Hi {{name}}\xef\x97\x90"
        "7\xef\x97\x93 &#123;&#123;x&#125;&#125;</p><a href=\"{{{url}}}?x={{name}}\" title=\"{{no}}\">Go</a>"
        "<a href=\"{{url}}\">{{url}}</a><img alt=\"{{alt}}\">";
    struct template *from = NULL;
    struct template *text = NULL;
    struct error err = {{0}};
    struct buffer out = BUFFER_INIT(0);
    unsigned missing = 0;
    assert_int_equal(template_compile(html, sizeof(html) - 1, NULL, &from, &err), 0);
    assert_int_equal(template_text_from_html(from, &text, &err), 0);
    json_t *attributes =
        json_pack("{s:s, s:s, s:s, s:s}", "name", "<A&B>", "url", "https://e/?a&b", "alt", "Alt", "no", "never");
    struct template_values values = {.attributes = attributes};
    assert_int_equal(template_render(text, &values, TEMPLATE_PLAIN, &out, &missing), 0);
    assert_string_equal(buffer_text(&out),
                        "Hi <A&B> 7 {{x}}\n\nGo <https://e/?a&b?x=<A&B>>https://e/?a&b <https://e/?a&b>Alt\n");
    assert_int_equal(missing, 0);
    json_decref(attributes);
    template_free(from);
    template_free(text);
    buffer_finish(&out);
}

static void text_of_sections_and_partials(void **state)
{
    (void)state;
    static const struct {
        const char *html, *expected;
    } cases[] = {
        {"<ul>{{#list}}<li>{{n}} &amp; <b>{{{n}}}</b></li>{{/list}}</ul>end", "- 1 & 1\n- 2 & 2\n\nend\n"},
        {"<ol><li>first</li>{{#list}}<li>{{n}}</li>{{/list}}</ol>", "1. first\n- 1\n- 2\n"},
        {"<table><tr><th>n</th></tr>{{#list}}<tr><td>{{n}}</td><td>x</td></tr>{{/list}}</table>", "n\n1 x\n2 x\n"},
        {"{{#no}}<p>never</p>{{/no}}<p>a</p>{{#list}}<p>{{n}}</p>{{/list}}<p>z</p>", "a\n\n1\n\n2\n\nz\n"},
        {"<style>p{}</style>{{#no}}<p>never</p>{{/no}}<p>a</p>", "a\n"},
        {"<style>{{yes}}</style>{{yes}}, hello", "7, hello\n"},
        {"{{yes}} first<br>{{yes}}", "7 first\n7\n"},
        {"<div style=\"color: red; DISPLAY : none\">{{#list}}{{n}}{{/list}}{{yes}}</div>x", "x\n"},
        {"<!-- {{#no}} -->a<!-- {{/no}} --><!--[if mso]>{{yes}}<![endif]-->b", "ab\n"},
        {"<a href={{yes}}>a</a> <a title='>{{no}}' href = \"/{{#list}}{{n}}{{/list}}\">b</a>", "a <7> b </12>\n"},
        {"<p>{{#list}}{{n}} &amp; <b>{{{n}}}</b>;{{/list}}</p>", "1 & 1;2 & 2;\n"},
        {"<p>{{#no}}<b>never</b>{{/no}}{{^no}}else {{x|nobody}}{{/no}}</p>", "else nobody\n"},
        {"{{>head}}<p>body</p>{{>head}}", "Top of 7\n\nbody\n\nTop of 7\n"},
        {"<p class=\"{{#no}}x{{/no}}\">a</p><a href=\"{{#yes}}https://e/{{/yes}}{{^yes}}x{{/yes}}\">go</a>",
         "a\n\ngo <https://e/>\n"},
        {"{{>self}}", "s\n"},
    };
    json_t *partials =
        json_pack("{s:s, s:s}", "head", "<h1>Top of {{yes}}</h1>", "self", "<p>s{{#no}}{{>self}}{{/no}}</p>");
    json_t *data = json_pack("{s:[{s:i},{s:i}], s:i}", "list", "n", 1, "n", 2, "yes", 7);
    struct template_values values = {.attributes = data};
    for (size_t i = 0; i < countof(cases); i++) {
        struct template *from = NULL;
        struct template *text = NULL;
        struct error err = {{0}};
        struct buffer out = BUFFER_INIT(0);
        if (compile_with(cases[i].html, partials, true, &from, &err) < 0)
            fail_msg("%s: %s", cases[i].html, err.text);
        assert_int_equal(template_text_from_html(from, &text, &err), 0);
        template_free(from);
        assert_int_equal(template_render(text, &values, TEMPLATE_PLAIN, &out, &(unsigned){0}), 0);
        if (strcmp(buffer_text(&out), cases[i].expected) != 0)
            fail_msg("%s\ngives\n%s\nexpected\n%s", cases[i].html, buffer_text(&out), cases[i].expected);
        template_free(text);
        buffer_finish(&out);
    }
    json_decref(partials);
    json_decref(data);
}

static void half_a_section_needs_a_text(void **state)
{
    (void)state;
    static const char *const cases[] = {"{{#no}}<style>{{/no}}</style><p>a</p>",
                                        "<p>x</p>\n{{#list}}<p title=\"{{/list}}\">b</p>",
                                        "{{^a}}<div hidden>{{/a}}</div>"};
    for (size_t i = 0; i < countof(cases); i++) {
        struct template *from = NULL;
        struct template *text = NULL;
        struct error err = {{0}};
        assert_int_equal(compile_with(cases[i], NULL, true, &from, &err), 0);
        assert_int_equal(template_text_from_html(from, &text, &err), -EINVAL);
        assert_null(text);
        assert_non_null(strstr(err.text, i == 1 ? "\"list\" of line 2" : "of line 1"));
        template_free(from);
    }
}

static double seconds_for(const char *piece, size_t count)
{
    struct buffer html = BUFFER_INIT(0);
    struct buffer out = BUFFER_INIT(0);
    for (size_t i = 0; i < count; i++)
        buffer_append_str(&html, piece);
    struct timespec before;
    struct timespec after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    int rc = html_to_text(html.data, html.len, &out);
    assert_true(rc == 0 || rc == -E2BIG);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    buffer_finish(&html);
    buffer_finish(&out);
    return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
}

/* failures.md row 29: depth and brokenness cost no more than length; a quadratic search would take minutes here. */
static void hostile_markup_takes_linear_time(void **state)
{
    (void)state;
    static const char *const pieces[] = {"<a",    "<",     "<a href=\"", "<!--", "<!",         "<script>",
                                         "<div>", "&",     "<a href=",   "</a>", "<p title='", "<x ",
                                         "&#",    "<pre>", "<a href=x>", "</"};
    for (size_t i = 0; i < countof(pieces); i++)
        assert_true(seconds_for(pieces[i], 20000) < 5);
}

/* A megabyte of open elements: neither the stack nor the memory nor the time ends, but the patience. */
static void depth_bomb_is_given_up(void **state)
{
    (void)state;
    struct buffer html = BUFFER_INIT(0);
    struct buffer out = BUFFER_INIT(0);
    struct template *from = NULL;
    struct template *text = NULL;
    struct error err = {{0}};
    while (html.len < 1000000)
        buffer_append_str(&html, "<b id=x>a<p>");
    assert_int_equal(template_compile(html.data, html.len, NULL, &from, &err), 0);
    assert_int_equal(template_text_from_html(from, &text, &err), -E2BIG);
    assert_non_null(strstr(err.text, "nests too deep"));
    template_free(from);
    buffer_finish(&html);
    buffer_finish(&out);
}

static void random_markup_never_breaks(void **state)
{
    (void)state;
    static const char *const pieces[] = {"<",    ">",     "<a href=\"", "\"",       "'",         "=",    "<p>",
                                         "</a>", "&amp;", "&#1;",       "{{x}}",    "{{{y}}}",   "text", " ",
                                         "\n",   "<!--",  "-->",        "<script>", "</script>", "<li>", "\xef\x97",
                                         "\x90", "\x93",  "5",          "\xc3"};
    uint64_t seed = 5;
    json_t *attributes = json_pack("{s:s}", "x", "<v>");
    struct template_values values = {.attributes = attributes};
    for (int round = 0; round < 30000; round++) {
        struct buffer html = BUFFER_INIT(0);
        struct buffer out = BUFFER_INIT(0);
        struct template *from = NULL;
        struct template *text = NULL;
        unsigned missing = 0;
        for (size_t n = random_below(&seed, 25); n > 0; n--)
            buffer_append_str(&html, pieces[random_below(&seed, countof(pieces))]);
        assert_int_equal(template_compile(buffer_text(&html), html.len, NULL, &from, NULL), 0);
        assert_int_equal(template_text_from_html(from, &text, NULL), 0);
        assert_int_equal(template_render(text, &values, TEMPLATE_PLAIN, &out, &missing), 0);
        for (size_t i = 0; i < out.len; i++)
            assert_false(html_mark_character(out.data + i, out.len - i));
        template_free(from);
        template_free(text);
        buffer_finish(&html);
        buffer_finish(&out);
    }
    json_decref(attributes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_each_kind),
        cmocka_unit_test(builtins_cannot_be_shadowed),
        cmocka_unit_test(html_escaping),
        cmocka_unit_test(values_are_not_templates),
        cmocka_unit_test(otherwise_is_escaped_like_a_value),
        cmocka_unit_test(partials_without_end_are_refused),
        cmocka_unit_test(depth_of_data_is_bounded),
        cmocka_unit_test(steps_are_bounded),
        cmocka_unit_test(nesting_of_sections_is_bounded),
        cmocka_unit_test(faults_name_line_and_column),
        cmocka_unit_test(names_and_tags_are_bounded),
        cmocka_unit_test(output_is_bounded),
        cmocka_unit_test(any_bytes_compile_or_are_refused),
        cmocka_unit_test(html_to_text_table),
        cmocka_unit_test(text_template_keeps_tags),
        cmocka_unit_test(text_of_sections_and_partials),
        cmocka_unit_test(half_a_section_needs_a_text),
        cmocka_unit_test(hostile_markup_takes_linear_time),
        cmocka_unit_test(depth_bomb_is_given_up),
        cmocka_unit_test(random_markup_never_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
