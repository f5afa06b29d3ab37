// The wall of thumbnails, and the single large image with the same page beneath it.

import { image, thumb } from "./api.js";
import { cap, count, el } from "./dom.js";
import { picture, beside, tile, told } from "./tile.js";

/** A wall of `cards`. One of them is the current one, and the only one that Tab reaches. */
export class Wall {
  constructor(cards, nameOf, { name, pick, open, chosen = null }) {
    this.cards = cards;
    this.tiles = cards.map((card) => tile(card, nameOf));
    this.chosen = chosen; // sweep: the set of cards that are marked
    this.element = el(
      "ul",
      { class: "wall", role: "listbox", aria: { label: name, multiselectable: String(chosen !== null) } },
      ...this.tiles,
    );
    this.tiles.forEach((made, at) => {
      made.addEventListener("click", () => pick(at));
      made.addEventListener("dblclick", () => open?.(at));
    });
    this.refresh();
  }

  refresh(cards = this.cards) {
    this.tiles.forEach((made, at) => {
      if (cards.includes(this.cards[at])) made.refresh();
      if (this.chosen) made.setAttribute("aria-selected", String(this.chosen.has(this.cards[at])));
    });
  }

  /** Makes tile `at` the current one, in sight, with the keyboard's focus unless that is elsewhere on purpose. */
  select(at, focus = true) {
    this.tiles.forEach((made, place) => {
      made.tabIndex = place === at ? 0 : -1;
      made.classList.toggle("current", place === at);
      if (!this.chosen) made.setAttribute("aria-selected", String(place === at));
    });
    const made = this.tiles[at];
    if (focus) made?.focus({ preventScroll: true });
    made?.scrollIntoView({ block: "nearest" });
  }

  /** How many tiles stand in the first row. */
  get columns() {
    const top = this.tiles[0]?.offsetTop;
    const second = this.tiles.findIndex((made) => made.offsetTop !== top);
    return second < 0 ? Math.max(1, this.tiles.length) : second;
  }
}

const AHEAD = 2; // large images that are fetched before they are looked at

/** The large image of a page, and the page's thumbnails as a strip. */
export class Single {
  constructor(cards, nameOf, { pick }) {
    Object.assign(this, { cards, nameOf, at: 0 });
    this.place = el("div", { class: "large" });
    this.strip = cards.map((card, at) => {
      const img = el("img", { src: thumb(card.image), alt: "", draggable: false });
      return el(
        "button",
        { class: "stripe", tabIndex: -1, aria: { label: card.name }, on: { click: () => pick(at) } },
        img,
      );
    });
    this.element = el(
      "div",
      { class: "single" },
      this.place,
      el("div", { class: "strip", role: "group", aria: { label: "This page" } }, ...this.strip),
    );
    swipes(this.place, (step) => pick(this.at + step));
  }

  refresh(cards = this.cards) {
    this.strip.forEach((made, at) => Object.assign(made.dataset, { tone: told(this.cards[at], this.nameOf).tone }));
    if (cards.includes(this.cards[this.at])) this.#say();
  }

  select(at, focus = true) {
    this.at = at;
    const card = this.cards[at];
    this.words = el("p", { class: "verdict" });
    const facts = [`day ${card.day}`, `${card.width} × ${card.height}`];
    if (card.suspicion !== null) facts.push(`suspicion ${card.suspicion.toFixed(2)}`);
    if (card.distance !== null) facts.push(`distance ${card.distance.toFixed(2)}`);
    this.figure = el(
      "figure",
      { class: "shot", tabIndex: 0, role: "img", aria: { label: card.name } },
      picture(image(card.image), card.name),
    );
    this.place.replaceChildren(
      this.figure,
      this.words,
      el("p", { class: "facts pale" }, el("span", { class: "name" }, card.name), ` · ${facts.join(" · ")}`),
    );
    this.strip.forEach((made, place) => made.classList.toggle("current", place === at));
    const strip = this.strip[at].parentElement;
    strip.scrollLeft = this.strip[at].offsetLeft - strip.clientWidth / 2;
    this.refresh();
    if (focus) this.figure.focus({ preventScroll: true });
    for (const next of this.cards.slice(at + 1, at + 1 + AHEAD)) new Image().src = image(next.image);
  }

  get columns() {
    return 1;
  }

  #say() {
    const card = this.cards[this.at];
    const { words, tone, sign } = told(card, this.nameOf);
    const second = beside(card, this.nameOf);
    this.words.replaceChildren(
      ...(sign ? [el("span", { class: "sign" }, sign), " "] : []),
      el("strong", {}, words || "What is it?"),
      ...(second ? [el("span", { class: "pale" }, ` ${second}`)] : []),
    );
    Object.assign(this.words.dataset, { tone, status: card.status });
    this.figure.dataset.tone = tone;
  }
}

/** A finger that moves sideways goes to the image before or behind. */
function swipes(element, go) {
  let from = null;
  element.addEventListener(
    "touchstart",
    (event) => {
      from = event.touches.length === 1 ? event.touches[0] : null;
    },
    { passive: true },
  );
  element.addEventListener("touchend", (event) => {
    if (!from) return;
    const [to] = event.changedTouches;
    const [dx, dy] = [to.clientX - from.clientX, to.clientY - from.clientY];
    if (Math.abs(dx) > 50 && Math.abs(dx) > 2 * Math.abs(dy)) go(dx < 0 ? 1 : -1);
  });
}

/** What stands where images would: an empty queue, a server that is gone. `actions` are `[key, words, what to do]`. */
export function notice(title, words, actions = []) {
  const buttons = actions.map(([key, label, act]) =>
    el("button", { class: "primary", on: { click: act } }, label, ...(key ? [" ", cap(key)] : [])),
  );
  return el(
    "div",
    { class: "notice" },
    el("h2", {}, title),
    el("p", { class: "pale" }, words),
    el("div", { class: "actions" }, ...buttons),
  );
}

/** The line beneath a wall: which page, how many are left, and the ways on. */
export function pager({ number, open, more, back, forth, accept, rest }) {
  const go = (words, act) => el("button", { class: "quiet", disabled: !act, on: { click: () => act?.() } }, words);
  const state = open ? `${count(open)} open on this page` : "This page is done";
  return el(
    "div",
    { class: "pager" },
    go("‹ Previous page", back),
    el("span", { class: "pale" }, `Page ${number + 1} · ${state}`),
    accept &&
      el("button", { class: "primary", on: { click: accept } }, `Accept the rest (${count(rest)}) `, cap("Enter")),
    go("Next page ›", more ? forth : null),
  );
}
