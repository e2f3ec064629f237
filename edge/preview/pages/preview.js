// The mounting page: a code lets it in, then it asks for one picture after the other, each with its words.
import { fill, h, s, say } from "/dom.js";

const place = (id) => document.getElementById(id);
const main = place("main");
const KEPT = "preview";
const MOST_BUTTONS = 6;
let visit = null; // { token, streams, until }
let stream = "";
let turn = 0; // each choice of a stream ends the loop of the one before
let sharpest = 0;

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });

function keep(value) {
  try { value ? sessionStorage.setItem(KEPT, JSON.stringify(value)) : sessionStorage.removeItem(KEPT); } catch { /* only until a reload, then */ }
}

function kept() {
  try { return JSON.parse(sessionStorage.getItem(KEPT)); } catch { return null; }
}

function door(words = "") {
  turn += 1;
  visit = null;
  keep(null);
  place("close").hidden = true;
  place("streams").replaceChildren();
  say(place("left"), "");
  const code = h("input.input", { id: "code", autocomplete: "off", spellcheck: "false", maxlength: "12", placeholder: "XXXX-XXXX", required: true });
  const told = h("p.small.muted", { role: "status" }, words || "It is printed by terrace edge preview on this device, and lets one browser in.");
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      const answer = await fetch("/v1/enter", { method: "POST", body: JSON.stringify({ code: code.value }) }).catch(() => null);
      if (answer?.ok) { enter(await answer.json()); return; }
      code.value = "";
      code.focus();
      say(told, answer ? "That code is not, or no longer, right." : "The preview is closed. Open it anew with terrace edge preview.");
    },
  }, h("h1", {}, "Look through the cameras"), h("label.field", {}, h("span", {}, "Code"), code), h("button.button.primary", {}, "Open"), told);
  fill(main, [h("section.card.door", {}, form)]);
  code.focus();
}

function enter(found) {
  visit = { token: found.token, streams: found.streams, until: Date.now() + 1000 * found.seconds };
  keep(visit);
  begin();
}

function begin() {
  place("close").hidden = false;
  choose(visit.streams[0]);
}

function choose(name) {
  stream = name;
  turn += 1;
  sharpest = 0;
  fill(place("streams"), visit.streams.length > MOST_BUTTONS ? [list(name)]
    : visit.streams.map((one) => h("button", { "aria-pressed": String(one === name), onclick: () => choose(one) }, one)));
  const parts = desk();
  fill(main, [parts.node]);
  watch(turn, parts);
}

function list(chosen) {
  const options = visit.streams.map((one) => h("option", { value: one, selected: one === chosen }, one));
  return h("select.input.slim", { "aria-label": "Stream", onchange: (event) => choose(event.target.value) }, options);
}

function desk() {
  const image = h("img", { alt: `What ${stream} sees` });
  const boxes = s("svg", { preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" });
  const words = h("div.words", {}, h("span", {}, "Waiting for a frame…"));
  const optics = h("div.body", {});
  const facts = h("dl.facts", {});
  const events = h("ul.events.small", {});
  const card = (title, body) => h("section.card", {}, h("header", {}, h("h2", {}, title)), body);
  const side = h("div.side", {}, card("Focus and light", optics), card("Decision", h("div.body", {}, facts)), card("Last events", h("div.body", {}, events)));
  return { node: h("div.desk", {}, h("div.scene", {}, image, boxes, words), side), image, boxes, words, optics, facts, events };
}

async function watch(mine, parts) {
  let after = -1;
  while (mine === turn) {
    const query = new URLSearchParams({ stream, after });
    const answer = await fetch(`/v1/picture?${query}`, { headers: { authorization: `Bearer ${visit.token}` } }).catch(() => null);
    if (mine !== turn) return;
    if (!answer || answer.status === 401) { door("The preview is over. Open it anew with terrace edge preview."); return; }
    if (answer.status === 200) {
      const view = JSON.parse(answer.headers.get("x-terrace-view"));
      after = view.sequence;
      await show(parts.image, await answer.blob());
      if (mine === turn) tell(parts, view);
    } else {
      fill(parts.words, [h("span", {}, "No new frame: is the stream running, or is nothing moving?")]);
      if (answer.status !== 204) await sleep(1000);
    }
  }
}

async function show(image, blob) {
  const before = image.src;
  image.src = URL.createObjectURL(blob);
  await image.decode().catch(() => null);
  image.classList.toggle("coarse", image.naturalWidth < 320);
  if (before) URL.revokeObjectURL(before);
}

function tell(parts, view) {
  fill(parts.words, [h("strong", {}, view.label), h("span", {}, percent(view.confidence)), h("span", {}, `${view.action}: ${view.reason.replaceAll("_", " ")}`),
    h("span", {}, `frame ${view.sequence}, ${(1000 * view.age_s).toFixed(0)} ms old`)]);
  drawn(parts.boxes, view);
  optics(parts.optics, view.optics);
  const number = (value) => (value === null ? "none" : value.toFixed(3));
  const facts = [["Score", number(view.score)], ["Threshold", number(view.threshold)], ["Release", view.release], ["Frame", `${view.width} × ${view.height}`],
    ["Unit", view.unit || "none"]];
  fill(parts.facts, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
  fill(parts.events, view.events.map((event) => h("li", {}, h("span", {}, `${event.sequence} ${event.label}`),
    h("span.muted", {}, `${event.state} · ${event.source} · ${event.latency_ms.toFixed(0)} ms`))));
}

function drawn(svg, view) {
  svg.setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
  const size = view.width / 60;
  fill(svg, view.boxes.map(({ place: [left, top, right, bottom], label, score }) => {
    const [x, y] = [left * view.width, top * view.height];
    const text = s("text", { x, y: Math.max(size, y - size / 4), "font-size": size }, `${label} ${percent(score)}`);
    return [s("rect", { x, y, width: (right - left) * view.width, height: (bottom - top) * view.height }), text];
  }));
}

function optics(node, found) {
  sharpest = Math.max(sharpest, found.sharpness, 1);
  const meter = (name, value, share, words) => h("div.meter", {}, h("div", {}, h("span", {}, name), h("b", {}, value)),
    h("meter", { min: "0", max: "1", value: String(share), "aria-label": name }), h("small.faint", {}, words));
  fill(node, [
    meter("Sharpness", percent(found.sharpness / sharpest), found.sharpness / sharpest, "of the sharpest seen on this page"),
    meter("Brightness", found.brightness.toFixed(0), found.brightness / 255, "mean, 0 to 255"),
    meter("Lost to black or white", percent(found.dark + found.bright), found.dark + found.bright, `${percent(found.dark)} black, ${percent(found.bright)} white`),
  ]);
}

place("close").addEventListener("click", async () => {
  await fetch("/v1/close", { method: "POST", headers: { authorization: `Bearer ${visit.token}` } }).catch(() => null);
  door("The preview is closed.");
});
setInterval(() => {
  if (!visit) return;
  const left = Math.max(0, visit.until - Date.now()) / 1000;
  say(place("left"), `${Math.floor(left / 60)}:${String(Math.floor(left % 60)).padStart(2, "0")} left`);
}, 500);

visit = kept();
if (visit && visit.until > Date.now()) begin(); else door();
