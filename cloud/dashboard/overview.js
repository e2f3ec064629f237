// The fleet at a glance: figures with their intervals, the three tiers with their state, charts over time.
import { h, fill, say, set, icon } from "./dom.js";
import { get } from "./api.js";
import { chart } from "./chart.js";
import { table } from "./table.js";
import { ago, badge, bytes, count, ms, percent, plural, range, short, toneOf } from "./format.js";
import { riskNow, riskOf } from "./risk.js";
import { all, learnTime, one, watch } from "./store.js";

const byName = (a, b) => a.name.localeCompare(b.name, "en", { numeric: true });
// a device's identity ends in its region, which stands beside it anyway
const shortName = (device) => (device.name.endsWith(`.${device.region}`) ? device.name.slice(0, -device.region.length - 1) : device.name);
const SPANS = [["15 min", 0.25], ["1 h", 1], ["6 h", 6], ["24 h", 24], ["7 d", 168]];
const REFRESH_MS = 10_000;
const kept = { hours: 0.25, regions: false };
const wholeBytes = (value) => bytes(value);

const CHARTS = [
  { title: "Accuracy on audit samples", of: "accuracy", band: true, format: (v) => percent(v, 0), floor: null, ceiling: 1, note: "student and expert agree" },
  { title: "Live risk", of: "risk", band: true, format: (v) => percent(v, 1), note: "as regions count it, each point by itself" },
  { title: "Sent to the region", of: "sent_share", format: (v) => percent(v, 0), note: "share of frames" },
  { title: "Bytes per frame", of: "bytes_per_frame", format: wholeBytes, note: "everything devices sent" },
  { title: "Answer latency", of: ["answer_p50_ms", "answer_p99_ms"], names: ["median", "99th percentile"], format: ms, note: "expert, received to answered" },
  { title: "Inference on the device", of: "device_ms", format: ms, note: "median per frame" },
];

export function open(main, { go }) {
  const tiles = tilesOf(), tiers = tiersOf(go), risks = riskOf(), devices = devicesOf();
  const drawn = CHARTS.map((one) => ({ ...one, chart: chart({ ...one, height: 148 }) }));
  const failed = h("p.notice.warn", { role: "status", hidden: true });
  const sentence = h("p");
  const spans = segments(SPANS, () => kept.hours, (value) => { kept.hours = value; load(); });
  const split = segments([["Fleet", false], ["By region", true]], () => kept.regions, (value) => { kept.regions = value; show(); });
  let told = null, timer = null;

  fill(main, [
    h("div.head", {}, h("div", {}, h("h1", {}, "Overview"), sentence)),
    tiles.node, tiers.node, risks.node,
    h("div.head", {}, h("h2", {}, "Over time"), h("div.actions", {}, split, spans)), failed,
    h("section.grid.columns-3", { "aria-label": "Charts" }, drawn.map((one) => h("article.card", {},
      h("header", {}, h("h2", {}, one.title), h("span.muted", {}, one.note)), h("div.body", {}, one.chart.node)))),
    devices.node,
  ]);

  async function load() {
    clearTimeout(timer);
    try {
      if (!document.hidden) {
        told = await get(`/v1/history?hours=${kept.hours}`);
        learnTime(told.to);
        failed.hidden = true;
        show();
      }
    } catch (problem) {
      failed.hidden = false;
      failed.textContent = `The charts cannot be brought up to date: ${problem.message}`;
    }
    clearTimeout(timer);
    timer = setTimeout(load, REFRESH_MS);
  }

  function show() {
    if (told === null) return;
    const at = Object.fromEntries(told.columns.map((name, index) => [name, index]));
    const names = Object.keys(told.series).filter((name) => (kept.regions ? name !== "" : name === "")).sort();
    // a fleet younger than the chart fills it all the same
    const first = Math.min(...Object.values(told.series).map((rows) => rows[0]?.[0] ?? Infinity));
    const begin = Math.max(told.from, Math.min(first - told.step_s, told.to - 120));
    const marks = all("releases").filter((release) => release.model === "student").map((release) => ({ x: release.created_at, name: `student ${release.release}` }));
    for (const one of drawn) {
      const fields = [one.of].flat();
      const series = names.flatMap((name, index) => fields.map((field, which) => ({
        name: [kept.regions ? name : fields.length > 1 ? "" : "fleet", one.names?.[which]].filter(Boolean).join(", "),
        tone: fields.length > 1 ? (index * 2 + which) % 6 + 1 : index % 6 + 1,
        points: gapped(told.series[name], at, field, one.band, told.step_s) })));
      one.chart.draw(series, { from: begin, to: told.to, marks });
    }
  }

  load();
  const ends = [
    watch(["figures", "fleet"], () => tiles.draw(one("figures"))),
    watch(["fleet", "regions", "devices", "rounds", "rollouts", "alerts", "releases"], (names) => {
      say(sentence, phrase());
      tiers.draw();
      risks.draw();
      if (names.has("devices")) devices.draw();
    }),
  ];
  const looked = () => { if (!document.hidden) load(); };
  document.addEventListener("visibilitychange", looked);
  return () => { clearTimeout(timer); ends.forEach((end) => end()); document.removeEventListener("visibilitychange", looked); };
}

// a stretch without reports is a gap, not a line across it
function gapped(rows, at, field, band, step) {
  const points = [];
  let last = null;
  for (const row of rows) {
    if (last !== null && row[0] - last > 4 * step) points.push({ x: last + step, y: null });
    last = row[0];
    points.push({ x: row[0] + step / 2, y: row[at[field]], low: band ? row[at[`${field}_low`]] : null, high: band ? row[at[`${field}_high`]] : null });
  }
  return points;
}

function phrase() {
  const fleet = one("fleet");
  const open = all("alerts").filter((alert) => alert.severity !== "info").length;
  if (!fleet.regions) return "No region has called yet. Start one with: terrace region serve.";
  return `${fleet.regions_here} of ${plural(fleet.regions, "region")} here, ${fleet.online} of ${plural(fleet.devices, "device")} online, `
    + (open ? `${plural(open, "alert")} open.` : "no open alerts.");
}

function segments(options, current, choose) {
  const node = h("div.segments", { role: "group" });
  for (const [name, value] of options) {
    node.append(h("button", { type: "button", "aria-pressed": String(value === current()), onclick: (event) => {
      for (const button of node.children) set(button, { "aria-pressed": String(button === event.currentTarget) });
      choose(value);
    } }, name));
  }
  return node;
}

function tilesOf() {
  const tile = (title, hint) => {
    const value = h("strong", {}, "–"), more = h("span.muted.small", {}, hint);
    return { value, more, node: h("div.tile", {}, h("span.name", {}, title), value, more), hint };
  };
  const tiles = {
    accuracy: tile("Accuracy on audit", "no audit sample answered yet"), risk: tile("Live risk", "kept, and the expert differs"),
    sent: tile("Sent to regions", "share of frames"), bytes: tile("Bytes per frame", "all that devices sent"),
    answer: tile("Answer", "expert, median"), rate: tile("Frames", "per second, last minute"),
  };
  function draw(figures) {
    const [now, behind] = riskNow();
    say(tiles.risk.value, now);
    say(tiles.risk.more, behind);
    if (!figures) return;
    say(tiles.accuracy.value, percent(figures.accuracy));
    say(tiles.accuracy.more, figures.audited ? `${range(figures.accuracy_low, figures.accuracy_high)} · ${count(figures.audited)} samples` : tiles.accuracy.hint);
    say(tiles.sent.value, percent(figures.sent_share));
    say(tiles.bytes.value, bytes(figures.bytes_per_frame));
    say(tiles.answer.value, ms(figures.answer_p50_ms));
    say(tiles.answer.more, figures.answer_p99_ms ? `99th percentile ${ms(figures.answer_p99_ms)}` : tiles.answer.hint);
    say(tiles.rate.value, figures.frames_per_s?.toFixed(1) ?? "–");
  }
  return { draw, node: h("section.tiles.card", { "aria-label": "Figures now" }, Object.values(tiles).map((one) => one.node)) };
}

function tiersOf(go) {
  const node = h("section.tiers.card", { "aria-label": "Three tiers" });
  let mark = "";
  function draw() {
    const regions = all("regions").sort(byName), devices = all("devices").sort(byName);
    const wanted = JSON.stringify([regions, devices.map((d) => [d.region, d.name, d.state, d.release, d.agreed, d.audited, d.spool]), all("rounds")[0], all("rollouts"), one("fleet")]);
    if (wanted === mark) return;
    mark = wanted;
    fill(node, [
      h("div.tier-head", {}, h("h2", {}, "Cloud"), h("h2", {}, "Regions"), h("h2", {}, "Devices")),
      h("div.tier-body", {}, cloud(go),
        h("div.sites", {}, regions.length ? regions.map((region) => h("div.site", {}, regionCard(region), chips(devices.filter((device) => device.region === region.name))))
          : h("div.empty", {}, h("strong", {}, "No region has called yet"), h("span", {}, "Regions dial in by themselves once they run.")))),
    ]);
  }
  return { node, draw };
}

function cloud(go) {
  const round = all("rounds").sort((a, b) => b.number - a.number)[0];
  const rollout = all("rollouts").sort((a, b) => b.id - a.id)[0];
  const newest = all("releases").filter((release) => release.model === "student").sort((a, b) => b.release - a.release)[0];
  const line = (title, value, path) => h("button.fact", { type: "button", onclick: () => go(path) }, h("span.muted.small", {}, title), value);
  return h("div.cloud", {},
    line("Newest student", newest ? h("strong", {}, `release ${newest.release}`) : "none", "/releases"),
    line("Round", round ? h("span.pair", {}, h("strong", {}, `${round.number}`), badge(round.state === "running" && round.step ? round.step : round.state, toneOf(round.state))) : "none yet", "/rounds"),
    line("Rollout", rollout ? h("span.pair", {}, h("strong", {}, `release ${rollout.release}`), badge(rollout.state)) : "none yet", "/releases"),
    line("Alerts", h("strong", {}, String(all("alerts").filter((alert) => alert.severity !== "info").length)), "/alerts"));
}

function regionCard(region) {
  const drift = region.drift?.alarm;
  return h("div.region", {},
    h("div.pair", {}, h("strong", {}, region.name), badge(region.state), region.people_url
      ? h("a.small.open", { href: region.people_url, target: "_blank", rel: "noopener noreferrer", title: "The region's own page: pictures and relabelling" }, "cases", icon("link")) : null),
    h("div.muted.small", {}, region.cases === undefined ? "no report yet"
      : `${short(region.cases)} cases, ${short(region.new)} new${region.human ? `, ${short(region.human)} by people` : ""}`),
    h("div.muted.small", {}, drift ? h("span.alarm", {}, `disagrees ${percent(region.drift.disagreement)}, was ${percent(region.drift.reference)}`)
      : region.answer_p50_ms ? `expert ${region.expert} answers in ${ms(region.answer_p50_ms)}` : region.state === "away" ? ["heard ", ago(region.seen_at)] : "no answers yet"));
}

const MOST_CHIPS = 24;
function chips(devices) {
  if (!devices.length) return h("div.chips", {}, h("span.muted.small", {}, "no device yet"));
  return h("ul.chips", {}, devices.slice(0, MOST_CHIPS).map((device) => h(`li.chip.${toneOf(device.state) || "none"}`, { title: device.reason || device.state },
    h("span.chip-name", {}, shortName(device)), h("span.small.muted", {}, device.state === "online" ? `r${device.release}` : device.state),
    h("span.small", {}, device.audited ? percent(device.agreed / device.audited, 0) : ""), device.spool ? h("span.small.waits", { title: "cases waiting in the spool" }, `${short(device.spool)} wait`) : null)),
  devices.length > MOST_CHIPS ? h("li.chip", {}, `${devices.length - MOST_CHIPS} more`) : null);
}

const MOST_ROWS = 200;
function devicesOf() {
  const list = table([
    { title: "Device", wide: true, label: false, cell: (d) => h("span.pair", {}, h("strong", {}, shortName(d)), h("span.muted", {}, d.region)) },
    { title: "State", cell: (d) => badge(d.state) },
    { title: "Release", number: true, cell: (d) => d.release || "–" },
    { title: "Agreement", number: true, cell: (d) => (d.audited ? `${percent(d.agreed / d.audited)} of ${count(d.audited)}` : "–") },
    { title: "Frames", number: true, cell: (d) => short(d.frames) },
    { title: "Sent", number: true, cell: (d) => (d.frames ? percent(d.sent / d.frames) : "–") },
    { title: "Inference", number: true, cell: (d) => ms(d.latency_ms || null) },
    { title: "Spool", number: true, cell: (d) => (d.evicted ? `${short(d.spool)} (${short(d.evicted)} evicted)` : short(d.spool)) },
    { title: "Received", number: true, cell: (d) => bytes(d.bytes) },
    { title: "Heard", cell: (d) => ago(d.seen_at) },
  ], { key: (d) => `${d.region}/${d.name}`, caption: "Devices", empty: ["No device here", "Devices appear once their region has heard them."] });
  const search = h("input.input.slim", { type: "search", placeholder: "Filter", "aria-label": "Filter devices", oninput: draw });
  const note = h("span.muted");
  function draw() {
    const word = search.value.trim().toLowerCase();
    const found = all("devices").filter((d) => !word || `${d.name} ${d.region} ${d.state} ${d.release}`.toLowerCase().includes(word))
      .sort((a, b) => `${a.region}/${a.name}`.localeCompare(`${b.region}/${b.name}`, "en", { numeric: true }));
    list.draw(found.slice(0, MOST_ROWS));
    say(note, found.length > MOST_ROWS ? `the first ${MOST_ROWS} of ${count(found.length)}` : `${count(found.length)}`);
  }
  return { draw, node: h("section.card", {}, h("header", {}, h("div.pair", {}, h("h2", {}, "Devices"), note), search), list.node) };
}
