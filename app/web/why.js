// Why a hit has its score: one sentence, what the query's words and the passage's sentences brought, and all the numbers.

import { el, signed, times } from "./dom.js";
import { LEG_NAMES, line } from "./ledger.js";

const SHOWN_SENTENCES = 8;

/** The explanation of `hit`. `sought`: the words that the search by words looked for, as far as the hits tell. */
export function explanation(hit, sought) {
  const { sentences, ledger, query_words: words, query_rest: rest, provenance } = hit.explanation;
  const said = inShort(hit, sought);
  return el("div", { class: "why" },
    said ? el("p", {}, said) : "",
    ...(words.length ? [el("h3", {}, "What the query's words brought"), shares(words, rest)] : []),
    ...(sentences.length > 1 ? [el("h3", {}, "What the sentences of the passage did"), effects(sentences)] : []),
    el("details", {},
      el("summary", {}, "All the numbers"),
      el("ul", { class: "ledger" }, line(ledger, true)),
      el("p", { class: "quiet small" }, origin(provenance))));
}

/** The words of the query that a search by words found in `hit`. */
export const soughtWords = (hit) => (hit.explanation?.query_words ?? []).filter(byWords).map((word) => word.text);

/**
 * "Mostly because of A and B; C is not in it." The fewest words that brought more than half of what all words that
 * raise the score brought, and those that the passage lacks; of stop words it is not said.
 */
export function inShort({ explanation: { query_words: words }, title, passage }, sought) {
  const raising = words.filter((word) => both(word) > 0).sort((one, other) => both(other) - both(one));
  const all = total(raising);
  const mostly = raising.filter((_, place) => total(raising.slice(0, place)) <= all / 2);
  const text = `${title} ${passage.text}`.toLowerCase();
  const missing = words.filter((word) => sought.has(word.text) && !byWords(word) && !text.includes(word.text.toLowerCase()));
  const because = mostly.length ? `Mostly because of ${listed(mostly)}` : "No word of the query raises its score";
  const lacks = missing.length ? `; ${listed(missing)} ${missing.length === 1 ? "is" : "are"} not in it` : "";
  return words.length ? `${because}${lacks}.` : "";
}

/** How far the score falls without each sentence, the largest effect first. */
function effects(sentences) {
  const sorted = [...sentences].sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect));
  const item = ({ text, effect }) =>
    el("li", {}, el("span", { class: "number" }, signed(effect)), " ", el("span", {}, text));
  return el("ul", { class: "ledger sentences" }, ...sorted.slice(0, SHOWN_SENTENCES).map(item));
}

function shares(words, rest) {
  const most = Math.max(...words.map((word) => Math.abs(both(word))), 1e-9);
  const row = (word) => {
    const bar = el("span", { class: both(word) < 0 ? "bar down" : "bar up" });
    bar.style.setProperty("--size", Math.abs(both(word)) / most);
    const factor = word.factor === 1 ? "" : el("span", { class: "quiet" }, ` ${times(word.factor)}`);
    return el("tr", {},
      el("th", { scope: "row" }, word.text, factor),
      ...[word.dense, word.sparse + word.learned, both(word)].map((value) => el("td", {}, signed(value))),
      el("td", { class: "share", "aria-hidden": "true" }, bar));
  };
  const head = (name) => el("th", { scope: "col" }, name);
  const foot = (name, value) =>
    el("tr", {}, el("th", { scope: "row", colspan: 3 }, name), el("td", {}, signed(value)), el("td"));
  return el("table", {},
    el("thead", {},
      el("tr", {}, ...["word", LEG_NAMES.dense, LEG_NAMES.sparse, "both"].map(head), el("td"))),
    el("tbody", {}, ...words.map(row)),
    el("tfoot", {}, foot("what is no word's: constants, marks", rest), foot("score", total(words) + rest)));
}

function origin({ method, model, generation, seq }) {
  return [method, model, `generation ${generation}`, `change ${seq}`].filter(Boolean).join(" \u00b7 ");
}

const byWords = (word) => Boolean(word.sparse || word.learned);
const both = (word) => word.dense + word.sparse + word.learned;
const total = (words) => words.reduce((sum, word) => sum + both(word), 0);
const listed = (words) =>
  new Intl.ListFormat("en").format([...new Set(words.map((word) => `\u201c${word.text}\u201d`))]);
