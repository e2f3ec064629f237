// Line charts with interval bands, drawn as SVG. Elements are made once; drawing again only moves them.
import { h, s, fill } from "./dom.js";
import { clock, day } from "./format.js";

const LEFT = 46, RIGHT = 10, TOP = 8, BOTTOM = 20;
const MOST_POINTS = 360;

/**
 * chart({title, format(value), height, floor, ceiling, limit: {value, name}, place(x)}): with place, x is no time but what it names.
 * draw([{name, tone, points: [{x: Unix s, y, low, high}]}], {from, to, marks: [{x, name}]}); y null is a gap.
 */
export function chart({ title, format, height = 150, floor = 0, ceiling = null, limit = null, place = null }) {
  const layer = s("g"), axes = s("g"), cursor = s("line.cursor", { visibility: "hidden" });
  const svg = s("svg", { height, role: "img", tabindex: "0", "aria-label": title }, axes, layer, cursor);
  const tip = h("div.tip", { hidden: true });
  const legend = h("ul.legend");
  const node = h("div.chart", {}, svg, tip, legend);
  const lines = new Map();
  let state = null, width = 0, at = null;

  const scaleX = (x) => LEFT + ((x - state.from) / (state.to - state.from)) * (width - LEFT - RIGHT);
  const scaleY = (y) => TOP + (1 - (Math.min(Math.max(y, state.low), state.high) - state.low) / (state.high - state.low)) * (height - TOP - BOTTOM);

  function draw(series, { from, to, marks = [] }) {
    const kept = series.map((one) => ({ ...one, points: thin(one.points.filter((point) => point.x >= from - (place ? 0 : 120) && point.x <= to)) }));
    const [low, high] = bounds(kept, floor, ceiling, limit);
    state = { series: kept, from, to, low, high, marks };
    render();
  }

  function render() {
    if (state === null || width < 80) return;
    fill(axes, [...ticksY(state.low, state.high).map((value) => [
      s("line.grid-line", { x1: LEFT, x2: width - RIGHT, y1: Math.round(scaleY(value)), y2: Math.round(scaleY(value)) }),
      s("text.axis", { x: LEFT - 7, y: scaleY(value) + 4, "text-anchor": "end" }, format(value))]),
    ...(place ? wholes(state.from, state.to, width) : ticksX(state.from, state.to, width)).map((value) =>
      s("text.axis", { x: scaleX(value), y: height - 4, "text-anchor": "middle" }, place ? place(value) : moment(value, state.to - state.from))),
    ...state.marks.filter((mark) => mark.x > state.from && mark.x < state.to).map((mark) =>
      s("line.mark", { x1: scaleX(mark.x), x2: scaleX(mark.x), y1: TOP, y2: height - BOTTOM }, s("title", {}, mark.name))),
    limit ? s("line.limit", { x1: LEFT, x2: width - RIGHT, y1: scaleY(limit.value), y2: scaleY(limit.value) }, s("title", {}, limit.name)) : null]);
    const names = new Set(state.series.map((one) => one.name));
    for (const [name, made] of lines) if (!names.has(name)) { made.group.remove(); lines.delete(name); }
    state.series.forEach(trace);
    describe();
    hover();
  }

  function trace(one) {
    let made = lines.get(one.name);
    if (!made) {
      made = { band: s(`path.band.tone-${one.tone}`), line: s(`path.line.tone-${one.tone}`), dot: s(`circle.dot.tone-${one.tone}`, { r: 3.5 }) };
      made.group = s("g", {}, made.band, made.line, made.dot);
      lines.set(one.name, made);
      layer.append(made.group);
    }
    const runs = split(one.points);
    made.line.setAttribute("d", runs.map((run) => path(run, "y")).join(""));
    made.band.setAttribute("d", runs.filter((run) => run[0].low !== undefined && run[0].low !== null)
      .map((run) => `${path(run, "high")}${path([...run].reverse(), "low").replace("M", "L")}Z`).join(""));
    const last = one.points.findLast((point) => point.y !== null);
    made.dot.setAttribute("visibility", last ? "visible" : "hidden");
    if (last) { made.dot.setAttribute("cx", scaleX(last.x)); made.dot.setAttribute("cy", scaleY(last.y)); }
  }

  const path = (run, field) => run.map((point, index) => `${index ? "L" : "M"}${scaleX(point.x).toFixed(1)} ${scaleY(point[field]).toFixed(1)}`).join("");

  function describe() {
    const words = state.series.map((one) => {
      const last = one.points.findLast((point) => point.y !== null);
      return `${one.name}: ${last ? format(last.y) : "nothing yet"}`;
    });
    svg.setAttribute("aria-label", `${title}. ${words.join("; ")}`);
    const wanted = state.series.length > 1 ? state.series.map((one) => one.name).join("|") : "";
    if (legend.dataset.of !== wanted) {
      legend.dataset.of = wanted;
      fill(legend, wanted ? state.series.map((one) => h(`li.tone-${one.tone}`, {}, h("i"), one.name)) : []);
    }
  }

  function hover() {
    const xs = state?.series.flatMap((one) => one.points.filter((point) => point.y !== null).map((point) => point.x)) ?? [];
    if (at === null || !xs.length) { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); return; }
    const x = xs.reduce((best, value) => (Math.abs(value - at) < Math.abs(best - at) ? value : best));
    const left = scaleX(x);
    for (const [key, value] of Object.entries({ x1: left, x2: left, y1: TOP, y2: height - BOTTOM, visibility: "visible" })) cursor.setAttribute(key, value);
    fill(tip, [h("b", {}, place ? place(x) : state.to - state.from > 90_000 ? day(x) : clock(x)), state.series.map((one) => {
      const point = one.points.find((item) => item.x === x && item.y !== null);
      const interval = point && point.low !== undefined && point.low !== null ? ` (${format(point.low)} to ${format(point.high)})` : "";
      return point ? h(`span.tone-${one.tone}`, {}, h("i"), `${one.name} ${format(point.y)}${interval}`) : null;
    })]);
    tip.hidden = false;
    tip.style.transform = `translate(${Math.max(0, Math.min(left + 12, width - tip.offsetWidth - 2))}px, 4px)`;
  }

  svg.addEventListener("pointermove", (event) => {
    if (!state) return;
    const box = svg.getBoundingClientRect();
    at = state.from + ((event.clientX - box.left - LEFT) / (width - LEFT - RIGHT)) * (state.to - state.from);
    hover();
  });
  svg.addEventListener("pointerleave", () => { at = null; hover(); });
  svg.addEventListener("blur", () => { at = null; hover(); });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !state) return;
    event.preventDefault();
    at = Math.min(Math.max((at ?? state.to) + step * (state.to - state.from) / 60, state.from), state.to);
    hover();
  });
  new ResizeObserver(([entry]) => {
    const wanted = Math.round(entry.contentRect.width);
    if (wanted === width) return;
    width = wanted;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    render();
  }).observe(node);

  return { node, draw };
}

function thin(points) {
  if (points.length <= MOST_POINTS) return points;
  const step = points.length / MOST_POINTS;
  return Array.from({ length: MOST_POINTS }, (_, index) => points[Math.min(points.length - 1, Math.floor((index + 1) * step) - 1)]);
}

function split(points) {
  const runs = [[]];
  for (const point of points) point.y === null ? runs.push([]) : runs.at(-1).push(point);
  return runs.filter((run) => run.length);
}

function bounds(series, floor, ceiling, limit) {
  let low = Infinity, high = -Infinity;
  for (const one of series) for (const point of one.points) {
    if (point.y === null) continue;
    // a wide interval of a young series may leave the picture, its line may not
    low = Math.min(low, point.y, Math.max(point.low ?? point.y, point.y - 0.15 * Math.abs(point.y)));
    high = Math.max(high, point.y, Math.min(point.high ?? point.y, Math.max(point.y * 2, point.y + 0.05)));
  }
  if (low === Infinity) return [floor ?? 0, ceiling ?? 1];
  if (limit) { low = Math.min(low, limit.value); high = Math.max(high, limit.value * 1.15); }
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 0.01;
  low = floor === null ? low - room : floor;
  high = ceiling === null ? high + room : Math.min(high + room, ceiling);
  return high > low ? [low, high] : [low, low + 1];
}

function ticksY(low, high) {
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const first = Math.ceil(low / step - 1e-9) * step;
  return Array.from({ length: 6 }, (_, index) => first + index * step).filter((value) => value <= high + step * 1e-6);
}

const moment = (at, length) => (length > 90_000 ? day(at).split(",")[0] : clock(at).slice(0, length < 600 ? 8 : 5));

function wholes(from, to, width) {
  const step = Math.max(1, Math.ceil((to - from) / Math.max(2, width / 60)));
  return Array.from({ length: 60 }, (_, index) => Math.ceil(from) + index * step).filter((value) => value <= to);
}

function ticksX(from, to, width) {
  const steps = [10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  const step = steps.find((value) => (to - from) / value <= Math.max(2, width / 95)) ?? 604800;
  const zone = new Date(from * 1000).getTimezoneOffset() * 60;
  const first = Math.ceil((from - zone) / step) * step + zone, found = [];
  for (let value = first; value <= to; value += step) if (value - from > (to - from) * 0.03 && to - value > (to - from) * 0.02) found.push(value);
  return found;
}
