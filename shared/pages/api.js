// Talking to the server that served this page. Writes carry the session's token; who is signed out is sent to sign in.
export class Refused extends Error {
  constructor(status, message, remedy) { super(message); this.status = status; this.remedy = remedy; }
}

let session = null;

/** {label, role, csrf, ends_at, accounts}; label is "" for whoever is signed out. */
export async function whoami(fresh = false) {
  if (session === null || fresh) session = await call("GET", "/session");
  return session;
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);
export const remove = (path) => call("DELETE", path);
export const may = (role) => ["viewer", "reviewer", "operator", "admin"].indexOf(session?.role) >= ["viewer", "reviewer", "operator", "admin"].indexOf(role);

export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session?.csrf) headers["X-CSRF-Token"] = session.csrf;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Refused(0, "The server cannot be reached.", "Is it running?");
  }
  const said = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return said;
  if (answer.status === 401) leave();
  const words = said?.detail?.error ? said.detail : said;
  throw new Refused(answer.status, words?.error ?? `The server answered ${answer.status}.`, words?.remedy ?? "");
}

/** Sign in, redeem or change a password: the answer is the new session. */
export async function enter(path, body) {
  session = await call("POST", path, body);
  return session;
}

export async function signOut() {
  try { await call("DELETE", "/session"); } finally { leave(); }
}

export function leave() {
  const back = location.pathname + location.search;
  location.replace(back === "/" || back.startsWith("/login") ? "/login" : `/login?to=${encodeURIComponent(back)}`);
}
