import { h, fill } from "./dom.js";
import { enter } from "./api.js";

const card = document.getElementById("card");
const code = new URLSearchParams(location.hash.slice(1)).get("code") ?? "";
history.replaceState(null, "", location.pathname); // the code leaves the address bar and the history
const field = (label, attributes, help) => {
  const input = h("input.input", { required: true, ...attributes });
  return { input, node: h("label.field", {}, h("span", {}, label), input, help ? h("small", {}, help) : null) };
};
const name = field("Your name", { name: "username", autocomplete: "username", autocapitalize: "none", spellcheck: "false", maxlength: "32" }, "Lower-case letters, digits, dots and dashes.");
const first = field("Password", { name: "password", type: "password", autocomplete: "new-password", minlength: "10", maxlength: "256" }, "At least 10 characters. Three or four words make a good one.");
const again = field("Password again", { name: "again", type: "password", autocomplete: "new-password" });
const error = h("p.notice.bad", { role: "alert", hidden: true });
const button = h("button.button.primary", { type: "submit" }, "Make my account");
const form = h("form", {}, h("div", {}, h("h2", {}, "Welcome"), h("p.muted", {}, "You were invited. Choose a name and a password.")),
  name.node, first.node, again.node, error, button);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.hidden = true;
  try {
    if (first.input.value !== again.input.value) throw new Error("The two passwords are not the same.");
    button.disabled = true;
    await enter("/invite", { code, name: name.input.value.trim().toLowerCase(), password: first.input.value });
    location.replace("/");
  } catch (problem) {
    error.textContent = `${problem.message} ${problem.remedy ?? ""}`.trim();
    error.hidden = false;
  } finally { button.disabled = false; }
});

fill(card, [code ? form : h("div.empty", {}, h("strong", {}, "This link is not whole"), h("span", {}, "Open it as it was printed, with everything after the #."))]);
if (code) name.input.focus();
