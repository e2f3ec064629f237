// The live risk of every region, as its devices tell it; a region's row opens its devices. Counts only: no picture reaches the cloud.
import { h, fill, say } from "./dom.js";
import { table } from "./table.js";
import { badge, count, percent, plural, range } from "./format.js";
import { all, one } from "./store.js";
import { behind, deviceColumns, regionColumns } from "./liverisk.js";

const MOST_ROWS = 200;
const byName = (a, b) => a.name.localeCompare(b.name, "en", { numeric: true });
const shown = (region) => ({ name: region.name, live: region.live ?? null, away: region.state === "away", at: region.seen_at });

/** The section of the overview; `draw()` brings it up to date. */
export function riskOf() {
  let chosen = null;
  const detail = h("div");
  const regions = table(regionColumns({ title: "Region", wide: true, label: false,
    cell: (row) => h("span.risk", {}, h("span.pair", {}, h("strong", {}, row.name), row.away ? badge("away") : null), behind(row)) }), {
    key: (row) => row.name, caption: "Live risk by region", empty: ["No region has called yet", "Each tells the live risk of its devices once it runs."],
    open: (row) => { chosen = chosen === row.name ? null : row.name; draw(); },
  });
  const devices = table(deviceColumns({ title: "Device", wide: true, label: false,
    cell: (row) => h("span.pair", {}, h("strong", {}, row.name.split(".")[0]), row.state === "silent" ? badge("silent") : null) }), {
    key: (row) => row.name, caption: "Live risk by device", empty: ["No device here", "Devices appear once their region has heard them."],
  });
  const note = h("span.muted");

  function draw() {
    regions.draw(all("regions").sort(byName).map(shown), chosen);
    const own = chosen === null ? [] : all("devices").filter((device) => device.region === chosen).sort(byName);
    fill(detail, chosen === null ? [] : [h("header", {}, h("h3", {}, `Devices of ${chosen}`),
      h("span.muted", {}, own.length > MOST_ROWS ? `the first ${MOST_ROWS} of ${count(own.length)}` : count(own.length))), devices.node]);
    devices.draw(own.slice(0, MOST_ROWS).map(({ name, state, live }) => ({ name, state, live: live ?? null })));
    say(note, chosen === null ? "a region opens its devices" : "");
  }

  return { draw, node: h("section.card.risks", {}, h("header", {}, h("div.pair", {}, h("h2", {}, "Live risk"),
    h("span.muted", {}, "kept, and the expert differs; as devices tell it")), note), regions.node, detail) };
}

/** What the tile says: the share, and behind which interval and how many. */
export function riskNow() {
  const live = one("fleet")?.live;
  if (!live || live.risk === null) return ["–", live?.regions ? "no audit sample answered yet" : "no region tells it yet"];
  const left = live.untold_regions ? `, ${plural(live.untold_regions, "region")} not told` : live.untold ? `, ${count(live.untold)} not told` : "";
  return [percent(live.risk), `${range(live.low, live.high)} · ${plural(live.devices, "device")}${left}`];
}
