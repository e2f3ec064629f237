// The chosen case: its picture, why it was sent, what student and expert say, what people say, and a key for every class.
import { h, fill, set } from "./dom.js";
import { ago, badge, full, percent } from "./format.js";
import { className, naming, overlay } from "./overlay.js";

const KEYS = "1234567890abcdefghijklmnopqrstuvwxyz";
export const keyOf = new Map([...KEYS].map((key, index) => [key, index]));
const REASONS = {
  audit_sample: "Drawn at random for audit, before any gate.",
  below_threshold: "The student was not sure enough: its score is below the threshold.",
  no_score: "The student gave no score.",
  track_vanished: "An object that had been followed was gone in the middle of the picture.",
  moved_without_box: "Something moved where the student saw no object.",
  neighbours_disagree: "The frame before showed other objects.",
};
const SPOKEN = { open: ["no label yet", ""], waiting: ["one word, a second is asked for", "info"], disputed: ["people differ, one more is asked", "warn"], frozen: ["agreed on", "good"] };

export function topOf(answer, classes) {
  return [naming(answer, classes), answer.objects ? "" : percent(answer.probabilities[answer.label] ?? null, 0)];
}

/** Draw a case; tools: {classes, crisp, label(number), step(by), close(), sharpen()}. */
export function drawCase(node, item, tools) {
  const image = h("img", { src: `/v1/cases/${item.case}/picture`, width: item.width, height: item.height, alt: `Frame ${item.frame} of ${item.stream}` });
  image.addEventListener("error", () => image.replaceWith(h("span.muted", {}, "This picture cannot be shown.")));
  fill(node, [
    h(`div.stage${tools.crisp ? ".crisp" : ""}`, {}, image, overlay(item, tools.classes, { names: true }),
      h("div.tools", {},
        h("button.button.small", { type: "button", "aria-pressed": String(tools.crisp), onclick: tools.sharpen, title: "Show the pixels as they are" }, "Pixels"),
        h("button.button.small.only-phone", { type: "button", onclick: tools.close }, "Close")),
      h("div.steps.only-phone", {}, step("‹ Newer", -1, tools), step("Older ›", 1, tools))),
    h("div.facts", {}, head(item), why(item), answers(item, tools), h("div.problem"), people(item, tools), meta(item)),
  ]);
  node.scrollTop = 0;
}

const step = (text, by, tools) => h("button.button.small", { type: "button", onclick: () => tools.step(by) }, text);

function head(item) {
  return h("div.line", {}, h("h1", {}, `${item.stream} · ${item.frame}`), badge(item.is_audit ? "audit sample" : "hard case", item.is_audit ? "info" : "warn"));
}

function why(item) {
  const known = item.score !== null && item.threshold !== null;
  return h("section.why", { "aria-label": "Why it was sent" }, h("p.small.muted", {}, REASONS[item.reason] ?? `Sent because: ${item.reason}.`),
    known ? gauge(item.score, item.threshold) : null);
}

function gauge(score, threshold) {
  const end = Math.max(score, threshold, 0) * 1.25 || 1, start = Math.min(0, score, threshold);
  const at = (value) => `${((value - start) / (end - start) * 100).toFixed(1)}%`;
  const dot = h("i"), line = h("b");
  dot.style.left = at(score);
  line.style.left = at(threshold);
  const digits = Math.abs(score - threshold) < 0.002 ? 6 : 3;
  const [said, limit] = [score.toFixed(digits), threshold.toFixed(digits)];
  return h("div.why", {}, h("div.gauge", { role: "img", "aria-label": `score ${said}, threshold ${limit}` }, line, dot),
    h("div.gauge-words", {}, h("span", {}, `score ${said}`), h("span", {}, score < threshold ? "below" : "reaches", ` the threshold ${limit}`)));
}

function answers(item, tools) {
  const settled = item.state === "frozen", classes = item.student.probabilities.length;
  const order = [...Array(classes).keys()];
  return h("section.answers", { "aria-label": "Answers and labels" },
    h("div.line", {}, h("h2", {}, settled ? "Label" : "What is it?"), legend(item)),
    order.map((number) => choice(item, number, settled, tools)));
}

function legend(item) {
  return h("ul.legend", {}, h("li.tone-6", {}, h("i"), `student ${item.release}`), h("li.tone-2", {}, h("i"), item.expert ? "expert" : "expert has not answered"));
}

function choice(item, number, settled, tools) {
  const bars = [["tone-6", item.student], ["tone-2", item.expert]];
  const chosen = settled ? item.label === number : item.mine === number;
  const button = h(`button.choice${settled && item.label === number ? ".settled" : ""}`, { type: "button", "aria-pressed": String(chosen), disabled: settled, onclick: () => tools.label(number) },
    KEYS[number] ? h("kbd", {}, KEYS[number]) : h("span"),
    h("span.name", { title: className(tools.classes, number) }, className(tools.classes, number)),
    h("span.bars", {}, bars.map(([tone, answer]) => bar(tone, answer?.probabilities[number] ?? 0))),
    h("span.numbers", {}, bars.map(([, answer]) => h(answer?.label === number ? "span.top-one" : "span", {}, answer ? share(answer.probabilities[number]) : "–"))));
  return button;
}

const share = (value) => (value < 0.005 ? "·" : percent(value, 0));

function bar(tone, value) {
  const inner = h("i");
  inner.style.width = `${(value * 100).toFixed(1)}%`;
  return set(h(`span.bar.${tone}`, {}, inner), { "aria-hidden": "true" });
}

function people(item, tools) {
  const [words, tone] = SPOKEN[item.state];
  const said = item.words.map((word) => h("li", {}, h("span", {}, word.person, word.source === "person" ? null : h("span.faint", {}, " (generator, not a person)")),
    h("span", {}, className(tools.classes, word.label), " ", h("span.faint.small", {}, ago(word.at)))));
  const hidden = item.voices > item.words.length ? h("p.small.muted", {}, `${item.voices} ${item.voices === 1 ? "person has" : "people have"} spoken. Their words are shown once you have said yours.`) : null;
  return h("section.voices", { "aria-label": "What people say" }, h("div.line", {}, h("h2", {}, "People"), badge(words, tone)), said.length ? h("ul.voices", {}, said) : null, hidden,
    item.state === "frozen" ? h("p.small.muted", {}, item.held_out ? "Never trained on; counts at the gate of every round." : "Never trained on any more. Its unit has been, so it does not count at the gate.") : null,
    item.state !== "frozen" && !item.held_out ? h("p.small.muted", {}, "Its unit is trained on: agreed on, it leaves training and does not count at the gate.") : null);
}

function meta(item) {
  const rows = [["device", item.device], ["unit", item.unit], ["captured", full(item.captured_at)], ["received", full(item.received_at)],
    ["picture", `${item.width} × ${item.height} px`], ["student", `release ${item.release}`], ["part", item.held_out ? "held out from training" : "training"]];
  return h("dl.meta", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
