// The dashboard's frame: signing in, the live stream, which page is shown, and the overview. The other pages are in views.js and operations.js.
// The numbers come as server-sent events (/v1/events?types=stats), once a second; what they do not hold is asked for when it may have changed.
// Every text that comes from the API goes in through textContent; nothing here builds HTML out of strings.
"use strict";

const STATES = ["delivered", "sending", "deferred", "uncertain", "bounced", "failed", "suppressed", "cancelled", "pending"];
// The order in which a message goes through them, for the line of counts.
const FUNNEL = ["audience", "suppressed", "pending", "sending", "delivered", "deferred", "bounced", "failed", "uncertain", "cancelled"];
const SPAN_MS = 5 * 60 * 1000;
const HOUR_MS = 60 * 60 * 1000;
const SVG = "http://www.w3.org/2000/svg";
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const clockShort = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hour12: false });
const number = new Intl.NumberFormat("en");

const $ = (id) => document.getElementById(id);
const count = (value) => number.format(Math.round(value || 0));
const rate = (value) => (value >= 100 ? count(value) : (value || 0).toFixed(1));
const share = (part, whole) => (whole > 0 && part > 0 ? ((100 * part) / whole).toFixed(part / whole < 0.1 ? 2 : 1) + " %" : "");

let token = sessionStorage.getItem("posthaste-token");
let chart = null;
let outcomes = null;
let last = null; // the newest statistics

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
  seconds = Math.round(seconds);
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

function when(time) {
  return time ? new Date(time).toLocaleString() : "";
}

function link(address, text) {
  const made = element("a", "", text);
  made.href = address;
  return made;
}

function button(text, work, className) {
  const made = element("button", className || "", text);
  made.type = "button";
  made.addEventListener("click", work);
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

// A table that scrolls by itself, and its body.
function tableOf(name, columns) {
  const scroll = element("div", "scroll"), table = document.createElement("table"), head = document.createElement("thead"), names = document.createElement("tr"), body = element("tbody");
  for (const column of columns) {
    const cell = element("th", "", column);
    cell.scope = "col";
    names.append(cell);
  }
  head.append(names);
  table.append(head, body);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", name);
  scroll.append(table);
  return [scroll, body];
}

// A table is drawn anew only when it would look different: so a selection, or a place in it, is not lost every second.
function redraw(place, key, make) {
  const mark = JSON.stringify(key);
  if (place.drawn === mark) return;
  place.drawn = mark;
  place.replaceChildren(...make());
}

// ---- the API ----

async function call(method, path, body) {
  const headers = { Authorization: "Bearer " + token, Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 401) throw Object.assign(new Error("token"), { refused: true });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw Object.assign(new Error((value && value.detail) || "status " + answer.status), { status: answer.status });
  return value;
}
const get = (path) => call("GET", path);

// ---- the live stream ----

let stream = null; // an AbortController while one is open
let waitMs = 500;

function pulse(className, text) {
  $("pulse").className = "pulse " + className;
  if ($("pulse").textContent !== text) $("pulse").textContent = text;
}

function dispatch(type, data) {
  if (type === "stats") onStats(data);
  else if (type === "guard.paused") notice("Campaign " + data.data.campaign_id + " was paused: " + (data.data.reason || ""));
}

// The parts of one event stand in lines, an empty line ends it.
async function readStream(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const fields = {};
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
      }
      text = text.slice(end + 2);
      if (fields.event) dispatch(fields.event, JSON.parse(fields.data));
    }
  }
}

async function listen() {
  stream = new AbortController();
  const mine = stream;
  while (token && stream === mine) {
    try {
      const answer = await fetch("/v1/events?types=stats,guard.paused", { headers: { Authorization: "Bearer " + token }, signal: mine.signal, cache: "no-store" });
      if (answer.status === 401) return logout("This token is not accepted.");
      if (answer.status === 403) return logout("This token may not read.");
      if (!answer.ok) throw new Error("status " + answer.status);
      waitMs = 500;
      await readStream(answer.body);
    } catch (problem) {
      if (mine.signal.aborted) return;
    }
    if (stream !== mine) return;
    pulse("lost", "no answer from the server");
    await new Promise((ready) => setTimeout(ready, waitMs));
    waitMs = Math.min(2 * waitMs, 5000);
  }
}

function hush() {
  if (stream) stream.abort();
  stream = null;
}

async function onStats(stats) {
  last = stats;
  drawTotals(stats);
  addPoint(Date.parse(stats.time), stats.engine.rate_now);
  if (view.name === "overview") chart.update("none");
  pulse("live", "live");
  await stepView();
}

// ---- charts ----

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const COMMON = { animation: false, parsing: false, normalized: true, maintainAspectRatio: false, interaction: { intersect: false, mode: "index" } };

function paintAxes(made) {
  for (const axis of ["x", "y"]) {
    made.options.scales[axis].ticks.color = colour("--muted");
    made.options.scales[axis].grid.color = colour("--line");
  }
}

function makeChart() {
  return new Chart($("chart"), {
    type: "line",
    data: { datasets: [{ data: [], borderWidth: 2, pointRadius: 0, tension: 0.25, cubicInterpolationMode: "monotone", fill: true }] },
    options: {
      ...COMMON,
      plugins: { legend: { display: false }, tooltip: {
        callbacks: { title: (items) => clock.format(items[0].parsed.x), label: (item) => rate(item.parsed.y) + " messages/s" } } },
      scales: {
        x: { type: "linear", ticks: { stepSize: 60000, maxRotation: 0, callback: (value) => clockShort.format(value) }, grid: { display: false } },
        y: { beginAtZero: true, suggestedMax: 10, ticks: { maxTicksLimit: 5, callback: (value) => number.format(value) }, grid: {} },
      },
    },
  });
}

const BARS = [["delivered", "--good"], ["deferred", "--warn"], ["bounced", "--bad"]];

function makeOutcomes() {
  return new Chart($("outcomes"), {
    type: "bar",
    data: { datasets: BARS.map(([label]) => ({ label, data: [], barThickness: "flex", maxBarThickness: 14, categoryPercentage: 0.9 })) },
    options: {
      ...COMMON,
      plugins: { legend: { labels: { boxWidth: 10, boxHeight: 10 } }, tooltip: { callbacks: { title: (items) => clockShort.format(items[0].parsed.x) } } },
      scales: {
        x: { type: "linear", stacked: true, offset: false, ticks: { stepSize: 10 * 60000, maxRotation: 0, callback: (value) => clockShort.format(value) }, grid: { display: false } },
        y: { stacked: true, beginAtZero: true, suggestedMax: 10, ticks: { maxTicksLimit: 5, callback: (value) => number.format(value) }, grid: {} },
      },
    },
  });
}

function paint() {
  if (chart === null) return;
  const accent = colour("--accent");
  chart.data.datasets[0].borderColor = accent;
  chart.data.datasets[0].backgroundColor = accent + "22";
  BARS.forEach(([, name], i) => (outcomes.data.datasets[i].backgroundColor = colour(name)));
  outcomes.options.plugins.legend.labels.color = colour("--muted");
  for (const made of [chart, outcomes]) {
    paintAxes(made);
    made.update("none");
  }
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

// The minutes before the page was opened, so that the picture does not begin empty.
function loadHistory(minutes) {
  const points = chart.data.datasets[0].data;
  if (points.length === 0) for (const minute of minutes) addPoint(Date.parse(minute.time) + 30000, minute.delivered / 60);
}

function drawOutcomes(minutes) {
  const now = Date.now();
  BARS.forEach(([state], i) => (outcomes.data.datasets[i].data = minutes.map((minute) => ({ x: Date.parse(minute.time) + 30000, y: minute[state] }))));
  outcomes.options.scales.x.min = now - HOUR_MS;
  outcomes.options.scales.x.max = now + 30000;
  outcomes.update("none");
}

// ---- the overview ----

function drawAlerts(stats) {
  redraw($("alerts"), stats.alerts, () => stats.alerts.map((alert) => element("p", "alert " + alert.level, alert.text)));
  $("alert-count").hidden = stats.alerts.length === 0;
  $("alert-count").textContent = stats.alerts.length === 0 ? "" : stats.alerts.length + (stats.alerts.length === 1 ? " alert" : " alerts");
}

function drawTotals(stats) {
  $("t-rate").textContent = rate(stats.engine.rate_now);
  for (const state of ["delivered", "deferred", "bounced", "failed", "pending"]) {
    $("t-" + state).textContent = count(stats.deliveries[state]);
    $("t-" + state).classList.toggle("none", !stats.deliveries[state]);
  }
  $("t-connections").textContent = count(stats.engine.connections);
  $("t-recipients").textContent = count(stats.recipients);
  $("t-suppressions").textContent = count(stats.suppressions);
  const busiest = stats.campaigns.find((campaign) => campaign.status === "running");
  $("rate-note").textContent = count(stats.engine.queued) + " queued, " + count(stats.engine.in_flight) + " in flight" +
    (busiest && busiest.stats.limited_by !== "nothing" ? ", limited by " + busiest.stats.limited_by : "");
  drawAlerts(stats);
}

async function drawEmpty(stats) {
  $("empty").hidden = stats.campaigns_total > 0;
  if (stats.campaigns_total > 0) return;
  $("step-import").classList.toggle("done", stats.recipients > 0);
  $("step-domain").classList.toggle("done", (await get("/v1/domains?limit=1")).total > 0);
}

function drawSite(site) {
  const reached = site.delivered + site.permanent + site.temporary;
  const made = row([link("#/provider/" + encodeURIComponent(site.site), site.site)], [count(site.queued), "r"], [count(site.in_flight), "r"], [site.connections + " / " + site.connections_max, "r"],
    [rate(site.rate_now), "r"], [site.rate, "r"], [site.limited_by, site.limited_by === "back-off" ? "warn" : ""], [count(site.delivered), "r"],
    [count(site.temporary + site.transport) + " " + share(site.temporary, reached), "r" + (site.temporary + site.transport ? " warn" : "")],
    [count(site.permanent) + " " + share(site.permanent, reached), "r" + (site.permanent ? " bad" : "")],
    [site.p50_ms ? site.p50_ms + " ms" : "", "r"], [site.p95_ms ? site.p95_ms + " ms" : "", "r"], [site.last_reply, "reply"]);
  made.lastChild.title = site.last_reply;
  return made;
}

function drawSites(page) {
  redraw($("site-rows"), page.data, () => page.data.map(drawSite));
  $("sites-empty").hidden = page.data.length > 0;
  $("sites-table").hidden = page.data.length === 0;
  $("sites-note").textContent = page.total > page.data.length ? "the busiest " + page.data.length + " of " + count(page.total) : "";
}

function drawQueue(queue) {
  const total = queue.data.reduce((sum, part) => sum + part.waiting, 0);
  $("queue").hidden = total === 0;
  $("queue-note").textContent = count(total) + " deferred";
  redraw($("queue-rows"), queue.data, () => queue.data.flatMap((part) => {
    const bar = document.createElementNS(SVG, "svg");
    bar.setAttribute("viewBox", "0 0 1000 10");
    bar.setAttribute("preserveAspectRatio", "none");
    bar.setAttribute("aria-hidden", "true");
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("width", total > 0 ? ((1000 * part.waiting) / total).toFixed(1) : "0");
    rect.setAttribute("height", "10");
    bar.append(rect);
    return [element("span", "", part.due), bar, element("b", "", count(part.waiting))];
  }));
}

async function stepOverview(stats) {
  $("campaigns").hidden = stats.campaigns.length === 0;
  $("campaigns-note").textContent = count(stats.campaigns_active) + " active, " + count(stats.campaigns_total) + " in all";
  redraw($("campaign-list"), stats.campaigns.slice(0, 6), () => stats.campaigns.slice(0, 6).map((campaign) => drawCampaign(campaign, false)));
  await drawEmpty(stats);
  const [sites, series, queue] = await Promise.all([get("/v1/stats/sites?limit=50"), get("/v1/stats/timeseries"), get("/v1/stats/queue")]);
  loadHistory(series.data);
  drawSites(sites);
  drawOutcomes(series.data);
  drawQueue(queue);
}

// ---- which page ----

let view = { name: "overview" };
let stepping = false;

// Milliseconds between two askings of a page, besides the stream.
const EVERY = { overview: 1000, campaigns: 1000, campaign: 1000, recipient: Infinity, provider: 1000, suppressions: Infinity, domains: Infinity, health: 2000 };

function open() {
  const [, name, rest] = /^#\/(campaigns|campaign|recipient|provider|suppressions|domains|health)(?:\/(.+))?$/.exec(location.hash) || [null, "overview", ""];
  let whom = "";
  try {
    whom = decodeURIComponent(rest || "");
  } catch {
    whom = rest; // typed by hand
  }
  view = { name, id: parseInt(rest, 10), whom, mark: null, pages: 0, next: 0 };
  for (const section of document.querySelectorAll("[data-page]")) section.classList.toggle("away", section.dataset.page !== name);
  for (const item of document.querySelectorAll("nav a")) {
    const current = item.dataset.view === name || (item.dataset.view === "campaigns" && name === "campaign");
    if (current) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  $("alerts").classList.toggle("away", name === "health"); // its own list has them
  notice("");
  resetView();
  scrollTo(0, 0);
  if (token && chart !== null) stepView();
}

async function stepView() {
  const now = performance.now();
  if (stepping || last === null || now < view.next) return;
  const shown = view;
  stepping = true;
  shown.next = now + EVERY[shown.name] - 100;
  await act(() => (shown.name === "overview" ? stepOverview(last) : VIEWS[shown.name](shown, last)));
  stepping = false;
  if (shown !== view) stepView();
}

async function act(work) {
  try {
    await work();
  } catch (problem) {
    if (problem.refused) return logout("This token is not accepted.");
    if (problem.status === 404) return notice("There is no such thing.");
    if (problem.status === 403) return notice("This token may not do that: " + problem.message);
    if (problem.status) return notice(problem.message);
    pulse("lost", "no answer from the server");
  }
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text;
}

// ---- in and out ----

async function begin() {
  for (const id of ["page", "logout", "search-form", "nav"]) $(id).hidden = false;
  $("login").hidden = true;
  if (chart === null) {
    chart = makeChart();
    outcomes = makeOutcomes();
    paint();
  }
  open();
  listen();
}

function logout(why) {
  hush();
  sessionStorage.removeItem("posthaste-token");
  token = null;
  last = null;
  for (const id of ["page", "logout", "search-form", "nav"]) $(id).hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = why || "";
  pulse("", "not signed in");
  $("token").focus();
}

addEventListener("DOMContentLoaded", () => {
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
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the part behind # is the page's own
    $("content").focus();
  });
  addEventListener("hashchange", open);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  prepareViews();
  if (token) begin();
  else logout();
});
