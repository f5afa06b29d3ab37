// One image of a wall: the picture, what is said of it, and how sure that is.

import { thumb } from "./api.js";
import { el } from "./dom.js";
import { decided, shown } from "./review.js";

const STATES = { rejected: "rejected", unsure: "don't know" };
const SIGNS = { right: "✓", changed: "✎", rejected: "✕", unsure: "?", error: "!" };

/** What a card says: `words`, its `tone` (open, right, changed, rejected, unsure, error) and a `sign`. */
export function told(card, nameOf) {
  if (card.status === "error") return { words: card.message, tone: "error", sign: SIGNS.error };
  if (!card.answer) {
    const label = STATES[card.state] ? null : shown(card);
    return { words: STATES[card.state] ?? (label === null ? "" : nameOf(label)), tone: "open", sign: "" };
  }
  if (card.answer.state)
    return { words: STATES[card.answer.state], tone: card.answer.state, sign: SIGNS[card.answer.state] };
  const label = shown(card);
  const tone = label === null || label === card.answer.class ? "right" : "changed";
  return { words: nameOf(card.answer.class), tone, sign: SIGNS[tone] };
}

/** What stands beside the label: who says so, the network's word on a given one, or the class that came second. */
export function beside(card, nameOf) {
  if (card.answer || shown(card) === null) return "";
  if (card.guess !== null && (shown(card) !== card.guess || STATES[card.state]))
    return `network: ${nameOf(card.guess)}`;
  if (decided(card)) return card.state; // given or reviewed, and the network says the same
  return card.runner_up === null ? "" : `or ${nameOf(card.runner_up)}`;
}

/** A picture that says so where it cannot be shown. The frame's size never depends on it. */
export function picture(source, name, { small = false } = {}) {
  const img = el("img", { src: source, alt: "", draggable: false, decoding: "async" });
  const frame = el("div", { class: "frame" }, img);
  img.addEventListener("error", () => {
    img.replaceWith(
      el("p", { class: "broken" }, small ? "cannot be shown" : `${name} cannot be shown: it is gone, or no picture.`),
    );
  });
  img.addEventListener("load", () => {
    // A picture of few pixels is drawn as pixels: smoothed, a digit of 8 x 8 is a cloud.
    if (img.naturalWidth * 3 < frame.clientWidth) img.classList.add("pixels");
  });
  return frame;
}

/** The wall's element of a card. `refresh` draws it anew when its card has changed. */
export function tile(card, nameOf, { label = (words) => words } = {}) {
  const words = el("span", { class: "words" });
  const second = shown(card) === null ? null : el("span", { class: "second pale" }); // in blind queues there is none
  const sign = el("span", { class: "sign", aria: { hidden: "true" } });
  const made = el(
    "li",
    { class: "tile", role: "option", tabIndex: -1, title: card.name },
    picture(thumb(card.image), card.name, { small: true }),
    sign,
    el("div", { class: "caption" }, words, second),
  );
  made.refresh = () => {
    const { words: said, tone, sign: mark } = told(card, nameOf);
    words.textContent = said;
    if (second) second.textContent = beside(card, nameOf);
    sign.textContent = mark;
    Object.assign(made.dataset, { tone, status: card.status, image: card.image });
    const state = card.answer ? said : said ? `${said}, not answered` : "not answered";
    made.setAttribute("aria-label", label(`${card.name}: ${state}${card.status === "unsent" ? ", unsent" : ""}`));
  };
  made.refresh();
  return made;
}
