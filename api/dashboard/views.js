// The dashboard's other pages: campaigns, one campaign, one recipient, suppressions, domains, health. Each is a function that asks for what it shows
// and draws it; dashboard.js calls it when the page is opened, and again while the numbers move.
"use strict";

// ---- campaigns ----

// One bar with a stretch for each state. An SVG, because a width is an attribute there and the page allows no inline style.
function funnelBar(stats) {
  const bar = document.createElementNS(SVG, "svg");
  bar.setAttribute("class", "funnel");
  bar.setAttribute("viewBox", "0 0 1000 10");
  bar.setAttribute("preserveAspectRatio", "none");
  bar.setAttribute("aria-hidden", "true");
  let at = 0;
  for (const state of STATES) {
    const width = stats.audience > 0 ? (1000 * stats[state]) / stats.audience : 0;
    if (width <= 0) continue;
    const part = document.createElementNS(SVG, "rect");
    part.setAttribute("class", "f-" + state);
    part.setAttribute("x", at.toFixed(2));
    part.setAttribute("width", width.toFixed(2));
    part.setAttribute("height", "10");
    bar.append(part);
    at += width;
  }
  return bar;
}

function counts(stats) {
  const line = element("div", "counts");
  for (const state of FUNNEL) {
    const item = element("span", stats[state] ? "" : "zero");
    if (state !== "audience") item.append(element("i", "dot d-" + state));
    item.append(state + " ", element("b", "", count(stats[state])));
    line.append(item);
  }
  for (const flag of ["opened", "clicked", "unsubscribed", "complained"]) {
    if (!stats[flag]) continue;
    const item = element("span", "", flag + " ");
    item.append(element("b", "", count(stats[flag])), " " + share(stats[flag], stats.delivered));
    line.append(item);
  }
  return line;
}

function pace(campaign) {
  const stats = campaign.stats;
  const done = stats.audience - stats.pending - stats.sending - stats.deferred;
  if (stats.status === "running") {
    const left = stats.eta_s === null ? "" : ", " + duration(stats.eta_s) + " left";
    return (share(done, stats.audience) || "0 %") + " done, " + rate(stats.rate_now) + " messages/s, limited by " + stats.limited_by + left;
  }
  if (stats.pause_reason) return "paused by itself: " + stats.pause_reason;
  if (stats.status === "paused") return (share(done, stats.audience) || "0 %") + " done";
  if (stats.status === "scheduled" && campaign.scheduled_at) return "starts " + when(campaign.scheduled_at);
  if (campaign.finished_at) return "ended " + when(campaign.finished_at);
  return "";
}

function ask(question, yes) {
  return new Promise((answer) => {
    const dialog = $("confirm");
    $("confirm-text").textContent = question;
    $("confirm-yes").textContent = yes;
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
    dialog.returnValue = "";
    dialog.showModal();
  });
}

async function change(campaign, verb) {
  if (verb === "cancel" && !(await ask("Cancel “" + campaign.name + "”? What is pending will never be sent.", "Cancel the campaign"))) return;
  await act(async () => {
    await call("POST", "/v1/campaigns/" + campaign.id + "/" + verb);
    view.mark = null;
    view.next = 0;
  });
  stepView();
}

function buttons(campaign) {
  const verbs = { draft: ["launch"], scheduled: ["launch", "cancel"], running: ["pause", "cancel"], paused: ["resume", "cancel"] }[campaign.stats.status] || [];
  const box = element("span", "buttons");
  for (const verb of verbs) {
    const made = button(verb[0].toUpperCase() + verb.slice(1), () => change(campaign, verb), verb === "cancel" ? "danger" : "");
    made.dataset.verb = verb;
    made.setAttribute("aria-label", made.textContent + " " + campaign.name);
    box.append(made);
  }
  return box;
}

function drawCampaign(campaign, alone) {
  const box = element("article", "campaign");
  const title = element("div", "title");
  const name = alone ? element("h2", "name", campaign.name) : link("#/campaign/" + campaign.id, campaign.name);
  name.className = "name";
  title.append(element("span", "muted", "#" + campaign.id), name, element("span", "chip " + campaign.stats.status, campaign.stats.status),
    element("span", "muted", pace(campaign)), buttons(campaign));
  box.append(title);
  if (campaign.missing_attributes > 0) box.append(element("p", "warn small", count(campaign.missing_attributes) + " renderings lacked an attribute"));
  box.append(funnelBar(campaign.stats), counts(campaign.stats));
  return box;
}

async function loadCampaigns(shown, more) {
  const query = new URLSearchParams({ limit: 20 });
  if ($("status").value) query.set("status", $("status").value);
  if (more) query.set("cursor", shown.cursor);
  const page = await get("/v1/campaigns?" + query);
  if (shown !== view) return;
  if (more) $("all-campaigns").append(...page.data.map((campaign) => drawCampaign(campaign, false)));
  else redraw($("all-campaigns"), page.data, () => page.data.map((campaign) => drawCampaign(campaign, false)));
  if (more) $("all-campaigns").drawn = null;
  shown.pages = more ? shown.pages + 1 : 1;
  shown.cursor = page.next;
  $("more-campaigns").hidden = !page.next;
  $("all-empty").hidden = $("all-campaigns").childElementCount > 0;
}

// ---- one campaign ----

let campaignChart = null;
const LINES = [["delivered", "--good"], ["deferred", "--warn"], ["bounced", "--bad"], ["failed", "--held"]];

function makeCampaignChart() {
  const datasets = LINES.map(([label]) => ({ label, data: [], borderWidth: 2, pointRadius: 1, tension: 0.2 }));
  return new Chart($("campaign-chart"), {
    type: "line",
    data: { datasets },
    options: {
      ...COMMON,
      plugins: { legend: { labels: { boxWidth: 12 } }, tooltip: { callbacks: { title: (items) => clock.format(items[0].parsed.x) } } },
      scales: { x: { type: "linear", ticks: { maxRotation: 0, maxTicksLimit: 6, callback: (value) => clockShort.format(value) }, grid: {} },
        y: { beginAtZero: true, ticks: {}, grid: {}, title: { display: true, text: "messages a minute" } } },
    },
  });
}

function paintCampaignChart(minutes) {
  LINES.forEach(([state, name], i) => {
    const set = campaignChart.data.datasets[i];
    set.data = minutes.map((minute) => ({ x: Date.parse(minute.time), y: minute[state] }));
    set.borderColor = set.backgroundColor = colour(name);
  });
  // One minute alone would have no width.
  const first = minutes.length > 0 ? Date.parse(minutes[0].time) : Date.now();
  const end = minutes.length > 0 ? Date.parse(minutes[minutes.length - 1].time) : first;
  campaignChart.options.scales.x.min = Math.min(first, end - SPAN_MS / 2);
  campaignChart.options.scales.x.max = end + 60000;
  campaignChart.options.plugins.legend.labels.color = colour("--muted");
  campaignChart.options.scales.y.title.color = colour("--muted");
  paintAxes(campaignChart);
  campaignChart.update("none");
}

function replyOf(delivery) {
  return [delivery.code || "", delivery.enhanced, delivery.reply].filter(Boolean).join(" ");
}

function drawDelivery(delivery) {
  const reply = replyOf(delivery);
  const made = row([link("#/recipient/" + encodeURIComponent(delivery.email), delivery.email)], [delivery.state, "s-" + delivery.state],
    [count(delivery.attempts), "r"], [when(delivery.updated_at)], [delivery.mx_host], [reply, "reply"]);
  made.lastChild.title = reply;
  return made;
}

async function loadDeliveries(shown, more) {
  const query = new URLSearchParams({ limit: 100 });
  if ($("state").value) query.set("state", $("state").value);
  if (more) query.set("cursor", shown.cursor);
  const page = await get("/v1/campaigns/" + shown.id + "/deliveries?" + query);
  if (shown !== view) return; // another page was opened meanwhile
  const rows = page.data.map(drawDelivery);
  if (more) $("delivery-rows").append(...rows);
  else $("delivery-rows").replaceChildren(...rows);
  shown.pages = more ? shown.pages + 1 : 1;
  shown.cursor = page.next;
  $("more").hidden = !page.next;
  $("deliveries-empty").hidden = $("delivery-rows").childElementCount > 0;
}

function drawReplies(replies) {
  $("replies").hidden = replies.data.length === 0;
  $("replies-note").textContent = "among the newest " + count(replies.sampled) + " that were deferred or bounced";
  redraw($("reply-rows"), replies.data, () => replies.data.map((reply) => {
    const example = element("span");
    example.append(link("#/recipient/" + encodeURIComponent(reply.sample.email), reply.sample.email), " " + replyOf(reply.sample));
    return row([reply.state, "s-" + reply.state], [count(reply.count), "r"], [replyOf(reply), "whole"], [example, "whole"]);
  }));
}

function drawLanes(page) {
  $("by-provider").hidden = page.data.length === 0;
  $("by-provider-note").textContent = page.others && page.others.members > 0 ? count(page.others.members) + " recipients at smaller domains" : "";
  redraw($("lane-rows"), page.data, () => page.data.map((lane) => {
    const site = lane.site || {};
    return row([lane.domain], [count(lane.members), "r"], [lane.claimed ? "yes" : "not yet"], [count(site.queued), "r"], [rate(site.rate_now), "r"],
      [site.limited_by || ""], [site.last_reply || "", "reply"]);
  }));
}

async function stepCampaign(shown) {
  const path = "/v1/campaigns/" + shown.id;
  const [campaign, series, replies, lanes] = await Promise.all([get(path), get(path + "/timeseries"), get(path + "/replies"), get(path + "/sites?limit=20")]);
  if (shown !== view) return;
  redraw($("campaign-head"), campaign, () => [drawCampaign(campaign, true)]);
  paintCampaignChart(series.data);
  drawReplies(replies);
  drawLanes(lanes);
  // The table moves only when something has, and never under somebody who reads on.
  const mark = JSON.stringify([campaign.stats.status, FUNNEL.map((state) => campaign.stats[state])]);
  if (mark === shown.mark || shown.pages > 1) return;
  shown.mark = mark;
  await loadDeliveries(shown, false);
}

// ---- one recipient ----

function fact(list, name, value) {
  list.append(element("dt", "", name), element("dd", "", value));
}

function drawHistory(delivery) {
  const box = element("article", "campaign");
  const title = element("div", "title");
  title.append(link("#/campaign/" + delivery.campaign_id, "#" + delivery.campaign_id), element("span", "name", delivery.campaign),
    element("span", "s-" + delivery.state, delivery.state));
  if (delivery.next_attempt_at) title.append(element("span", "muted", "next attempt " + when(delivery.next_attempt_at)));
  if (delivery.unsubscribed_at) title.append(element("span", "warn small", "unsubscribed " + when(delivery.unsubscribed_at)));
  const table = document.createElement("table");
  const head = document.createElement("thead");
  const names = document.createElement("tr");
  for (const name of ["When", "Led to", "Stage", "Server", "What it said"]) {
    const cell = element("th", "", name);
    cell.scope = "col";
    names.append(cell);
  }
  head.append(names);
  const body = element("tbody", "attempts");
  for (const attempt of delivery.history)
    body.append(row([when(attempt.at)], [attempt.state, "s-" + attempt.state], [attempt.stage], [attempt.mx_host], [replyOf(attempt), "whole"]));
  table.append(head, body);
  const scroll = element("div", "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Attempts of campaign " + delivery.campaign_id);
  scroll.append(table);
  box.append(title, scroll);
  return box;
}

async function loadRecipient(shown) {
  let person = null;
  try {
    person = await get("/v1/recipients/" + encodeURIComponent(shown.email));
  } catch (problem) {
    if (problem.refused || !(problem.status >= 400 && problem.status < 500)) throw problem;
  }
  if (shown !== view) return;
  const title = element("h2", "", shown.email);
  if (person === null) {
    $("recipient").replaceChildren(title, element("p", "muted", "Nobody with this address is known."));
    return;
  }
  const facts = element("dl", "facts");
  fact(facts, "Lists", person.lists.map((list) => list.list + " (" + list.status + ")").join(", ") || "none");
  fact(facts, "Since", when(person.created_at));
  if (person.suppression) fact(facts, "Suppressed", person.suppression.reason + ", " + when(person.suppression.created_at));
  for (const [name, value] of Object.entries(person.attributes)) fact(facts, name, typeof value === "string" ? value : JSON.stringify(value));
  const empty = person.deliveries.length === 0 ? [element("p", "muted", "Nothing was sent to this address.")] : [];
  $("recipient").replaceChildren(title, facts, element("h3", "", "Deliveries"), ...empty, ...person.deliveries.map(drawHistory));
}

// ---- suppressions ----

function drawSuppression(entry) {
  const allow = button("Allow again", async () => {
    if (!(await ask("Allow mail to " + entry.email + " again?", "Allow it"))) return;
    await act(async () => {
      await call("DELETE", "/v1/suppressions/" + encodeURIComponent(entry.email));
      await loadSuppressions(view, false);
    });
  });
  allow.setAttribute("aria-label", "Allow " + entry.email + " again");
  return row([link("#/recipient/" + encodeURIComponent(entry.email), entry.email)], [entry.reason], [when(entry.created_at)], [entry.origin, "reply"], [allow, "r"]);
}

async function loadSuppressions(shown, more) {
  const query = new URLSearchParams({ limit: 100 });
  if (more) query.set("cursor", shown.cursor);
  const page = await get("/v1/suppressions?" + query);
  if (shown !== view) return;
  if (more) $("suppression-rows").append(...page.data.map(drawSuppression));
  else $("suppression-rows").replaceChildren(...page.data.map(drawSuppression));
  shown.cursor = page.next;
  $("more-suppressions").hidden = !page.next;
  $("suppressions-empty").hidden = $("suppression-rows").childElementCount > 0;
  $("suppressions-note").textContent = page.total === null ? "" : count(page.total) + " addresses";
}

// ---- domains ----

function drawFinding(finding) {
  const item = document.createElement("li");
  const text = element("span", "", finding.check.replace(/_/g, " ") + (finding.subject ? " " + finding.subject : ""));
  item.append(element("span", "chip " + { ok: "pass", warning: "warning", error: "fail" }[finding.status], finding.status), text);
  if (finding.status !== "ok") item.append(element("span", "muted", [finding.seen && "seen: " + finding.seen, finding.wanted && "wanted: " + finding.wanted].filter(Boolean).join("; ")));
  return item;
}

function drawDomain(domain) {
  const box = element("article", "domain");
  const title = element("div", "title");
  const results = element("ul", "checks");
  const check = button("Check DNS", () => act(async () => {
    check.disabled = true;
    try {
      const answer = await get("/v1/domains/" + encodeURIComponent(domain.domain) + "/check");
      results.replaceChildren(...answer.findings.map(drawFinding));
    } finally {
      check.disabled = false;
    }
  }));
  check.setAttribute("aria-label", "Check the DNS of " + domain.domain);
  title.append(element("h3", "name", domain.domain), element("span", "muted", "since " + when(domain.created_at)), check);
  box.append(title);
  for (const record of domain.dns || []) {
    const facts = element("dl", "facts");
    fact(facts, record.type + " record", record.name);
    const value = element("code", "", record.value);
    facts.append(element("dt", "", "Value"), element("dd"));
    facts.lastChild.append(value);
    box.append(facts);
  }
  box.append(results);
  return box;
}

async function loadDomains(shown) {
  const page = await get("/v1/domains?limit=100");
  if (shown !== view) return;
  $("domain-list").replaceChildren(...page.data.map(drawDomain));
  $("domains-empty").hidden = page.data.length > 0;
}

// ---- health ----

async function stepHealth(shown, stats) {
  $("server").textContent = stats.hostname + " · " + stats.version;
  const before = shown.process;
  shown.process = { cpu_s: stats.process.cpu_s, at: Date.parse(stats.time) };
  const cores = before && shown.process.at > before.at ? ((stats.process.cpu_s - before.cpu_s) * 1000) / (shown.process.at - before.at) : null;
  const disk = stats.storage;
  const facts = [
    ["State", stats.alerts.length === 0 ? "everything is in order" : stats.alerts.map((alert) => alert.text).join("; ")],
    ["Running for", duration(stats.uptime_s)],
    ["Sending", stats.engine.held_by ? "held: " + stats.engine.held_by : rate(stats.engine.rate_now) + " messages/s over " + count(stats.engine.connections) + " connections"],
    ["Deliveries in memory", count(stats.engine.jobs)],
    ["Memory", bytes(stats.process.rss_bytes)],
    ["Processor", cores === null ? "" : (100 * cores).toFixed(0) + " % of one core"],
    ["Disk", bytes(disk.free_bytes) + " of " + bytes(disk.total_bytes) + " free"],
    ["Database", bytes(disk.database_bytes) + (disk.healthy ? "" : ", cannot be written: " + disk.why)],
    ["Write-ahead log", bytes(disk.wal_bytes) + ", the longest commit took " + disk.commit_max_ms.toFixed(0) + " ms"],
    ["Connections that failed", count(stats.engine.transport) + " attempts"],
    ["Webhooks", count(stats.events.webhooks) + " enabled, " + count(stats.events.failing) + " failing, the slowest " + count(stats.events.behind) + " events behind"],
    ["Listeners", count(stats.events.listeners)],
    ["Server's clock", when(stats.time) + skew(stats)],
  ];
  redraw($("health"), facts, () => facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

function skew(stats) {
  const seconds = Math.round((Date.parse(stats.time) - Date.now()) / 1000);
  return Math.abs(seconds) > 5 ? ", " + Math.abs(seconds) + " s " + (seconds > 0 ? "ahead of" : "behind") + " this computer's" : "";
}

// ---- for dashboard.js ----

const VIEWS = {
  campaigns: (shown) => (shown.pages > 1 ? null : loadCampaigns(shown, false)),
  campaign: stepCampaign,
  recipient: loadRecipient,
  suppressions: (shown) => loadSuppressions(shown, false),
  domains: loadDomains,
  health: stepHealth,
};

function resetView() {
  for (const id of ["campaign-head", "delivery-rows", "recipient", "reply-rows", "lane-rows", "all-campaigns", "suppression-rows", "domain-list"]) {
    $(id).replaceChildren();
    $(id).drawn = null;
  }
  if (view.name === "campaign" && campaignChart === null) campaignChart = makeCampaignChart();
}

function choices(id, names, work) {
  $(id).append(...["", ...names].map((name) => {
    const option = element("option", "", name || "all");
    option.value = name;
    return option;
  }));
  $(id).addEventListener("change", () => act(work));
}

function prepareViews() {
  choices("state", STATES.filter((state) => state !== "pending" && state !== "sending"), () => loadDeliveries(view, false));
  choices("status", ["draft", "scheduled", "running", "paused", "finished", "cancelled"], () => loadCampaigns(view, false));
  $("more").addEventListener("click", () => act(() => loadDeliveries(view, true)));
  $("more-campaigns").addEventListener("click", () => act(() => loadCampaigns(view, true)));
  $("more-suppressions").addEventListener("click", () => act(() => loadSuppressions(view, true)));
  $("suppress-form").addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      await call("POST", "/v1/suppressions", { email: $("suppress").value.trim() });
      $("suppress").value = "";
      await loadSuppressions(view, false);
    });
  });
}
