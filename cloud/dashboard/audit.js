// Who did what, from the hash chain: newest first, more on demand.
import { h, fill, say } from "./dom.js";
import { get } from "./api.js";
import { table } from "./table.js";
import { ago, count } from "./format.js";
import { one, watch } from "./store.js";

const STEP = 100;

export function open(main) {
  let entries = [], head = null, asked = false;
  const failed = h("p.notice.bad", { role: "alert", hidden: true });
  const chain = h("p.mono.small.muted");
  const search = h("input.input.slim", { type: "search", placeholder: "Filter", "aria-label": "Filter entries", oninput: draw });
  const more = h("div.more", {}, h("button.button.small", { type: "button", onclick: () => load(entries.at(-1)?.number) }, "Earlier entries"));
  const list = table([
    { title: "No.", number: true, cell: (e) => e.number },
    { title: "When", cell: (e) => ago(e.at) },
    { title: "Who", cell: (e) => h("strong", {}, e.who) },
    { title: "Did", cell: (e) => h("code", {}, e.action) },
    { title: "To", cell: (e) => e.subject },
    { title: "Detail", wide: true, cell: (e) => h("span.muted.small", {}, Object.entries(e.detail).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")) },
  ], { key: (e) => e.number, caption: "Audit log", empty: ["Nothing yet", "Signing in, rounds, rollouts and changes of people are written here."], more });
  fill(main, [
    h("div.head", {}, h("div", {}, h("h1", {}, "Audit"), h("p", {}, "A chain: no entry can be changed or dropped without being seen. Check it with: terrace audit verify.")), search),
    failed, h("section.card", {}, h("header", {}, h("h2", {}, "Entries"), chain), list.node),
  ]);

  async function load(before) {
    if (asked) return;
    asked = true;
    try {
      const said = await get(`/v1/audit?limit=${STEP}${before ? `&before=${before}` : ""}`);
      head = said.head;
      const known = new Map([...entries, ...said.entries].map((entry) => [entry.number, entry]));
      entries = [...known.values()].sort((a, b) => b.number - a.number);
      failed.hidden = true;
      draw();
    } catch (problem) {
      failed.hidden = false;
      failed.textContent = `The log cannot be shown: ${problem.message} ${problem.remedy ?? ""}`;
    } finally { asked = false; }
  }

  function draw() {
    const word = search.value.trim().toLowerCase();
    list.draw(entries.filter((entry) => !word || JSON.stringify(entry).toLowerCase().includes(word)));
    more.hidden = !entries.length || entries.at(-1).number === 1;
    say(chain, head ? `${count(head.count)} entries, head ${head.hash.slice(0, 16)}…` : "");
  }
  return watch(["audit"], () => { if (one("audit")?.count !== head?.count) load(); });
}
