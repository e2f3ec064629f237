// The live risk in tables, on the region's page and the cloud's alike. What is not told says so; it is never a zero.
import { h } from "./dom.js";
import { ago, badge, bytes, count, now, percent, plural, range, short } from "./format.js";

const STALE_S = 30;
const untold = () => h("span.faint", {}, "not told");
const known = (cell) => (row) => (row.live ? cell(row.live, row) : "–");

/** A share with its interval below it. */
export function risk(live) {
  if (!live) return untold();
  if (live.audited === 0) return h("span.faint", {}, "not known yet");
  const over = live.epsilon != null && live.low > live.epsilon;
  return h("span.risk", {}, h(over ? "strong.alarm" : "strong", {}, percent(live.risk)),
    h("span.muted.small", { title: over ? `${percent(live.epsilon)} are allowed` : "95 % interval, holds at every look" }, range(live.low, live.high)));
}

function samples(live) {
  const censored = live.censored_share > 0.01;
  return h("span.risk", {}, h("span", {}, count(live.audited)), live.missing
    ? h(censored ? "span.waits.small" : "span.muted.small", { title: "drawn and never answered: the interval takes them at their worst" },
      `${count(live.missing)} unanswered${censored ? ", censored" : ""}`) : null);
}

const budget = (live) => (live.budget_bytes_per_s === null ? h("span.muted", {}, "unlimited")
  : h("span.risk", {}, h("span", {}, `${percent(live.budget_use, 0)} sent`), h("span.muted.small", {}, `${bytes(live.budget_bytes_per_s)}/s, ${short(live.held_back)} held back`)));

function drift(live) {
  if (live.drift === "alarm") return badge("alarm", "bad");
  return live.drift === "steady" ? badge("steady", "good") : h("span.muted", {}, live.drift || "–");
}

function threshold(live) {
  if (live.threshold === null) return h("span.muted", {}, "none");
  return h("span.risk", {}, h("span", {}, live.threshold.toFixed(3)), h("span.muted.small", {}, live.epsilon === null ? "fixed" : `held to ${percent(live.epsilon)}`));
}

const heard = (at) => h(now() - at > STALE_S ? "span.waits" : "span.muted", {}, ago(at));

/** Columns of a table of devices; rows are {live, …}. `first` is the column that names them. */
export const deviceColumns = (first) => [
  first,
  { title: "Live risk", number: true, cell: (row) => risk(row.live) },
  { title: "Audit samples", number: true, cell: known(samples) },
  { title: "Risk debt", number: true, cell: known((live) => percent(live.debt)) },
  { title: "Drawn", number: true, cell: known((live) => percent(live.audit_share)) },
  { title: "Budget", number: true, cell: known(budget) },
  { title: "Drift", cell: known(drift) },
  { title: "Threshold", number: true, cell: known(threshold) },
  { title: "Told", cell: known((live) => heard(live.at)) },
];

const between = (low, high, say) => (low === null ? "–" : low === high ? say(low) : `${say(low)} to ${say(high)}`);
const few = (number, of) => (of ? `${count(number)} of ${count(of)}` : "–");

function worst(live) {
  if (!live.worst) return "–";
  return h("span.risk", {}, h("span", {}, live.worst.split(".")[0]),
    h("span.muted.small", { title: "The device whose risk lies highest for sure; its interval holds for all devices together" }, range(live.worst_low, live.worst_high)));
}

function alarms(live) {
  if (live.alarms) return badge(`alarm on ${few(live.alarms, live.devices)}`, "bad");
  return live.devices ? live.learning === live.devices ? h("span.muted", {}, "learning") : badge("steady", "good") : "–";
}

/** Who stands behind a region's figure, and how old it is: below the region's name. */
export function behind({ live, away, at }) {
  if (!live) return away ? h("span.waits.small", {}, "heard ", ago(at)) : null;
  return h("span.small", {}, h("span.muted", {}, plural(live.devices, "device")), live.untold ? h("span.waits", {}, `, ${count(live.untold)} not told`) : null,
    away ? h("span.waits", {}, ", as of ", ago(at)) : null);
}

/** Columns of a table of regions; rows are {live, …}. `first` is the column that names them. */
export const regionColumns = (first) => [
  first,
  { title: "Live risk", number: true, cell: (row) => (row.live && !row.live.devices ? untold() : risk(row.live)) },
  { title: "Worst device", number: true, cell: known(worst) },
  { title: "Audit samples", number: true, cell: known(samples) },
  { title: "Risk debt", number: true, cell: known((live) => percent(live.debt)) },
  { title: "Drawn", number: true, cell: known((live) => between(live.audit_share_low, live.audit_share_high, (v) => percent(v))) },
  { title: "Budget", number: true, cell: known((live) => (live.budgeted
    ? h("span.risk", {}, h("span", {}, `from ${percent(live.budget_use_low, 0)} sent`), h("span.muted.small", {}, `${few(live.budgeted, live.devices)}, ${short(live.held_back)} held back`))
    : h("span.muted", {}, live.devices ? "unlimited" : "–"))) },
  { title: "Drift", cell: known(alarms) },
  { title: "Threshold", number: true, cell: known((live) => (live.following ? between(live.threshold_low, live.threshold_high, (v) => v.toFixed(3)) : h("span.muted", {}, live.devices ? "fixed" : "–"))) },
];
