// What needs somebody: derived from the fleet's state, so an alert is gone when its cause is.
import { h, fill } from "./dom.js";
import { ago, badge } from "./format.js";
import { all, watch } from "./store.js";

const ORDER = ["critical", "warning", "info"];

export function open(main) {
  const body = h("section.grid", {}, h("div.card", {}, h("div.skeleton")));
  fill(main, [h("div.head", {}, h("div", {}, h("h1", {}, "Alerts"), h("p", {}, "Each goes away by itself when its cause does."))), body]);
  return watch(["alerts"], () => {
    const alerts = all("alerts").sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity) || b.at - a.at);
    fill(body, alerts.length
      ? [h("ul.card.alerts", {}, alerts.map((alert) => h(`li.alert.${alert.severity}`, {}, badge(alert.severity),
        h("div", {}, h("h2", {}, alert.title), h("p.muted", {}, alert.detail)),
        h("div.right.small.muted.nowrap", {}, h("div", {}, alert.subject), alert.at ? ago(alert.at) : null))))]
      : [h("div.card.empty", {}, h("strong", {}, "All is well"), h("span", {}, "No region is away, no device silent, nothing drifts, no rollout waits."))]);
  });
}
