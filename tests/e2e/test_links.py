"""Links and the pixel in composed messages: what is rewritten, what is left alone, and that nothing else changes."""
import email
import email.policy
import re

import pytest

from test_message import compose_all, content, parsed, request, wire

pytestmark = pytest.mark.sanitize

BASE = "https://mail.example.com"
TRACK = {"track": {"clicks": True, "opens": True}}


def parts(answer):
    text, html = parsed(answer).iter_parts()
    return content(text), content(html)


def tracked(html, text=None, attributes=None, track=None, **more):
    spec = {"html": html, "text": text, "track": track or {"clicks": True}}
    answer, = compose_all([request({k: v for k, v in spec.items() if v is not None} | ({} if text else {"text": ""}), attributes or {}, **more)])
    assert "error" not in answer, answer
    return answer


LINK = re.compile(re.escape(BASE) + r"/c/[a-z2-7]+")

# html, what the table holds; None: it is left alone
HTML = [
    ('<a href="https://a.test/x">x</a>', "https://a.test/x"),
    ("<a href='https://a.test/x'>x</a>", "https://a.test/x"),
    ("<A HREF=https://a.test/x>x</A>", "https://a.test/x"),
    ("<a class=b href = \"https://a.test/x\" id=c>x</a>", "https://a.test/x"),
    ('<a href="  https://a.test/x ">x</a>', "https://a.test/x"),
    ('<a href="HTTPS://a.test/x">x</a>', "HTTPS://a.test/x"),
    ('<a href="http://a.test?a=1&amp;b=2&c=3">x</a>', "http://a.test?a=1&b=2&c=3"),
    ('<a href="http://a.test/&#x41;&#66;">x</a>', "http://a.test/AB"),
    ('<area href="https://a.test/x">', "https://a.test/x"),
    ('<a href="https://a.test/{{id}}?n={{name|friend}}">x</a>', "https://a.test/{{{id}}}?n={{{name|friend}}}"),
    ('<a\nhref="https://a.te\nst/x">x</a>', "https://a.test/x"),
    ('<p title="<a href=\'https://no.test/\'>"></p>', None),
    ('<a href="https://a.test/x" data-track="off">x</a>', None),
    ('<a data-track=off href="https://a.test/x">x</a>', None),
    ('<a href="{{link}}">x</a>', None),
    ('<a href="https://{{host}}/x">x</a>', None),
    ('<a href="https://a.test{{port}}/x">x</a>', None),
    ('<a href="https://good.test\\{{x}}">x</a>', None),
    ('<a href="{{unsubscribe_url}}">x</a>', None),
    ('<a href="https://a.test/?n={{campaign.name}}">x</a>', "https://a.test/?n={{{campaign.name}}}"),
    ('<a href="https://a.test/?back={{unsubscribe_url}}">x</a>', None),
    ('<a href="https://a.test/?back={{preferences_url}}&x=1">x</a>', None),
    ('<a href="https://a.test/?back={{{view_url|none}}}">x</a>', None),
    ('<a href="mailto:a@b.test">x</a>', None),
    ('<a href="javascript:alert(1)">x</a>', None),
    ('<a href="//a.test/x">x</a>', None),
    ('<a href="/x">x</a>', None),
    ('<a href="#x">x</a>', None),
    ('<a href="https://">x</a>', None),
    ('<a href="tel:1">x</a>', None),
    ('<a href="https://a.test/{{#id}}x{{/id}}">x</a>', None),
    ('<a href="https://a.test/&eacute;">x</a>', None),
    ('<!-- <a href="https://a.test/x">x</a> -->', None),
    ('<!--[if mso]><a href="https://a.test/x">x</a><![endif]-->', None),
    ('<script>var a = \'<a href="https://a.test/x">\';</script>', None),
    ('<style>a[href="https://a.test/x"] { }</style>', None),
    ('<img src="https://a.test/x">', None),
    ('<link href="https://a.test/x">', None),
    ('<a data-href="https://a.test/x">x</a>', None),
    ('{{#orders}}<a href="https://a.test/{{id}}">x</a>{{/orders}}', None),
    ('<form action="https://a.test/x"></form>', None),
]


def test_what_is_tracked_in_html():
    answers = compose_all([request({"html": html, "text": "t", "track": {"clicks": True}}, {"id": "5", "name": "N"}) for html, _ in HTML])
    plain = compose_all([request({"html": html, "text": "t"}, {"id": "5", "name": "N"}) for html, _ in HTML])
    for (html, url), answer, before in zip(HTML, answers, plain):
        assert answer["links"] == ([url] if url else []), html
        shown = parts(answer)[1]
        assert len(LINK.findall(shown)) == (1 if url else 0), html
        if not url:
            assert wire(answer) == wire(before), html


def test_nothing_but_the_urls_changes():
    html = ('<html><body>\n<p>Hello {{name}} &amp; all</p>\n<a href="https://a.test/1">one</a> <a href=\'https://a.test/2\'>two</a>'
            '{{#vip}}<a href="https://a.test/1">again</a>{{/vip}}{{^vip}}<b>no</b>{{/vip}}\n{{>foot}}</body></html>\n')
    foot = '<a href=https://b.test/foot>foot</a> {{#vip}}<i>vip</i>{{/vip}}\n'
    for vip in (True, False):
        spec = {"html": html, "text": "t"}
        with_links, without = compose_all([request({**spec, **t}, {"name": "Ann", "vip": vip}, partials={"foot": foot}) for t in (TRACK, {})])
        assert with_links["links"] == ["https://a.test/1", "https://a.test/2", "https://b.test/foot"]
        shown = parts(with_links)[1]
        pixel = re.search(r'<img src="%s/o/[a-z2-7]+"[^>]*>' % re.escape(BASE), shown)
        assert shown[pixel.end():].startswith("</body>")
        shown = shown.replace(pixel[0], "")
        urls = iter(["https://a.test/1", "https://a.test/2"] + (["https://a.test/1"] if vip else []) + ["https://b.test/foot"])
        assert LINK.sub(lambda _: next(urls), shown) == parts(without)[1]
        assert next(urls, None) is None


TEXT = [
    ("see https://a.test/x", ["https://a.test/x"], "see L"),
    ("see https://a.test/x.", ["https://a.test/x"], "see L."),
    ("(https://a.test/x)", ["https://a.test/x"], "(L)"),
    ("https://a.test/x_(y)", ["https://a.test/x_(y)"], "L"),
    ("<https://a.test/x>", ["https://a.test/x"], "<L>"),
    ("https://a.test/?i={{id}}&x=1, and", ["https://a.test/?i={{{id}}}&x=1"], "L, and"),
    ("https://a.test/{{id}}", ["https://a.test/{{{id}}}"], "L"),
    ("https://a.test/{{id}}.", ["https://a.test/{{{id}}}"], "L."),
    ("xhttps://a.test/x", [], "xhttps://a.test/x"),
    ("https://{{id}}/x", [], "https://5/x"),
    ("{{unsubscribe_url}}", [], None),
    ("https://a.test/{{view_url}} https://a.test/x", ["https://a.test/x"], None),
    ("ftp://a.test/x", [], "ftp://a.test/x"),
    ("https://a.test/1 https://a.test/2 https://a.test/1", ["https://a.test/1", "https://a.test/2"], "L L L"),
    ("{{#id}}https://a.test/x{{/id}}", [], "https://a.test/x"),
    ("{{#id}}https://a.test/x {{/id}}", ["https://a.test/x"], "L "),
]


def test_what_is_tracked_in_text():
    answers = compose_all([request({"html": None, "text": text, "track": {"clicks": True}}, {"id": "5"}) for text, _, _ in TEXT])
    for (text, urls, shown), answer in zip(TEXT, answers):
        assert answer["links"] == urls, text
        if shown is not None:
            assert LINK.sub("L", content(parsed(answer))).rstrip("\n") == shown.rstrip("\n"), text


def test_the_text_made_from_html_is_tracked_too():
    answer = tracked('<a href="https://a.test/?a=1&amp;b={{id}}">Shop</a> <a data-track="off" href="https://b.test/">Other</a>', attributes={"id": "7"})
    assert answer["links"] == ["https://a.test/?a=1&b={{{id}}}"]
    text, html = parts(answer)
    assert re.fullmatch(r"Shop <%s> Other <https://b\.test/>\n" % LINK.pattern, text)
    assert len(LINK.findall(html)) == 1 and 'href="https://b.test/"' in html
    assert LINK.findall(text) == LINK.findall(html)


def test_a_launched_table_keeps_its_numbers():
    html = '<a href="https://a.test/new">n</a><a href="https://a.test/two">t</a><a href="https://a.test/one">o</a>'
    before = tracked(html, links=["https://a.test/one", "https://a.test/two"])
    assert before["links"] == ["https://a.test/one", "https://a.test/two"]
    shown = parts(before)[1]
    assert 'href="https://a.test/new"' in shown and len(LINK.findall(shown)) == 2


def test_pages_and_recipient_values():
    answer = tracked("<p>{{recipient.domain}} {{recipient.city}} {{recipient.email}}</p><a href=\"{{preferences_url}}\">p</a> <a href=\"{{view_url}}\">v</a>",
                     attributes={"city": "Cork", "name": "N"})
    html = parts(answer)[1]
    assert "example.net Cork a@example.net" in html
    assert re.search(re.escape(BASE) + "/p/[a-z2-7]{20,}", html) and re.search(re.escape(BASE) + "/v/[a-z2-7]{20,}", html)
    assert not answer["missing"]


def test_track_is_checked():
    for track, field in (({"opens": 1}, "track.opens"), ({"seen": True}, "track.seen"), ([], "track")):
        answer, = compose_all([request({"track": track})])
        assert [p["field"] for p in answer["problems"]] == [field]
