// The frame: who is here, where one may go, and which page is drawn.
import { h, fill, icon, set } from "./dom.js";
import { may, post, signOut, whoami, leave, enter } from "./api.js";
import { ask } from "./dialog.js";
import { all, connect, link, one, ready, watch } from "./store.js";
import * as overview from "./overview.js";
import * as rounds from "./rounds.js";
import * as releases from "./releases.js";
import * as alerts from "./alerts.js";
import * as audit from "./audit.js";
import * as people from "./people.js";

const PAGES = [
  { path: "/", name: "Overview", page: overview, role: "viewer" },
  { path: "/rounds", name: "Rounds", page: rounds, role: "viewer" },
  { path: "/releases", name: "Releases", page: releases, role: "viewer" },
  { path: "/alerts", name: "Alerts", page: alerts, role: "viewer" },
  { path: "/audit", name: "Audit", page: audit, role: "operator" },
  { path: "/people", name: "People", page: people, role: "admin" },
];
const main = document.getElementById("page");
const offline = document.getElementById("offline");
let leaving = () => {}, tabs = [];

function frame(session) {
  const badge = h("span.count", { hidden: true });
  tabs = PAGES.filter((page) => may(page.role)).map((page) => ({ ...page,
    node: h("a", { href: page.path }, page.name, page.path === "/alerts" ? badge : null) }));
  const where = h("span.where");
  fill(document.getElementById("top"), [
    h("a.brand", { href: "/", "aria-label": "terrace, overview" }, h("img", { src: "/icon.svg", alt: "", width: 22, height: 22 }), "terrace", where),
    h("nav.tabs", { "aria-label": "Pages" }, tabs.map((tab) => tab.node)),
    h("div.tools", {},
      h("button.button.quiet.square", { type: "button", title: "Light or dark", "aria-label": "Light or dark", onclick: () => document.dispatchEvent(new Event("theme")) }, icon("theme")),
      h("button.button.quiet.who", { type: "button", title: `${session.role}; change your password`, onclick: changePassword }, icon("person"), h("span", {}, session.label)),
      h("button.button.quiet.square", { type: "button", title: "Sign out", "aria-label": "Sign out", onclick: signOut }, icon("out"))),
  ]);
  watch(["alerts", "fleet"], () => {
    const open = all("alerts").filter((alert) => alert.severity !== "info");
    set(badge, { hidden: open.length === 0, class: `count ${open.some((alert) => alert.severity === "critical") ? "bad" : "warn"}` });
    badge.textContent = open.length;
    where.textContent = one("fleet")?.name ?? "";
  });
}

const changePassword = () => ask({
  title: "Change your password", act: "Change", text: "Every other session of yours ends.",
  fields: [{ name: "old", label: "Password now", type: "password", required: true }, { name: "new", label: "New password", type: "password", required: true, help: "At least 10 characters." }],
  run: (values) => enter("/password", values),
});

function go(path, push = true) {
  const tab = tabs.find((found) => found.path === path) ?? tabs[0];
  if (push && location.pathname !== tab.path) history.pushState(null, "", tab.path);
  for (const other of tabs) set(other.node, { "aria-current": other === tab ? "page" : false });
  document.title = `${tab.name} · terrace`;
  leaving();
  leaving = tab.page.open(main, { go }) ?? (() => {});
  tab.node.scrollIntoView({ block: "nearest", inline: "nearest" });
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a[href^='/']");
  if (!anchor || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
  const url = new URL(anchor.href);
  if (!tabs.some((tab) => tab.path === url.pathname)) return;
  event.preventDefault();
  go(url.pathname);
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
});
addEventListener("popstate", () => go(location.pathname, false));
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, dialog") || event.metaKey || event.ctrlKey || event.altKey) return;
  const tab = tabs[Number(event.key) - 1];
  if (tab) go(tab.path);
});
document.addEventListener("link", () => {
  const off = link.state === "off";
  document.body.classList.toggle("stale", off && ready());
  fill(offline, off ? [h("div", {}, "Connection lost. What you see may be old; trying again.")] : []);
});

const session = await whoami().catch(() => null);
if (session === null) fill(main, [h("div.notice.bad", { role: "alert" }, "The server cannot be reached. Load the page again once it runs.")]);
else if (!session.label) leave();
else {
  frame(session);
  connect();
  go(location.pathname, false);
}
