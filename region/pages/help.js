// The keys, in a dialog.
import { h } from "./dom.js";

const ROWS = [
  [["1", "9", "0"], "say the first ten classes; letters follow"],
  [["←", "→", "↑", "↓"], "move among the cases"],
  [["Space"], "to the next case that asks for your word"],
  [["Enter", "Esc"], "open and close a case on a small screen"],
  [["?"], "this list"],
];

export function showHelp() {
  const dialog = h("dialog", { "aria-label": "Keys", onclose: () => dialog.remove() }, h("div.sheet", {}, h("h1", {}, "Keys"),
    h("div.help", {}, ROWS.map(([keys, text]) => [h("span.keys", {}, keys.map((key) => h("kbd", {}, key))), h("span", {}, text)])),
    h("p.muted.small", {}, "Two different people who say the same settle a case for good. It is never trained on again, and every round must be as good on such cases as the student before it. What others said is shown once you have said yours."),
    h("div.actions", {}, h("button.button.primary", { type: "button", onclick: () => dialog.close() }, "Close"))));
  document.body.append(dialog);
  dialog.showModal();
}
