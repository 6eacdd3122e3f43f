// The whole document of a hit, to be read.

import { el } from "./dom.js";
import { failure } from "./failure.js";

/** Opens the document of `hit` at its passage. `fetched()`: a promise of the document, as the API has it. */
export function showDocument(hit, fetched) {
  const content = el("div", { class: "content", tabindex: 0 });
  const dialog = el("dialog", { class: "document", "aria-labelledby": "document-title", close: () => dialog.remove() },
    el("form", { method: "dialog" },
      el("h2", { id: "document-title" }, hit.title || hit.document_id),
      el("button", { type: "submit" }, "Close")),
    content);
  const fill = async () => {
    content.replaceChildren(el("p", { class: "quiet" }, "Loading \u2026"));
    try {
      const { text } = await fetched();
      content.replaceChildren(...withPassage([...text], hit.passage));
      content.querySelector("mark")?.scrollIntoView({ block: "center" });
    } catch (error) {
      content.replaceChildren(...failure(error, fill));
    }
  };
  document.body.append(dialog);
  dialog.showModal();
  fill();
}

/** The text with its passage marked, unless the document was changed since the search. */
function withPassage(points, { start, end, text }) {
  const found = points.slice(start, end).join("");
  if (found !== text) return [points.join("")];
  return [points.slice(0, start).join(""), el("mark", { class: "found" }, found), points.slice(end).join("")];
}
