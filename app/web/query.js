// The query's words and their factors, and how they are written: play^7, "tv show"^0.2.
//
// Only the server reads boosts: its answer has the text without them and what they came to. Here they are only written.

import { el, times, unitOffset } from "./dom.js";

const FACTORS = [-1, 0, 0.1, 0.3, 1, 2, 4, 7, 20];
const NEUTRAL = FACTORS.indexOf(1);
const MOST_WORDS = 60; // that can be steered; a longer query is better steered in its text
const MARKS = /[\\^"]/;
const SEGMENTER = new Intl.Segmenter(undefined, { granularity: "word" });

/** Whether `text` may hold boosts or escapes, so that the server must read it first. */
export const hasMarks = (text) => MARKS.test(text);

/** The query string for `text` with factors on `words`: `{start, end, factor}` in order, none overlapping. */
export function written(text, words) {
  let query = "";
  let done = 0;
  for (const { start, end, factor } of words.filter((word) => word.factor !== 1)) {
    query += escaped(text.slice(done, start), done > 0);
    const covered = text.slice(start, end);
    const bare = /^[\p{L}\p{N}]+$/u.test(covered) && (start === 0 || text[start - 1] === " ");
    query += `${bare ? covered : `"${escaped(covered)}"`}^${factor}`;
    done = end;
  }
  return query + escaped(text.slice(done), done > 0);
}

/** The words of a query as sliders. `onChange(query string, word)` is called at each change of a word. */
export class Steering {
  #box;
  #onChange;
  #text = "";
  #words = []; // {start, end, factor, show(factor)}

  constructor(box, onChange) {
    this.#box = box;
    this.#onChange = onChange;
  }

  /** Show the words of `text`, with the `controls` that the server read out of it. Sliders in use stay as they are. */
  show(text, controls = []) {
    const given = controls.map(({ start, length, factor }) => {
      const [from, to] = [unitOffset(text, start), unitOffset(text, start + length)];
      return { start: from, end: to, factor };
    });
    const same = (one, other) => one.start === other.start && one.end === other.end;
    const fits = text === this.#text && given.every((control) => this.#words.some((word) => same(word, control)));
    if (!fits) this.#build(text, given);
    for (const word of this.#words) {
      word.factor = given.find((control) => same(word, control))?.factor ?? 1;
      word.show(word.factor);
    }
  }

  #build(text, given) {
    this.#text = text;
    const free = ({ start, end }) => given.every((control) => end <= control.start || control.end <= start);
    const plain = [...SEGMENTER.segment(text)]
      .filter((segment) => segment.isWordLike)
      .map(({ segment, index }) => ({ start: index, end: index + segment.length, factor: 1 }))
      .filter(free);
    const shown = [...plain.slice(0, MOST_WORDS), ...given].sort((one, other) => one.start - other.start);
    this.#words = shown;
    const more = plain.length - MOST_WORDS;
    const note = `and ${more} more words: write the boost behind the word`;
    const rest = more > 0 ? el("span", { class: "quiet" }, note) : "";
    this.#box.replaceChildren(...shown.map((word) => this.#chip(word)), rest);
  }

  #chip(word) {
    const name = this.#text.slice(word.start, word.end);
    const change = (factor) => {
      word.factor = factor;
      word.show(factor);
      this.#onChange(written(this.#text, this.#words), word);
    };
    const slider = el("input", {
      type: "range", min: 0, max: FACTORS.length - 1, step: 1, "aria-label": `factor of ${name}`,
      input: () => change(FACTORS[slider.value]),
      wheel: (event) => {
        if (document.activeElement !== slider) return; // the page scrolls on, unless this word was chosen
        event.preventDefault();
        slider[event.deltaY < 0 ? "stepUp" : "stepDown"]();
        change(FACTORS[slider.value]);
      },
    });
    const clear = () => {
      slider.focus(); // the button is disabled now
      change(1);
    };
    const reset = el("button", { type: "button", class: "factor", click: clear });
    const chip = el("div", { class: "word" }, el("span", { class: "text", title: name }, name), slider, reset);
    word.show = (factor) => {
      slider.value = nearest(factor);
      slider.setAttribute("aria-valuetext", times(factor));
      reset.textContent = times(factor);
      reset.disabled = factor === 1;
      reset.setAttribute("aria-label", `${name} has factor ${factor}; set it to 1`);
      chip.dataset.pull = factor <= 0 ? (factor ? "away" : "none") : factor < 1 ? "down" : factor > 1 ? "up" : "plain";
      chip.style.setProperty("--step", Math.abs(nearest(factor) - NEUTRAL));
    };
    return chip;
  }
}

/** A backslash keeps what follows a boost out of its number. */
function escaped(text, behindBoost = false) {
  const plain = text.replace(/[\\^"]/g, "\\$&");
  return behindBoost && /^[A-Za-z0-9_.+-]/.test(plain) ? `\\${plain}` : plain;
}

function nearest(factor) {
  const scale = (number) => (number < 0 ? number - 4 : Math.log(number + 0.03)); // rising
  const distance = (step) => Math.abs(scale(FACTORS[step]) - scale(factor));
  return FACTORS.map((_, step) => step).reduce((best, step) => (distance(step) < distance(best) ? step : best));
}
