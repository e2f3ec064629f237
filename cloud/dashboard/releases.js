// Releases with their lineage, and the rollout of the newest: who runs it, what speaks for and against it, and what may be done.
import { h, fill, icon } from "./dom.js";
import { get, may, post } from "./api.js";
import { ask } from "./dialog.js";
import { table } from "./table.js";
import { ago, badge, clock, count, full, percent } from "./format.js";
import { all, watch } from "./store.js";

const ACTS = {
  promote: { name: "Promote", icon: "up", text: "The release goes to more devices now, without waiting for more evidence." },
  pause: { name: "Pause", icon: "pause", text: "Devices that run it go on; no further device gets it." },
  resume: { name: "Resume", icon: "play", text: "The rollout goes on where it was." },
  abort: { name: "Abort", icon: "stop", danger: true, text: "Every device goes back to the release before, at once." },
};
const ALLOWED = {
  canary: ["promote", "pause", "abort"], widening: ["promote", "pause", "abort"], asking: ["promote", "pause", "abort"], paused: ["promote", "resume", "abort"],
};
const VOTES = { committed: "good", probation: "info", fallen_back: "bad", refused: "bad" };
const STAGES = ["canary", "widening", "done"];
let chosen = null;

export function open(main) {
  const rollouts = h("section.grid"), lineage = h("section");
  const list = table([
    { title: "Release", wide: true, label: false, cell: (r) => h("span.pair", {}, h("strong", {}, `${r.model} ${r.release}`)) },
    { title: "From", cell: (r) => (r.round ? `round ${r.round}` : "imported") },
    { title: "Signed by", cell: (r) => badge(r.role === "auto" ? "signing process" : r.role === "manual" ? "approver" : r.role, "plain") },
    { title: "Parent", number: true, cell: (r) => r.parent || "–" },
    { title: "Devices", number: true, cell: (r) => (r.running === null ? "–" : count(r.running)) },
    { title: "Made", cell: (r) => ago(r.created_at) },
  ], { key: (r) => `${r.model}/${r.release}`, caption: "Releases", empty: ["No release yet", "Set the cloud up with: terrace cloud init."],
    open: (row) => { chosen = `${row.model}/${row.release}`; draw(); show(row); } });
  fill(main, [
    h("div.head", {}, h("div", {}, h("h1", {}, "Releases"), h("p", {}, "What devices may run, where it came from, and how it reaches them."))),
    rollouts, h("section.card", {}, h("header", {}, h("h2", {}, "All releases")), list.node), lineage,
  ]);

  function draw() {
    const devices = all("devices");
    const releases = all("releases").sort((a, b) => (a.model === "student" ? 0 : 1) - (b.model === "student" ? 0 : 1) || b.release - a.release)
      .map((release) => ({ ...release, running: release.model === "student" ? devices.filter((device) => device.release === release.release).length : null }));
    list.draw(releases, chosen);
    const found = all("rollouts").sort((a, b) => b.id - a.id);
    const [newest, ...older] = found;
    fill(rollouts, newest ? [rolloutOf(newest, devices), older.length ? olderOf(older) : null]
      : [h("article.card", {}, h("header", {}, h("h2", {}, "Rollout")), h("div.empty", {}, h("strong", {}, "Nothing is being rolled out"), h("span", {}, "A release that passes its gates starts a rollout by itself.")))]);
  }

  async function show(row) {
    const found = (await get(`/v1/releases?model=${encodeURIComponent(row.model)}`).catch(() => [])).find((one) => one.release === row.release);
    fill(lineage, found ? [lineageOf(found)] : []);
  }
  return watch(["releases", "rollouts", "devices"], draw);
}

function rolloutOf(rollout, devices) {
  const votes = Object.entries(rollout.votes ?? {});
  const running = devices.filter((device) => device.release === rollout.release).length;
  const stage = { halted: 1, aborted: 1 }[rollout.state] ?? Math.max(0, STAGES.indexOf(rollout.state === "asking" || rollout.state === "paused" ? "widening" : rollout.state));
  const tally = (...words) => votes.filter(([, vote]) => words.includes(vote)).length;
  return h("article.card", {},
    h("header", {}, h("div.pair", {}, h("h2", {}, `Rollout of ${rollout.model} ${rollout.release}`), badge(rollout.state)),
      may("operator") ? h("div.actions", {}, (ALLOWED[rollout.state] ?? []).map((name) => button(rollout, name))) : null),
    h("div.body.grid", {},
      h("p", {}, rollout.reason),
      h("ol.stages", {}, STAGES.map((name, index) => h(`li.${["halted", "aborted"].includes(rollout.state) && index === stage ? "bad" : index < stage || rollout.state === "done" ? "good" : index === stage ? "now" : "later"}`, {},
        ["halted", "aborted"].includes(rollout.state) && index === stage ? rollout.state : name))),
      h("dl.facts", {},
        fact("May run it", percent(rollout.share, 0), "of devices, by keyed hash"),
        fact("Run it now", `${count(running)} of ${count(devices.length)}`, "devices"),
        fact("Votes", votes.length ? `${tally("committed")} for, ${tally("fallen_back", "refused")} against` : "none yet", `${votes.length} in the cohort`),
        evidence(rollout.evidence),
        fact("Else", `release ${rollout.previous}`, "what devices go back to"),
        fact("Began", ago(rollout.started_at), full(rollout.started_at))),
      votes.length ? h("ul.votes", { "aria-label": "Votes of the cohort" }, votes.map(([name, vote]) => h("li", {}, badge(`${name}: ${vote.replaceAll("_", " ")}`, VOTES[vote] ?? "")))) : null,
      historyOf(rollout.history ?? [])));
}

const fact = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, value), h("small.muted", {}, more));

function evidence(found) {
  if (!found || !found.audits) return fact("Evidence", "none yet", "audit samples of both releases");
  const points = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value * 100).toFixed(1)}`;
  return fact("Loss of agreement", `${points(found.loss)} points`, `${points(found.low)} to ${points(found.high)}, ${count(found.audits)} samples`);
}

function button(rollout, name) {
  const act = ACTS[name];
  return h(`button.button.small${act.danger ? ".danger" : name === "promote" && rollout.state === "asking" ? ".primary" : ""}`, { type: "button", onclick: () => ask({
    title: `${act.name} the rollout of ${rollout.model} ${rollout.release}?`, text: act.text, act: act.name, danger: act.danger,
    fields: [{ name: "reason", label: "Why (stands in the audit log)" }],
    run: ({ reason }) => post(`/v1/rollouts/${rollout.id}/${name}`, { reason }),
  }) }, icon(act.icon), act.name);
}

function historyOf(entries) {
  return h("ol.log", {}, [...entries].reverse().slice(0, 8).map((entry) => h("li", {},
    h("span.muted.small.nowrap", { title: full(entry.at) }, clock(entry.at)), badge(entry.state), h("span", {}, entry.reason), h("span.muted.small", {}, entry.who ?? ""))));
}

function olderOf(older) {
  const list = table([
    { title: "Rollout", cell: (r) => `${r.model} ${r.release}` }, { title: "Ended", cell: (r) => badge(r.state) },
    { title: "Why", wide: true, cell: (r) => r.reason }, { title: "When", cell: (r) => ago(r.changed_at) },
  ], { key: (r) => r.id, caption: "Earlier rollouts", empty: ["", ""] });
  list.draw(older);
  return h("article.card", {}, h("header", {}, h("h2", {}, "Earlier rollouts")), list.node);
}

function lineageOf(release) {
  const { contributions = [], gate = {}, distil = {}, ...rest } = release.lineage ?? {};
  const line = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("article.card", {}, h("header", {}, h("h2", {}, `Lineage of ${release.model} ${release.release}`), h("span.muted", {}, full(release.created_at))),
    h("div.body.grid", {},
      h("p", {}, release.round ? `Made by round ${release.round} from ${release.model} ${release.parent}.` : "Imported by a person of this cloud."),
      contributions.length ? h("div", {}, h("h3", {}, "Taught by"), h("ul.votes", {}, contributions.map((one) => h("li", {},
        badge(one.refused ? `${one.region}: ${one.refused}` : `${one.region}: ${count(one.examples)} cases, weight ${percent(one.weight, 0)}`, one.refused ? "bad" : "good"))))) : null,
      gate.checks?.length ? h("div", {}, h("h3", {}, "Passed"), h("ul.votes", {}, gate.checks.map((check) =>
        h("li", {}, badge(`${check.name}: ${check.value.toFixed(3)}, limit ${check.limit.toFixed(3)}`, check.passed ? "good" : "bad"))))) : null,
      h("dl.facts.plain", {}, [...Object.entries(distil), ...Object.entries(rest)].filter(([, value]) => typeof value !== "object").slice(0, 12)
        .map(([name, value]) => line(name.replaceAll("_", " "), typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : String(value))))));
}
