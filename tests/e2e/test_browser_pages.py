"""The dashboard's pages about one campaign, one recipient, sending domains and health, in Chromium: each shows what the API has, in every size and light, and nothing
that others wrote is ever HTML."""
import resource
import sqlite3
import urllib.request

import pytest

pytest.importorskip("selenium.webdriver")

import dnslib  # noqa: E402
from browserlib import Browser  # noqa: E402
from conftest import emails, run_to_end, run_until  # noqa: E402
from harness import wait_until  # noqa: E402
from test_storage_trouble import limit_files  # noqa: E402
from test_tracking import BROWSER, later, paths_of  # noqa: E402

HOSTILE = "<img src=x onerror=alert(1)>"
# 640 is what 1280 is at 200 %, 320 at 400 %.
SIZES = ((1280, 1000), (640, 500), (390, 844), (320, 640))
ZONE = """sender MX 10 mx.sender
mx.sender A 20.30.40.60
sender TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.sender TXT "v=DMARC1; p=%s"
good MX 10 mx.sender
""" % HOSTILE


@pytest.fixture
def browser(tmp_path):
    made = Browser(tmp_path)
    yield made
    assert not made.quit(ignore=["nowhere.test - Failed to load resource: the server responded with a status of 404"])


@pytest.fixture
def scene(place):
    sink = place.sink(tls=True, store=True, script={"rules": [{"command": "RCPT", "domain": "slow.test", "first": 1, "reply": "451 4.7.1 %s later" % HOSTILE}]})
    knot = dnslib.Knot({"test": ZONE, "in-addr.arpa": "50.40.30.20 PTR mta1.test."}).start()
    server = place.server(config='dns { server = "%s" }\nroute "*" { host = "127.0.0.1"  port = %d  tls = "required" }\nsource "ip1" { address = "127.0.0.1" }\n'
                          'pool "default" { sources = { "ip1" } }\nwebhooks { allow_private = true  retry_first = "50ms"  retry_max = "100ms" }\n' % (knot.server, sink.port))
    place.people(server, emails(40, ["one.test"] * 3 + ["slow.test"]), columns=("name", "city", HOSTILE), row=lambda address: ("Ann", HOSTILE, "x"))
    yield sink, server
    knot.stop()


def in_every_size(browser, name):
    for dark in (False, True):
        for width, height in SIZES:
            browser.size(width, height, dark)
            browser.until("the size", lambda: browser.run("return innerWidth === arguments[0];", width))
            browser.check_page("%s at %d%s" % (name, width, " in the dark" if dark else ""))
            if (width, dark) in ((1280, False), (1280, True), (390, False), (320, False)):
                browser.screenshot("page-%s-%d%s" % (name, width, "-dark" if dark else ""))
    browser.size(1280, 1000)
    assert not browser.run("return document.querySelector('main img, main script, main b b');"), "what others wrote is text"


def visit(path, server):
    urllib.request.urlopen(urllib.request.Request(server.url + path, headers=BROWSER), timeout=20).close()


def test_a_campaign_and_what_recipients_did(scene, browser):
    sink, server = scene
    html = '<p>Hello {{name}} <a href="%s/pixel">own</a> <a href="https://shop.test/one?a=%s">one</a></p>' % (server.url, "%3Cb%3E")
    campaign = server.create_campaign(name="Spring " + HOSTILE, html=html, text=None, track={"opens": True, "clicks": True})
    run_to_end(server, campaign)
    address = "person0@one.test"
    clicks, pixel = paths_of(sink, address)
    later(server, campaign, address)
    visit(pixel, server)
    server.api.get(clicks[1], headers=BROWSER)
    server.api.get(clicks[1], headers=BROWSER)
    wait_until(lambda: server.stats(campaign)["clicked"] == 1 and server.stats(campaign)["opened"] == 1, 20, "the hits")
    with sqlite3.connect(server.data_dir / "posthaste.db") as db:
        db.execute("UPDATE campaign SET unsubscribed = 2, complained = 1 WHERE id = ?", (campaign,))
    browser.sign_in(server, "send")
    browser.go("#/campaign/%d" % campaign)
    browser.until("the links", lambda: "https://shop.test/one?a=%3Cb%3E" in browser.text("#link-rows"))
    shown = browser.run("return [...document.querySelectorAll('#link-rows tr')].map((row) => [...row.cells].map((cell) => cell.innerText));")
    stored = {row["url"]: row for row in server.api.pages("/v1/campaigns/%d/links" % campaign)}
    assert {cells[0]: cells[1:] for cells in shown} == {url: [str(row["people"]), "2.50 %" if row["people"] else "", str(row["clicks"]), str(row["machines"])] for url, row in stored.items()}
    responses = browser.run("return [...document.querySelectorAll('#responses .tile')].map((tile) => [...tile.children].map((part) => part.innerText.trim()));")
    assert responses == [["1", "opened", "2.50 % of delivered"], ["1", "clicked", "2.50 % of delivered"], ["2", "unsubscribed", "5.00 % of delivered"], ["1", "complained", "2.50 % of delivered"]]
    browser.until("who did so", lambda: "opened, clicked" in browser.text("#delivery-rows"))
    in_every_size(browser, "campaign")
    # One attempt with everything that is known of it.
    slow = next(row["email"] for row in server.deliveries(campaign) if row["email"].endswith("@slow.test"))
    browser.go("#/recipient/" + slow)
    browser.until("both attempts", lambda: browser.run("return document.querySelectorAll('.attempts tr').length;") == 2)
    for attempt, text in zip(server.api.get("/v1/recipients/" + slow).json["deliveries"][0]["history"], browser.run("return [...document.querySelectorAll('.attempts tr')].map((row) => row.innerText);")):
        wanted = [attempt["state"], "at " + attempt["stage"], attempt["mx_host"], attempt["address"], "from ip1", attempt["tls_version"], attempt["tls_cipher"], attempt["reply"], str(attempt["code"])]
        wanted += ["%s %d" % pair for pair in attempt["times_ms"].items()]
        assert attempt["tls_policy"] == "none"  # tests/e2e/test_transport.py has the others
        assert not [word for word in wanted if word not in text], (wanted, text)
    in_every_size(browser, "recipient")
    browser.size(390, 844)
    assert browser.run("const e = document.querySelector('#recipient .scroll'); return e.scrollWidth <= e.clientWidth;"), "on a phone nothing of an attempt is out of sight"
    browser.size(1280, 1000)
    draft = server.create_campaign(launch=False, name="Draft")
    browser.go("#/campaign/%d" % draft)
    browser.until("a word instead of links", lambda: "No link of this campaign is tracked" in browser.text("#links-empty"))
    browser.screenshot("page-campaign-empty")


def test_domains_and_what_dns_says(scene, browser):
    _, server = scene
    browser.sign_in(server, "read")
    browser.go("#/domains")
    browser.until("the look-up", lambda: browser.text(".domain .chip") == "mail will be refused")
    report = server.api.get("/v1/domains/sender.test/check").json
    shown = browser.text(".domain")
    for finding in (finding for finding in report["findings"] if finding["status"] != "ok"):
        record = finding["record"] or {}
        for text in (finding["seen"], finding["wanted"], record.get("name", ""), record.get("value", ""), *(provider["name"] for provider in finding["providers"]),
                     *(provider["reply"] for provider in finding["providers"])):
            assert " ".join(text.split()) in " ".join(shown.split()), (finding["code"], text)
    assert HOSTILE in shown and {finding["status"] for finding in report["findings"]} >= {"error"}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    wanted = next(finding["record"]["value"] for finding in report["findings"] if finding["check"] == "dmarc" and finding["record"])
    browser.click("button[aria-label='Copy the value of _dmarc.sender.test']")
    browser.until("it to be copied", lambda: browser.run("return [...document.querySelectorAll('.copyable button')].some((e) => /Copied|Selected/.test(e.textContent));"))
    copied = browser.driver.execute_async_script("const done = arguments[0]; navigator.clipboard.readText().then(done, () => done(getSelection().toString()));")
    assert copied == wanted
    browser.run("for (const e of document.querySelectorAll('details')) e.open = true;")
    in_every_size(browser, "domains")
    browser.click(".domain .buttons button")
    browser.until("it to be looked up again", lambda: browser.text(".domain .chip") == "mail will be refused")


def test_health_and_alerts(scene, browser):
    _, server = scene
    browser.sign_in(server, "admin")
    browser.go("#/health")
    browser.until("all of it", lambda: all(word in browser.text("#health") for word in ("Disk", "Write-ahead log", "Memory", "DNS", "Clock", "Running for", "Webhooks")))
    assert "everything is in order" in browser.text("#alert-rows") and "Nothing is" in browser.text("#suspensions-empty")
    browser.screenshot("page-health-empty")
    # What goes wrong: a webhook that nobody answers, a destination that was suspended.
    assert server.api.post("/v1/webhooks", {"url": "http://127.0.0.1:9/hook", "events": ["*"]}).status == 201
    server.cli("site", "suspend", "two.test", "--reason", HOSTILE)
    run_to_end(server, server.create_campaign())
    browser.until("the alert", lambda: "webhooks" in browser.text("#alert-rows") and browser.text("#alert-count") == "1 alert")
    alerts = server.api.get("/v1/stats").json["alerts"]
    assert alerts and all(alert["text"] in browser.text("#alert-rows") for alert in alerts) and not browser.text("#alerts"), "told once"
    browser.until("the suspension", lambda: "two.test" in browser.text("#suspension-rows") and HOSTILE in browser.text("#suspension-rows"))
    in_every_size(browser, "health")
    browser.go("#/")
    browser.until("the alert on the other pages", lambda: alerts[0]["text"] in browser.text("#alerts"))
    browser.go("#/health")
    browser.click("#suspension-rows button")
    browser.until("the question", lambda: "two.test" in browser.text("#confirm-text"))
    browser.click("#confirm-yes")
    browser.until("it to be gone", lambda: "Nothing is" in browser.text("#suspensions-empty"))
    assert server.api.get("/v1/suspensions").json["data"] == []


def test_a_suppression_is_lifted_for_its_list_only(place, browser):
    server = place.server(place.sink())
    place.people(server, ["a@one.test", "b@one.test"])
    place.people(server, ["a@one.test"], list_name=HOSTILE)
    for entry in ({"email": "a@one.test"}, {"email": "a@one.test", "list": HOSTILE, "origin": HOSTILE}, {"email": "a@one.test", "list": "news"}, {"email": "b@one.test", "list": "news"}):
        assert server.api.post("/v1/suppressions", entry).status == 201
    browser.sign_in(server, "send")
    browser.go("#/suppressions")
    shown = lambda: browser.run("return [...document.querySelectorAll('#suppression-rows tr')].map((row) => row.cells[0].innerText + ' ' + row.cells[1].innerText);")
    left = ["a@one.test all lists", "a@one.test list news", "a@one.test list " + HOSTILE, "b@one.test list news"]
    browser.until("the entries", lambda: shown() == left)
    in_every_size(browser, "suppressions")
    for gone in (2, 1, 0):
        browser.click("#suppression-rows tr:nth-child(%d) button" % (gone + 1))
        email, scope = left.pop(gone).split(" ", 1)
        browser.until("the question", lambda: "%s again (%s)?" % (email, scope) in browser.text("#confirm-text"))
        browser.click("#confirm-yes")
        browser.until("that entry alone to be gone", lambda: shown() == left)
        rows = server.api.get("/v1/suppressions").json["data"]
        assert [row["email"] + (" list " + row["list"] if row["list"] else " all lists") for row in rows] == left
    browser.go("#/recipient/b@one.test")
    browser.until("the list on the recipient's page", lambda: "list news" in browser.text("#recipient dl"))


def test_a_provider_tells_its_limits(place, browser):
    server = place.server(place.sink(), profile='rate = "5/s"  connections = 2', config='domain "one.test" { rate = "2/s" }\n')
    place.people(server, emails(60, ["one.test"]))
    browser.sign_in(server, "read")
    campaign = server.create_campaign()
    browser.click("#site-rows a")
    browser.until("the limit that binds", lambda: "binds now" in browser.text("#provider table"))
    site = wait_until(lambda: server.api.get("/v1/stats/sites/one.test").json, 10, "the site")
    shown = browser.run("return [...document.querySelectorAll('#provider tbody tr')].map((line) => [...line.cells].map((cell) => cell.innerText));")
    for limit in site["limits"]:
        assert [line for line in shown if limit["scope"] in line[0] and limit["name"] in line[0] and line[1] == limit["what"] and line[2] == limit["value"]
                and line[-1] == limit["origin"]], (limit, shown)
    assert "2/s" in [line[2] for line in shown if line[4] == "binds now"]
    in_every_size(browser, "provider")
    browser.go("#/provider/nowhere.test")
    browser.until("that nothing goes there", lambda: "Nothing is under way" in browser.text("#provider"))
    server.api.post("/v1/campaigns/%d/cancel" % campaign)


def test_a_database_that_takes_nothing_is_seen_without_a_reload(place, browser):
    server = place.server(place.sink(delay_ms=25), profile="connections = 2  pipeline_depth = 5")
    place.people(server, emails(3000, ["one.test"]))
    browser.sign_in(server, "read")
    campaign = server.create_campaign()
    run_until(server, campaign, lambda stats: stats["delivered"] > 0, "the campaign to be under way")
    limit_files(server, 4096)
    browser.until("the alert", lambda: "the database cannot be written" in browser.text("#alerts"))
    why = server.api.get("/v1/stats").json["storage"]["why"]
    assert why and why in browser.text("#alerts")
    browser.go("#/health")
    browser.until("the reason among the disk's numbers", lambda: why in browser.text("main"))
    browser.check_page("health without a database")
    browser.screenshot("page-health-trouble")
    limit_files(server, resource.RLIM_INFINITY)
    browser.until("the end of it", lambda: why not in browser.text("main"))
    server.api.post("/v1/campaigns/%d/cancel" % campaign)
