// What is shown: one page of one queue as a wall or as single images, or a sweep; and the head and foot around it.

import { Refused } from "./api.js";
import { byId, count, el, memory } from "./dom.js";
import { drawFilters } from "./filters.js";
import { notice, pager, Single, Wall } from "./grid.js";
import { drawProgress, drawQueues } from "./head.js";
import { Queue } from "./queue.js";
import { decided, shown } from "./review.js";
import { drawSide } from "./side.js";
import { Sweep } from "./sweep.js";

const NARROW = innerWidth < 600;
const SIZES = [72, 92, 116, 146, 184, 232]; // pixels of a thumbnail
const AGAIN = new Set(["given", "second-look"]); // queues of labels that a person gave, and may confirm
const PAGE = NARROW ? 30 : 60; // images

export class Screen {
  number = 0; // the page of the queue
  cards = []; // of this page
  at = 0; // the current one of them
  list = null; // Wall or Single
  sweep = null;
  filters = {};
  view = memory.get("view", "grid");
  grouped = memory.get("grouped", false);
  onward = null; // what Enter does where no image is shown

  /** `acts` is what buttons do: `command(name)`, `label(class)`, `assign()`; `since(queue)` counts unconfirmed answers. */
  constructor({ acts, known, since }) {
    Object.assign(this, { acts, known, since });
    this.resize(0);
  }

  /** The server's word on the project; called again whenever it is newer. */
  take(state, keys, who) {
    const classes = JSON.stringify(state.classes) !== JSON.stringify(this.state?.classes);
    Object.assign(this, { state, keys, who, names: new Map(state.classes.map(({ id, name }) => [id, name])) });
    if (!this.queue) return;
    this.queue.info = state.queues.find(({ name }) => name === this.queue.name) ?? this.queue.info;
    this.drawHead();
    if (classes) this.drawAround();
    if (this.ended) this.#nothing(); // what has come since
  }

  nameOf = (id) => this.names.get(id) ?? `class ${id}`;

  get card() {
    return this.cards[this.at];
  }

  get blind() {
    return this.queue.info.blind;
  }

  get open() {
    return this.cards.filter((card) => !card.answer);
  }

  /** Those that Enter would accept. */
  get rest() {
    const again = AGAIN.has(this.queue.info.name);
    return this.open.filter((card) => card.status !== "error" && shown(card) !== null && (again || !decided(card)));
  }

  get columns() {
    return (this.sweep?.wall ?? this.list)?.columns ?? 1;
  }

  /** While a page is on its way, what is shown is the old one, which no key may answer. */
  #busy(on) {
    this.busy = on;
    byId("stage").setAttribute("aria-busy", String(on));
  }

  /** Which of the images shown is the current one. */
  get place() {
    return this.sweep ? this.sweep.at : this.at;
  }

  // Queues and pages.

  async openQueue(name, filters = {}) {
    const info = this.state.queues.find((one) => one.name === name);
    this.filters = filters;
    this.queue = new Queue(info, this.who, filters, this.known, PAGE);
    Object.assign(this, { cards: [], at: 0, number: 0, sweep: null });
    this.drawHead();
    this.drawAround();
    await this.openPage(0);
  }

  otherQueue(step) {
    const names = this.state.queues.map(({ name }) => name);
    this.openQueue(names[(names.indexOf(this.queue.name) + step + names.length) % names.length]);
  }

  /** Shows page `number`, with `card` or the first open one as the current one. */
  async openPage(number, card = null) {
    const { queue } = this;
    let cards;
    this.#busy(true);
    try {
      cards = await queue.page(number);
    } catch (error) {
      if (queue === this.queue) this.failed(error, () => this.openPage(number, card));
      return;
    }
    if (queue !== this.queue) return; // another queue was opened meanwhile
    this.#busy(false);
    this.ended = false;
    if (!cards.length) return this.#nothing();
    Object.assign(this, { number, sweep: null, cards: this.#ordered(cards) });
    const wanted = this.cards.indexOf(card);
    this.at =
      wanted >= 0
        ? wanted
        : Math.max(
            0,
            this.cards.findIndex(({ answer }) => !answer),
          );
    this.#draw();
    queue.preload(number + 1).then(() => queue === this.queue && this.drawFoot());
  }

  /** Shows the page that holds `card`, if this queue has it. */
  openAt(card) {
    const place = this.queue.cards.indexOf(card);
    if (place >= 0) this.openPage(Math.floor(place / PAGE), card);
    return place >= 0;
  }

  /** To the next open image of the page, or else to the next page. */
  advance() {
    const behind = this.cards.findIndex(({ answer }, at) => at > this.at && !answer);
    const next = behind >= 0 ? behind : this.cards.findIndex(({ answer }) => !answer);
    if (next < 0) return this.openPage(this.number + 1);
    if (this.sweep) return this.openPage(this.number, this.cards[next]);
    this.go(next);
  }

  go(at) {
    const list = this.sweep ?? this;
    if (at < 0 || at >= list.cards.length) return;
    list.at = at;
    (this.sweep?.wall ?? this.list).select(at);
  }

  async openSweep() {
    const { card, queue } = this;
    const sweep = await Sweep.of(card, {
      cards: this.known,
      who: this.who,
      nameOf: this.nameOf,
      leave: () => this.leave(),
    });
    if (queue !== this.queue || card !== this.card) return;
    this.sweep = sweep;
    byId("stage").replaceChildren(sweep.element);
    this.drawSide();
    this.go(0);
    scrollTo({ top: 0 });
  }

  leave() {
    if (this.sweep) this.openPage(this.number, this.card);
    else if (this.view === "single") this.otherView();
  }

  otherView() {
    if (this.sweep) return;
    this.view = this.view === "grid" ? "single" : "grid";
    memory.set("view", this.view);
    this.drawAround();
    if (this.cards.length) this.#draw();
  }

  /** Images of one label side by side, where the odd one stands out; or in the queue's order. */
  group() {
    if (this.sweep) return;
    this.grouped = !this.grouped;
    memory.set("grouped", this.grouped);
    this.drawAround();
    if (this.cards.length) this.openPage(this.number, this.card);
  }

  resize(step) {
    const size = Math.max(0, Math.min(SIZES.length - 1, memory.get("size", NARROW ? 2 : 3) + step));
    if (step) memory.set("size", size);
    document.documentElement.style.setProperty("--tile", `${SIZES[size]}px`);
  }

  #ordered(cards) {
    if (!this.grouped || this.blind) return [...cards];
    const order = new Map(this.state.classes.map(({ id }, at) => [id, at]));
    return cards.toSorted((a, b) => (order.get(shown(a)) ?? -1) - (order.get(shown(b)) ?? -1));
  }

  // Drawing.

  #draw() {
    const acts = {
      pick: (at) => this.go(at),
      open: (at) => {
        this.at = at;
        this.otherView();
      },
    };
    const name = `${this.queue.info.title}, page ${this.number + 1}`;
    this.list =
      this.view === "single"
        ? new Single(this.cards, this.nameOf, acts)
        : new Wall(this.cards, this.nameOf, { name, ...acts });
    this.foot = el("div");
    byId("stage").replaceChildren(this.list.element, this.foot);
    this.drawFoot();
    this.drawSide();
    scrollTo({ top: 0 });
    this.list.select(this.at);
  }

  redraw(cards) {
    this.list?.refresh(cards);
    this.sweep?.wall.refresh(cards);
    this.drawFoot();
  }

  drawFoot() {
    if (!this.foot?.isConnected) return;
    const { number, queue, rest } = this;
    this.foot.replaceChildren(
      pager({
        number,
        open: this.open.length,
        more: queue.pages > number + 1 || !this.open.length,
        back: number > 0 ? () => this.openPage(number - 1) : null,
        forth: () => this.openPage(number + 1),
        accept: rest.length && !this.blind ? () => this.acts.command("accept") : null,
        rest: rest.length,
      }),
    );
  }

  drawHead() {
    const queues = this.state.queues.map((info) => ({ ...info, left: Math.max(0, info.left - this.since(info.name)) }));
    drawQueues(queues, this.queue.name, (name) => this.openQueue(name));
    const { name, done, left, hint } = this.queue.info;
    const since = this.since(name);
    drawProgress({ done: done + since, left: Math.max(0, left - since) }, this.state.progress);
    byId("hint").textContent = hint;
    byId("project").textContent = this.state.project;
    byId("day").textContent = `day ${this.state.day}`;
    byId("reviewer").textContent = this.who;
  }

  /** Filters and classes, which only change with the queue, the view and the project's classes. */
  drawAround() {
    drawFilters(byId("filters"), {
      classes: this.state.classes,
      blind: this.blind,
      free: this.queue.name === "free",
      filters: this.filters,
      view: this.view,
      grouped: this.grouped,
      change: (filters) => this.openQueue(this.queue.name, filters),
      act: this.acts.command,
    });
    this.drawSide();
  }

  drawSide() {
    const { command, label, assign } = this.acts;
    drawSide(byId("side"), {
      classes: this.state.classes,
      keys: this.keys,
      blind: this.blind,
      sweeping: this.sweep !== null,
      act: command,
      label,
      assign,
    });
  }

  instead(title, words, actions = []) {
    this.#busy(false);
    Object.assign(this, { cards: [], at: 0, list: null, sweep: null, onward: actions[0]?.[2] ?? null, ended: false });
    byId("stage").replaceChildren(notice(title, words, actions));
  }

  failed(error, again) {
    const refused = error instanceof Refused;
    this.instead(
      refused ? "The server refuses this page" : "The server does not answer",
      refused ? error.message : "Answers that were given are kept in this browser.",
      [["Enter", "Try again", again]],
    );
  }

  #nothing() {
    if (!this.queue.cards.length && Object.values(this.filters).some(Boolean)) {
      return this.instead("Nothing fits", "No image of this queue fits the filters.", [
        ["Enter", "Clear the filters", () => this.openQueue(this.queue.name)],
      ]);
    }
    const { queues } = this.state;
    const waits = ({ name, left }) => left > this.since(name);
    const own = queues.find((queue) => queue.name === this.queue.name && waits(queue) && this.queue.cards.length);
    const next = own ?? queues.find((queue) => ![this.queue.name, "free"].includes(queue.name) && waits(queue));
    const title = own ? "The end of this queue" : this.queue.cards.length ? "This queue is done" : "Nothing waits here";
    const words = own
      ? "Some of its images have no answer yet."
      : next
        ? "Every image of it has an answer."
        : "No queue has an image left. `semisonic daily PROJECT next` goes on.";
    const go = next && `Go on with ${next.title} (${count(next.left - this.since(next.name))})`;
    this.instead(title, words, next ? [["Enter", go, () => this.openQueue(next.name)]] : []);
    this.ended = true;
  }
}
