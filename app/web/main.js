// The search page: each search shows its hits, and how far they moved from those of the same search without factors.

import { ApiError, call, curl } from "./api.js";
import { showDocument } from "./document.js";
import { byId, copy, el } from "./dom.js";
import { counts } from "./facets.js";
import { failure } from "./failure.js";
import { SETTINGS, chosenValues, fitCollection, fromUrl, learn, offer, ranking, settings, showAlpha, showMissing, toUrl, toggleChosen } from "./form.js";
import { HitList } from "./hits.js";
import { noCollection, welcome } from "./intro.js";
import { notices } from "./notices.js";
import { Steering, hasMarks } from "./query.js";

const PAUSE_MS = 200; // after the last change of a factor or setting
const SLOW_MS = 700; // until a request is said to be under way: most answers are there before
const BEFORE_HITS = 100; // of the unsteered search: how far back a hit is looked for

const hits = new HitList(byId("hits"), { explain, search: searchFor, read });
const steering = new Steering(byId("words"), (query, word) => {
  byId("query").value = query;
  later(word);
});
const page = { path: "", body: {}, hits: [], next: null }; // what is shown
const unsteered = { key: null, before: null }; // the last unsteered search
let running = null; // AbortController of the search under way
let timer = 0;
let turned = null; // the slider that the last change came from
let due = false; // whether the next search is one to go back from

listen();
open();

function listen() {
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("query").addEventListener("input", typed);
  byId("alpha").addEventListener("input", () => {
    showAlpha();
    later(byId("alpha"));
  });
  byId("collection").addEventListener("change", fitCollection);
  byId("fusion").addEventListener("change", showAlpha);
  for (const name of ["collection", ...Object.keys(SETTINGS)])
    if (name !== "alpha") byId(name).addEventListener("change", () => later());
  for (const button of document.querySelectorAll("[data-copies]"))
    button.addEventListener("click", () => copy(byId(button.dataset.copies), button));
  byId("more").addEventListener("click", more);
  addEventListener("popstate", () => {
    fromUrl();
    run({ step: false });
  });
}

/** Fetch the collections, and search for what the URL says. */
async function open() {
  showError(null);
  try {
    await slowly("Loading \u2026", offerCollections());
  } catch (error) {
    return showError(error, open);
  }
  if (!byId("collection").options.length) return byId("intro").replaceChildren(...noCollection());
  byId("search").hidden = false;
  fromUrl();
  byId("query").focus();
  run({ step: false });
}

/** Offer all collections, and the one that the URL names by an alias. */
async function offerCollections() {
  const { collections } = await call("GET", "/v1/collections");
  learn(collections);
  const named = new URLSearchParams(location.search).get("c");
  if (!collections.length || !named || collections.some(({ name }) => name === named)) return;
  try {
    offer(named, await call("GET", `/v1/collections/${encodeURIComponent(named)}`));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
}

/** What `task` comes to. While it is slow, the status line says `what`. */
async function slowly(what, task) {
  const status = byId("status");
  const slow = setTimeout(() => (status.textContent = what), SLOW_MS);
  try {
    return await task;
  } finally {
    clearTimeout(slow);
    if (status.textContent === what) status.textContent = "";
  }
}

/**
 * Search for what the form says; with an empty query show what can be done here. `step`: as one to go back from;
 * `land`: then the keyboard goes on at the first hit, as the button that was pressed is gone; `slider`: the one that
 * asks for it, whose next change belongs to the same step.
 */
async function run({ step = true, land = false, slider = null } = {}) {
  clearTimeout(timer);
  due = false;
  turned = slider;
  running?.abort();
  const { signal } = (running = new AbortController());
  delete document.body.dataset.busy;
  byId("alpha").disabled = Boolean(byId("fusion").value === "rrf" || byId("legs").value); // there it has no meaning
  toUrl(step);
  showChosen();
  showError(null);
  const query = byId("query").value;
  document.title = query.trim() ? `${query.trim()} \u2013 Salience` : "Salience";
  if (!query.trim()) return showIntro();
  document.body.dataset.busy = "";
  byId("more").disabled = true; // it would go on with the search before
  try {
    const path = `/v1/collections/${encodeURIComponent(byId("collection").value)}/search`;
    const body = { query, ...settings() };
    const search = call("POST", path, { body: JSON.stringify({ ...body, explain: "words" }), signal });
    const result = await slowly("Searching \u2026", search);
    if (byId("query").value === query) { // it may have been changed meanwhile
      steering.show(result.query, result.controls);
      offerSteering();
    }
    show(path, body, result);
    if (land) hits.focus(0);
    if (isSteered(result)) compare(path, { ...body, query: result.query, boosts: false }, result.seq, signal);
  } catch (error) {
    if (error.name === "AbortError") return; // a newer search is under way
    if (error.status === 404) showMissing(); // deleted since the page was opened
    showError(error, () => run({ step: false, land: true }));
  }
  byId("more").disabled = false;
  delete document.body.dataset.busy;
}

const isSteered = (result) => result.hits.length > 0 && result.controls.some((control) => control.factor !== 1);

/** Mark how far the hits moved. They stay without marks where the search without factors fails. */
async function compare(path, plain, seq, signal) {
  try {
    hits.compare(await unsteeredHits(path, plain, seq, signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof ApiError)) console.error(error);
    byId("notices").append(el("p", { class: "notice" }, `How far the hits moved is not known: ${error.message}`));
  }
}

/** The first hits of the same search without factors: by document id `{rank, scores}`, and how many were asked for. */
async function unsteeredHits(path, body, seq, signal) {
  const key = JSON.stringify([path, body, seq]); // seq: as long as nothing was written
  if (unsteered.key === key) return unsteered.before;
  const ask = async (depth) => {
    const { hits: found } = await call("POST", path, { body: JSON.stringify({ ...body, k: depth }), signal });
    const ranked = found.map(({ document_id, scores }, place) => [document_id, { rank: place + 1, scores }]);
    return { depth, hits: new Map(ranked) };
  };
  try {
    unsteered.before = await ask(Math.max(BEFORE_HITS, body.k ?? 0));
  } catch (error) {
    if (!(error instanceof ApiError) || error.param !== "k") throw error;
    unsteered.before = await ask(body.k ?? 10); // the server's limit is lower
  }
  unsteered.key = key;
  return unsteered.before;
}

/** The hits behind those that are shown. */
async function more() {
  const { signal } = running; // of the search that is shown: the next one aborts it
  byId("more").disabled = true;
  byId("more-error").replaceChildren();
  try {
    const body = { ...page.body, cursor: page.next, explain: "words" };
    const result = await call("POST", page.path, { body: JSON.stringify(body), signal });
    const first = page.hits.length;
    Object.assign(page, { hits: [...page.hits, ...result.hits], next: result.next });
    hits.append(result.hits, headings(result), result.changed ? changed() : null);
    if (!("stale" in byId("hits").dataset)) byId("status").textContent = `${page.hits.length} hits`;
    showRest();
    hits.focus(first);
  } catch (error) {
    if (error.name === "AbortError") return; // a newer search is under way
    if (!(error instanceof ApiError)) console.error(error);
    byId("more-error").replaceChildren(el("div", { class: "notice wrong" }, ...failure(error, more)));
  }
  byId("more").disabled = false;
}

/** What is said between the hits from before a change of the collection and those from after it. */
function changed() {
  const again = () => run({ step: false, land: true });
  return el("p", { class: "notice" }, "The collection changed since this search: hits may be missing or come twice. ",
    el("button", { type: "button", class: "link", click: again }, "Search again"));
}

/** The first hit of the answer to /explain for the search that is shown; `asked` goes beside its query. */
async function explain(asked, given) {
  const { query, ...others } = page.body;
  const body = JSON.stringify({ query, ...ranking(others), ...asked });
  const signal = AbortSignal.any([running.signal, given]);
  const result = await call("POST", page.path.replace(/search$/, "explain"), { body, signal });
  return result.hits[0].explanation;
}

/** Open the whole document of a hit. */
function read(hit) {
  const path = page.path.replace(/search$/, `documents/${encodeURIComponent(hit.document_id)}`);
  showDocument(hit, () => call("GET", path));
}

function searchFor(query) {
  byId("query").value = query;
  run({ land: true });
}

/** By the id of a group's first hit, what the group is called. */
function headings({ groups }) {
  const name = ({ value }) => `${page.body.group_by}: ${value ?? "none"}`;
  return new Map((groups ?? []).map((group) => [group.hits[0], name(group)]));
}

function show(path, body, result) {
  Object.assign(page, { path, body, hits: result.hits, next: result.next });
  byId("intro").replaceChildren();
  byId("more-error").replaceChildren();
  delete byId("hits").dataset.stale;
  hits.show(result.hits, headings(result));
  showRest();
  byId("counts").replaceChildren(...counts(result.facets, chosenValues(), choose));
  byId("counts").hidden = !result.facets;
  const count = result.hits.length === 1 ? "1 hit" : `${result.hits.length} hits`;
  const took = Object.values(result.took_ms).reduce((sum, part) => sum + part, 0);
  const steered = isSteered(result) ? ", steered; a tick on a bar is its score without factors" : "";
  byId("status").textContent = `${result.hits.length ? count : "Nothing found"} in ${took.toFixed(0)} ms${steered}`;
  const { value: name, dataset } = byId("collection").selectedOptions[0];
  const isEmpty = dataset.empty !== undefined && !body.filter;
  byId("notices").replaceChildren(...notices(result, isEmpty ? name : null, searchFor));
  byId("same-query").textContent = body.query;
  byId("same-curl").textContent = curl("POST", path, JSON.stringify(body));
  byId("same").hidden = false;
}

/** What is below the hits, and the fields that they have. */
function showRest() {
  byId("more").hidden = !page.next;
  const names = new Set(page.hits.flatMap((hit) => Object.keys(hit.metadata)));
  byId("fields").replaceChildren(...[...names].sort().map((name) => el("option", { value: name })));
}

/** Narrow the search to documents whose `field` has `value`, or no longer. */
function choose(field, value) {
  const place = toggleChosen(field, value);
  run();
  const buttons = byId("chosen").querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? byId("query")).focus();
}

/** The values that the search is narrowed to; a click takes one away. */
function showChosen() {
  const chip = ([field, value]) =>
    el("li", {}, el("button", { type: "button", "aria-label": `No longer only ${field}: ${value}`, click: () => choose(field, value) },
      `${field}: ${value} `, el("span", { "aria-hidden": "true" }, "\u00d7")));
  byId("chosen").replaceChildren(...chosenValues().map(chip));
  byId("chosen").hidden = !chosenValues().length;
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

/** In the place of hits, which are taken away. */
function showIntro() {
  byId("same").hidden = byId("steering").hidden = byId("counts").hidden = true;
  byId("status").textContent = "";
  for (const id of ["notices", "more-error"]) byId(id).replaceChildren();
  Object.assign(page, { hits: [], next: null });
  hits.show([]);
  showRest();
  byId("intro").replaceChildren(...welcome(byId("collection").value, searchFor));
}

/** Say what went wrong, and keep the hits of the search before; null: nothing did. `retry` asks once more. */
function showError(error, retry) {
  const ofFilter = Boolean(error?.param?.startsWith("filter"));
  if (error && !(error instanceof ApiError)) console.error(error);
  byId("filter-error").textContent = ofFilter ? error.message : "";
  if (ofFilter) {
    byId("filter").setAttribute("aria-invalid", "true");
    byId("advanced").open = true;
  } else byId("filter").removeAttribute("aria-invalid");
  byId("error").replaceChildren(...(error && !ofFilter ? failure(error, retry) : []));
  byId("error").hidden = !error || ofFilter;
  if (!error) return;
  byId("intro").replaceChildren();
  if (!page.hits.length) return;
  byId("hits").dataset.stale = "";
  byId("status").textContent = `These are the hits of the search before: \u201c${page.body.query}\u201d`;
}

/** Search when nothing was changed for a while. Changes of one slider after the other are one step to go back from. */
function later(slider = null) {
  clearTimeout(timer);
  due ||= slider === null || slider !== turned;
  turned = slider;
  timer = setTimeout(() => run({ step: due, slider }), PAUSE_MS);
}
