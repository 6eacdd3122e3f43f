// Why a hit has its score: its sentences, a tree whose lines add up, and what each word of the query brought.

import { el, signed, times } from "./dom.js";

const DIGITS = 6;
const SHOWN_WORDS = 8; // of a list; the others are folded into one line, so that the sum stays
const LEG_NAMES = { dense: "meaning (dense)", sparse: "words (sparse)", learned: "learned weights" };

/** The whole explanation of a hit. */
export function explanation({ sentences, ledger, query_words, query_rest, provenance }) {
  return el("div", { class: "why" },
    ...(sentences.length > 1 ? [el("h3", {}, "What its sentences did"), effects(sentences)] : []),
    el("h3", {}, "How the score adds up"),
    el("ul", { class: "ledger" }, line(ledger, true)),
    ...(query_words.length ? [el("h3", {}, "What the query's words brought"), shares(query_words, query_rest)] : []),
    el("p", { class: "quiet small" }, origin(provenance)));
}

/** How far the score falls without each sentence, the largest effect first. */
function effects(sentences) {
  const sorted = [...sentences].sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect));
  const item = ({ text, effect }) =>
    el("li", {}, el("span", { class: "number" }, signed(effect)), " ", el("span", {}, text));
  return el("ul", { class: "ledger sentences" }, ...sorted.slice(0, SHOWN_WORDS).map(item));
}

/** A line of a ledger, and below it the lines that add up to it. */
export function line({ value, kind, description, details }, open = false) {
  const words = [el("span", { class: "number" }, signed(value, DIGITS)), " ", el("span", {}, description)];
  if (!details.length) return el("li", { class: `of-${kind}` }, ...words);
  return el("li", { class: `of-${kind}` },
    el("details", { open: open || kind === "leg" },
      el("summary", {}, ...words),
      el("ul", {}, ...lines(details), sum(details))));
}

function lines(details) {
  const size = ({ value }) => Math.abs(value);
  const words = details.filter((detail) => detail.kind === "word").sort((one, other) => size(other) - size(one));
  const folded = words.slice(SHOWN_WORDS);
  if (folded.length < 2) return details.map((detail) => line(detail));
  const rest = el("li", {},
    el("details", {},
      el("summary", {}, el("span", { class: "number" }, signed(total(folded), DIGITS)), ` ${folded.length} more words`),
      el("ul", {}, ...folded.map((detail) => line(detail)), sum(folded))));
  const remaining = details.filter((detail) => detail.kind !== "word").map((detail) => line(detail));
  return [...words.slice(0, SHOWN_WORDS).map((detail) => line(detail)), rest, ...remaining];
}

function sum(details) {
  const number = el("span", { class: "number" }, signed(total(details), DIGITS));
  return el("li", { class: "sum" }, number, " sum of these lines");
}

function shares(said, rest) {
  const words = said.map((word) => ({ ...word, sparse: word.sparse + word.learned })); // one side of the search
  const most = Math.max(...words.map((word) => Math.abs(word.dense + word.sparse)), 1e-9);
  const row = (word) => {
    const both = word.dense + word.sparse;
    const bar = el("span", { class: both < 0 ? "bar down" : "bar up" });
    bar.style.setProperty("--size", Math.abs(both) / most);
    const factor = word.factor === 1 ? "" : el("span", { class: "quiet" }, ` ${times(word.factor)}`);
    return el("tr", {},
      el("th", { scope: "row" }, word.text, factor),
      ...[word.dense, word.sparse, both].map((value) => el("td", {}, signed(value))),
      el("td", { class: "share", "aria-hidden": "true" }, bar));
  };
  const brought = words.map((word) => ({ value: word.dense + word.sparse }));
  const head = (leg) => el("th", { scope: "col", title: LEG_NAMES[leg] ?? "sum of the legs" }, leg);
  const foot = (name, value) =>
    el("tr", {}, el("th", { scope: "row", colspan: 3 }, name), el("td", {}, signed(value)), el("td"));
  return el("table", {},
    el("thead", {},
      el("tr", {}, el("th", { scope: "col" }, "word"), ...["dense", "sparse", "both"].map(head), el("td"))),
    el("tbody", {}, ...words.map(row)),
    el("tfoot", {}, foot("what is no word's: constants, marks", rest), foot("score", total(brought) + rest)));
}

function origin({ method, model, generation, seq }) {
  return [method, model, `generation ${generation}`, `change ${seq}`].filter(Boolean).join(" \u00b7 ");
}

const total = (details) => details.reduce((sum, detail) => sum + detail.value, 0);
