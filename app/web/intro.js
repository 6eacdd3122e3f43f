// What stands in the place of hits before the first search.

import { forgetKey, hasKey } from "./api.js";
import { el } from "./dom.js";

const EXAMPLES = { "python-docs": "read a compressed file line by line", products: "I want to play on my TV." };

/** What can be done here; `search(query)` is called for the example of `collection`, if it has one. */
export function welcome(collection, search) {
  const example = EXAMPLES[collection];
  const ask = () => search(example);
  return [
    el("p", {}, "Ask in your own words. Then move a word's slider to give it more say or less, and watch how the hits",
      " move. ", el("b", {}, "Why"), " shows the numbers that a hit's score is made of."),
    example ? el("p", {}, "For example: ", el("button", { type: "button", class: "link", click: ask }, example)) : "",
  ];
}

/** What to do where no collection can be searched. */
export function noCollection() {
  if (hasKey())
    return [
      el("h2", {}, "This key sees no collection"),
      el("p", {}, "The server has none yet, or none that this key may see. Its administrators know which;",
        " you can also use ", el("button", { type: "button", class: "link", click: forgetKey }, "another key"), "."),
    ];
  return [
    el("h2", {}, "There is no collection yet"),
    el("p", {}, "Index the docstrings of Python's standard library, in about a minute:"),
    el("pre", {}, "salience demo"),
    el("p", {}, "Or documents of your own: NDJSON, CSV, text, Markdown, HTML or PDF, files or folders:"),
    el("pre", {}, "salience add path/to/documents -c name"),
    el("p", {}, "Both write to salience-data in the current folder, or where --data-dir says: it must be the data",
      " directory of this server. Then ", el("a", { href: "/" }, "load this page again"), "."),
  ];
}
