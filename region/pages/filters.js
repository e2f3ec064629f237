// Which cases are shown: kept in the page's address, so that a link or a reload shows the same.
import { h, fill } from "./dom.js";

const TABS = [["", "All"], ["mine", "Ask me"], ["disputed", "Disputed"], ["frozen", "Agreed"]];
const KINDS = [["", "Hard and audit"], ["hard", "Hard cases"], ["audit", "Audit samples"]];

/** Build the bar; `changed()` is called when another set of cases is wanted. */
export function filters(node, changed) {
  const chosen = new URLSearchParams(location.search);
  let offered = "";
  const asks = h("div.segments", { role: "group", "aria-label": "Labelling" }, TABS.map(([value, text]) =>
    h("button", { type: "button", "data-value": value, onclick: () => choose("asks", value) }, text)));
  const device = select("device", "Device"), stream = select("stream", "Stream"), label = select("label", "Class"), kind = select("kind", "Kind");
  const disagree = check("disagree", "Student and expert differ"), heldOut = check("held_out", "Counts at the gate");
  const clear = h("button.button.quiet.small", { type: "button", onclick: reset }, "Clear");
  fill(node, [asks, kind, label, device, stream, disagree, heldOut, clear]);

  function select(name, title) {
    return h("select.input.slim", { name, "aria-label": title, onchange: (event) => choose(name, event.target.value) });
  }

  function check(name, text) {
    const box = h("input", { type: "checkbox", name, onchange: (event) => choose(name, event.target.checked ? "true" : "") });
    return h("label.check", {}, box, text);
  }

  function options(element, choices) {
    fill(element, choices.map(([value, text]) => h("option", { value }, text)));
    element.value = chosen.get(element.name) ?? "";
  }

  function offer(summary) {
    const mark = JSON.stringify([summary.classes, summary.streams.map((one) => [one.device, one.stream])]);
    if (mark === offered) return;
    offered = mark;
    const names = (key) => [...new Set(summary.streams.map((one) => one[key]))].sort().map((name) => [name, name]);
    options(kind, KINDS);
    options(label, [["", "All classes"], ...summary.classes.map((name, number) => [String(number), name])]);
    options(device, [["", "All devices"], ...names("device")]);
    options(stream, [["", "All streams"], ...names("stream")]);
    draw();
  }

  function draw() {
    for (const button of asks.children) button.setAttribute("aria-pressed", String(button.dataset.value === (chosen.get("asks") ?? "")));
    for (const element of [device, stream, label, kind]) element.value = chosen.get(element.name) ?? "";
    for (const box of [disagree, heldOut]) box.firstChild.checked = chosen.get(box.firstChild.name) === "true";
    clear.hidden = [...chosen.keys()].length === 0;
  }

  function choose(name, value) {
    if (value) chosen.set(name, value); else chosen.delete(name);
    apply();
  }

  function reset() {
    for (const name of [...chosen.keys()]) chosen.delete(name);
    apply();
  }

  function apply() {
    history.replaceState(null, "", chosen.size ? `?${chosen}` : location.pathname);
    draw();
    changed();
  }

  draw();
  return { offer, query: () => new URLSearchParams(chosen) };
}
