// Elements made from text and nodes only: whatever a class or a file is called, it is never read as HTML.

/** An element; `props` are properties, `data` and `aria` its attributes of those kinds, `on` its listeners; children are
 *  text or nodes, and nothing where they are null, false or empty. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  const { data = {}, aria = {}, on = {}, ...rest } = props;
  for (const [name, value] of Object.entries(rest)) {
    if (name === "class") made.className = value;
    else if (name === "role" || name === "for" || name === "list") made.setAttribute(name, value);
    else made[name] = value;
  }
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  for (const [name, listener] of Object.entries(on)) made.addEventListener(name, listener);
  made.append(...children.filter((child) => child || child === 0));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** `12,340`, or `2,000 images` with a noun. */
export function count(number, noun = "") {
  const told = number.toLocaleString("en-US");
  return noun ? `${told} ${noun}${number === 1 ? "" : "s"}` : told;
}

/** A key as it is printed on a keyboard. */
export const cap = (key) => el("kbd", {}, NAMES[key] ?? key);

const NAMES = {
  " ": "space",
  Enter: "Enter ⏎",
  Escape: "Esc",
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  PageUp: "PgUp",
  PageDown: "PgDn",
};

/** What this browser remembers of the page. Nothing here is needed for an answer to be stored. */
export const memory = {
  get(name, otherwise = null) {
    try {
      return JSON.parse(localStorage.getItem(`semisonic.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  /** False where the browser keeps nothing: the caller tells that where it matters. */
  set(name, value) {
    try {
      localStorage.setItem(`semisonic.${name}`, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },
};
