// How many of all documents that match have each value of a field; a click on a value narrows the search to it.

import { el } from "./dom.js";

/** An element for each field of `facets`, null where none were asked for. `onChoice(field, value)` is told of a click. */
export function counts(facets, onChoice) {
  return Object.entries(facets?.fields ?? {}).map(([field, { values, distinct, without }]) => {
    const value = ({ value, documents }) =>
      el("li", {},
        el("button", { type: "button", class: "link", click: () => onChoice(field, value) }, String(value)),
        el("span", { class: "number quiet" }, ` ${documents.toLocaleString("en")}`));
    const others = distinct - values.length;
    const rest = [others && `${others} more values`, without && `${without.toLocaleString("en")} without`].filter(Boolean);
    return el("div", { class: "counted" },
      el("h3", {}, field),
      el("ul", {}, ...values.map(value), rest.length ? el("li", { class: "quiet" }, rest.join(", ")) : ""));
  });
}
