// Elements, texts and numbers. Text becomes text nodes, never HTML: what is in a document cannot act on the page.

/** An element. A function as attribute listens to the event of that name; true is an empty attribute, false none. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat());
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Offsets of the API count code points, those of JavaScript UTF-16 units: the latter for the former. */
export const unitOffset = (text, codePoints) => [...text].slice(0, codePoints).join("").length;

/** "+0.1234", with a real minus sign. */
export function signed(number, digits = 4) {
  const written = Math.abs(number).toFixed(digits);
  return (number < 0 && Number(written) ? "\u2212" : "+") + written;
}

/** "\u00d77" for a factor. */
export const times = (factor) => `\u00d7${Number(factor.toPrecision(3))}`;

/** Copies the text of an element, or selects it where the browser lets no page copy (plain HTTP from elsewhere). */
export async function copy(element, button) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  } catch {
    getSelection().selectAllChildren(element);
  }
}
