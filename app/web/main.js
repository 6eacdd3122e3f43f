// The search page: each search shows its hits beside those of the same search without factors.

import { ApiError, call, curl, forgetKey, hasKey } from "./api.js";
import { byId, copy, el } from "./dom.js";
import { counts } from "./facets.js";
import { SETTINGS, fitCollection, fromUrl, learn, narrow, ranking, settings, toUrl } from "./form.js";
import { HitList } from "./hits.js";
import { Steering, hasMarks } from "./query.js";

const PAUSE_MS = 200; // after the last change of a factor or setting
const SLOW_MS = 700; // until a search is said to be under way: the hits of most are there before
const BEFORE_HITS = 100; // of the unsteered search: how far back a hit is looked for
const EXAMPLES = { "python-docs": "read a compressed file line by line", products: "I want to play on my TV." };

const hits = new HitList(byId("hits"), { explain, search: searchFor });
const steering = new Steering(byId("words"), (query) => {
  byId("query").value = query;
  later(run);
});
const page = { path: "", body: {}, hits: [], before: null, headings: new Map(), next: null }; // what is shown
const unsteered = { key: null, hits: null }; // the last unsteered search
let running = null; // AbortController of the search under way
let timer = 0;

start();

async function start() {
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("query").addEventListener("input", typed);
  byId("alpha").addEventListener("input", () => (byId("alpha-shown").value = byId("alpha").value));
  byId("collection").addEventListener("change", fitCollection);
  for (const name of ["collection", ...Object.keys(SETTINGS)])
    byId(name).addEventListener(name === "alpha" ? "input" : "change", () => later(run));
  for (const button of document.querySelectorAll("[data-copies]"))
    button.addEventListener("click", () => copy(byId(button.dataset.copies), button));
  byId("more").addEventListener("click", more);
  addEventListener("popstate", () => {
    fromUrl();
    run({ step: false });
  });
  try {
    const { collections } = await call("GET", "/v1/collections");
    if (!collections.length) return showEmpty();
    learn(collections);
    const counted = ({ name, documents }) => `${name} (${documents.toLocaleString("en")})`;
    byId("collection").append(...collections.map((found) =>
      el("option", { value: found.name, "data-empty": !found.documents }, counted(found))));
    byId("search").hidden = false;
    fromUrl();
    byId("query").focus();
    run({ step: false });
  } catch (error) {
    showError(error);
  }
}

/** Search for what the form says; with an empty query show what can be done here. `step`: as one to go back from. */
async function run({ step = true } = {}) {
  clearTimeout(timer);
  running?.abort();
  const { signal } = (running = new AbortController());
  delete document.body.dataset.busy;
  byId("alpha").disabled = Boolean(byId("fusion").value === "rrf" || byId("legs").value); // there it has no meaning
  toUrl(step);
  showError(null);
  const query = byId("query").value;
  if (!query.trim()) return showIntro();
  document.body.dataset.busy = "";
  byId("more").disabled = true; // it would go on with the search before
  const slow = setTimeout(() => (byId("status").textContent = "Searching \u2026"), SLOW_MS);
  try {
    const path = `/v1/collections/${encodeURIComponent(byId("collection").value)}/search`;
    const body = { query, ...settings() };
    const result = await call("POST", path, { body: JSON.stringify({ ...body, explain: "words" }), signal });
    const steered = result.controls.some((control) => control.factor !== 1);
    const plain = { ...body, query: result.query, boosts: false };
    const before = steered ? await unsteeredHits(path, plain, result.seq, signal) : null;
    if (byId("query").value === query) { // it may have been changed meanwhile
      steering.show(result.query, result.controls);
      offerSteering();
    }
    Object.assign(page, { path, body, hits: result.hits, before, headings: headings(result.groups, body.group_by), next: result.next });
    show(result);
    byId("same-query").textContent = query;
    byId("same-curl").textContent = curl("POST", path, JSON.stringify(body));
    byId("same").hidden = false;
  } catch (error) {
    if (error.name === "AbortError") return; // a newer search is under way
    showError(error);
  } finally {
    clearTimeout(slow);
  }
  byId("more").disabled = false;
  delete document.body.dataset.busy;
}

/** `{rank, scores}` by document id, of the same search without factors. */
async function unsteeredHits(path, body, seq, signal) {
  const key = JSON.stringify([path, body, seq]); // seq: as long as nothing was written
  if (unsteered.key === key) return unsteered.hits;
  const ask = (k) => call("POST", path, { body: JSON.stringify({ ...body, k }), signal });
  let result;
  try {
    result = await ask(Math.max(BEFORE_HITS, body.k ?? 0));
  } catch (error) {
    if (!(error instanceof ApiError) || error.param !== "k") throw error;
    result = await ask(body.k ?? 10); // the server's limit is lower
  }
  const ranked = result.hits.map(({ document_id, scores }, place) => [document_id, { rank: place + 1, scores }]);
  unsteered.hits = new Map(ranked);
  unsteered.key = key;
  return unsteered.hits;
}

/** The hits behind those that are shown. */
async function more() {
  const { signal } = running; // of the search that is shown: the next one aborts it
  byId("more").disabled = true;
  try {
    const body = { ...page.body, cursor: page.next, explain: "words" };
    const result = await call("POST", page.path, { body: JSON.stringify(body), signal });
    Object.assign(page, { hits: [...page.hits, ...result.hits], next: result.next });
    showHits();
    byId("status").textContent = `${page.hits.length} hits`;
    const first = page.hits.length - result.hits.length;
    byId("hits").querySelectorAll("[data-id]")[first]?.focus({ preventScroll: true }); // the keyboard goes on there
  } catch (error) {
    if (error.name === "AbortError") return; // a newer search is under way
    showError(error);
  }
  byId("more").disabled = false;
}

/** The first hit of the answer to /explain for the search that is shown; `asked` goes beside its query. */
async function explain(asked) {
  const { query, ...others } = page.body;
  const body = JSON.stringify({ query, ...ranking(others), ...asked });
  const result = await call("POST", page.path.replace(/search$/, "explain"), { body, signal: running.signal });
  return result.hits[0].explanation;
}

function searchFor(query) {
  byId("query").value = query;
  run();
}

/** By the id of a group's first hit, what the group is called. */
function headings(groups, field) {
  const name = ({ value }) => `${field}: ${value ?? "none"}`;
  return new Map((groups ?? []).map((group) => [group.hits[0], name(group)]));
}

function showHits() {
  hits.show(page.hits, page.before, page.headings);
  byId("more").hidden = !page.next;
  const names = new Set(page.hits.flatMap((hit) => Object.keys(hit.metadata)));
  byId("fields").replaceChildren(...[...names].sort().map((name) => el("option", { value: name })));
}

function show(result) {
  const { before } = page;
  byId("intro").replaceChildren();
  showHits();
  byId("counts").replaceChildren(...counts(result.facets, (field, value) => {
    narrow(field, value);
    run();
  }));
  const count = result.hits.length === 1 ? "1 hit" : `${result.hits.length} hits`;
  const took = Object.values(result.took_ms).reduce((sum, part) => sum + part, 0);
  const steered = before && result.hits.length ? ", steered; a tick on a bar is its score without factors" : "";
  byId("status").textContent = `${result.hits.length ? count : "Nothing found"} in ${took.toFixed(0)} ms${steered}`;
  const notices = [];
  if (result.truncated_inputs.includes("query"))
    notices.push("The query is longer than the model reads: the dense leg ignored its end.");
  if (result.sparse_silent)
    notices.push("The sparse leg is silent: stop words only, or every word is suppressed.");
  const { value: collection, dataset } = byId("collection").selectedOptions[0];
  if (!result.hits.length && dataset.empty !== undefined && !byId("filter").value.trim())
    notices.push(["This collection holds no documents yet. To add some: ", el("code", {}, `salience add path/to/documents -c ${collection}`)]);
  if (result.suggestions) {
    const { query } = result.suggestions;
    const ask = el("button", { type: "button", class: "link", click: () => searchFor(query) }, query);
    notices.push(["Did you mean ", ask, "?"]);
  }
  byId("notices").replaceChildren(...notices.map((said) => el("p", { class: "notice" }, said)));
}

/** Without marks the words can be steered at once; with them the server has to read the query first. */
function typed() {
  const query = byId("query").value;
  if (hasMarks(query)) return offerSteering("press Enter, so that the boosts in the query are read", true);
  steering.show(query);
  offerSteering();
}

function offerSteering(help = "give a word more say or less; the hits follow", disabled = false) {
  byId("steering-help").textContent = help;
  byId("steering").disabled = disabled;
  byId("steering").hidden = !byId("words").firstChild;
}

function showIntro() {
  clear();
  byId("steering").hidden = true;
  const example = EXAMPLES[byId("collection").value];
  const ask = () => {
    byId("query").value = example;
    run();
  };
  byId("intro").replaceChildren(
    el("p", {}, "Ask in your own words. Then move a word's slider to give it more say or less, and watch how the hits",
      " move. ", el("b", {}, "Why"), " shows the numbers that a hit's score is made of."),
    example ? el("p", {}, "For example: ", el("button", { type: "button", class: "link", click: ask }, example)) : "");
}

function showEmpty() {
  if (hasKey()) {
    byId("intro").replaceChildren(
      el("h2", {}, "This key sees no collection"),
      el("p", {}, "There is none yet, or none of those that this key may see. Whoever administers the server knows which;",
        " you can also use ", el("button", { type: "button", class: "link", click: forgetKey }, "another key"), "."));
    return;
  }
  byId("intro").replaceChildren(
    el("h2", {}, "There is no collection yet"),
    el("p", {}, "Index the docstrings of Python's standard library, in about a minute:"),
    el("pre", {}, "salience demo"),
    el("p", {}, "Or documents of your own: NDJSON, CSV, text, Markdown, HTML or PDF, files or folders:"),
    el("pre", {}, "salience add path/to/documents -c name"),
    el("p", {}, "Both write to salience-data in the current folder, or where --data-dir says: it must be the data",
      " directory of this server. Then ", el("a", { href: "/" }, "load this page again"), "."));
}

function showError(error) {
  const ofFilter = error?.param?.startsWith("filter");
  if (error && !(error instanceof ApiError)) console.error(error);
  if (error) clear();
  byId("filter-error").textContent = ofFilter ? error.message : "";
  byId("filter").toggleAttribute("aria-invalid", Boolean(ofFilter));
  if (ofFilter) byId("advanced").open = true;
  byId("error").textContent = error && !ofFilter ? error.message : "";
  byId("error").hidden = !error || ofFilter;
}

function clear() {
  byId("same").hidden = true;
  byId("status").textContent = "";
  for (const id of ["intro", "notices", "counts"]) byId(id).replaceChildren();
  Object.assign(page, { hits: [], before: null, headings: new Map(), next: null });
  showHits();
}

function later(action) {
  clearTimeout(timer);
  timer = setTimeout(action, PAUSE_MS);
}
