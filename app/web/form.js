// The form and the URL: what is asked, so that a search can be shared and the back button works.

import { ApiError } from "./api.js";
import { byId, el } from "./dom.js";

const LONGEST_IN_URL = 4000; // characters of a query: servers take no address of any length
/** Fields of the form and their defaults. */
export const SETTINGS = {
  filter: "", legs: "", fusion: "", alpha: "0.5", target: "", k: "", diversity: "", group: "", facets: "",
};
const PLAIN_NAME = /^\p{L}[\p{L}\p{N}_]*(?:[.-][\p{L}_][\p{L}\p{N}_]*)*$/u; // of a field; any other is between backticks
const KEYWORDS = ["and", "or", "not", "in", "all", "true", "false", "null", "exists", "missing", "prefix", "within", "box", "every"];
const JOINS = ["and", "or", "not"]; // fields of these names have a backslash in JSON
const collections = new Map(); // settings by name
let narrowing = []; // [field, value] of the values that were clicked
let usualAlpha = SETTINGS.alpha; // of the collection that is chosen, as the slider shows it
const OF_A_PAGE = ["k", "diversity", "group_by", "facets"]; // which hits are shown, and what beside them

/** Offer collections, as the API lists them. */
export function learn(found) {
  byId("collection").replaceChildren();
  for (const collection of found) offer(collection.name, collection);
}

/** Offer one collection under its name or an alias. */
export function offer(name, { name: own, documents, settings }) {
  collections.set(name, settings);
  const said = `${name === own ? name : `${name}: ${own}`} (${documents.toLocaleString("en")})`;
  byId("collection").append(el("option", { value: name, "data-empty": !documents }, said));
}

/** Say of the collection that is chosen that the server has none of that name. */
export function showMissing() {
  const [option] = byId("collection").selectedOptions;
  option.textContent = `${option.value} (not here)`;
}

/** Offer the legs of the collection that is chosen, and show its weight of dense where no other one was set. */
export function fitCollection() {
  const { alpha = SETTINGS.alpha, sparse } = collections.get(byId("collection").value) ?? {};
  const both = sparse === "both";
  for (const option of byId("legs").options) {
    if (option.value === "learned") option.hidden = option.disabled = !both;
    if (option.value === "") option.textContent = both ? "meaning, words and weighted terms" : "meaning and words";
  }
  if (byId("legs").value === "learned" && !both) byId("legs").value = SETTINGS.legs;
  const slider = byId("alpha");
  const chosen = slider.value === usualAlpha ? alpha : slider.value;
  slider.value = alpha; // it has steps
  usualAlpha = slider.value;
  slider.value = chosen;
  showAlpha();
}

/** Say what the weight of meaning is: the auto fusion starts from it and goes by the query, any other one keeps it. */
export function showAlpha() {
  byId("alpha-name").textContent = byId("fusion").value ? "Weight of meaning" : "Starting weight of meaning";
  byId("alpha-shown").value = Number(byId("alpha").value).toFixed(2);
}

/** What the form says besides the query; what is as usual stays away. Throws ApiError for a filter that is no JSON. */
export function settings() {
  const chosen = form();
  const said = {};
  if (chosen.k) said.k = Number(chosen.k);
  if (chosen.legs) said.legs = [chosen.legs];
  const fusion = {};
  if (chosen.fusion) fusion.method = chosen.fusion;
  if (chosen.fusion !== "rrf" && chosen.alpha !== usualAlpha) fusion.alpha = Number(chosen.alpha);
  if (Object.keys(fusion).length) said.fusion = fusion;
  if (chosen.target) said.steering = { target: chosen.target };
  if (chosen.filter) said.filter = parsedFilter(chosen.filter);
  if (narrowing.length) said.filter = parsedFilter(narrowing.reduce((filter, pair) => narrowed(filter, ...pair), chosen.filter));
  if (chosen.diversity) said.diversity = Number(chosen.diversity);
  if (chosen.group) said.group_by = chosen.group;
  const facets = chosen.facets.split(",").map((name) => name.trim()).filter(Boolean);
  if (facets.length) said.facets = facets;
  return said;
}

/** The part of a search's `body` that ranks: what /explain takes. */
export const ranking = (body) =>
  Object.fromEntries(Object.entries(body).filter(([name]) => !OF_A_PAGE.includes(name)));

/** The values that the search is narrowed to: pairs of field and value. */
export const chosenValues = () => narrowing;

/** Narrow the search to documents whose `field` has `value`, or no longer; the place of the pair among those chosen. */
export function toggleChosen(field, value) {
  const place = narrowing.findIndex(([name, said]) => name === field && said === value);
  narrowing = place < 0 ? [...narrowing, [field, value]] : narrowing.toSpliced(place, 1);
  return place < 0 ? narrowing.length - 1 : place;
}

/** The filter `said` and that `field` has `value`, in the way in which it is written. */
export function narrowed(said, field, value) {
  if (said.startsWith("{")) {
    const name = JOINS.includes(field) || field.startsWith("\\") ? `\\${field}` : field;
    return `{"and": [${said}, {${JSON.stringify(name)}: ${JSON.stringify(value)}}]}`;
  }
  const plain = PLAIN_NAME.test(field) && !KEYWORDS.includes(field.toLowerCase());
  const name = plain ? field : `\`${field.replace(/[\\`]/g, "\\$&")}\``;
  const condition = `${name} = ${JSON.stringify(value)}`;
  return !said ? condition : /\bor\b/i.test(said) ? `(${said}) and ${condition}` : `${said} and ${condition}`;
}

/** What begins with a brace is JSON, all else a line of the filters' language. */
function parsedFilter(text) {
  if (!text.startsWith("{")) return text;
  try {
    return JSON.parse(text);
  } catch (error) {
    const message = `the filter is not JSON: ${error.message}`;
    throw new ApiError(0, { code: "invalid_json", message, param: "filter" });
  }
}

const usual = (name) => (name === "alpha" ? usualAlpha : SETTINGS[name]);

function form() {
  return Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, byId(name).value.trim()]));
}

/** Put what the form says into the URL; `step`: as a new one to go back from. */
export function toUrl(step) {
  const said = new URLSearchParams({ c: byId("collection").value });
  const query = byId("query").value;
  const long = query.length > LONGEST_IN_URL ? query : null; // kept beside the URL
  if (query.trim() && long === null) said.set("q", query);
  for (const [name, value] of Object.entries(form())) if (value !== usual(name)) said.set(name, value);
  const set = Object.keys(SETTINGS).filter((name) => said.has(name)).length;
  byId("settings-set").textContent = set ? `(${set} set)` : "";
  for (const pair of narrowing) said.append("only", JSON.stringify(pair));
  if (`?${said}` === location.search && (history.state?.query ?? null) === long) return;
  history[step && location.search ? "pushState" : "replaceState"](long && { query: long }, "", `?${said}`);
}

/** Fill the form from the URL; what it does not say is as usual. */
export function fromUrl() {
  const said = new URLSearchParams(location.search);
  const collection = byId("collection");
  collection.value = said.get("c") ?? collection.options[0].value;
  if (collection.selectedIndex < 0) {
    collection.append(el("option", { value: said.get("c") }));
    collection.value = said.get("c");
    showMissing();
  }
  fitCollection();
  byId("query").value = said.get("q") ?? history.state?.query ?? "";
  narrowing = said.getAll("only").map(pair).filter(Boolean);
  for (const name of Object.keys(SETTINGS)) {
    byId(name).value = said.get(name) ?? usual(name);
    if (byId(name).selectedIndex < 0) byId(name).value = usual(name);
  }
  if (byId("legs").selectedOptions[0].disabled) byId("legs").value = SETTINGS.legs; // this collection has no such leg
  showAlpha();
  const isWide = matchMedia("(min-width: 40rem)").matches; // elsewhere they would push the hits off the screen
  if (isWide && Object.keys(SETTINGS).some((name) => said.has(name))) byId("advanced").open = true;
}

/** A field and its value out of the URL; null for anything else. */
function pair(said) {
  try {
    const found = JSON.parse(said);
    const [field, value] = Array.isArray(found) ? found : [];
    return typeof field === "string" && ["string", "number", "boolean"].includes(typeof value) ? [field, value] : null;
  } catch {
    return null; // changed by hand
  }
}
