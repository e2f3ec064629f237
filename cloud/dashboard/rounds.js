// Federated rounds: who took part, what each region learned, what the gates measured.
import { h, fill, icon } from "./dom.js";
import { may, post } from "./api.js";
import { ask } from "./dialog.js";
import { chart } from "./chart.js";
import { table } from "./table.js";
import { ago, badge, bytes, count, full, percent, span } from "./format.js";
import { all, watch } from "./store.js";

const STEPS = ["train", "aggregate", "distil", "quantise", "evaluate", "gate", "publish", "rollout"];
const place = (number) => `round ${number}`;
let chosen = null;

export function open(main) {
  const detail = h("section");
  const accuracy = chart({ title: "Accuracy on held-out cases", format: (v) => percent(v, 0), floor: null, ceiling: 1, height: 170, place });
  const loss = chart({ title: "Training loss", format: (v) => v.toFixed(2), height: 170, place });
  const charts = h("section.grid.columns-2", {},
    h("article.card", {}, h("header", {}, h("h2", {}, "Candidate on held-out cases"), h("span.muted", {}, "accuracy per region and round")), h("div.body", {}, accuracy.node)),
    h("article.card", {}, h("header", {}, h("h2", {}, "Loss after training"), h("span.muted", {}, "per region and round")), h("div.body", {}, loss.node)));
  const list = table([
    { title: "Round", cell: (r) => h("strong", {}, r.number) },
    { title: "State", cell: (r) => badge(r.state) },
    { title: "Step", cell: (r) => (r.state === "running" ? `${r.step} (${STEPS.indexOf(r.step) + 1} of ${STEPS.length})` : r.release ? `release ${r.release}` : r.step || "–") },
    { title: "Regions", number: true, cell: (r) => (r.regions.length ? `${r.regions.filter((one) => one.examples).length} of ${r.regions.filter((one) => one.asked).length}` : "–") },
    { title: "Cases", number: true, cell: (r) => count(r.regions.reduce((sum, one) => sum + (one.examples ?? 0), 0)) },
    { title: "Took", number: true, cell: (r) => (r.finished_at ? span(r.finished_at - r.created_at) : "–") },
    { title: "Asked by", cell: (r) => r.requested_by },
    { title: "When", cell: (r) => ago(r.created_at) },
  ], { key: (r) => r.number, caption: "Rounds", empty: ["No round yet", "A round begins when an operator asks for one, when regions have enough new cases, or when one drifts."],
    open: (row) => { chosen = row.number; draw(); } });
  fill(main, [
    h("div.head", {}, h("div", {}, h("h1", {}, "Rounds"), h("p", {}, "Regions train on their own cases; only weights and counts travel.")),
      may("operator") ? h("button.button.primary", { type: "button", onclick: start }, icon("plus"), "Start a round") : null),
    charts, h("section.card", {}, h("header", {}, h("h2", {}, "All rounds")), list.node), detail,
  ]);

  function draw() {
    const rounds = all("rounds").sort((a, b) => b.number - a.number);
    chosen ??= rounds[0]?.number ?? null;
    list.draw(rounds, chosen);
    const shown = rounds.find((round) => round.number === chosen);
    fill(detail, shown ? [roundOf(shown)] : []);
    const names = [...new Set(rounds.flatMap((round) => round.regions.map((one) => one.region)))].sort();
    const ended = rounds.filter((round) => round.finished_at).reverse();
    const range = { from: (ended[0]?.number ?? 0) - 0.5, to: (ended.at(-1)?.number ?? 1) + 0.5 };
    const lines = (value) => names.map((name, index) => ({ name, tone: index % 6 + 1, points: ended.flatMap((round) => {
      const own = round.regions.find((one) => one.region === name), y = own ? value(own) : null;
      return y === null ? [] : [{ x: round.number, y }];
    }) })).filter((one) => one.points.length);
    const right = lines((one) => (one.held_out && one.candidate !== null ? one.candidate / one.held_out : null));
    const losses = lines((one) => one.last_loss ?? null);
    charts.hidden = right.length + losses.length === 0;
    accuracy.draw(right, range);
    loss.draw(losses, range);
  }
  return watch(["rounds"], draw);
}

function roundOf(round) {
  return h("article.card", {},
    h("header", {}, h("div.pair", {}, h("h2", {}, `Round ${round.number}`), badge(round.state), round.publish === false ? badge("trial", "info") : null),
      h("span.muted", {}, `asked by ${round.requested_by}, ${full(round.created_at)}`)),
    h("div.body.grid", {},
      round.reason ? h(`p.notice.${round.state === "failed" ? "bad" : "warn"}`, {}, round.reason) : null,
      round.why ? h("p.muted", {}, round.why) : null,
      h("ol.steps", {}, STEPS.map((name) => stepOf(name, round.steps.find((step) => step.name === name), round))),
      round.regions.length ? regionsOf(round) : null,
      round.checks.length ? checksOf(round) : null,
      round.notes.length ? h("ul.muted.small", {}, round.notes.map((note) => h("li", {}, note))) : null,
      round.sizes.full_bytes ? h("p.muted.small", {}, `The release is ${bytes(round.sizes.full_bytes)}; `
        + `as a delta ${Object.entries(round.sizes.delta_bytes ?? {}).map(([base, size]) => `${bytes(size)} from release ${base}`).join(", ") || "none was made"}.`) : null));
}

function stepOf(name, step, round) {
  const state = round.state === "refused" && name === round.step ? "failed" : step?.state ?? "waiting";
  return h(`li.step.${state}`, { "aria-label": `${name}: ${state}` }, h("span.step-name", {}, name),
    h("span.small.muted", {}, step?.finished_at ? span(step.finished_at - step.started_at) : ["running", "failed"].includes(state) ? state : "–"));
}

function regionsOf(round) {
  const list = table([
    { title: "Region", wide: true, label: false, cell: (one) => h("strong", {}, one.region) },
    { title: "Cases", number: true, cell: (one) => count(one.examples) },
    { title: "Weight", number: true, cell: (one) => (one.weight ? percent(one.weight, 0) : "–") },
    { title: "Loss", number: true, cell: (one) => (one.last_loss ? `${one.first_loss.toFixed(2)} → ${one.last_loss.toFixed(2)}` : "–") },
    { title: "Change", number: true, cell: (one) => (one.norm ? one.norm.toFixed(2) : "–") },
    { title: "Held-out", number: true, cell: (one) => count(one.held_out) },
    { title: "Before", number: true, cell: (one) => (one.held_out && one.current !== null ? percent(one.current / one.held_out) : "–") },
    { title: "Candidate", number: true, cell: (one) => (one.held_out && one.candidate !== null ? gain(one) : "–") },
    { title: "Remark", wide: true, cell: (one) => one.refused || one.silent || (one.asked ? "" : "evaluated only") },
  ], { key: (one) => one.region, caption: `Regions of round ${round.number}`, empty: ["No region took part", ""] });
  list.draw(round.regions);
  return h("div", {}, h("h3", {}, "Regions"), list.node);
}

function gain(one) {
  const change = (one.candidate - one.current) / one.held_out;
  return h("span", {}, percent(one.candidate / one.held_out), " ",
    h(`span.${change < 0 ? "worse" : "better"}`, {}, `${change < 0 ? "−" : "+"}${Math.abs(change * 100).toFixed(1)}`));
}

function checksOf(round) {
  const list = table([
    { title: "Gate", wide: true, label: false, cell: (check) => check.name },
    { title: "Measured", number: true, cell: (check) => number(check.value) },
    { title: "Limit", number: true, cell: (check) => number(check.limit) },
    { title: "Verdict", cell: (check) => (check.passed ? badge("passed") : badge("failed")) },
  ], { key: (check) => check.name, caption: `Gates of round ${round.number}`, empty: ["Nothing was checked", ""] });
  list.draw(round.checks);
  return h("div", {}, h("h3", {}, "Gates"), list.node);
}
const number = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(4));

const start = () => ask({
  title: "Start a round", act: "Start", text: "The regions are asked to train. What passes the gates is signed and rolled out; a trial publishes nothing.",
  fields: [
    { name: "kind", label: "Kind", options: ["release", "trial"] },
    { name: "region", label: "Who trains", options: ["whoever should", ...all("regions").map((region) => region.name)] },
  ],
  run: async ({ kind, region }) => {
    const made = await post("/v1/rounds", { publish: kind === "release", regions: region === "whoever should" ? [] : [region] });
    chosen = made.number;
  },
});
