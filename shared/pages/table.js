// A table that is drawn again only where something changed. Rows keep their element while they keep their key.
import { h, fill } from "./dom.js";

/**
 * columns: [{title, cell(row) → text or node, number: bool, wide: bool, label: false to hide it on a phone}]
 * options: {key(row), empty: [title, text], caption, open(row): what a click or Enter does}
 */
export function table(columns, { key, empty, caption, open = null, more = null }) {
  const rows = new Map();
  const body = h("tbody");
  const element = h("table.table.stack", {},
    h("caption.visually-hidden", {}, caption),
    h("thead", {}, h("tr", {}, columns.map((column) => h(column.number ? "th.number" : "th", { scope: "col" }, column.title)))),
    body);
  const nothing = h("div.empty", {}, h("strong", {}, empty[0]), h("span", {}, empty[1]));
  const node = h("div.scroll", {}, h("div.skeleton"));

  function make(id) {
    const cells = columns.map((column) => h(`td${column.number ? ".number" : ""}${column.wide ? ".wide" : ""}`,
      column.title && column.label !== false ? { "data-label": column.title } : {}));
    const line = h(open ? "tr.link" : "tr", open ? { tabindex: "0" } : {}, cells);
    const made = { line, cells, mark: "", row: null };
    if (open) {
      const act = (event) => { if (!event.target.closest("a, button, select, input")) open(made.row); };
      line.addEventListener("click", act);
      line.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target === line) open(made.row); });
    }
    rows.set(id, made);
    return made;
  }

  function draw(data, selected = null) {
    const known = new Set();
    let place = body.firstElementChild;
    for (const row of data) {
      const id = String(key(row));
      known.add(id);
      const found = rows.get(id) ?? make(id);
      const mark = JSON.stringify(row);
      if (mark !== found.mark) {
        found.mark = mark;
        found.row = row;
        columns.forEach((column, index) => fill(found.cells[index], [column.cell(row)]));
      }
      if (open) found.line.setAttribute("aria-selected", String(id === String(selected)));
      if (found.line === place) place = place.nextElementSibling;
      else body.insertBefore(found.line, place);
    }
    for (const [id, found] of rows) if (!known.has(id)) { found.line.remove(); rows.delete(id); }
    const wanted = data.length ? element : nothing;
    if (node.firstElementChild !== wanted || node.childElementCount > 1) node.replaceChildren(wanted);
    if (data.length && more) node.append(more);
  }

  return { node, draw };
}
