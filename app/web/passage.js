// Text with its words coloured by their effect on the score: what pulled up, what pulled down.

import { el, signed } from "./dom.js";

const SNIPPET = 420; // characters of a passage that are shown at first
const NOTEWORTHY = 0.1; // of the strongest effect on the page: weaker words stay plain

/** The passage of a hit, cut to where most happens. `strongest` is the largest effect of a word on the page. */
export function passage(hit, strongest) {
  const found = hit.explanation;
  const words = found?.words.filter((word) => !word.in_title) ?? [];
  const points = [...hit.passage.text];
  const box = el("div", { class: "passage" });
  const show = ([from, to]) => {
    const inside = words.filter((word) => from <= word.start && word.end <= to);
    const shifted = inside.map((word) => ({ ...word, start: word.start - from, end: word.end - from }));
    const text = coloured(points.slice(from, to).join(""), shifted, found, strongest);
    const cut = to - from < points.length;
    const all = () => {
      show([0, points.length]);
      box.firstChild.focus({ preventScroll: true }); // the button is gone
    };
    box.replaceChildren(
      el("p", { tabindex: -1 }, from ? "\u2026 " : "", text, to < points.length ? " \u2026" : ""),
      cut ? el("button", { type: "button", class: "link", click: all }, "whole passage") : "");
  };
  show(bestWindow(points, found?.significant ? words : []));
  return box;
}

/** [from, to) of the SNIPPET characters where most happens, at white space. */
function bestWindow(points, words) {
  if (points.length <= SNIPPET * 1.2) return [0, points.length];
  const within = (start) => words.filter((word) => start <= word.start && word.end <= start + SNIPPET);
  const gain = (start) => within(start).reduce((sum, word) => sum + Math.abs(word.effect), 0);
  const starts = [0, ...words.map((word) => word.start)];
  const best = starts.reduce((chosen, start) => (gain(start) > gain(chosen) ? start : chosen));
  let from = Math.min(best, points.length - SNIPPET);
  let to = from + SNIPPET;
  for (let room = 30; room && from > 0 && points[from - 1].trim(); room--) from--;
  for (let room = 30; room && to < points.length && points[to].trim(); room--) to++;
  while (!points[to - 1].trim()) to--;
  return [from, to];
}

/** Parts of `text` with its `words` marked by effect. One stop of the tab key; arrow keys go from word to word. */
export function coloured(text, words, found, strongest) {
  const points = [...text];
  const strong = found?.significant ? words.filter((word) => Math.abs(word.effect) >= NOTEWORTHY * strongest) : [];
  const parts = [];
  const marks = [];
  let done = 0;
  for (const word of strong) {
    const effect = signed(word.effect);
    const mark = el("mark", {
      class: word.effect < 0 ? "down" : "up", "data-effect": effect, tabindex: marks.length ? -1 : 0,
      "aria-description": `${word.effect < 0 ? "pulls down" : "pulls up"} the score by ${effect}`,
      keydown: (event) => walk(event, marks),
    }, points.slice(word.start, word.end).join(""));
    mark.style.setProperty("--strength", Math.min(1, Math.abs(word.effect) / strongest));
    marks.push(mark);
    parts.push(plain(points.slice(done, word.start)), mark);
    done = word.end;
  }
  return [...parts, plain(points.slice(done))];
}

/** One empty line is enough: pages of a PDF come with dozens. */
const plain = (points) => points.join("").replace(/\n\s*\n/g, "\n\n");

function walk(event, marks) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const next = marks[marks.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
