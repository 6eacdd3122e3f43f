// What else can be asked of a hit: what would raise it, and why it is above the next one.

import { el, times } from "./dom.js";
import { line } from "./ledger.js";

/**
 * The questions about `hit`, which stands above `next` (undefined: it is the last one). `asks`: `explain(asked)`, a
 * promise of the hit's explanation with what is asked for, and `search(query)`, which shows another search.
 */
export function questions(hit, next, { explain, search }) {
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const ask = (name, asked, told) => {
    const button = el("button", { type: "button", click: async () => {
      button.disabled = true;
      answer.replaceChildren(el("p", { class: "quiet" }, "Trying changes of the emphasis \u2026"));
      try {
        answer.replaceChildren(...told(await explain({ id: hit.id, ...asked })));
      } catch (error) {
        if (error.name !== "AbortError") answer.replaceChildren(el("p", { class: "wrong" }, error.message));
      }
      button.disabled = false;
    } }, name);
    return button;
  };
  return el("div", { class: "questions" },
    el("div", { class: "buttons" },
      ask("What would raise it?", { advise: true }, ({ advice }) => raised(advice, search)),
      next ? ask("Why is it above the next one?", { above: next.id }, ({ contrast }) => held(contrast, search)) : ""),
    answer);
}

function raised(advice, search) {
  if (!advice.length) return [el("p", { class: "quiet" }, "No change of emphasis that was tried raises it.")];
  return [el("ul", {}, ...advice.map((change) => el("li", {}, ...tried(change, search))))];
}

function held({ ledger, swap }, search) {
  const turned = swap ? ["The smallest change that turns them round: ", ...tried(swap, search)]
    : ["No change of emphasis that was tried turns them round."];
  return [el("ul", { class: "ledger" }, line(ledger, true)), el("p", {}, ...turned)];
}

/** A change of the emphasis, and what came of it. */
function tried({ words, factors, query, rank_before, rank_after }, search) {
  const change = words.map((word, place) => `${word} ${times(factors[place])}`).join(", ");
  const rank = (place) => place ?? "far behind";
  const apply = query === null ? "" : el("button", { type: "button", class: "link", click: () => search(query) }, "try it");
  return [el("b", {}, change), ` takes it from rank ${rank(rank_before)} to ${rank(rank_after)} `, apply];
}
