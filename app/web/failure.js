// An error in words, with a button that asks again where the answer may become another one.

import { el } from "./dom.js";

const MAY_PASS = [0, 408, 429, 500, 502, 503, 504]; // statuses; 0: no answer came

/** What `error` says, as children of a notice; `again` is called by its button. */
export function failure(error, again) {
  const said = (text) => el("p", { role: "alert" }, text);
  if (error.status === 401)
    return [said("This server answers only requests with a key that it knows."),
      el("button", { type: "button", click: again }, "Enter a key")];
  return [said(error.message), MAY_PASS.includes(error.status) ? tryAgain(error.retryAfter, again) : ""];
}

/** A button that can be pressed after `seconds`. */
function tryAgain(seconds, again) {
  const button = el("button", { type: "button", click: again });
  const count = () => {
    button.disabled = seconds > 0;
    button.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
    if (seconds-- > 0) setTimeout(count, 1000);
  };
  count();
  return button;
}
