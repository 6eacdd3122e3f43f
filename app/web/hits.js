// The hits of a search: passages, the legs' scores, and how far each hit moved.

import { el, signed } from "./dom.js";
import { LEG_NAMES } from "./ledger.js";
import { coloured, passage } from "./passage.js";
import { questions } from "./questions.js";
import { explanation, soughtWords } from "./why.js";

const LONGEST_VALUE = 300; // characters of metadata that are shown at first

/** The hits as a list that remembers, by document, which explanations are open and where each hit stood. */
export class HitList {
  #list;
  #asks;
  #open = new Set();
  #shown = []; // {hit, rank, compare, and followed, where its questions are shown}: in order
  #before = null; // as `compare` was given it
  #scale = {};

  /** `asks`: as `questions` wants it, and `read(hit)`, which opens the hit's document. */
  constructor(list, asks) {
    this.#list = list;
    this.#asks = asks;
  }

  /** Show `hits`. `headings`: texts by the id of the hit that they stand above. */
  show(hits, headings = new Map()) {
    const stood = new Map([...this.#list.children].map((item) => [item.dataset.id, item.getBoundingClientRect().top]));
    this.#scale = {
      effect: most(hits.flatMap((hit) => hit.explanation?.words ?? []).map((word) => Math.abs(word.effect))),
      leg: most(hits.flatMap((hit) => Object.values(hit.scores)).map((leg) => leg.weight * leg.norm)),
    };
    this.#before = null;
    this.#shown = [];
    this.#list.replaceChildren();
    this.append(hits, headings);
    for (const item of this.#list.children) slide(item, stood.get(item.dataset.id), stood.size > 0);
  }

  /** Show `hits` behind those that are there, which stay as they are; `notice`: an element that stands between them. */
  append(hits, headings = new Map(), notice = null) {
    const first = this.#shown.length;
    if (notice) this.#list.append(el("li", { class: "heading" }, notice));
    this.#shown.push(...hits.map((hit, place) => ({ hit, rank: first + place + 1 })));
    this.#shown[first - 1]?.followed?.();
    for (const shown of this.#shown.slice(first)) {
      const heading = headings.get(shown.hit.id);
      if (heading !== undefined) this.#list.append(el("li", { class: "heading" }, el("h2", {}, heading)));
      this.#list.append(this.#item(shown));
      if (this.#before) shown.compare(this.#before);
    }
  }

  /** Mark how far the hits moved: `before` has `{rank, scores}` without factors by document, of the first `depth`. */
  compare(before) {
    this.#before = before;
    for (const shown of this.#shown) shown.compare(before);
  }

  /** Let the keyboard go on at the hit at `place`, counted from 0. */
  focus(place) {
    this.#list.querySelectorAll("[data-id]")[place]?.focus({ preventScroll: true });
  }

  #item(shown) {
    const { hit, rank } = shown;
    const scale = this.#scale;
    const found = hit.explanation;
    const title = hit.title || hit.document_id;
    const name = `why-${rank}`;
    const why = el("div", { id: name, hidden: true });
    const about = { "aria-controls": name, "aria-label": `Why ${title}` };
    const button = el("button", { type: "button", ...about, click: () => toggle(why.hidden) }, "Why");
    const reader = el("button", { type: "button", "aria-label": `Document ${title}`, click: () => this.#asks.read(hit) }, "Document");
    const toggle = (open) => {
      if (open && !why.firstChild) why.append(...this.#reasons(shown));
      why.hidden = !open;
      button.setAttribute("aria-expanded", open);
      this.#open[open ? "add" : "delete"](hit.document_id);
    };
    toggle(this.#open.has(hit.document_id));
    const place = el("div", { class: "place" }, el("span", { class: "rank" }, String(rank)));
    const bars = el("span", { class: "legs" }, ...legs(hit, null, scale.leg));
    shown.compare = ({ hits: before, depth }) => {
      const was = before.get(hit.document_id);
      place.append(moved(rank, was?.rank, depth));
      bars.replaceChildren(...legs(hit, was, scale.leg));
    };
    const titleWords = found && hit.title ? found.words.filter((word) => word.in_title) : [];
    const insignificant = found?.words.length && !found.significant;
    return el("li", { "data-id": hit.document_id, tabindex: -1 },
      place,
      el("article", {},
        el("h2", { class: hit.title ? "title" : "id" }, coloured(title, titleWords, found, scale.effect)),
        hit.title && hit.title !== hit.document_id ? el("p", { class: "id" }, hit.document_id) : "",
        passage(hit, scale.effect),
        insignificant ? el("p", { class: "quiet small" }, "No single word made this match.") : "",
        el("div", { class: "facts" }, bars, el("span", { class: "buttons" }, reader, button)),
        metadata(hit.metadata),
        why));
  }

  #reasons(shown) {
    const found = shown.hit.explanation;
    const sought = new Set(this.#shown.flatMap(({ hit }) => soughtWords(hit)));
    const next = () => this.#shown[shown.rank];
    return [found ? explanation(shown.hit, sought) : "", questions(shown, next, this.#asks)];
  }
}

/** The score, and each leg's part of it as a bar, with a tick where it was `before` the query had factors. */
function legs(hit, before, longest) {
  const bars = Object.entries(hit.scores).map(([leg, { raw, rank, norm, weight }]) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--size", Math.min(1, Math.max(0, weight * norm) / longest));
    const was = before?.scores[leg];
    if (was) {
      bar.classList.add("was");
      bar.style.setProperty("--was", Math.min(1, Math.max(0, was.weight * was.norm) / longest));
    }
    const without = was ? `; without factors ${(was.weight * was.norm).toFixed(3)}` : "";
    const place = rank === null ? "not found by it" : `its rank ${rank}`;
    const about = `${LEG_NAMES[leg] ?? leg}: raw ${raw.toFixed(4)}, ${place}, norm ${norm.toFixed(4)}, weight ${weight.toFixed(2)}${without}`;
    return el("span", { class: `leg ${leg}`, title: about },
      el("span", {}, LEG_NAMES[leg] ?? leg), bar, el("span", { class: "number" }, (weight * norm).toFixed(3)));
  });
  return [el("span", { class: "score", title: "score: the sum of the legs" }, hit.score.toFixed(4)), ...bars];
}

function metadata(fields) {
  const entries = Object.entries(fields);
  if (!entries.length) return "";
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const pair = ([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, ...folded(shown(value))));
  return el("dl", { class: "metadata" }, ...entries.map(pair));
}

/** The beginning of a long value, and a button that puts the whole in its place. */
function folded(text) {
  const points = [...text];
  if (points.length <= LONGEST_VALUE) return [text];
  const whole = (event) => {
    const value = event.target.parentNode;
    value.replaceChildren(text);
    value.tabIndex = -1;
    value.focus({ preventScroll: true }); // the button is gone
  };
  const name = `whole value, ${points.length.toLocaleString("en")} characters`;
  const start = points.slice(0, LONGEST_VALUE).join("");
  return [start, " \u2026 ", el("button", { type: "button", class: "link", click: whole }, name)];
}

/** How far a hit moved; nothing where its rank without factors is behind the `depth` that was looked at. */
function moved(rank, was, depth) {
  if (was === undefined && rank > depth) return "";
  if (was === undefined) return el("span", { class: "moved up", title: `behind rank ${depth} without factors` }, "new");
  if (was === rank) return el("span", { class: "moved", title: "the same rank without factors" }, "=");
  const [kind, sign] = was > rank ? ["up", "\u25b2"] : ["down", "\u25bc"];
  const about = `${kind} ${Math.abs(was - rank)}: rank ${was} without factors`;
  return el("span", { class: `moved ${kind}`, title: about },
    el("span", { "aria-hidden": "true" }, `${sign}\u2009${Math.abs(was - rank)}`),
    el("span", { class: "hidden" }, about));
}

/** Let a hit glide from where it stood; a new one fades in. */
function slide(item, from, again) {
  if (!again || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const by = from === undefined ? 0 : from - item.getBoundingClientRect().top;
  if (from === undefined) item.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 300 });
  else if (by) item.animate([{ translate: `0 ${by}px` }, { translate: "0 0" }], { duration: 350, easing: "ease-out" });
}

const most = (numbers) => Math.max(...numbers, 1e-9);
