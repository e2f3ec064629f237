// What the server says, kept up to date by its event stream. Pages ask for topics and are told when one of them changed.
import { leave, whoami } from "./api.js";
import { setNow } from "./format.js";

const topics = {};
const watchers = new Set();
let source = null, retry = null, waiting = 1000, due = new Set();
export const link = { state: "connecting" };

export const all = (topic) => Object.values(topics[topic] ?? {});
export const one = (topic, key = "") => topics[topic]?.[key] ?? null;
export const ready = () => "fleet" in topics;

/** Call draw(changed: Set of topics) now and whenever one of `wanted` changed; returns what ends it. */
export function watch(wanted, draw) {
  const watcher = { wanted: new Set(wanted), draw };
  watchers.add(watcher);
  if (ready()) draw(new Set(wanted));
  return () => watchers.delete(watcher);
}

export function connect() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource("/v1/events");
  source.addEventListener("snapshot", (event) => {
    for (const key of Object.keys(topics)) delete topics[key];
    Object.assign(topics, JSON.parse(event.data));
    waiting = 1000;
    tell("on");
    changed([...Object.keys(topics)]);
  });
  source.addEventListener("change", (event) => {
    const { topic, set, gone } = JSON.parse(event.data);
    topics[topic] ??= {};
    Object.assign(topics[topic], set);
    for (const key of gone) delete topics[topic][key];
    changed([topic]);
  });
  source.addEventListener("bye", (event) => {
    source.close();
    if (JSON.parse(event.data).reason === "signed out") leave();
    else again();
  });
  source.onerror = () => { source.close(); again(); };
}

// quiet retries that become rarer; a page in the background waits until somebody looks
function again() {
  tell("off");
  clearTimeout(retry);
  retry = setTimeout(async () => {
    if (document.hidden) { again(); return; }
    const session = await whoami(true).catch(() => null);
    if (session === null) again();
    else if (!session.label) leave();
    else connect();
  }, waiting);
  waiting = Math.min(waiting * 1.6, 15_000);
}

function tell(state) {
  if (link.state === state) return;
  link.state = state;
  document.dispatchEvent(new Event("link"));
}

// several changes of one moment are drawn once
function changed(names) {
  if (due.size === 0) requestAnimationFrame(flush);
  for (const name of names) due.add(name);
}

function flush() {
  const names = due;
  due = new Set();
  for (const watcher of watchers) if ([...watcher.wanted].some((topic) => names.has(topic))) watcher.draw(names);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden && link.state === "off") { waiting = 1000; again(); } });
export const learnTime = (serverNow) => setNow(serverNow);
