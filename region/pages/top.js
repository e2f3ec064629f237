// The bar above both pages of a region: where one is, where one may go, who is here.
import { h, fill, icon } from "./dom.js";
import { may, signOut } from "./api.js";

const PAGES = [["/", "Cases", "reviewer"], ["/devices", "Devices", "viewer"]];

/** Draw it; `middle` and `tools` are what a page adds. Returns the place of the region's name. */
export function top(session, { middle = null, tools = [] } = {}) {
  const where = h("span.where", { id: "region" });
  const tabs = PAGES.filter(([, , role]) => may(role)).map(([path, name]) => h("a", { href: path, "aria-current": location.pathname === path ? "page" : null }, name));
  fill(document.getElementById("top"), [
    h("a.brand", { href: "/" }, h("img", { src: "/icon.svg", alt: "" }), "terrace", where), h("nav.places", { "aria-label": "Pages" }, tabs), middle, h("span.spread"),
    h("div.tools", {},
      h("span.people-line.only-wide", {}, session.label, h("span.faint", {}, session.role)), tools,
      h("button.button.quiet.square", { type: "button", title: "Dark or light", "aria-label": "Dark or light", onclick: () => document.dispatchEvent(new Event("theme")) }, icon("theme")),
      h("button.button.quiet.square", { type: "button", title: "Sign out", "aria-label": "Sign out", onclick: signOut }, icon("out")))]);
  return where;
}
