// Requests to the API. Where it wants a key the user is asked for one, and the tab keeps it until it is closed.

import { byId, el } from "./dom.js";

const KEY = "salience-key"; // an API key, or a token of the settings
const KEY_PATTERN = "[ -~]+"; // ASCII, as tokens are: of other characters many are no part of a header, and no request is sent

/**
 * An answer that is an error: `status` 0 if there was no answer, `code`, `param` and message as the API says them,
 * `retryAfter`: seconds after which the server wants to be asked again.
 */
export class ApiError extends Error {
  constructor(status, { code, message, param }, retryAfter = 0) {
    super(message);
    Object.assign(this, { status, code, param, retryAfter });
  }
}

/** The answer to a request: its JSON, or null if it is empty. Throws ApiError, and AbortError if `signal` says so. */
export async function call(method, path, { body, type = "application/json", signal } = {}) {
  const { status, text, retryAfter } = await send(method, path, { body, type, signal });
  const answer = parsed(text);
  if (status >= 200 && status < 300) return answer;
  const unknown = { code: "unknown", message: `the server answered ${status}`, param: null };
  throw new ApiError(status, answer?.error ?? unknown, retryAfter);
}

/** `{status, text, retryAfter}` of a request, whatever its status. Asks for a key as long as the answer is 401. */
export async function send(method, path, { body, type = "application/json", headers: more = {}, signal } = {}) {
  const headers = body === undefined ? { ...more } : { ...more, "Content-Type": type };
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    if (key) headers.Authorization = `Bearer ${key}`;
    const { status, text, retryAfter } = await reach(path, { method, headers, body, signal });
    if (status !== 401) offerToForget(Boolean(key));
    if (status !== 401 || !(await askForKey(Boolean(key)))) return { status, text, retryAfter };
  }
}

/** The shell command for a request. The key is not written into it. */
export function curl(method, path, body, type = "application/json", headers = {}) {
  const parts = [`curl -s${method === "GET" ? "" : ` -X ${method}`} ${quoted(location.origin + path)}`];
  if (hasKey()) parts.push('-H "Authorization: Bearer $KEY"');
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) parts.push(`-H ${quoted(`Content-Type: ${type}`)}`, `--data-binary ${quoted(body)}`);
  return parts.join(" \\\n    ");
}

/** Whether this tab keeps a key. */
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

/** Forget the key, and load the page again with the same search: it asks for another key. */
export function forgetKey() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

async function reach(path, options) {
  let response = null;
  try {
    response = await fetch(path, options);
    const text = await response.text();
    return { status: response.status, text, retryAfter: Number(response.headers.get("Retry-After")) || 0 };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const message = response ? "the server's answer broke off" : "the server does not answer; is `salience serve` still running?";
    throw new ApiError(0, { code: "unreachable", message, param: null });
  }
}

let asking = null; // one dialog, however many requests wait for it

function askForKey(refused) {
  asking ??= openDialog(refused).finally(() => (asking = null));
  return asking;
}

/** A button beside the page's name, for people with several keys. */
function offerToForget(kept) {
  byId("forget-key").hidden = !kept;
  byId("forget-key").onclick = forgetKey;
}

function openDialog(refused) {
  const input = el("input", { type: "password", name: "key", autocomplete: "off", required: true,
    pattern: KEY_PATTERN, title: "A key has ASCII characters only." });
  const dialog = el("dialog", { "aria-labelledby": "key-title" },
    el("form", { method: "dialog" },
      el("h2", { id: "key-title" }, "Your key"),
      el("p", {}, refused ? "The server does not know this key, or it is no longer good. " : "This server needs a key. ",
        "Enter an API key (", el("code", {}, "salience key create"), " makes one), or a token of the server's settings.",
        " This tab keeps it until you close it."),
      el("label", { class: "field" }, el("span", {}, "Key"), input),
      el("div", { class: "buttons" },
        el("button", { type: "submit", class: "primary", value: "use" }, "Use it"),
        el("button", { type: "submit", formnovalidate: true, value: "" }, "Cancel"))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use" ? input.value.trim() : "";
      if (given) sessionStorage.setItem(KEY, given);
      dialog.remove();
      resolve(Boolean(given));
    });
  });
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null; // not from the API: a proxy's page, for example
  }
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
