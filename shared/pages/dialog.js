// A question that must be answered before something is done, and a short form. The native dialog: focus stays inside, Escape leaves.
import { h } from "./dom.js";

/**
 * ask({title, text, act: "Abort", danger: true, fields: [{name, label, type, value, options, required}], run(values) → promise})
 * Resolves to what run() returned, or null when the person left. An error of run() is shown and the dialog stays.
 */
export function ask({ title, text, act, danger = false, fields = [], run }) {
  return new Promise((resolve) => {
    let result = null;
    const inputs = fields.map(field);
    const error = h("p.notice.bad", { role: "alert", hidden: true });
    const yes = h(`button.button.${danger ? "danger" : "primary"}`, { type: "submit" }, act);
    const form = h("form", { method: "dialog" },
      h("h1", { id: "dialog-title" }, title), text ? h("p.muted", {}, text) : null, inputs.map((input) => input.node), error,
      h("div.actions", {}, h("button.button.quiet", { type: "button", onclick: () => dialog.close() }, "Cancel"), yes));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", onclose: () => { dialog.remove(); resolve(result); } }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      yes.disabled = true;
      try {
        result = (await run(Object.fromEntries(inputs.map((input) => [input.name, input.read()])))) ?? true;
        dialog.close();
      } catch (problem) {
        error.hidden = false;
        error.textContent = `${problem.message} ${problem.remedy ?? ""}`.trim();
      } finally { yes.disabled = false; }
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function field({ name, label, type = "text", value = "", options = null, required = false, help = null }) {
  const input = options
    ? h("select.input", { name }, options.map((option) => h("option", { value: option, selected: option === value }, option)))
    : h("input.input", { name, type, value, required, autocomplete: "off" });
  return { name, read: () => input.value, node: h("label.field", {}, h("span", {}, label), input, help ? h("small", {}, help) : null) };
}

/** Show something once, such as a link that cannot be shown again. */
export function show(title, text, secret) {
  const input = h("input.input.mono", { value: secret, readonly: true, "aria-label": title, onfocus: (event) => event.target.select() });
  const copy = h("button.button", { type: "button", onclick: async () => { await navigator.clipboard.writeText(secret); copy.textContent = "Copied"; } }, "Copy");
  const dialog = h("dialog", { "aria-label": title, onclose: () => dialog.remove() },
    h("div.sheet", {}, h("h1", {}, title), h("p.muted", {}, text), input,
      h("div.actions", {}, copy, h("button.button.primary", { type: "button", onclick: () => dialog.close() }, "Done"))));
  document.body.append(dialog);
  dialog.showModal();
}
