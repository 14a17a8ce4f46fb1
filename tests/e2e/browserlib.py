"""A headless Chromium, and what is checked in every page: as axe does, but small enough to read."""
import os
import pathlib

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from harness import BUILD

SCREENSHOTS = pathlib.Path(os.environ.get("POSTHASTE_SCREENSHOTS", BUILD / "screenshots"))

# Everything that is wrong with the page, as sentences. WCAG 2.1 AA: names and labels (4.1.2, 1.3.1), language (3.1.1), contrast (1.4.3), headings
# and landmarks (1.3.1, 2.4.1), keyboard (2.1.1).
CHECKS = r"""
const faults = [];
const shown = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && e.getClientRects().length > 0;
const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
const name = (e) => (e.getAttribute("aria-label") || (e.getAttribute("aria-labelledby") || "").split(/\s+/).map((id) => (document.getElementById(id) || {}).textContent || "").join(" ") ||
  [...(e.labels || [])].map((l) => l.textContent).join(" ") || e.textContent || e.title || "").trim();
const say = (e, what) => faults.push(what + ": <" + e.tagName.toLowerCase() + (e.id ? " id=" + e.id : "") + "> " + (e.textContent || "").trim().slice(0, 40));
if (!document.documentElement.lang) faults.push("the page has no language");
if (!document.title) faults.push("the page has no title");
for (const e of all("input, select, textarea, button, a[href], [role=region], [role=img], nav, section, dialog[open]")) if (!name(e)) say(e, "has no name");
for (const e of all("img")) if (!e.hasAttribute("alt")) say(e, "has no alternative");
for (const e of all("th")) if (!e.scope) say(e, "belongs to no row or column");
for (const e of all("table")) if (!e.querySelector("th")) say(e, "has no header");
const ids = new Set();
for (const e of document.querySelectorAll("[id]")) { if (ids.has(e.id)) say(e, "has an id that is there twice"); ids.add(e.id); }
for (const e of all("[tabindex]")) if (e.tabIndex > 0) say(e, "is out of the order of tabs");
for (const e of all(".scroll")) if (e.scrollWidth > e.clientWidth && e.tabIndex < 0) say(e, "scrolls but not by keyboard");
if (all("main").length !== 1) faults.push("there is not exactly one main");
if (all("h1").length !== 1) faults.push("there is not exactly one h1");
let level = 0;
for (const e of all("h1, h2, h3, h4")) { const n = +e.tagName[1]; if (n > level + 1) say(e, "is a heading that skips a level"); level = n; }
const parse = (text) => { const v = text.match(/[\d.]+/g).map(Number); return v.length > 3 ? v : [...v, 1]; };
const luminance = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return parse(getComputedStyle(document.documentElement).backgroundColor)[3] ? parse(getComputedStyle(document.documentElement).backgroundColor) : [255, 255, 255, 1]; };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const e = node.parentElement;
  if (!node.textContent.trim() || !shown(e) || e.disabled || e.closest(".aside, script, option, noscript")) continue;
  const style = getComputedStyle(e), size = parseFloat(style.fontSize);
  const a = luminance(parse(style.color)), b = luminance(ground(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) say(e, "has a contrast of " + ratio.toFixed(2));
}
return [...new Set(faults)];
"""


class Browser:
    def __init__(self, folder):
        options = webdriver.ChromeOptions()
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000",
                     "--no-proxy-server", "--user-data-dir=%s" % (folder / "profile")):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service("/usr/bin/chromedriver"))
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def until(self, what, condition, timeout_s=30):
        try:
            return WebDriverWait(self.driver, timeout_s, poll_frequency=0.1).until(lambda _: condition(), what)
        except Exception as late:
            log = [entry["message"] for entry in self.driver.get_log("browser")]
            raise AssertionError("still waiting for %s; the page says %r, %r, %r" % (what, self.text("#pulse"), self.text("main")[:2000], log)) from late

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, selector):
        return self.run("const e = [...document.querySelectorAll(arguments[0])].find((e) => e.checkVisibility()); return e ? e.innerText : '';", selector)

    def click(self, selector):
        """The first such element that can be seen."""
        self.until(selector, lambda: self.run("const e = [...document.querySelectorAll(arguments[0])].find((e) => e.checkVisibility()); if (e) e.click(); return !!e;", selector))

    def sign_in(self, server, scope):
        token = server.cli_json("token", "create", "--name", "page", "--scope", scope)["token"]
        self.driver.get(server.url + "/dashboard")
        self.until("the question for a token", lambda: self.run("return document.getElementById('token').checkVisibility();"))
        self.driver.find_element("id", "token").send_keys(token + "\n")
        self.until("the numbers", lambda: self.text("#pulse") == "live")

    def go(self, place):
        self.run("location.hash = arguments[0];", place)

    def size(self, width, height, dark=False):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def screenshot(self, name, whole=True):
        if whole:
            height = self.run("return Math.min(document.documentElement.scrollHeight, 4000);")
            width = self.run("return innerWidth;")
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": max(height, 400), "deviceScaleFactor": 1, "mobile": False})
        self.driver.save_screenshot(str(SCREENSHOTS / ("%s.png" % name)))
        if whole:
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False})

    def check_page(self, where):
        faults = self.run(CHECKS)
        assert not faults, "%s: %s" % (where, "; ".join(faults))
        spill = self.run("return [document.documentElement.scrollWidth, innerWidth];")
        assert spill[0] <= spill[1], "%s: wider (%d) than the window (%d)" % (where, *spill)

    def quit(self, ignore=()):
        wrong = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        self.driver.quit()
        return [text for text in wrong if not any(word in text for word in ignore)]
