// The dashboard: asks /v1/stats and /v1/stats/sites once a second and draws what they say. #/campaign/7 is one campaign, #/recipient/ADDRESS one person.
// Every text that comes from the API goes in through textContent; nothing here builds HTML out of strings.
"use strict";

const STATES = ["delivered", "sending", "deferred", "uncertain", "bounced", "failed", "suppressed", "cancelled", "pending"];
// The order in which a message goes through them, for the line of counts.
const FUNNEL = ["audience", "suppressed", "pending", "sending", "delivered", "deferred", "bounced", "failed", "uncertain", "cancelled"];
const STEP_MS = 1000;
const SPAN_MS = 5 * 60 * 1000;
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const count = (value) => number.format(Math.round(value || 0));
const rate = (value) => (value >= 100 ? count(value) : (value || 0).toFixed(1));

let token = sessionStorage.getItem("posthaste-token");
let timer = null;
let chart = null;

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return (unit ? value.toFixed(1) : value) + " " + units[unit];
}

function duration(seconds) {
  if (seconds >= 86400) return Math.floor(seconds / 86400) + " d " + Math.floor((seconds % 86400) / 3600) + " h";
  if (seconds >= 3600) return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
  if (seconds >= 60) return Math.floor(seconds / 60) + " min " + (seconds % 60) + " s";
  return seconds + " s";
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---- the API ----

async function get(path) {
  const answer = await fetch(path, { headers: { Authorization: "Bearer " + token, Accept: "application/json" }, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) throw Object.assign(new Error("token"), { refused: true });
  if (!answer.ok) throw new Error("status " + answer.status);
  return answer.json();
}

// ---- throughput ----

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function makeChart() {
  const made = new Chart($("chart"), {
    type: "line",
    data: { datasets: [{ data: [], borderWidth: 2, pointRadius: 0, tension: 0.25, cubicInterpolationMode: "monotone", fill: true }] },
    options: {
      animation: false,
      parsing: false,
      normalized: true,
      maintainAspectRatio: false,
      interaction: { intersect: false, mode: "index" },
      plugins: { legend: { display: false }, tooltip: {
        callbacks: { title: (items) => clock.format(items[0].parsed.x), label: (item) => rate(item.parsed.y) + " messages/s" } } },
      scales: {
        x: { type: "linear", ticks: { stepSize: 60000, maxRotation: 0, callback: (value) => clock.format(value) }, grid: { display: false } },
        y: { beginAtZero: true, suggestedMax: 10, ticks: { maxTicksLimit: 5, callback: (value) => number.format(value) } },
      },
    },
  });
  paintChart(made);
  return made;
}

function paintChart(made) {
  const accent = colour("--accent");
  made.data.datasets[0].borderColor = accent;
  made.data.datasets[0].backgroundColor = accent + "22";
  for (const axis of ["x", "y"]) {
    made.options.scales[axis].ticks.color = colour("--muted");
    made.options.scales[axis].grid.color = colour("--line");
  }
  made.update("none");
}

// The minutes before the page was opened, so that the picture does not begin empty.
async function loadHistory() {
  const minutes = (await get("/v1/stats/timeseries")).data;
  for (const minute of minutes) addPoint(Date.parse(minute.time) + 30000, minute.delivered / 60);
}

function addPoint(at, value) {
  const points = chart.data.datasets[0].data;
  if (points.length > 0 && points[points.length - 1].x >= at) return;
  points.push({ x: at, y: value });
  const begin = at - SPAN_MS;
  while (points.length > 0 && points[0].x < begin) points.shift();
  chart.options.scales.x.min = begin;
  chart.options.scales.x.max = at;
}

// ---- drawing ----

function drawTotals(stats) {
  $("server").textContent = stats.hostname + " · " + stats.version + " · up " + duration(stats.uptime_s);
  $("t-rate").textContent = rate(stats.engine.rate_now);
  for (const state of ["delivered", "deferred", "bounced", "failed", "pending"]) {
    $("t-" + state).textContent = count(stats.deliveries[state]);
    $("t-" + state).classList.toggle("none", !stats.deliveries[state]);
  }
  $("t-connections").textContent = count(stats.engine.connections);
  $("t-recipients").textContent = count(stats.recipients);
  $("t-suppressions").textContent = count(stats.suppressions);
  $("storage").textContent = "database " + bytes(stats.storage.database_bytes) + ", log " + bytes(stats.storage.wal_bytes);
  $("rate-note").textContent = count(stats.engine.queued) + " queued, " + count(stats.engine.in_flight) + " in flight";
  const trouble = stats.storage.healthy ? stats.engine.held_by : stats.storage.why;
  $("alert").hidden = !trouble;
  $("alert").textContent = trouble ? "Sending is held: " + trouble : "";
}

async function drawEmpty(stats) {
  $("empty").hidden = stats.campaigns_total > 0;
  if (stats.campaigns_total > 0) return;
  $("step-import").classList.toggle("done", stats.recipients > 0);
  $("step-domain").classList.toggle("done", (await get("/v1/domains?limit=1")).total > 0);
}

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
    item.append(element("b", "", count(stats[flag])));
    line.append(item);
  }
  return line;
}

function pace(campaign) {
  const stats = campaign.stats;
  if (stats.status === "running") {
    const left = stats.eta_s === null ? "" : ", " + duration(stats.eta_s) + " left";
    return rate(stats.rate_now) + " messages/s, limited by " + stats.limited_by + left;
  }
  if (stats.pause_reason) return "paused by itself: " + stats.pause_reason;
  if (stats.status === "scheduled" && campaign.scheduled_at) return "starts " + new Date(campaign.scheduled_at).toLocaleString();
  if (campaign.finished_at) return "ended " + new Date(campaign.finished_at).toLocaleString();
  return "";
}

function nameLink(campaign) {
  const made = link("#/campaign/" + campaign.id, campaign.name);
  made.className = "name";
  return made;
}

function drawCampaign(campaign, alone) {
  const box = element("article", "campaign");
  const title = element("div", "title");
  title.append(element("span", "muted", "#" + campaign.id), alone ? element("h2", "name", campaign.name) : nameLink(campaign),
    element("span", "chip " + campaign.status, campaign.status), element("span", "muted", pace(campaign)));
  if (campaign.missing_attributes > 0)
    title.append(element("span", "warn small", count(campaign.missing_attributes) + " renderings lacked an attribute"));
  box.append(title, funnelBar(campaign.stats), counts(campaign.stats));
  return box;
}

function drawCampaigns(stats) {
  $("campaigns").hidden = stats.campaigns.length === 0;
  $("campaigns-note").textContent = count(stats.campaigns_active) + " active, " + count(stats.campaigns_total) + " in all";
  $("campaign-list").replaceChildren(...stats.campaigns.map((campaign) => drawCampaign(campaign, false)));
}

function drawSite(site) {
  const row = document.createElement("tr");
  const cell = (text, className) => row.append(element("td", className || "", text));
  cell(site.site);
  cell(count(site.queued), "r");
  cell(count(site.in_flight), "r");
  cell(site.connections + " / " + site.connections_max, "r");
  cell(rate(site.rate_now), "r");
  cell(site.rate, "r");
  cell(site.limited_by, site.limited_by === "back-off" ? "warn" : "");
  cell(count(site.delivered), "r");
  cell(count(site.temporary + site.transport), "r" + (site.temporary + site.transport ? " warn" : ""));
  cell(count(site.permanent), "r" + (site.permanent ? " bad" : ""));
  cell(site.last_reply, "reply");
  row.lastChild.title = site.last_reply;
  return row;
}

function drawSites(page) {
  $("site-rows").replaceChildren(...page.data.map(drawSite));
  $("sites-empty").hidden = page.data.length > 0;
  $("sites-note").textContent = page.total > page.data.length ? "the busiest " + page.data.length + " of " + count(page.total) : "";
}

// ---- one campaign ----

let view = { name: "overview" };
let campaignChart = null;
let cursor = null;
const LINES = [["delivered", "--good"], ["deferred", "--warn"], ["bounced", "--bad"], ["failed", "--held"]];

function when(time) {
  return time ? new Date(time).toLocaleString() : "";
}

function link(address, text) {
  const made = element("a", "", text);
  made.href = address;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  for (const [content, className] of cells) {
    const cell = element("td", className || "");
    cell.append(content);
    made.append(cell);
  }
  return made;
}

function makeCampaignChart() {
  const datasets = LINES.map(([label]) => ({ label, data: [], borderWidth: 2, pointRadius: 1, tension: 0.2 }));
  return new Chart($("campaign-chart"), {
    type: "line",
    data: { datasets },
    options: {
      animation: false, parsing: false, normalized: true, maintainAspectRatio: false, interaction: { intersect: false, mode: "index" },
      plugins: { legend: { labels: { boxWidth: 12 } }, tooltip: { callbacks: { title: (items) => clock.format(items[0].parsed.x) } } },
      scales: { x: { type: "linear", ticks: { maxRotation: 0, maxTicksLimit: 6, callback: (value) => clock.format(value) } },
        y: { beginAtZero: true, title: { display: true, text: "messages a minute" } } },
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
  const last = minutes.length > 0 ? Date.parse(minutes[minutes.length - 1].time) : first;
  campaignChart.options.scales.x.min = Math.min(first, last - SPAN_MS / 2);
  campaignChart.options.scales.x.max = last + 60000;
  campaignChart.options.plugins.legend.labels.color = colour("--muted");
  for (const axis of ["x", "y"]) {
    campaignChart.options.scales[axis].ticks.color = colour("--muted");
    campaignChart.options.scales[axis].grid = { color: colour("--line") };
  }
  campaignChart.options.scales.y.title.color = colour("--muted");
  campaignChart.update("none");
}

function drawDelivery(delivery) {
  const reply = [delivery.code || "", delivery.enhanced, delivery.reply].filter(Boolean).join(" ");
  const made = row([link("#/recipient/" + encodeURIComponent(delivery.email), delivery.email)], [delivery.state, "s-" + delivery.state],
    [count(delivery.attempts), "r"], [when(delivery.updated_at)], [delivery.mx_host], [reply, "reply"]);
  made.lastChild.title = reply;
  return made;
}

async function loadDeliveries(more) {
  const shown = view;
  const query = new URLSearchParams({ limit: 100 });
  if ($("state").value) query.set("state", $("state").value);
  if (more) query.set("cursor", cursor);
  const page = await get("/v1/campaigns/" + shown.id + "/deliveries?" + query);
  if (shown !== view) return; // another page was opened meanwhile
  const rows = page.data.map(drawDelivery);
  if (more) $("delivery-rows").append(...rows);
  else $("delivery-rows").replaceChildren(...rows);
  shown.pages = more ? shown.pages + 1 : 1;
  cursor = page.next;
  $("more").hidden = !cursor;
  $("deliveries-empty").hidden = $("delivery-rows").childElementCount > 0;
}

async function stepCampaign() {
  const shown = view;
  const [campaign, series] = await Promise.all([get("/v1/campaigns/" + shown.id), get("/v1/campaigns/" + shown.id + "/timeseries")]);
  if (shown !== view) return;
  $("campaign-head").replaceChildren(drawCampaign(campaign, true));
  paintCampaignChart(series.data);
  // The table moves only when something has, and never under somebody who reads on.
  const mark = JSON.stringify([campaign.stats.status, FUNNEL.map((state) => campaign.stats[state])]);
  if (mark === shown.mark || shown.pages > 1) return;
  shown.mark = mark;
  await loadDeliveries(false);
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
  const body = document.createElement("tbody");
  body.className = "attempts";
  for (const attempt of delivery.history)
    body.append(row([when(attempt.at)], [attempt.state, "s-" + attempt.state], [attempt.stage], [attempt.mx_host],
      [[attempt.code || "", attempt.enhanced, attempt.reply].filter(Boolean).join(" "), "whole"]));
  table.append(body);
  const scroll = element("div", "scroll");
  scroll.append(table);
  box.append(title, scroll);
  return box;
}

async function loadRecipient() {
  const shown = view;
  let person = null;
  try {
    person = await get("/v1/recipients/" + encodeURIComponent(shown.email));
  } catch (problem) {
    if (problem.refused || !problem.message.startsWith("status 4")) throw problem;
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
  $("recipient").replaceChildren(title, facts, element("h2", "", "Deliveries"), ...empty, ...person.deliveries.map(drawHistory));
}

// ---- which page ----

function open() {
  const [, name, rest] = /^#\/(campaign|recipient)\/(.+)$/.exec(location.hash) || [null, "overview", ""];
  let email = "";
  try {
    email = decodeURIComponent(rest);
  } catch {
    email = rest; // typed by hand
  }
  view = { name, id: parseInt(rest, 10), email, mark: null, pages: 0 };
  for (const section of document.querySelectorAll(".overview")) section.classList.toggle("away", name !== "overview");
  $("campaign-view").hidden = name !== "campaign";
  $("recipient-view").hidden = name !== "recipient";
  $("campaign-head").replaceChildren();
  $("delivery-rows").replaceChildren();
  $("recipient").replaceChildren();
  scrollTo(0, 0);
  if (name === "campaign" && campaignChart === null) campaignChart = makeCampaignChart();
  if (token) {
    clearTimeout(timer);
    step();
  }
}

async function stepView() {
  if (view.name === "campaign") return stepCampaign();
  if (view.name === "recipient" && view.mark === null) {
    view.mark = "loaded";
    return loadRecipient();
  }
}

async function act(work) {
  try {
    await work();
  } catch (problem) {
    if (problem.refused) logout("This token is not accepted.");
    else pulse("lost", problem.message === "status 404" ? "there is no such thing" : "no answer from the server");
  }
}

// ---- the loop ----

let steps = 0;

function pulse(className, text) {
  $("pulse").className = "pulse " + className;
  $("pulse").textContent = text;
}

async function step() {
  const mine = ++steps; // a page that is opened starts its own row of questions, the old one ends
  try {
    const [stats, sites] = await Promise.all([get("/v1/stats"), get("/v1/stats/sites?limit=50")]);
    drawTotals(stats);
    await drawEmpty(stats);
    drawCampaigns(stats);
    drawSites(sites);
    addPoint(Date.parse(stats.time), stats.engine.rate_now);
    chart.update("none");
    await stepView();
    pulse("live", "live");
  } catch (problem) {
    if (problem.refused) return logout("This token is not accepted.");
    pulse("lost", problem.message === "status 404" ? "there is no such thing" : "no answer from the server");
  }
  if (mine !== steps) return;
  // One question at a time: the next is asked when the last was answered.
  timer = setTimeout(step, document.hidden ? 5 * STEP_MS : STEP_MS);
}

async function begin() {
  $("login").hidden = true;
  $("page").hidden = false;
  $("logout").hidden = false;
  $("search-form").hidden = false;
  if (chart === null) chart = makeChart();
  try {
    if (chart.data.datasets[0].data.length === 0) await loadHistory();
  } catch (problem) {
    if (problem.refused) return logout("This token is not accepted.");
  }
  return step();
}

function logout(why) {
  clearTimeout(timer);
  steps++;
  sessionStorage.removeItem("posthaste-token");
  token = null;
  $("page").hidden = true;
  $("logout").hidden = true;
  $("search-form").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = why || "";
  pulse("", "not logged in");
  $("token").focus();
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  sessionStorage.setItem("posthaste-token", token);
  begin();
});
$("logout").addEventListener("click", () => logout());
$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = "#/recipient/" + encodeURIComponent($("search").value.trim());
});
$("state").append(...["", ...STATES.filter((state) => state !== "pending" && state !== "sending")].map((state) => {
  const option = element("option", "", state || "all");
  option.value = state;
  return option;
}));
$("state").addEventListener("change", () => act(() => loadDeliveries(false)));
$("more").addEventListener("click", () => act(() => loadDeliveries(true)));
addEventListener("hashchange", open);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart && paintChart(chart));

if (token) begin();
else logout();
if (location.hash) open();
