// What is said above the hits about a search.

import { el } from "./dom.js";

/** The lines about `result`. `empty`: name of the collection where it holds no documents, else null. */
export function notices(result, empty, search) {
  const said = [];
  if (result.truncated_inputs.includes("query"))
    said.push("The query is longer than the model reads: the search by meaning ignored its end.");
  if (result.sparse_silent)
    said.push("The search by words found nothing to look for: stop words only, or every word is suppressed.");
  if (noWordFound(result))
    said.push("None of these hits has a word of the query. They are the nearest by meaning, which may not be near.");
  if (!result.hits.length && empty !== null)
    said.push(["This collection holds no documents yet. To add some: ", el("code", {}, `salience add path/to/documents -c ${empty}`)]);
  if (result.suggestions) {
    const { query } = result.suggestions;
    const ask = el("button", { type: "button", class: "link", click: () => search(query) }, query);
    said.push(["Did you mean ", ask, "?"]);
  }
  return said.map((line) => el("p", { class: "notice" }, ...[line].flat()));
}

/** Whether words were looked for beside the meaning, and no hit has any of them. */
function noWordFound({ hits, sparse_silent: silent }) {
  const missed = ({ scores }) => scores.dense && scores.sparse && !scores.sparse.raw && !scores.learned;
  return !silent && hits.length > 0 && hits.every(missed);
}
