// The dashboard's pages about the machine: sending domains with what DNS says of them, one provider with its limits, and health with alerts and suspensions.
"use strict";

// ---- domains ----

const CHECKS_KEPT_MS = 5 * 60 * 1000;
const CHECKS_AT_ONCE = 5; // domains that are looked up by themselves when the page is opened
const TONES = { ok: "pass", warning: "warning", error: "fail" };
const CHECK_NAMES = { ptr: "Name of the address", spf: "SPF", bounce_mx: "Return path", from_mx: "Answers", dkim: "DKIM", dmarc: "DMARC", tracking: "Links", unsubscribe: "Unsubscribe" };
const checked = new Map(); // domain -> {at, report}

// Where the page may not write to the clipboard (plain http from another machine), the text is selected, ready to be copied by hand.
async function copy(source, pressed) {
  const before = pressed.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    pressed.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    pressed.textContent = "Selected";
  }
  setTimeout(() => (pressed.textContent = before), 1500);
}

function copyable(text, what) {
  const box = element("div", "copyable");
  const code = element("code", "", text);
  const made = button("Copy", () => copy(code, made), "small-button");
  made.setAttribute("aria-label", "Copy the " + what);
  box.append(code, made);
  return box;
}

function drawRecord(record) {
  const facts = element("dl", "facts record");
  for (const [name, content] of [["Type", element("span", "", record.type)], ["Name", copyable(record.name, "name of " + record.name)], ["Value", copyable(record.value, "value of " + record.name)]]) {
    facts.append(element("dt", "", name), element("dd"));
    facts.lastChild.append(content);
  }
  return facts;
}

function drawFinding(finding) {
  const item = element("li", "finding");
  const head = element("div", "title");
  head.append(element("span", "chip " + TONES[finding.status], finding.status), element("b", "", CHECK_NAMES[finding.check] || finding.check));
  if (finding.subject) head.append(element("span", "muted", finding.subject));
  item.append(head, element("p", "seen", finding.seen));
  if (finding.status === "ok") return item;
  if (finding.wanted) {
    const wanted = element("p", "wanted");
    wanted.append(element("span", "muted", "Wanted: "), finding.wanted);
    item.append(wanted);
  }
  if (finding.record) item.append(element("p", "muted", "Publish this record:"), drawRecord(finding.record));
  for (const provider of finding.providers) {
    const refuses = element("p", "small");
    refuses.append(element("b", "", provider.name), " refuses such mail: ", element("code", "", provider.reply));
    item.append(refuses);
  }
  return item;
}

function drawReport(parts, report) {
  const trouble = report.findings.filter((finding) => finding.status !== "ok");
  const good = report.findings.filter((finding) => finding.status === "ok");
  parts.state.className = "chip " + TONES[report.status];
  parts.state.textContent = { ok: "ready", warning: "ready, with warnings", error: "mail will be refused" }[report.status];
  parts.note.textContent = "looked up " + when(report.checked_at) + " in " + (report.took_ms < 1000 ? report.took_ms + " ms" : duration(report.took_ms / 1000));
  const rest = document.createElement("details");
  const list = element("ul", "findings");
  rest.append(element("summary", "", good.length + " of " + report.findings.length + " findings are in order"), list);
  list.append(...good.map(drawFinding));
  rest.open = trouble.length === 0;
  const wrong = element("ul", "findings");
  wrong.append(...trouble.map(drawFinding));
  parts.results.replaceChildren(...(trouble.length > 0 ? [wrong] : []), ...(good.length > 0 ? [rest] : []));
}

async function checkDomain(domain, parts, fresh) {
  const kept = checked.get(domain.domain);
  if (kept && !fresh && Date.now() - kept.at < CHECKS_KEPT_MS) return drawReport(parts, kept.report);
  parts.check.disabled = true;
  parts.state.className = "chip draft";
  parts.state.textContent = "looking it up…";
  try {
    const report = await get("/v1/domains/" + encodeURIComponent(domain.domain) + "/check");
    checked.set(domain.domain, { at: Date.now(), report });
    drawReport(parts, report);
  } catch (problem) {
    parts.state.textContent = "not known";
    throw problem;
  } finally {
    parts.check.disabled = false;
  }
}

function drawKeys(domain) {
  const [scroll, body] = tableOf("Keys of " + domain.domain, ["Selector", "Algorithm", "State", "Since"]);
  body.append(...domain.keys.map((key) => row([key.selector], [key.algorithm], [key.state], [when(key.since)])));
  return scroll;
}

function drawDomain(domain) {
  const box = element("article", "domain");
  const title = element("div", "title");
  const parts = { state: element("span", "chip draft", "not looked up yet"), note: element("span", "muted"), results: element("div"), check: null };
  parts.check = button("Look up again", () => act(() => checkDomain(domain, parts, true)));
  parts.check.setAttribute("aria-label", "Look up the DNS of " + domain.domain + " again");
  parts.results.setAttribute("aria-live", "polite");
  const buttons = element("span", "buttons");
  buttons.append(parts.check);
  title.append(element("h3", "name", domain.domain), parts.state, parts.note, buttons);
  const records = document.createElement("details");
  records.append(element("summary", "", "Keys, and all records to publish"));
  if (domain.keys && domain.keys.length > 0) records.append(drawKeys(domain));
  records.append(...(domain.dns || []).map(drawRecord));
  box.append(title, parts.results, records);
  return [box, parts];
}

async function loadDomains(shown) {
  const page = await get("/v1/domains?limit=100");
  if (shown !== view) return;
  const drawn = page.data.map((domain) => [domain, ...drawDomain(domain)]);
  $("domain-list").replaceChildren(...drawn.map(([, box]) => box));
  $("domains-empty").hidden = page.data.length > 0;
  lookUp(shown, drawn.slice(0, CHECKS_AT_ONCE)); // beside the page: DNS may take seconds
}

async function lookUp(shown, drawn) {
  for (const [domain, , parts] of drawn) {
    if (shown !== view) return;
    await act(() => checkDomain(domain, parts, false));
  }
}

// ---- one provider ----

function drawLimit(limit) {
  return row([lines(limit.scope, limit.name)], [limit.what], [limit.value], [limit.now], [limit.binding ? "binds now" : "", "warn"],
    [limit.next_s > 0 ? "in " + limit.next_s.toFixed(1) + " s" : ""], [limit.origin, "whole muted"]);
}

function drawProvider(site) {
  const facts = element("dl", "facts");
  fact(facts, "Server", site.next_hop);
  fact(facts, "Profile", site.profile);
  fact(facts, "Now", rate(site.rate_now) + " messages/s over " + site.connections + " of " + site.connections_max + " connections");
  fact(facts, "Waiting", count(site.queued) + ", and " + count(site.in_flight) + " in flight");
  fact(facts, "Limited by", site.limited_by);
  if (site.adaptive_rate !== null) fact(facts, "Learned rate", rate(site.adaptive_rate) + " messages/s");
  if (site.tls_policy) fact(facts, "TLS policy", site.tls_policy.policy + ": " + count(site.tls_policy.good) + " attempts fit, " + count(site.tls_policy.bad) + " did not" +
    (site.tls_policy.bad > 0 ? " (last " + site.tls_policy.last_failure + ")" : ""));
  if (site.backoff_until) fact(facts, "Rests until", when(site.backoff_until));
  if (site.last_reply) fact(facts, "Last reply", site.last_reply);
  const [table, body] = tableOf("Limits", ["Whose", "What", "Limit", "Now", "State", "Next", "Set in"]);
  body.append(...site.limits.map(drawLimit));
  const why = element("div", "explanation");
  why.append(...site.explanation.map((line) => element("p", "", line)));
  return [element("h2", "", site.site), facts, element("h3", "", "Why it goes as fast as it does"), why,
    element("h3", "", "Limits"), table];
}

async function stepProvider(shown) {
  let site = null;
  try {
    site = await get("/v1/stats/sites/" + encodeURIComponent(shown.whom));
  } catch (problem) {
    if (problem.status !== 404) throw problem;
  }
  if (shown !== view) return;
  redraw($("provider"), site, () => (site === null ? [element("h2", "", shown.whom), element("p", "muted", "Nothing is under way to it.")] : drawProvider(site)));
}

// ---- health ----

function meter(part, whole, name) {
  const bar = document.createElementNS(SVG, "svg");
  bar.setAttribute("class", "meter");
  bar.setAttribute("viewBox", "0 0 1000 10");
  bar.setAttribute("preserveAspectRatio", "none");
  bar.setAttribute("role", "img");
  const used = whole > 0 ? part / whole : 0;
  bar.setAttribute("aria-label", name + ": " + (100 * used).toFixed(0) + " % used");
  const rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("class", used > 0.9 ? "f-failed" : used > 0.75 ? "f-deferred" : "f-delivered");
  rect.setAttribute("width", (1000 * used).toFixed(1));
  rect.setAttribute("height", "10");
  bar.append(rect);
  return bar;
}

function panel(name, facts, more) {
  const box = element("div", "panel");
  const list = element("dl", "facts");
  for (const [fact_name, value, tone] of facts) list.append(element("dt", "", fact_name), element("dd", tone || "", value));
  box.append(element("h3", "", name), ...(more ? [more] : []), list);
  return box;
}

function skew(stats) {
  const seconds = Math.round((Date.parse(stats.time) - Date.now()) / 1000);
  return Math.abs(seconds) > 5 ? Math.abs(seconds) + " s " + (seconds > 0 ? "ahead of" : "behind") + " this computer's" : "agrees with this computer's";
}

function drawHealth(stats, cores, sites) {
  const disk = stats.storage, engine = stats.engine, hooks = stats.events, reports = stats.bounces;
  const waiting = sites.data.filter((site) => site.limited_by === "dns").length;
  const clock_skew = skew(stats);
  const panels = [
    ["Sending", [["Now", engine.held_by ? "held: " + engine.held_by : rate(engine.rate_now) + " messages/s", engine.held_by ? "bad" : ""], ["Connections", count(engine.connections) + " to " + count(engine.sites) + " destinations"],
      ["In memory", count(engine.jobs) + " deliveries"], ["Failed connections", count(engine.transport) + " attempts"], ["DNS", waiting ? count(waiting) + " destinations wait for an answer" : "no destination waits for an answer", waiting ? "warn" : ""]]],
    ["Disk", [["Free", bytes(disk.free_bytes) + " of " + bytes(disk.total_bytes)], ["Database", bytes(disk.database_bytes) + (disk.healthy ? "" : ", cannot be written: " + disk.why), disk.healthy ? "" : "bad"],
      ["Write-ahead log", bytes(disk.wal_bytes)], ["Longest commit", disk.commit_max_ms.toFixed(0) + " ms"]]],
    ["Process", [["Running for", duration(stats.uptime_s)], ["Memory", bytes(stats.process.rss_bytes)], ["Processor", cores === null ? "…" : (100 * cores).toFixed(0) + " % of one core"]]],
    ["Clock", [["On the server", when(stats.time)], ["Compared", clock_skew, clock_skew.startsWith("agrees") ? "" : "warn"]]],
    ["Events", [["Webhooks", count(hooks.webhooks) + " enabled, " + count(hooks.failing) + " failing", hooks.failing ? "bad" : ""], ["Behind", count(hooks.behind) + " events"], ["Listeners", count(hooks.listeners)]]],
    ["Reports by mail", reports ? [["Mails", count(reports.mails)], ["Bounces", count(reports.bounces)], ["Complaints", count(reports.complaints)], ["Unsubscribes", count(reports.unsubscribes)], ["Without a token of ours", count(reports.no_token)]]
      : [["Listener", "none is set up: bounces { listen } in the configuration"]]],
  ];
  redraw($("health"), panels, () => panels.map(([name, facts]) => panel(name, facts, name === "Disk" ? meter(disk.total_bytes - disk.free_bytes, disk.total_bytes, "Disk") : null)));
}

function drawAlertList(stats) {
  const paused = stats.campaigns.filter((campaign) => campaign.stats.pause_reason);
  redraw($("alert-rows"), [stats.alerts, paused.map((campaign) => [campaign.id, campaign.stats.pause_reason])], () => {
    const rows = stats.alerts.map((alert) => {
      const line = element("p", "alert " + alert.level);
      line.append(element("b", "", alert.what + ": "), alert.text);
      return line;
    });
    for (const campaign of paused) {
      const line = element("p", "alert warn");
      line.append(link("#/campaign/" + campaign.id, campaign.name), " paused by itself: " + campaign.stats.pause_reason);
      rows.push(line);
    }
    return rows.length > 0 ? rows : [element("p", "muted", "There is none: everything is in order.")];
  });
}

function drawSuspension(entry) {
  const cancel = button("Resume", async () => {
    if (!(await ask("Resume " + entry.scope + " " + entry.target + "?", "Resume"))) return;
    await act(async () => {
      await call("DELETE", "/v1/suspensions/" + entry.id);
      view.next = 0;
    });
    stepView();
  });
  cancel.setAttribute("aria-label", "Resume " + entry.scope + " " + entry.target);
  return row([lines(entry.target + (entry.source ? " from " + entry.source : ""), entry.scope)], [entry.what + (entry.value === null ? "" : " " + entry.value)],
    [entry.until ? when(entry.until) : "it is resumed"], [entry.origin], [entry.reason, "whole"], [cancel, "r"]);
}

async function stepHealth(shown, stats) {
  const [sites, suspensions] = await Promise.all([get("/v1/stats/sites?limit=1000"), get("/v1/suspensions")]);
  if (shown !== view) return;
  $("server").textContent = stats.hostname + " · " + stats.version;
  const before = shown.process;
  shown.process = { cpu_s: stats.process.cpu_s, at: Date.parse(stats.time) };
  const cores = before && shown.process.at > before.at ? ((stats.process.cpu_s - before.cpu_s) * 1000) / (shown.process.at - before.at) : null;
  drawHealth(stats, cores, sites);
  drawAlertList(stats);
  redraw($("suspension-rows"), suspensions.data, () => suspensions.data.map(drawSuspension));
  $("suspensions-table").hidden = suspensions.data.length === 0;
  $("suspensions-empty").hidden = suspensions.data.length > 0;
}
