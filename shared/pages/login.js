import { h, fill } from "./dom.js";
import { enter, whoami } from "./api.js";

const card = document.getElementById("card");
const name = h("input.input", { name: "username", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, autofocus: true });
const password = h("input.input", { name: "password", type: "password", autocomplete: "current-password", required: true });
const error = h("p.notice.bad", { role: "alert", hidden: true });
const button = h("button.button.primary", { type: "submit" }, "Sign in");
const form = h("form", {},
  h("label.field", {}, h("span", {}, "Name"), name), h("label.field", {}, h("span", {}, "Password"), password), error, button);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  error.hidden = true;
  try {
    await enter("/session", { name: name.value.trim().toLowerCase(), password: password.value });
    location.replace(target());
  } catch (problem) {
    error.textContent = `${problem.message} ${problem.remedy ?? ""}`.trim();
    error.hidden = false;
    password.value = "";
    password.focus();
  } finally { button.disabled = false; }
});

// only a path of this server: never another site's address
function target() {
  const to = new URLSearchParams(location.search).get("to") ?? "/";
  const found = new URL(to, location.origin);
  return found.origin === location.origin && to.startsWith("/") && !to.startsWith("//") ? found.pathname + found.search : "/";
}

fill(card, [form]);
name.focus();
const session = await whoami().catch(() => null);
if (session?.label) location.replace(target());
if (session && !session.accounts) {
  fill(card, [h("div.empty", {}, h("strong", {}, "Nobody has an account yet"),
    h("span", {}, "Open the one-time link that the daemon printed on its terminal. It makes the first admin."))]);
}
