// Who may do what: accounts, roles, invitations. For admins.
import { h, fill, icon } from "./dom.js";
import { get, post, remove, whoami } from "./api.js";
import { ask, show } from "./dialog.js";
import { table } from "./table.js";
import { ago, badge, full } from "./format.js";
import { watch } from "./store.js";

const ROLES = ["viewer", "reviewer", "operator", "admin"];
const MEANING = { viewer: "sees numbers", reviewer: "sees a region's pictures and labels them", operator: "starts rounds, steers rollouts", admin: "looks after people" };

export function open(main) {
  let me = "";
  const failed = h("p.notice.bad", { role: "alert", hidden: true });
  const accounts = table([
    { title: "Name", wide: true, label: false, cell: (one) => h("span.pair", {}, h("strong", {}, one.name), one.name === me ? badge("you", "plain") : null) },
    { title: "Role", cell: (one) => roleOf(one) },
    { title: "Last sign-in", cell: (one) => ago(one.signed_in_at) },
    { title: "Since", cell: (one) => h("span", { title: full(one.created_at) }, ago(one.created_at)) },
    { title: "", cell: (one) => h("button.button.small.danger", { type: "button", onclick: () => away(one), disabled: one.name === me }, "Remove") },
  ], { key: (one) => one.name, caption: "People", empty: ["Nobody", ""] });
  const invitations = table([
    { title: "For", wide: true, label: false, cell: (one) => h("strong", {}, one.label) },
    { title: "Role", cell: (one) => one.role }, { title: "Good until", cell: (one) => full(one.expires_at) },
    { title: "", cell: (one) => h("button.button.small", { type: "button", onclick: () => act(() => remove(`/v1/invitations/${encodeURIComponent(one.label)}`)) }, "Withdraw") },
  ], { key: (one) => one.label, caption: "Open invitations", empty: ["No open invitation", "Invite somebody: they choose their own name and password."] });
  fill(main, [
    h("div.head", {}, h("div", {}, h("h1", {}, "People"), h("p", {}, "Each role may do what those before it may.")),
      h("button.button.primary", { type: "button", onclick: invite }, icon("plus"), "Invite")),
    failed, h("section.card", {}, h("header", {}, h("h2", {}, "Accounts")), accounts.node),
    h("section.card", {}, h("header", {}, h("h2", {}, "Invitations")), invitations.node),
    h("dl.facts.card.padded", {}, ROLES.map((role) => h("div", {}, h("dt", {}, role), h("dd.plain", {}, MEANING[role])))),
  ]);

  async function load() {
    try {
      me = (await whoami()).label;
      const said = await get("/v1/accounts");
      accounts.draw(said.accounts);
      invitations.draw(said.invitations);
    } catch (problem) { fail(problem); }
  }

  const fail = (problem) => { failed.hidden = false; failed.textContent = `${problem.message} ${problem.remedy ?? ""}`.trim(); };
  async function act(run) {
    failed.hidden = true;
    try { await run(); } catch (problem) { fail(problem); }
    await load();
  }

  const roleOf = (one) => h("select.input.slim", { "aria-label": `Role of ${one.name}`, disabled: one.name === me,
    onchange: (event) => act(() => post(`/v1/accounts/${one.name}/role`, { role: event.target.value })) },
  ROLES.map((role) => h("option", { value: role, selected: role === one.role }, role)));

  const away = (one) => ask({ title: `Remove ${one.name}?`, text: "The account is gone and its sessions end at once.", act: "Remove", danger: true,
    run: () => remove(`/v1/accounts/${one.name}`) }).then(load);

  async function invite() {
    const made = await ask({ title: "Invite somebody", text: "You get a link that is good once, for a day.", act: "Make the link",
      fields: [{ name: "label", label: "For whom", required: true }, { name: "role", label: "Role", options: ROLES }],
      run: (values) => post("/v1/invitations", values) });
    if (made) show("Send this link", "It is shown this once. Whoever opens it chooses a name and a password.", location.origin + made.path);
    await load();
  }

  return watch(["audit"], load);
}
