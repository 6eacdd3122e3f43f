// What else can be asked of a hit: what would raise it, and why it is above the next one.

import { el, times } from "./dom.js";
import { failure } from "./failure.js";
import { line } from "./ledger.js";

/**
 * The questions about a hit, `shown` as `{hit, rank}`; `next()` is the one below it, undefined for the last one. It is
 * given `followed()`, to be called when there are more. `asks`: `explain(asked, signal)`, a promise of the hit's
 * explanation with what is asked for, and `search(query)`, which shows another search.
 */
export function questions(shown, next, { explain, search }) {
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  let asking = new AbortController(); // the latest question alone is answered
  const ask = (name, asked, told) => {
    const answerIt = async () => {
      asking.abort();
      const { signal } = (asking = new AbortController());
      const show = (...parts) => answer.replaceChildren(el("h3", {}, name), ...parts);
      show(el("p", { class: "quiet" }, "Trying changes of the emphasis \u2026"));
      try {
        const found = await explain({ id: shown.hit.id, ...asked() }, signal);
        show(...told(found));
      } catch (error) {
        if (signal.aborted) return; // another question was asked
        if (error.name === "AbortError") return answer.replaceChildren(); // another search is under way
        show(...failure(error, answerIt));
      }
    };
    return el("button", { type: "button", click: answerIt }, name);
  };
  const above = () => ({ above: next().hit.id });
  const compared = ({ contrast: { ledger, swap } }) => {
    const description = `score of ${named(shown)} less that of ${named(next())}`;
    const titles = { upper: title(shown.hit), lower: title(next().hit) };
    return held({ ledger: { ...ledger, description }, swap }, titles, search);
  };
  const comparing = ask("Why is it above the next one?", above, compared);
  shown.followed = () => (comparing.hidden = !next());
  shown.followed();
  return el("div", { class: "questions" },
    el("div", { class: "buttons" },
      ask("What would raise it?", () => ({ advise: true }), ({ advice }) => raised(advice, search)), comparing),
    answer);
}

/** A hit as the page names it. */
const named = ({ hit, rank }) => `hit ${rank} (${title(hit)})`;
const title = (hit) => hit.title || hit.document_id;

function raised(advice, search) {
  if (!advice.length) return [el("p", { class: "quiet" }, "No change of emphasis that was tried raises it.")];
  return [el("ul", {}, ...advice.map((change) => el("li", {}, ...tried(change, search))))];
}

function held({ ledger, swap }, titles, search) {
  const turned = swap ? swapped(swap, titles, search) : ["No change of emphasis that was tried turns them round."];
  return [el("ul", { class: "ledger" }, line(ledger, true)), el("p", {}, ...turned)];
}

/** What says that the lower one of two hits stands above with the change, and how far both have moved. */
export function swapped(swap, { upper, lower }, search) {
  const place = (title, before, after) => `\u2018${title}\u2019 (${rank(before)} \u2192 ${rank(after)})`;
  const fell = (swap.rank_before ?? Infinity) < (swap.rank_after ?? Infinity);
  return ["With ", el("b", {}, changed(swap)), `, ${place(lower, swap.rank_before, swap.rank_after)} stands above `
    + `${place(upper, swap.upper_rank_before, swap.upper_rank_after)}${fell ? ": both fall" : ""}. `, apply(swap, search)];
}

/** A change of the emphasis, and what came of it. */
function tried(change, search) {
  const moved = ` takes it from rank ${rank(change.rank_before)} to ${rank(change.rank_after)} `;
  return [el("b", {}, changed(change)), moved, apply(change, search)];
}

const changed = ({ words, factors }) => words.map((word, place) => `${word} ${times(factors[place])}`).join(", ");

const rank = (place) => place ?? "far behind";

const apply = ({ query }, search) => query === null ? ""
  : el("button", { type: "button", class: "link", click: () => search(query) }, "try it");
