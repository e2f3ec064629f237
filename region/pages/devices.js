// The region's devices: the live risk of each as it tells it, and of all together.
import { get, leave, whoami } from "./api.js";
import { fill, h, say } from "./dom.js";
import { badge, count, percent, plural, range, setNow } from "./format.js";
import { deviceColumns } from "./liverisk.js";
import { table } from "./table.js";
import { top } from "./top.js";

const LOOK_EVERY_MS = 3000;
const byName = (a, b) => a.name.localeCompare(b.name, "en", { numeric: true });
const session = await whoami();
if (!session.label) leave();
const where = top(session);
const title = h("h1", {}, "Devices"), failed = h("p.notice.warn", { role: "status", hidden: true }), sentence = h("p"), note = h("span.muted");
const list = table(deviceColumns({ title: "Device", wide: true, label: false,
  cell: (row) => h("span.pair", {}, h("strong", {}, row.name.split(".")[0]), row.connected ? null : badge("silent")) }), {
  key: (row) => row.name, caption: "Live risk by device", empty: ["No device was heard yet", "Devices appear here once they have called this region."],
});
fill(document.getElementById("page"), [
  h("div.head", {}, h("div", {}, title, sentence)), failed,
  h("section.card", {}, h("header", {}, h("div.pair", {}, h("h2", {}, "Live risk"), h("span.muted", {}, "kept, and the expert differs; as devices tell it")), note), list.node)]);

function phrase(live) {
  const parts = [live.risk === null ? "No audit sample is answered yet."
    : `Together ${percent(live.risk)} (${range(live.low, live.high)}) of ${count(live.audited)} audit samples`
      + (live.missing ? `, ${count(live.missing)} more unanswered.` : ".")];
  if (live.worst && live.devices > 1) parts.push(`Highest for sure: ${live.worst.split(".")[0]}, ${range(live.worst_low, live.worst_high)}.`);
  if (live.untold) parts.push(`Not told by ${plural(live.untold, "connected device")}.`);
  return parts.join(" ");
}

async function look() {
  try {
    const told = await get("/v1/live");
    setNow(told.now);
    say(where, `/ ${told.region}`);
    say(title, `Devices of ${told.region}`);
    document.title = `Devices · ${told.region} · terrace`;
    say(sentence, told.devices.length ? phrase(told.live) : "");
    say(note, count(told.devices.length));
    list.draw(told.devices.sort(byName));
    failed.hidden = true;
  } catch (problem) {
    failed.hidden = false;
    say(failed, `This is not up to date: ${problem.message}`);
  }
}

await look();
setInterval(() => { if (!document.hidden) look(); }, LOOK_EVERY_MS);
