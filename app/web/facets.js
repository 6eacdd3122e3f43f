// How many of all documents that match have each value of a field; a click on a value narrows the search to it.

import { el } from "./dom.js";

/**
 * An element for each field of `facets`, null where none were asked for. `chosen`: pairs of field and value that the
 * search is narrowed to; `onChoice(field, value)` is called by a click.
 */
export function counts(facets, chosen, onChoice) {
  return Object.entries(facets?.fields ?? {}).map(([field, { values, distinct, without }]) => {
    const value = ({ value, documents }) => {
      const pressed = chosen.some(([name, said]) => name === field && said === value);
      return el("li", {},
        el("button", { type: "button", class: "link", "aria-pressed": String(pressed), click: () => onChoice(field, value) }, String(value)),
        el("span", { class: "number quiet" }, ` ${documents.toLocaleString("en")}`));
    };
    const others = distinct - values.length;
    const rest = [others && `${others} more values`, without && `${without.toLocaleString("en")} without`].filter(Boolean);
    return el("div", { class: "counted" },
      el("h3", {}, field),
      el("ul", {}, ...values.map(value), rest.length ? el("li", { class: "quiet" }, rest.join(", ")) : ""));
  });
}
