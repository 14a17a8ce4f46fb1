"""The dashboard in a real browser (headless Chromium): signs in, watches a campaign, opens it, finds a recipient."""
import pytest

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from conftest import emails, run_to_end  # noqa: E402


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000",
                 "--no-proxy-server", "--user-data-dir=%s" % (tmp_path / "profile")):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service("/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    wrong = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE" and "favicon" not in entry["message"]]
    driver.quit()
    assert not [text for text in wrong if "/v1/recipients/nobody" not in text], wrong


def until(browser, what, condition, timeout_s=20):
    return WebDriverWait(browser, timeout_s, poll_frequency=0.1).until(lambda _: condition(), what)


def text(browser, selector):
    return browser.execute_script("const e = document.querySelector(arguments[0]); return e ? e.innerText : '';", selector)


def test_a_person_looks_around(place, browser, tmp_path):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "bad.test", "reply": "550 5.1.1 <b>nobody</b>"}]})
    server = place.server(sink)
    place.people(server, emails(300, ["one.test", "two.test", "bad.test"]), row=lambda email: ("<img src=x onerror=alert(1)>", "Köln"))
    token = server.cli_json("token", "create", "--name", "page", "--scope", "read")["token"]
    browser.get(server.url + "/")
    until(browser, "the question for a token", lambda: browser.find_element(By.ID, "token").is_displayed())
    browser.find_element(By.ID, "token").send_keys(token + "\n")
    until(browser, "the overview", lambda: text(browser, "#pulse") == "live")
    assert browser.find_element(By.ID, "empty").is_displayed()

    campaign = server.create_campaign(name="<i>Spring</i>")
    stats = run_to_end(server, campaign)
    until(browser, "the numbers", lambda: text(browser, "#t-delivered") == "200" and text(browser, "#t-bounced") == "100")
    until(browser, "its name", lambda: text(browser, "#campaign-list a.name") == "<i>Spring</i>")
    browser.execute_script("document.querySelector('#campaign-list a.name').click();")

    until(browser, "the deliveries", lambda: len(browser.find_elements(By.CSS_SELECTOR, "#delivery-rows tr")) == 100)
    assert not browser.find_element(By.ID, "sites").is_displayed() and text(browser, "#campaign-head h2") == "<i>Spring</i>"
    Select(browser.find_element(By.ID, "state")).select_by_value("bounced")
    until(browser, "the bounced ones", lambda: set(browser.execute_script("return [...document.querySelectorAll('#delivery-rows td:nth-child(2)')].map((e) => e.innerText);")) == {"bounced"})
    assert text(browser, "#delivery-rows td.reply") == "550 5.1.1 <b>nobody</b>" or "<b>nobody</b>" in text(browser, "#delivery-rows td.reply")
    Select(browser.find_element(By.ID, "state")).select_by_value("delivered")
    until(browser, "the delivered ones", lambda: browser.find_element(By.ID, "more").is_displayed() and "delivered" in text(browser, "#delivery-rows"))
    browser.find_element(By.ID, "more").click()
    until(browser, "the second page", lambda: len(browser.find_elements(By.CSS_SELECTOR, "#delivery-rows tr")) == stats["delivered"])
    points = browser.execute_script("return campaignChart.data.datasets.map(set => set.data.reduce((sum, point) => sum + point.y, 0));")
    assert points == [200, 0, 100, 0]
    browser.execute_script("scrollTo(0, 0);")
    browser.save_screenshot(str(tmp_path / "campaign.png"))

    browser.find_element(By.ID, "search").send_keys("person2@bad.test\n")
    until(browser, "the recipient", lambda: "person2@bad.test" in text(browser, "#recipient h2"))
    until(browser, "the attempts", lambda: "<b>nobody</b>" in text(browser, ".attempts"))
    assert "<img src=x onerror=alert(1)>" in text(browser, "#recipient dl") and "Suppressed" in text(browser, "#recipient dl")
    assert not browser.find_elements(By.CSS_SELECTOR, "#recipient img, #recipient b")
    browser.save_screenshot(str(tmp_path / "recipient.png"))
    field = browser.find_element(By.ID, "search")
    field.clear()
    field.send_keys("nobody@nowhere.test\n")
    until(browser, "the sentence", lambda: "Nobody with this address" in text(browser, "#recipient"))
    browser.get(server.url + "/dashboard#/campaign/%d" % campaign)
    until(browser, "the campaign by its address", lambda: len(browser.find_elements(By.CSS_SELECTOR, "#delivery-rows tr")) == 100)
    browser.back()
    until(browser, "the way back", lambda: "Nobody with this address" in text(browser, "#recipient"))
