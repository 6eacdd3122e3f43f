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
let usualAlpha = SETTINGS.alpha; // of the collection that is chosen, as the slider shows it
const OF_A_PAGE = ["k", "diversity", "group_by", "facets"]; // which hits are shown, and what beside them

/** Collections that can be chosen, as the API lists them. */
export function learn(found) {
  for (const { name, settings } of found) collections.set(name, settings);
}

/** Offer the legs of the collection that is chosen, and show its weight of dense where no other one was set. */
export function fitCollection() {
  const { alpha = SETTINGS.alpha, sparse } = collections.get(byId("collection").value) ?? {};
  const both = sparse === "both";
  for (const option of byId("legs").options) {
    if (option.value === "learned") option.hidden = option.disabled = !both;
    if (option.value === "") option.textContent = both ? "dense, sparse and learned" : "dense and sparse";
  }
  if (byId("legs").value === "learned" && !both) byId("legs").value = SETTINGS.legs;
  const slider = byId("alpha");
  const chosen = slider.value === usualAlpha ? alpha : slider.value;
  slider.value = alpha; // it has steps
  usualAlpha = slider.value;
  slider.value = chosen;
  byId("alpha-shown").value = slider.value;
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
  if (chosen.diversity) said.diversity = Number(chosen.diversity);
  if (chosen.group) said.group_by = chosen.group;
  const facets = chosen.facets.split(",").map((name) => name.trim()).filter(Boolean);
  if (facets.length) said.facets = facets;
  return said;
}

/** The part of a search's `body` that ranks: what /explain takes. */
export const ranking = (body) =>
  Object.fromEntries(Object.entries(body).filter(([name]) => !OF_A_PAGE.includes(name)));

/** Put one more condition behind those of the form, in the way in which they are written: `field` has `value`. */
export function narrow(field, value) {
  byId("filter").value = narrowed(byId("filter").value.trim(), field, value);
}

/** The filter `said` and that `field` has `value`. */
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
  if (query.trim() && query.length <= LONGEST_IN_URL) said.set("q", query);
  for (const [name, value] of Object.entries(form())) if (value !== usual(name)) said.set(name, value);
  if (`?${said}` === location.search) return;
  history[step && location.search ? "pushState" : "replaceState"](null, "", `?${said}`);
}

/** Fill the form from the URL; what it does not say is as usual. */
export function fromUrl() {
  const said = new URLSearchParams(location.search);
  const collection = byId("collection");
  collection.value = said.get("c") ?? collection.options[0].value;
  if (collection.selectedIndex < 0) {
    collection.append(el("option", { value: said.get("c") }, `${said.get("c")} (not here)`));
    collection.value = said.get("c");
  }
  fitCollection();
  byId("query").value = said.get("q") ?? "";
  for (const name of Object.keys(SETTINGS)) {
    byId(name).value = said.get(name) ?? usual(name);
    if (byId(name).selectedIndex < 0) byId(name).value = usual(name);
  }
  byId("alpha-shown").value = byId("alpha").value;
  if (Object.keys(SETTINGS).some((name) => said.has(name))) byId("advanced").open = true;
}
