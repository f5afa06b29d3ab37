// Sweep: the unlabeled images nearest to one; a key labels all that are marked.

import { get } from "./api.js";
import { cap, count, el } from "./dom.js";
import { Wall } from "./grid.js";

const NEAREST = 50;

export class Sweep {
  /** The sweep of `card`; throws where the server has no features to search. */
  static async of(card, { cards, who, nameOf, leave }) {
    const { images } = await get("neighbors", { image: card.image, count: NEAREST, who });
    const found = images
      .filter(({ image }) => image !== card.image)
      .map((row) => cards.of(row))
      .filter(({ answer }) => !answer);
    return new Sweep(card, found, { nameOf, leave });
  }

  constructor(anchor, found, { nameOf, leave }) {
    this.anchor = anchor;
    this.cards = [...(anchor.answer ? [] : [anchor]), ...found];
    this.marked = new Set(this.cards);
    this.at = 0;
    this.wall = new Wall(this.cards, nameOf, {
      name: "Nearest unlabeled images",
      chosen: this.marked,
      pick: (at) => {
        this.at = at;
        this.toggle();
      },
    });
    this.number = el("strong");
    const back = el("button", { class: "quiet", on: { click: leave } }, "Back ", cap("Escape"));
    this.element = el(
      "div",
      { class: "sweep" },
      el(
        "div",
        { class: "banner" },
        el(
          "div",
          {},
          el("h2", {}, "Sweep"),
          el(
            "p",
            {},
            "The unlabeled images nearest to ",
            el("span", { class: "name" }, anchor.name),
            ". Take the odd ones out with a click or ",
            cap(" "),
            ", then one class key labels all ",
            this.number,
            ".",
          ),
        ),
        back,
      ),
      this.wall.element,
    );
    this.#tell();
  }

  /** Takes the current image out of the wall, or back into it. */
  toggle() {
    const card = this.cards[this.at];
    if (!this.marked.delete(card)) this.marked.add(card);
    this.wall.refresh([card]);
    this.wall.select(this.at);
    this.#tell();
  }

  /** The marked cards by the queue that they were seen in. */
  parts(queue, sweep) {
    const marked = this.cards.filter((card) => this.marked.has(card));
    return [
      [queue, marked.filter((card) => card === this.anchor)],
      [sweep, marked.filter((card) => card !== this.anchor)],
    ];
  }

  #tell() {
    this.number.textContent = count(this.marked.size, "marked image");
  }
}
