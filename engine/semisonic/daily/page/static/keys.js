// What each key does. Class keys come from the server and can be assigned; the other keys are the page's own.

import { memory } from "./dom.js";

/** In the order of the help, which has a part for those that answer and one for the others. `key` is what `keyOf` tells. */
export const COMMANDS = [
  { name: "right", key: " ", answers: true, words: "Right: confirms the label that is shown" },
  { name: "reject", key: "x", answers: true, words: "Reject: not an image of any class" },
  { name: "unsure", key: "?", answers: true, words: "Don't know" },
  { name: "accept", key: "Enter", answers: true, words: "Accept the rest of this page" },
  { name: "undo", key: "u", answers: true, words: "Undo, any number of times" },
  { name: "find", key: "/", answers: true, words: "Find a class by its name" },
  { name: "new", key: "n", answers: true, words: "New class" },
  { name: "sweep", key: "s", answers: true, words: "Sweep: the nearest unlabeled images" },
  { name: "left", key: "ArrowLeft", words: "Previous image" },
  { name: "next", key: "ArrowRight", words: "Next image" },
  { name: "up", key: "ArrowUp", words: "Row above" },
  { name: "down", key: "ArrowDown", words: "Row below" },
  { name: "before", key: "PageUp", words: "Previous page" },
  { name: "behind", key: "PageDown", words: "Next page" },
  { name: "queueBefore", key: "[", words: "Previous queue" },
  { name: "queueBehind", key: "]", words: "Next queue" },
  { name: "view", key: "g", words: "Grid or single image" },
  { name: "group", key: ".", words: "One label side by side" },
  { name: "larger", key: "+", words: "Larger thumbnails" },
  { name: "smaller", key: "-", words: "Smaller thumbnails" },
  { name: "leave", key: "Escape", words: "Leave sweep or single image" },
  { name: "help", key: "h", words: "This help" },
];

const COMMAND_OF = new Map(COMMANDS.map(({ key, name }) => [key, name]));

/** The key of a keyboard event, or null where it belongs to the browser. */
export function keyOf(event) {
  if (event.isComposing || event.altKey) return null;
  if (event.ctrlKey || event.metaKey) return event.key.toLowerCase() === "z" && !event.shiftKey ? "u" : null;
  if (event.key.length > 1) return event.key;
  // A keyboard with other letters: what counts is where the key lies.
  if (event.key > "~") return /^Key[A-Z]$/.test(event.code) ? event.code[3].toLowerCase() : event.key;
  return event.key.toLowerCase();
}

export class Keys {
  #place;
  #own;

  constructor(project, classes) {
    this.#place = `keys.${project}`;
    this.#own = memory.get(this.#place, {});
    this.classes = classes;
  }

  /** A map of keys to class ids; own keys win over the server's, and the page's commands over both. */
  get all() {
    const keys = new Map();
    const own = (id) => Object.hasOwn(this.#own, id);
    for (const { id, key } of this.classes) if (key && !own(id) && !COMMAND_OF.has(key)) keys.set(key, id);
    for (const { id } of this.classes) if (own(id) && this.#own[id]) keys.set(this.#own[id], id);
    return keys;
  }

  of(id) {
    for (const [key, owner] of this.all) if (owner === id) return key;
    return null;
  }

  /** What `key` means: `{command}`, `{class}` or null. */
  meaning(key) {
    if (COMMAND_OF.has(key)) return { command: COMMAND_OF.get(key) };
    const found = this.all.get(key);
    return found === undefined ? null : { class: found };
  }

  /** Gives `key` to a class, taking it from another; returns what is wrong with it, or "". "" takes the key away. */
  assign(id, key) {
    if (key && (key.length !== 1 || key === " ")) return "A class key is one letter, digit or sign.";
    if (COMMAND_OF.has(key)) return `“${key}” is a key of this page: ${COMMANDS.find((one) => one.key === key).words}.`;
    const owner = key ? this.all.get(key) : undefined;
    if (owner !== undefined && owner !== id) this.#own[owner] = "";
    this.#own[id] = key;
    return memory.set(this.#place, this.#own)
      ? ""
      : "This browser keeps nothing: the key is lost when the page is closed.";
  }

  /** Back to the server's keys. */
  reset() {
    this.#own = {};
    memory.set(this.#place, {});
  }
}
