// A tree of numbers whose lines add up.

import { el, signed } from "./dom.js";

/** What the legs of a search are called on the page. */
export const LEG_NAMES = { dense: "meaning", sparse: "words", learned: "weighted terms" };
const DIGITS = 6;
const SHOWN_WORDS = 8; // of a list; the others are folded into one line, so that the sum stays

/** A line of a ledger, and below it the lines that add up to it. */
export function line({ value, kind, description, details }, open = false) {
  const words = [el("span", { class: "number" }, signed(value, DIGITS)), " ", el("span", {}, kind === "leg" ? named(description) : description)];
  if (!details.length) return el("li", { class: `of-${kind}` }, ...words);
  return el("li", { class: `of-${kind}` },
    el("details", { open: open || kind === "leg" },
      el("summary", {}, ...words),
      el("ul", {}, ...lines(details), sum(details))));
}

/** The line of a leg begins with its name in the API. */
const named = (description) => description.replace(/^\w+/, (leg) => LEG_NAMES[leg] ?? leg);

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

const total = (details) => details.reduce((sum, detail) => sum + detail.value, 0);
