// The dashboard's pages about mail: campaigns, one campaign, one recipient, suppressions; operations.js has those about the machine. Each is a function
// that asks for what it shows and draws it; dashboard.js calls it when the page is opened, and again while the numbers move.
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

// `whole`: with what recipients did, which a campaign's own page shows in tiles.
function counts(stats, whole) {
  const line = element("div", "counts");
  for (const state of FUNNEL) {
    const item = element("span", stats[state] ? "" : "zero");
    if (state !== "audience") item.append(element("i", "dot d-" + state));
    item.append(state + " ", element("b", "", count(stats[state])));
    line.append(item);
  }
  for (const flag of ["opened", "clicked", "unsubscribed", "complained"]) {
    if (!stats[flag] || !whole) continue;
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
  box.append(funnelBar(campaign.stats), counts(campaign.stats, !alone));
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

function responsesOf(delivery) {
  return ["opened", "clicked", "unsubscribed"].filter((flag) => delivery[flag + "_at"]).join(", ");
}

function drawDelivery(delivery) {
  const reply = replyOf(delivery);
  const made = row([link("#/recipient/" + encodeURIComponent(delivery.email), delivery.email)], [delivery.state, "s-" + delivery.state],
    [count(delivery.attempts), "r"], [when(delivery.updated_at)], [responsesOf(delivery)], [delivery.mx_host], [reply, "reply"]);
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

// ---- what recipients did ----

const RESPONSES = [["opened", "good"], ["clicked", "good"], ["unsubscribed", "warn"], ["complained", "bad"]];

function drawResponses(stats) {
  redraw($("responses"), RESPONSES.map(([flag]) => stats[flag]).concat(stats.delivered), () => RESPONSES.map(([flag, tone]) => {
    const tile = element("div", "tile");
    tile.append(element("span", "number " + (stats[flag] ? tone : "none"), count(stats[flag])), element("span", "label", flag),
      element("span", "label", stats[flag] ? share(stats[flag], stats.delivered) + " of delivered" : " "));
    return tile;
  }));
}

// A link is text of the campaign's author, and a person who looks at it does not want to be counted: it is shown, never linked.
function drawLinks(page, stats) {
  $("links-note").textContent = page.total > page.data.length ? "the first " + page.data.length + " of " + count(page.total) : "";
  $("links-empty").hidden = page.data.length > 0;
  $("links-table").hidden = page.data.length === 0;
  redraw($("link-rows"), [page.data, stats.delivered], () => page.data.map((found) => row([found.url, "whole"], [count(found.people), "r"],
    [share(found.people, stats.delivered), "r"], [count(found.clicks), "r"], [count(found.machines), "r muted"])));
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
  const [campaign, series, replies, lanes, found] = await Promise.all([get(path), get(path + "/timeseries"), get(path + "/replies"), get(path + "/sites?limit=20"),
    get(path + "/links?limit=50")]);
  if (shown !== view) return;
  redraw($("campaign-head"), campaign, () => [drawCampaign(campaign, true)]);
  paintCampaignChart(series.data);
  drawResponses(campaign.stats);
  drawLinks(found, campaign.stats);
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

// A cell of two lines: what matters, and below it what explains it.
function lines(first, second) {
  const box = element("div", "lines");
  box.append(element("span", "", first));
  if (second) box.append(element("span", "muted", second));
  return box;
}

function encryption(attempt) {
  const policy = attempt.tls_policy && attempt.tls_policy !== "none" ? attempt.tls_policy + (attempt.tls_result ? ": " + attempt.tls_result : "") : "";
  return lines(attempt.tls ? attempt.tls_version || "TLS" : attempt.mx_host ? "none" : "", [attempt.tls_cipher, policy].filter(Boolean).join(" · "));
}

function timing(attempt) {
  const stages = Object.entries(attempt.times_ms || {}).map(([stage, ms]) => stage + " " + ms);
  const made = lines(attempt.duration_ms ? count(attempt.duration_ms) + " ms" : stages.length > 0 ? "under 1 ms" : "", stages.join(" · "));
  made.classList.add("stages");
  return made;
}

function drawAttempt(attempt) {
  const led = lines(attempt.state, attempt.stage ? "at " + attempt.stage : "");
  led.firstChild.className = "s-" + attempt.state;
  if (attempt.uncertain) led.append(element("span", "warn", "its reply got lost"));
  const from = attempt.source ? "from " + attempt.source : "";
  const made = row([lines(attempt.attempt + ".", when(attempt.at))], [led], [lines(attempt.mx_host, [attempt.address, from].filter(Boolean).join(", "))], [encryption(attempt)],
    [timing(attempt)], [replyOf(attempt), "whole"]);
  ATTEMPT_COLUMNS.forEach((name, i) => (made.cells[i].dataset.label = name)); // on a phone's width each attempt is a list
  return made;
}

const ATTEMPT_COLUMNS = ["When", "Led to", "Server", "Encryption", "Took", "What it said"];

function drawHistory(delivery) {
  const box = element("article", "campaign");
  const title = element("div", "title");
  title.append(element("span", "muted", "#" + delivery.campaign_id), link("#/campaign/" + delivery.campaign_id, delivery.campaign),
    element("span", "chip s-" + delivery.state, delivery.state));
  title.children[1].className = "name";
  if (delivery.next_attempt_at) title.append(element("span", "muted", "next attempt " + when(delivery.next_attempt_at)));
  for (const [flag, tone] of RESPONSES)
    if (delivery[flag + "_at"]) title.append(element("span", "small " + tone, flag + " " + when(delivery[flag + "_at"])));
  const [scroll, body] = tableOf("Attempts of campaign " + delivery.campaign_id, ATTEMPT_COLUMNS);
  body.className = "attempts";
  body.append(...delivery.history.map(drawAttempt));
  box.append(title, delivery.history.length > 0 ? scroll : element("p", "muted small", "No attempt was made."));
  return box;
}

async function loadRecipient(shown) {
  let person = null;
  try {
    person = await get("/v1/recipients/" + encodeURIComponent(shown.whom));
  } catch (problem) {
    if (problem.refused || !(problem.status >= 400 && problem.status < 500)) throw problem;
  }
  if (shown !== view) return;
  const title = element("h2", "", shown.whom);
  if (person === null) {
    $("recipient").replaceChildren(title, element("p", "muted", "Nobody with this address is known."));
    return;
  }
  const facts = element("dl", "facts");
  fact(facts, "Lists", person.lists.map((list) => list.list + " (" + list.status + ")").join(", ") || "none");
  fact(facts, "Since", when(person.created_at));
  if (person.suppression) fact(facts, "Suppressed", person.suppression.reason + ", " + when(person.suppression.created_at) + ", " + scopeOf(person.suppression));
  for (const [name, value] of Object.entries(person.attributes)) fact(facts, name, typeof value === "string" ? value : JSON.stringify(value));
  const empty = person.deliveries.length === 0 ? [element("p", "muted", "Nothing was sent to this address.")] : [];
  $("recipient").replaceChildren(title, facts, element("h3", "", "Deliveries"), ...empty, ...person.deliveries.map(drawHistory));
}

// ---- suppressions ----

function scopeOf(entry) {
  return entry.list_id === null ? "all lists" : "list " + entry.list;
}

function drawSuppression(entry) {
  // Without its list, the entry for all lists would go in its place.
  const query = entry.list_id === null ? "" : "?list=" + entry.list_id;
  const allow = button("Allow again", async () => {
    if (!(await ask("Allow mail to " + entry.email + " again (" + scopeOf(entry) + ")?", "Allow it"))) return;
    await act(async () => {
      await call("DELETE", "/v1/suppressions/" + encodeURIComponent(entry.email) + query);
      await loadSuppressions(view, false);
    });
  });
  allow.setAttribute("aria-label", "Allow " + entry.email + " again (" + scopeOf(entry) + ")");
  return row([link("#/recipient/" + encodeURIComponent(entry.email), entry.email)], [scopeOf(entry)], [entry.reason], [when(entry.created_at)], [entry.origin, "reply"], [allow, "r"]);
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

// ---- for dashboard.js ----

const VIEWS = {
  campaigns: (shown) => (shown.pages > 1 ? null : loadCampaigns(shown, false)),
  campaign: stepCampaign,
  recipient: loadRecipient,
  provider: stepProvider,
  suppressions: (shown) => loadSuppressions(shown, false),
  domains: loadDomains,
  health: stepHealth,
};

function resetView() {
  for (const id of ["campaign-head", "delivery-rows", "recipient", "provider", "reply-rows", "lane-rows", "link-rows", "responses", "all-campaigns", "suppression-rows", "domain-list"]) {
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
