// Numbers, times and states as people read them.
import { h } from "./dom.js";

export const none = "–";
const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

export const count = (value) => (value === null || value === undefined ? none : whole.format(value));
export const short = (value) => (value === null || value === undefined ? none : value < 10_000 ? whole.format(value)
  : value < 1e6 ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)} k` : `${(value / 1e6).toFixed(1)} M`);
export const percent = (value, digits = 1) => (value === null || value === undefined ? none : `${(value * 100).toFixed(digits)} %`);
export const range = (low, high, digits = 1) =>
  (low === null || low === undefined ? "" : `${(low * 100).toFixed(digits)}–${(high * 100).toFixed(digits)} %`);
export const ms = (value) => (value === null || value === undefined || value < 0 ? none : value === 0 ? "0 ms" : value < 10 ? `${value.toFixed(1)} ms` : value < 1000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`);

export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

export function bytes(value) {
  if (value === null || value === undefined) return none;
  if (value < 1000) return `${value.toFixed(value < 10 ? 1 : 0)} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} KB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(2)} GB`;
}

export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const fullFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
export const clock = (at) => clockFormat.format(at * 1000);
export const day = (at) => dayFormat.format(at * 1000);
export const full = (at) => fullFormat.format(at * 1000);

let skew = 0;
/** The server's clock counts: ages are right on a machine whose own clock is wrong. */
export const setNow = (serverNow) => { skew = serverNow - Date.now() / 1000; };
export const now = () => Date.now() / 1000 + skew;

const phrase = (at) => {
  const age = now() - at;
  if (age < 2) return "just now";
  return age < 60 ? `${Math.floor(age)} s ago` : `${span(age)} ago`;
};
/** A time that keeps saying how long ago it was. */
export function ago(at) {
  if (!at) return h("span.faint", {}, "never");
  return h("time", { datetime: new Date(at * 1000).toISOString(), title: full(at), "data-at": at }, phrase(at));
}
setInterval(() => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[data-at]")) {
    const text = phrase(Number(element.dataset.at));
    if (element.textContent !== text) element.textContent = text;
  }
}, 5000);

const TONES = {
  good: ["online", "here", "done", "committed", "running well", "passed", "completed", "success", "idle"],
  warn: ["silent", "paused", "asking", "away", "waiting", "refused", "trial", "late", "probation", "aborted", "warning"],
  bad: ["failed", "halted", "fallen back", "fell back", "quarantined", "drift", "critical", "revoked"],
  info: ["running", "canary", "widening", "updating", "requested", "shadow", "downloading", "info"],
};
export const toneOf = (state) => Object.keys(TONES).find((tone) => TONES[tone].includes(state)) ?? "";
/** A state as a word with a dot; colour never stands alone. */
export const badge = (state, tone = toneOf(state)) => h(`span.badge${tone ? `.${tone}` : ""}`, {}, state);
