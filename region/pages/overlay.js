// What student and expert say of a picture, drawn over it: boxes with their names, outlines of areas. Scales with the picture.
import { s } from "./dom.js";
import { percent } from "./format.js";

const WHO = [["tone-6", "student"], ["tone-2", "expert"]];
const NAME_SHARE = 0.034;

export const className = (classes, number) => classes[number] ?? (classes.length && number === classes.length ? "no object" : `class ${number}`);

/** What an answer names, in words: "open ×2, short" for objects, else its class. */
export function naming(answer, classes) {
  if (!answer.objects) return className(classes, answer.label);
  const counts = new Map();
  for (const { label } of answer.objects) counts.set(label, (counts.get(label) ?? 0) + 1);
  const words = [...counts].sort(([one], [other]) => one - other).map(([label, count]) => className(classes, label) + (count > 1 ? ` ×${count}` : ""));
  return words.join(", ") || "no object";
}

/** The overlay of a case; null where neither tells of places. With names, each box is labelled: the student's above, the expert's below. */
export function overlay(item, classes, { names = false } = {}) {
  const drawn = WHO.flatMap(([tone, who]) => marks(item, item[who], tone, who, classes, names));
  if (!drawn.length) return null;
  return s("svg.objects", { viewBox: `0 0 ${item.width} ${item.height}`, role: "img", "aria-label": "What the student and the expert see, and where" }, drawn);
}

function marks(item, answer, tone, who, classes, names) {
  const objects = (answer?.objects ?? []).map((one) => box(item, one, tone, who, classes, names));
  const { width, height, outlines } = answer?.areas ?? { outlines: [] };
  const areas = outlines.map(({ label, path }) => s(`path.${tone}.${who}`, { d: path, transform: `scale(${item.width / width} ${item.height / height})` },
    s("title", {}, `${who}: ${className(classes, label)}`)));
  return [...objects, ...areas];
}

function box(item, { label, score, box: [left, top, right, bottom] }, tone, who, classes, names) {
  const [x, y, width, height] = [left * item.width, top * item.height, (right - left) * item.width, (bottom - top) * item.height];
  const words = `${className(classes, label)} ${percent(score, 0)}`;
  return s(`g.${tone}.${who}`, {}, s("rect", { x, y, width, height }, s("title", {}, `${who}: ${words}`)), names ? name(item, x, y, height, who, words) : null);
}

function name(item, x, y, height, who, words) {
  const size = NAME_SHARE * Math.max(item.width, item.height);
  const wide = 0.55 * size * words.length;
  const at = who === "student" ? y - 0.3 * size : y + height + size;
  const inside = Math.min(Math.max(at, size), item.height - 0.2 * size);
  return s("text", { x: Math.max(0, Math.min(x, item.width - wide)), y: inside, "font-size": size, "stroke-width": size / 4 }, words);
}
