// Images of a queue, a page at a time; the next page is fetched, with its thumbnails, while this one is looked at.

import { get, thumb } from "./api.js";
import { refOf } from "./outbox.js";

/** One card for each image that was shown. `item` is the server's own note on what was shown, new each time.
 *  `answer` is what this page's reviewer said, `{class}` or `{state}`; `status` is open, unsent, saved, conflict or
 *  error; `ref` names the newest answer's entry in the outbox. */
export class Cards {
  #all = [];
  #unsent = new Map();

  /** Answers of an earlier page load that are still under way, as `[image, ref, answer]`. */
  expect(answers) {
    for (const [image, ref, answer] of answers) this.#unsent.set(image, { ref, answer });
  }

  of(row) {
    // What is under way is newer than what the server told.
    const pending = this.#all.find((card) => card.image === row.image && card.status === "unsent");
    if (pending) return pending;
    const card = { ...row, answer: null, status: "open", ref: null, message: "" };
    const earlier = this.#unsent.get(row.image);
    if (earlier) Object.assign(card, earlier, { status: "unsent" });
    this.#unsent.delete(row.image);
    this.#all.push(card);
    return card;
  }

  ofImage(image) {
    return this.#all.filter((card) => card.image === image);
  }

  /** Those whose newest answer is of the entry with a key. */
  ofKey(key) {
    return this.#all.filter(({ ref }) => ref?.startsWith(refOf(key, "")));
  }

  waiting(ref) {
    return this.#all.filter((card) => card.ref === ref);
  }
}

export class Queue {
  cards = [];
  left = null;
  #cursor = null;
  #whole = false;
  #loading = Promise.resolve();

  constructor(info, who, filters, cards, size) {
    Object.assign(this, { info, who, filters, size });
    this.known = cards;
  }

  get name() {
    return this.info.name;
  }

  get pages() {
    return Math.ceil(this.cards.length / this.size);
  }

  /** The cards of page `number` from 0; none behind the last. */
  async page(number) {
    const wanted = () => this.cards.length < (number + 1) * this.size && !this.#whole;
    while (wanted()) {
      this.#loading = this.#loading.catch(() => {}).then(() => wanted() && this.#more());
      await this.#loading;
    }
    return this.cards.slice(number * this.size, (number + 1) * this.size);
  }

  /** Fetches page `number` ahead of time. What fails here is told when the page is asked for. */
  async preload(number) {
    const cards = await this.page(number).catch(() => []);
    for (const { image } of cards) new Image().src = thumb(image);
  }

  async #more() {
    const { name, who, size, filters } = this;
    const reply = await get("images", { queue: name, who, size, after: this.#cursor, ...filters });
    this.cards.push(
      ...new Set(reply.images.map((row) => this.known.of(row)).filter((card) => !this.cards.includes(card))),
    );
    this.left = reply.left;
    this.#cursor = reply.next;
    this.#whole = reply.next === null || reply.next === undefined;
  }
}
