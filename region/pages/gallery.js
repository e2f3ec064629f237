// The gallery: which cases, the grid, and the keys. The chosen case is case.js; the filters are filters.js.
import { get, post, whoami, leave } from "./api.js";
import { h, fill, icon, say } from "./dom.js";
import { count, full, now, setNow, span } from "./format.js";
import { drawCase, keyOf, topOf } from "./case.js";
import { className, overlay } from "./overlay.js";
import { filters } from "./filters.js";
import { showHelp } from "./help.js";
import { top } from "./top.js";

const grid = document.getElementById("cases");
const detail = document.getElementById("detail");
const head = document.getElementById("shelf-head");
const more = document.getElementById("more");
const PAGE = 48, LOOK_EVERY_MS = 4000;
const state = { cases: [], next: null, chosen: -1, summary: null, seen: 0, loading: false, crisp: false };

const session = await whoami();
if (!session.label) leave();
const bar = filters(document.getElementById("filters"), load);
const progress = h("div.progress");
top(session, { middle: progress, tools: h("button.button.quiet.square.only-wide", { type: "button", title: "Keys", "aria-label": "Keys", onclick: showHelp }, "?") });

async function look() {
  try {
    const summary = await get("/v1/summary");
    setNow(summary.now);
    const first = state.summary === null;
    state.summary = summary;
    bar.offer(summary);
    say(document.getElementById("region"), `/ ${summary.region}`);
    if (first) document.title = `Cases · ${summary.region} · terrace`;
    drawProgress();
    drawHead();
    return true;
  } catch (problem) {
    fill(head, [h("span.badge.warn", { role: "status" }, problem.message)]);
    return false;
  }
}

async function load(after = null) {
  if (state.loading) return;
  state.loading = true;
  try {
    const query = bar.query();
    query.set("limit", PAGE);
    if (after !== null) query.set("before", after);
    const page = await get(`/v1/cases?${query}`);
    const kept = after === null ? null : state.cases;
    state.cases = [...(kept ?? []), ...page.cases];
    state.next = page.next;
    if (after === null) state.seen = state.summary?.newest ?? 0;
    drawGrid(kept?.length ?? 0);
    if (after === null) choose(state.cases.length ? 0 : -1, { open: false });
  } catch (problem) {
    fill(more, [h("p.notice.bad", { role: "alert" }, `${problem.message} ${problem.remedy ?? ""}`)]);
  } finally { state.loading = false; }
}

function drawProgress() {
  const { labels } = state.summary;
  fill(progress, [
    h("span", { title: "agreed on by two people; those of held-out units count at the gate of every round" }, h("b", {}, count(labels.human)), " agreed, ", h("b", {}, count(labels.gate)), " at the gate"),
    labels.generated ? h("span.badge.warn.plain", { title: "labelled by a generator in the place of people" }, `${count(labels.generated)} by a generator`) : null,
    h("span", {}, h("b", {}, count(labels.open)), " wait for a second word"),
    labels.disputed ? h("span", {}, h("b", {}, count(labels.disputed)), " in dispute") : null]);
}

const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }), days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const shortTime = (at) => (now() - at < 43_200 ? hours : days).format(at * 1000);
const age = (at) => (now() - at < 3 ? "just now" : `${span(now() - at)} ago`);

function drawHead() {
  const fresh = state.summary.newest > state.seen && state.seen > 0;
  fill(head, [
    h("span", {}, h("b", {}, count(state.summary.cases)), " cases",
      state.summary.newest_at ? `, newest ${age(state.summary.newest_at)}` : ""),
    fresh ? h("button.button.small", { type: "button", onclick: () => load() }, icon("up"), "Newer cases") : null]);
}

function drawGrid(from) {
  const items = state.cases.slice(from).map((item, index) => h("li", {}, tile(item, from + index)));
  if (from) grid.append(...items); else grid.replaceChildren(...items);
  fill(more, [
    state.next !== null ? h("button.button", { type: "button", onclick: () => load(state.next) }, "Older cases") : null,
    state.cases.length === 0 ? h("div.empty", {}, h("strong", {}, "No case fits"), h("span", {}, "Cases appear here as devices send them. Loosen the filters to see others.")) : null]);
}

function tile(item, index) {
  const name = (answer) => topOf(answer, state.summary.classes);
  const differs = item.expert && name(item.expert)[0] !== name(item.student)[0];
  const line = (who, title, answer) => h("div", {}, h("span.who", { title }, who),
    h(`span.what${who === "E" && differs ? ".differs" : ""}`, {}, answer ? name(answer)[0] : "waits"), h("span.sure", {}, answer ? name(answer)[1] : ""));
  return h("button.case", { type: "button", "data-index": index, tabindex: index === state.chosen ? 0 : -1, "aria-current": String(index === state.chosen), onclick: () => choose(index, { open: true }),
    "aria-label": `Frame ${item.frame} of ${item.stream}, student says ${name(item.student)[0]}, expert ${item.expert ? name(item.expert)[0] : "has not answered"}` },
    h(`div.frame${state.crisp ? ".crisp" : ""}`, {}, picture(item), overlay(item, state.summary.classes)),
    h("span.chip", {}, item.is_audit ? "audit" : "hard"), mark(item),
    h("div.said", {}, line("S", "student", item.student), line("E", "expert", item.expert), peopleLine(item),
      h("div.foot", {}, h("span", { title: `${item.device}, ${item.stream}` }, `${item.device.split(".")[0]} · ${item.stream}`), h("time", { title: full(item.captured_at) }, shortTime(item.captured_at)))));
}

function peopleLine(item) {
  const said = item.state === "frozen" ? item.label : item.mine;
  return h("div", {}, h("span.who", { title: "people" }, "P"),
    h(`span.what${said === null ? ".unsaid" : ""}`, {}, said === null ? "–" : className(state.summary.classes, said)), h("span.sure", {}, said !== null && item.state !== "frozen" ? "you" : ""));
}

function mark(item) {
  if (item.state === "frozen") return h("span.chip.right.good", {}, "✓ agreed");
  if (item.state === "disputed") return h("span.chip.right.warn", {}, "dispute");
  if (item.mine !== null) return h("span.chip.right.info", {}, "yours");
  return item.voices ? h("span.chip.right", {}, `${item.voices} said`) : null;
}

function picture(item) {
  const image = h("img", { src: `/v1/cases/${item.case}/picture`, alt: "", loading: "lazy", decoding: "async", width: item.width, height: item.height });
  image.addEventListener("error", () => image.replaceWith(h("span.small.faint", {}, "no picture")));
  return image;
}

function choose(index, { open = true, focus = false } = {}) {
  const before = grid.querySelector('[aria-current="true"]');
  for (const [key, value] of [["aria-current", "false"], ["tabindex", "-1"]]) before?.setAttribute(key, value);
  state.chosen = Math.max(-1, Math.min(index, state.cases.length - 1));
  const found = grid.querySelector(`[data-index="${state.chosen}"]`);
  for (const [key, value] of [["aria-current", "true"], ["tabindex", "0"]]) found?.setAttribute(key, value);
  if (focus) found?.focus({ preventScroll: true });
  found?.scrollIntoView({ block: "nearest" });
  if (open) detail.classList.add("open");
  show();
  if (state.next !== null && state.chosen > state.cases.length - 6) load(state.next);
}

function show() {
  const item = state.cases[state.chosen];
  if (!item) { fill(detail, []); return; }
  say(document.getElementById("spoken"), `Case ${state.chosen + 1} of ${state.cases.length}, ${item.state}`);
  drawCase(detail, item, {
    classes: state.summary.classes, crisp: state.crisp, label, step: (by) => choose(state.chosen + by),
    close: () => { detail.classList.remove("open"); grid.querySelector('[aria-current="true"]')?.focus(); },
    sharpen: () => { state.crisp = !state.crisp; for (const frame of grid.querySelectorAll(".frame")) frame.classList.toggle("crisp", state.crisp); show(); },
  });
}

async function label(number) {
  const index = state.chosen, item = state.cases[index];
  if (!item || item.state === "frozen" || number >= item.student.probabilities.length) return;
  try {
    const said = await post(`/v1/cases/${item.case}/label`, { label: number });
    state.cases[index] = said;
    grid.querySelector(`[data-index="${index}"]`)?.replaceWith(tile(said, index));
    if (index === state.chosen) { show(); if (said.mine === number && item.mine === null) advance(index); }
    look();
  } catch (problem) {
    detail.querySelector(".problem")?.replaceChildren(h("p.notice.bad", { role: "alert" }, `${problem.message} ${problem.remedy ?? ""}`));
  }
}

function advance(from) {
  const next = state.cases.findIndex((item, index) => index > from && item.asks_me);
  if (next >= 0) setTimeout(() => { if (state.chosen === from) choose(next); }, 350);
}

const columns = () => getComputedStyle(grid).gridTemplateColumns.split(" ").length;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || event.target.closest("select, input:not([type=checkbox])")) return;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
  const open = detail.classList.contains("open") && matchMedia("(max-width: 900px)").matches;
  if (event.key in moves) {
    const by = open ? Math.sign(moves[event.key]) : moves[event.key];
    if (state.chosen + by >= 0 && state.chosen + by < state.cases.length) choose(state.chosen + by, { open, focus: !open });
  } else if (event.key === "Enter" && !event.target.closest("button:not(.case), a")) choose(state.chosen, { open: true });
  else if (event.key === "Escape") detail.classList.remove("open");
  else if (event.key === " " && !event.target.closest("button:not(.case), a, input")) advance(state.chosen);
  else if (event.key === "?") showHelp();
  else if (keyOf.has(event.key.toLowerCase())) label(keyOf.get(event.key.toLowerCase()));
  else return;
  event.preventDefault();
});

if (await look()) await load();
setInterval(() => { if (!document.hidden) look(); }, LOOK_EVERY_MS);
