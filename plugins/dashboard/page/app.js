// The live page: asks for `api/live` once a window, and shows what came since the one before.
// All names are put in as text, never as markup.
"use strict";

const WINDOWS = 60; // of the past, in memory: ten minutes of the usual interval
const ROWS = 100; // shown at first; a button shows the rest
const SCALE = 3; // buckets a doubling: 2^3

const $ = (id) => document.getElementById(id);
const state = {
  live: null, // the last answer
  sinks: null, // of the host, where it tells
  windows: [], // {end, seconds, buckets, targets: Map id -> [requests, err5]}
  group: "services",
  sort: "rate",
  falling: true,
  filter: "",
  open: new Set(),
  all: false,
  failures: 0,
  received: 0,
};

// --- numbers

const zero = () => ({ requests: 0, err4: 0, err5: 0, aborted: 0, seen: 0, lost: 0, in_flight: 0, buckets: new Map() });

function buckets({ offset, counts }) {
  const map = new Map();
  counts.forEach((count, i) => count > 0 && map.set(offset + i, count));
  return map;
}

function addBuckets(sum, more) {
  for (const [index, count] of more) sum.set(index, (sum.get(index) || 0) + count);
  return sum;
}

// Seconds that the share q did not exceed, interpolated inside its bucket by logarithm; NaN where there is nothing.
function quantile(map, q) {
  let total = 0;
  for (const count of map.values()) total += count;
  let below = 0;
  for (const index of [...map.keys()].sort((a, b) => a - b)) {
    const count = map.get(index);
    if (below + count >= q * total) return 2 ** ((index + (q * total - below) / count) / 2 ** SCALE);
    below += count;
  }
  return NaN;
}

// What a target counted since `before`; all of it where it is new, or began again.
function since(target, before) {
  const then = before && before.since_ms === target.since_ms ? before : null;
  const less = (key) => Math.max(0, target[key] - (then ? then[key] : 0));
  const now = buckets(target.latency);
  if (then) {
    for (const [index, count] of buckets(then.latency)) {
      const left = (now.get(index) || 0) - count;
      if (left > 0) now.set(index, left);
      else now.delete(index);
    }
  }
  return {
    requests: less("requests"), err4: less("err4"), err5: less("err5"), aborted: less("aborted"),
    seen: less("seen"), lost: less("lost"), in_flight: target.in_flight, buckets: now,
  };
}

function add(sum, more) {
  for (const key of ["requests", "err4", "err5", "aborted", "seen", "lost", "in_flight"]) sum[key] += more[key];
  addBuckets(sum.buckets, more.buckets);
}

// --- words

const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
const rate = (value) => (!isFinite(value) ? "–" : value === 0 ? "0" : value >= 10000 ? `${digits(value / 1000)}k` : digits(value));
const share = (value) => (!isFinite(value) ? "–" : value === 0 ? "0 %" : value < 0.0001 ? "<0.01 %" : `${digits(value * 100)} %`);
function time(seconds) {
  if (!isFinite(seconds)) return "–";
  if (seconds < 1e-3) return `${digits(seconds * 1e6)} µs`;
  if (seconds < 1) return `${digits(seconds * 1e3)} ms`;
  return `${digits(seconds)} s`;
}
// Rounded down: what is not whole never looks whole.
const coverage = (value) => (!isFinite(value) ? "–" : value === 1 ? "100 %" : `${(Math.floor(value * 10000) / 100).toFixed(2)} %`);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// --- the network

async function poll() {
  let wait = 2000;
  try {
    const answer = await fetch(state.live ? "api/live" : "api/live?history=1", { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
    const live = await answer.json();
    state.failures = 0;
    if (!state.live || live.sequence !== state.live.sequence) {
      state.sinks = await sinks();
      take(live);
    }
    // Soon after the next window is there.
    wait = Math.min(Math.max(live.end_ms - live.start_ms, 500), 30000) / 2 + 100;
  } catch (error) {
    state.failures += 1;
    state.trouble = error.message;
    wait = Math.min(1000 * 2 ** state.failures, 15000);
  }
  trouble();
  setTimeout(poll, wait);
}

// Answered by the host and not by the plugin, where the endpoint says `plugins = true`; else there is nothing to show.
async function sinks() {
  try {
    const answer = await fetch("plugins", { cache: "no-store" });
    return answer.status === 200 ? await answer.json() : null;
  } catch {
    return null;
  }
}

function take(live) {
  const before = state.live && live.sequence > state.live.sequence ? state.live : null;
  if (!before) {
    state.windows = (live.history || []).map((past) => ({
      end: past.end_ms, seconds: past.seconds, buckets: buckets(past.latency), targets: new Map(Object.entries(past.targets)),
    }));
  }
  const old = new Map((before ? before.targets : []).map((target) => [target.id, target]));
  const seconds = before ? (live.end_ms - before.end_ms) / 1000 : 0;
  for (const target of live.targets) {
    target.delta = since(target, old.get(target.id));
    // At first there is no window to compare with: the mean since the target's discovery.
    target.seconds = before ? seconds : Math.max((live.end_ms - target.since_ms) / 1000, 0.001);
  }
  if (before) {
    const whole = new Map();
    const targets = new Map();
    for (const target of live.targets) {
      addBuckets(whole, target.delta.buckets);
      targets.set(target.id, [target.delta.requests, target.delta.err5]);
    }
    state.windows.push({ end: live.end_ms, seconds, buckets: whole, targets });
    state.windows.splice(0, state.windows.length - WINDOWS);
  }
  state.basis = before ? "window" : "discovery";
  state.live = live;
  state.received = performance.now();
  render();
}

// --- grouping

function groups() {
  const made = new Map();
  const into = (key, name, where, target) => {
    let group = made.get(key);
    if (!group) made.set(key, (group = { key, name, where, targets: [], sum: zero(), rate: 0 }));
    group.targets.push(target);
    add(group.sum, target.delta);
    group.rate += target.delta.requests / target.seconds;
  };
  for (const target of state.live.targets) {
    const of = target.namespace;
    if (state.group === "pods") into(target.id, target.pod || target.id, [of, target.workload].filter(Boolean).join(" · "), target);
    else if (state.group === "workloads") into(`${of}/${target.workload || target.id}`, target.workload || target.pod || target.id, of, target);
    else if (target.services.length === 0) into(`${of}//${target.id}`, target.pod || target.id, `${of} · no service`, target);
    else for (const service of target.services) into(`${of}/${service}`, service, of, target);
  }
  for (const group of made.values()) {
    const { sum } = group;
    group.errors = sum.err5 / sum.requests;
    group.refused = sum.err4 / sum.requests;
    [group.p50, group.p90, group.p99] = [0.5, 0.9, 0.99].map((q) => quantile(sum.buckets, q));
    const unread = (group.unread = group.targets.every((target) => UNREAD.includes(word(target))));
    // The zeros of what cannot be read mean nothing.
    if (unread) for (const key of ["rate", "errors", "refused", "p50", "p90", "p99"]) group[key] = NaN;
    // Since discovery, as the agent audits it.
    const [seen, lost] = ["seen", "lost"].map((key) => group.targets.reduce((all, target) => all + target[key], 0));
    group.coverage = group.targets.some((target) => target.blind) ? 0 : unread ? NaN : seen === 0 ? 1 : 1 - lost / seen;
  }
  return [...made.values()];
}

const COLUMNS = [
  { key: "name", label: "Name", of: (g) => g.name },
  { key: "rate", label: "Req/s", of: (g) => g.rate, show: (g) => rate(g.rate) },
  { key: "errors", label: "5xx", of: (g) => g.errors, show: (g) => share(g.errors), tone: (g) => (g.errors > 0 ? "bad" : "") },
  { key: "refused", label: "4xx", of: (g) => g.refused, show: (g) => share(g.refused), wide: true },
  { key: "p50", label: "p50", of: (g) => g.p50, show: (g) => time(g.p50), wide: true },
  { key: "p90", label: "p90", of: (g) => g.p90, show: (g) => time(g.p90), wide: true },
  { key: "p99", label: "p99", of: (g) => g.p99, show: (g) => time(g.p99) },
  { key: "coverage", label: "Coverage", of: (g) => g.coverage, show: (g) => coverage(g.coverage), tone: (g) => (g.coverage < 1 ? "warn" : "") },
];

// --- drawing

function render() {
  if (!state.live) return;
  $("node").textContent = state.live.node;
  document.title = `owlk8s ${state.live.node}`;
  tiles();
  unseen();
  plugins();
  heat();
  table();
  age();
}

function tiles() {
  const sum = zero();
  let perSecond = 0;
  let [seen, lost] = [0, 0];
  for (const target of state.live.targets) {
    add(sum, target.delta);
    perSecond += target.delta.requests / target.seconds;
    seen += target.seen;
    lost += target.lost;
  }
  const blind = state.live.targets.filter((target) => target.blind).length;
  const whole = seen === 0 ? 1 : 1 - lost / seen;
  const active = state.live.targets.filter((target) => target.status === "active").length;
  const tile = (id, label, value, note, tone) =>
    element("dl", { class: "tile", id: `tile-${id}` }, element("dt", {}, label), element("dd", { class: tone }, value, note ? element("small", {}, ` ${note}`) : ""));
  $("tiles").replaceChildren(
    tile("rate", "Requests/s", rate(perSecond)),
    tile("errors", "Errors (5xx)", share(sum.err5 / sum.requests), "", sum.err5 > 0 ? "bad" : ""),
    tile("p50", "p50", time(quantile(sum.buckets, 0.5))),
    tile("p90", "p90", time(quantile(sum.buckets, 0.9))),
    tile("p99", "p99", time(quantile(sum.buckets, 0.99))),
    tile("flight", "In flight", String(sum.in_flight)),
    tile("coverage", "Coverage", coverage(whole), blind ? `${blind} blind` : "", whole < 1 || blind ? "warn" : "good"),
    tile("targets", "Targets active", `${active}`, `of ${state.live.targets.length}`, active < state.live.targets.length ? "warn" : ""),
  );
}

const tone = (target) => (target.blind || target.status === "failed" ? "bad" : target.status === "active" ? "" : "warn");
const UNREAD = ["blind", "failed", "waiting"];
const word = (target) => (target.blind ? "blind" : target.status);

// What cannot be read, or not wholly: the worst first.
function unseen() {
  const order = ["blind", "failed", "degraded", "waiting"];
  const found = state.live.targets.filter((target) => target.status !== "active");
  found.sort((a, b) => order.indexOf(word(a)) - order.indexOf(word(b)));
  $("unseen").hidden = found.length === 0;
  const kinds = order.map((kind) => [kind, found.filter((target) => word(target) === kind).length]).filter(([, count]) => count > 0);
  $("unseen-title").textContent = `Not whole: ${kinds.map(([kind, count]) => `${count} ${kind}`).join(", ")}`;
  $("unseen-list").replaceChildren(
    ...found.map((target) =>
      element("li", {}, element("strong", {}, [target.namespace, target.pod].filter(Boolean).join("/") || target.id), element("span", { class: `badge ${tone(target)}` }, word(target)), ` ${target.reason}`)),
  );
}

const AILING = ["failed", "quarantined", "backoff"];
const ails = (sink) => AILING.includes(sink.state) || sink.refused !== null;

// The sinks of the node, in the order of the configuration. One that ails moves them all up, above the numbers.
function plugins() {
  const box = $("plugins");
  box.hidden = state.sinks === null || state.sinks.length === 0;
  if (box.hidden) return;
  const ailing = state.sinks.filter(ails).length;
  const active = state.sinks.filter((sink) => sink.state === "active").length;
  box.classList.toggle("warn", ailing > 0);
  $("plugins-title").textContent = `Plugins: ${active} of ${state.sinks.length} active${ailing > 0 ? `, ${ailing} in trouble` : ""}`;
  $("plugins-list").replaceChildren(...state.sinks.map(sink));
}

function sink({ name, state: stands, reason, refused, plugins, counters, last_error, last_error_unix_ns, last_success_unix_ns }) {
  const tone = AILING.includes(stands) ? "bad" : stands === "active" ? "good" : "warn";
  const count = (value, what) => `${value.toLocaleString("en")} ${what}`;
  const numbers = [
    plugins.map((plugin) => `${plugin.name} ${plugin.version}`.trim()).join(" → "),
    count(counters.windows_delivered, "windows delivered"),
    counters.windows_dropped > 0 && count(counters.windows_dropped, "dropped"),
    counters.plugin_faults > 0 && count(counters.plugin_faults, "faults of the plugin"),
    counters.sink_faults > 0 && count(counters.sink_faults, "failed deliveries"),
    counters.calls > 0 && `${time(counters.cpu_ns / 1e9 / counters.calls)} of CPU a call`,
  ].filter(Boolean);
  // An error that a success followed is over, and told as that.
  const over = last_success_unix_ns !== null && last_success_unix_ns > last_error_unix_ns;
  const why = [
    reason,
    refused !== null && `The newest configuration is refused, and the one before it runs: ${refused}`,
    last_error && !reason.includes(last_error) && `Last error${over ? ", over since" : ""}: ${last_error}`,
  ].filter(Boolean);
  return element("li", {}, element("strong", {}, name), element("span", { class: `badge ${tone}` }, stands), element("span", { class: "quiet" }, numbers.join(" · ")),
    ...why.map((line) => element("p", {}, line)));
}

function heat() {
  const canvas = $("heat-canvas");
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const all = state.windows.flatMap((window) => [...window.buckets.keys()]);
  if (all.length === 0) {
    $("heat-axis").replaceChildren();
    $("heat-text").textContent = state.windows.length ? "No request was answered in these windows." : "The map begins with the next window.";
    return;
  }
  // Two buckets a cell, at least an octave.
  const cell = (index) => Math.floor(index / 2);
  const [low, high] = [Math.min(...all.map(cell)) - 1, Math.max(...all.map(cell)) + 1];
  const rows = high - low + 1;
  const columns = Math.max(state.windows.length, 20);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--heat").trim();
  const [w, h] = [width / columns, height / rows];
  state.windows.forEach((window, i) => {
    const cells = new Map();
    for (const [index, count] of window.buckets) cells.set(cell(index), (cells.get(cell(index)) || 0) + count);
    const most = Math.max(...cells.values());
    for (const [index, count] of cells) {
      // By logarithm, so that a few slow ones among many are seen.
      const strength = 0.15 + (0.85 * Math.log1p(count)) / Math.log1p(most);
      context.fillStyle = `rgb(${colour} / ${strength})`;
      const x = (columns - state.windows.length + i) * w;
      context.fillRect(x, height - (index - low + 1) * h, Math.max(w - 1, 1), Math.max(h - 0.5, 1));
    }
  });
  const marks = [];
  for (const seconds of [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]) {
    const at = (Math.log2(seconds) * 2 ** SCALE) / 2 - low;
    if (at > 0 && at < rows) marks.push([seconds, 1 - at / rows]);
  }
  $("heat-axis").replaceChildren(
    ...marks.map(([seconds, at]) => {
      const mark = element("span", {}, time(seconds).replace(/\.0+ /, " "));
      mark.style.top = `${at * 100}%`;
      return mark;
    }),
  );
  const last = state.windows[state.windows.length - 1].buckets;
  const sum = state.windows.reduce((map, window) => addBuckets(map, window.buckets), new Map());
  $("heat-text").textContent =
    `${state.windows.length} windows; p50 ${time(quantile(sum, 0.5))}, p99 ${time(quantile(sum, 0.99))}; in the last one p50 ${time(quantile(last, 0.5))}, p99 ${time(quantile(last, 0.99))}.`;
}

function spark(group) {
  const ids = group.targets.map((target) => target.id);
  const points = state.windows.map((window) => {
    const counts = ids.map((id) => window.targets.get(id) || [0, 0]);
    return [0, 1].map((at) => counts.reduce((sum, count) => sum + count[at], 0) / window.seconds);
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${WINDOWS - 1} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  if (points.length < 2) return svg;
  const most = Math.max(...points.map(([all]) => all), 1e-9);
  const x = (i) => WINDOWS - points.length + i;
  const y = (value) => (23 - (value / most) * 22).toFixed(1);
  const path = (kind, d) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
    made.setAttribute("class", kind);
    made.setAttribute("d", d);
    svg.append(made);
  };
  if (points.some(([, failed]) => failed > 0)) {
    path("failed", `M${x(0)} 24 ${points.map(([, failed], i) => `L${x(i)} ${y(failed)}`).join(" ")} L${x(points.length - 1)} 24 Z`);
  }
  path("all", `M${points.map(([all], i) => `${x(i)} ${y(all)}`).join(" L")}`);
  return svg;
}

function head() {
  $("head").replaceChildren(
    ...COLUMNS.map((column) => {
      const sorted = column.key === state.sort;
      const cell = element("th", { scope: "col", class: column.wide ? "wide" : undefined, "aria-sort": sorted && (state.falling ? "descending" : "ascending") }, element("button", { type: "button", "data-sort": column.key }, column.label));
      return cell;
    }),
    element("th", { scope: "col" }, element("span", { class: "hidden" }, "Trend of requests a second")),
  );
  for (const button of $("groups").children) button.setAttribute("aria-pressed", String(button.dataset.group === state.group));
}

function table() {
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : undefined;
  head();
  const wanted = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (group) => [group.name, group.where, ...group.targets.flatMap((t) => [t.pod, t.namespace, word(t), ...t.services])].join(" ").toLowerCase();
  const all = groups();
  const found = all.filter((group) => wanted.every((part) => text(group).includes(part)));
  const column = COLUMNS.find(({ key }) => key === state.sort);
  const turn = state.falling ? -1 : 1;
  found.sort((a, b) => {
    const [x, y] = [column.of(a), column.of(b)];
    if (typeof x === "string") return turn * x.localeCompare(y) || a.key.localeCompare(b.key);
    // What has no value is last, whichever way it goes.
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || a.key.localeCompare(b.key);
    return turn * (x - y) || a.key.localeCompare(b.key);
  });
  const shown = state.all ? found : found.slice(0, ROWS);
  $("body").replaceChildren(...shown.flatMap((group) => (state.open.has(group.key) ? [row(group), detail(group)] : [row(group)])));
  $("more").hidden = shown.length === found.length;
  $("more").textContent = `Show all ${found.length}`;
  $("shown").textContent = `${found.length} of ${all.length} ${state.group}`;
  if (focused !== undefined) {
    const again = [...$("body").querySelectorAll("button.name")].find((button) => button.dataset.key === focused);
    if (again) again.focus({ preventScroll: true });
  }
}

function row(group) {
  const worst = ["blind", "failed", "degraded", "waiting"].find((kind) => group.targets.some((target) => word(target) === kind));
  const of = worst && group.targets.find((target) => word(target) === worst);
  const count = worst && group.targets.filter((target) => word(target) === worst).length;
  const name = element("td", {},
    element("button", { type: "button", class: "name", "data-key": group.key, "aria-expanded": String(state.open.has(group.key)) }, group.name),
    worst ? element("span", { class: `badge ${tone(of)}`, title: of.reason }, group.targets.length > 1 ? `${count} ${worst}` : worst) : "",
    element("span", { class: "where" }, group.targets.length > 1 || state.group !== "pods" ? `${group.where} · ${group.targets.length} ${group.targets.length === 1 ? "pod" : "pods"}` : group.where));
  const cells = COLUMNS.slice(1).map((column) => {
    return element("td", { "data-label": column.label, "data-column": column.key, class: [column.wide ? "wide" : "", column.tone ? column.tone(group) : ""].join(" ").trim() || undefined }, column.show(group));
  });
  return element("tr", { class: "row" }, name, ...cells, element("td", { class: "trend" }, group.unread ? "" : spark(group)));
}

function detail(group) {
  const lines = element("dl", {});
  const line = (label, value) => value && lines.append(element("dt", {}, label), element("dd", {}, value));
  for (const target of group.targets.filter((t) => t.reason)) line(target.pod || target.id, target.reason);
  line("pods", group.targets.map((target) => target.pod || target.id).join(", "));
  line("services", [...new Set(group.targets.flatMap((target) => target.services))].join(", "));
  line("addresses", group.targets.flatMap((target) => target.ips).join(", "));
  const total = (key) => group.targets.reduce((sum, target) => sum + target[key], 0);
  line("since discovery", `${total("requests")} answered, ${total("aborted")} aborted, ${total("in_flight")} in flight, ${total("lost")} lost of ${total("seen")} seen`);
  const codes = new Map();
  for (const entry of group.targets.flatMap((target) => target.rows)) {
    const side = entry.probe ? "kubelet probe" : entry.client ? "sent by the pod" : "answered";
    const key = [side, entry.method, entry.status, entry.protocol].join("\u0000");
    codes.set(key, (codes.get(key) || 0) + entry.count);
  }
  const table = element("table", { class: "codes" }, element("thead", {}, element("tr", {}, ...["", "Method", "Status", "Protocol", "Count"].map((label) => element("th", { scope: "col" }, label)))));
  const body = element("tbody");
  for (const [key, count] of [...codes].sort((a, b) => b[1] - a[1]).slice(0, 30)) {
    body.append(element("tr", {}, ...key.split("\u0000").map((part) => element("td", {}, part)), element("td", {}, String(count))));
  }
  table.append(body);
  return element("tr", { class: "detail" }, element("td", { colspan: COLUMNS.length + 1 }, lines, codes.size ? table : ""));
}

function age() {
  if (!state.live) return;
  const seconds = Math.max(0, Math.round((performance.now() - state.received) / 1000));
  const basis = state.basis === "discovery" ? "means since discovery; live from the next window" : `window ${state.live.sequence}`;
  $("age").textContent = `${basis} · ${seconds} s ago`;
}

function trouble() {
  $("trouble").hidden = state.failures === 0;
  if (state.failures > 0) $("trouble").textContent = `No answer from owlk8s (${state.trouble}). ${state.live ? "What is below is old." : ""} Trying again.`;
}

// --- hands

function sortBy(key) {
  state.falling = state.sort === key ? !state.falling : key !== "name";
  state.sort = key;
  table();
}

function toggle(key) {
  if (!state.open.delete(key)) state.open.add(key);
  table();
}

function theme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("owlk8s-theme", document.documentElement.dataset.theme); } catch { /* it is forgotten, then */ }
  heat();
}

function group(name) {
  [state.group, state.all] = [name, false];
  table();
}

function move(step) {
  const rows = [...$("body").querySelectorAll("button.name")];
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)];
  if (next) next.focus();
}

$("groups").addEventListener("click", (event) => event.target.dataset.group && state.live && group(event.target.dataset.group));
$("head").addEventListener("click", (event) => event.target.dataset.sort && sortBy(event.target.dataset.sort));
$("body").addEventListener("click", (event) => {
  const name = event.target.closest("tr.row") && event.target.closest("tr.row").querySelector("button.name");
  if (name) toggle(name.dataset.key);
});
$("filter").addEventListener("input", (event) => { state.filter = event.target.value; if (state.live) table(); });
$("more").addEventListener("click", () => { state.all = true; table(); });
$("theme").addEventListener("click", theme);
$("help").addEventListener("click", () => $("keys").showModal());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.target === $("filter")) {
    if (event.key !== "Escape") return;
    $("filter").value = state.filter = "";
    $("filter").blur();
    if (state.live) table();
    return;
  }
  const columns = COLUMNS.map(({ key }) => key);
  const actions = {
    1: () => group("services"), 2: () => group("workloads"), 3: () => group("pods"),
    j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
    s: () => sortBy(columns[(columns.indexOf(state.sort) + 1) % columns.length]),
    r: () => sortBy(state.sort),
    t: theme, "?": () => $("keys").showModal(), "/": () => $("filter").focus(),
  };
  if (state.live && actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});
window.addEventListener("resize", () => state.live && heat());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.live && heat());
setInterval(age, 1000);
try {
  const kept = localStorage.getItem("owlk8s-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* as the system has it */ }
poll();
