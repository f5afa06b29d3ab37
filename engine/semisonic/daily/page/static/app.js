// The labeling page of `semisonic daily PROJECT page`: what a person says, by key or by button, and what comes of it.

import { get, post, token } from "./api.js";
import { askClass, askReviewer, assignKeys, showHelp } from "./dialogs.js";
import { byId, count, memory } from "./dom.js";
import { findClass } from "./finder.js";
import { notice } from "./grid.js";
import { themeSwitch, unsentBadge } from "./head.js";
import { keyOf, Keys } from "./keys.js";
import { gathered, speak, tell } from "./messages.js";
import { Outbox } from "./outbox.js";
import { Cards } from "./queue.js";
import { decided, Review, shown, SWEEP } from "./review.js";
import { Screen } from "./screen.js";
import { told } from "./tile.js";

const REFRESH = 20_000; // milliseconds between looks at what others do
const ONCE = new Set(["right", "reject", "unsure", "accept", "new", "find", "sweep", "view", "group", "help"]); // not repeated by a held key
const RECENT = 5; // classes that the finder shows first

class App {
  recent = []; // class ids, newest first
  said = new Map(); // queue -> answers that the server's counts do not know yet

  async begin() {
    themeSwitch();
    if (!token)
      return byId("stage").replaceChildren(
        notice(
          "The address is not whole",
          "Open the address that `semisonic daily PROJECT page` printed, to its end: #token=…",
        ),
      );
    this.state = await this.#firstState(memory.get("who"));
    this.who = memory.get("who") || (await this.#reviewer());
    const { project, id = project } = this.state;
    this.keys = new Keys(id, this.state.classes);
    this.known = new Cards();
    this.outbox = new Outbox(id);
    this.review = new Review(this.outbox, this.known, this.who);
    const acts = {
      command: (name) => this.command(name),
      label: (found) => this.say({ class: found }),
      assign: () => this.#assign(),
    };
    this.screen = new Screen({ acts, known: this.known, since: (queue) => this.said.get(queue) ?? 0 });
    this.#take(await this.#firstState(this.who));
    unsentBadge(this.outbox, tell);
    this.#listen();
    await this.outbox.start();
    this.known.expect(this.outbox.answers);
    document.title = `${project} · Semisonic`;
    const { queues } = this.state;
    await this.screen.openQueue((queues.find(({ left }) => left) ?? queues[0]).name);
    setInterval(() => document.hidden || this.#counts(), REFRESH);
  }

  // What is said.

  say(answer) {
    const { screen } = this;
    if (screen.busy) return;
    const words = answer.class === undefined ? told({ answer }).words : screen.nameOf(answer.class);
    if (answer.class !== undefined)
      this.recent = [answer.class, ...this.recent.filter((id) => id !== answer.class)].slice(0, RECENT);
    if (screen.sweep) return this.#sayWall(answer, words);
    const { card } = screen;
    if (!card) return;
    this.#count([card], 1);
    this.review.say([[screen.queue.name, [card]]], answer, words);
    speak(`${card.name}: ${words}. ${count(screen.open.length)} open on this page.`);
    screen.advance();
  }

  #sayWall(answer, words) {
    const { sweep, queue } = this.screen;
    const { size } = sweep.marked;
    if (!size) return tell("No image is marked.");
    const parts = sweep.parts(queue.name, SWEEP);
    this.#count(parts[0][1], 1);
    this.review.say(parts, answer, words);
    tell(`${count(size, "image")}: ${words}. One undo (u) takes all back.`);
    this.screen.advance();
  }

  #accept() {
    const { screen } = this;
    const { rest } = screen;
    if (screen.sweep) return tell("Press a class key: it labels all marked images.");
    if (!screen.cards.length) return screen.onward?.();
    if (!screen.open.length) return screen.openPage(screen.number + 1);
    if (screen.blind) return tell("This queue hides the guess, so each image needs an answer of yours.");
    if (!rest.length && screen.open.every(decided)) return screen.openPage(screen.number + 1); // labels of people
    if (!rest.length) return tell("These images have no guess yet: each needs an answer of yours.");
    this.#count(rest, 1);
    this.review.accept(screen.queue.name, rest, `${count(rest.length, "image")} accepted`);
    tell(`${count(rest.length, "image")} accepted as shown. One undo (u) takes all back.`);
    screen.advance();
  }

  #right() {
    const { screen } = this;
    if (screen.sweep) return screen.sweep.toggle();
    if (!screen.card) return;
    const label = shown(screen.card);
    if (label !== null) return this.say({ class: label });
    tell(
      screen.blind
        ? "This queue hides the guess: press the key of its class."
        : "There is no guess yet: press the key of its class.",
    );
  }

  #undo() {
    const action = this.review.undo();
    if (!action) return; // what the server finds is told when it answers
    const cards = action.steps.map(({ card }) => card);
    this.#count(
      cards.filter((card) => this.screen.queue.cards.includes(card)),
      -1,
    );
    speak(`Taken back: ${action.words}`);
    if (!cards.some((card) => this.screen.openAt(card))) tell(`Taken back: ${action.words}.`);
  }

  async #sweep() {
    const { screen } = this;
    if (screen.sweep || !screen.card) return;
    if (screen.queue.name === "audit") return tell("An image of the audit is looked at alone: its neighbors would show the guess.");
    if (!this.state.sweep) return tell("A sweep needs features of the images: `choose` and `label` make them.");
    await screen.openSweep().catch((error) => tell(error.message, { tone: "bad" }));
  }

  async #find() {
    const { screen } = this;
    const what = screen.sweep ? count(screen.sweep.marked.size, "marked image") : screen.card?.name;
    if (!what) return;
    const found = await findClass({ classes: this.state.classes, keys: this.keys, recent: this.recent, what });
    if (found === null) screen.go(screen.place);
    else if (found.name !== undefined) await this.#newClass(found.name);
    else this.say({ class: found });
  }

  async #newClass(value = "") {
    const free = [..."abcdefghijklmnopqrstuvwxyz"].find((key) => !this.keys.meaning(key)) ?? null;
    let made = null;
    await askClass(value, async (name) => {
      try {
        made = await post("classes", {
          who: this.who,
          name,
          ...(this.state.classes.length > 8 && free && { key: free }),
        });
        return "";
      } catch (error) {
        return error.message;
      }
    });
    this.screen.go(this.screen.place);
    if (!made) return;
    const others = this.state.classes.filter(({ id }) => id !== made.id);
    this.#take({ ...this.state, classes: [...others, made] });
    const key = this.keys.of(made.id);
    tell(`New class: ${made.name}. ${key ? `Its key ${key}` : "Find (/)"} labels this image with it.`);
  }

  async #assign() {
    await assignKeys(this.keys, this.state.classes);
    this.screen.drawSide();
    this.screen.go(this.screen.place);
  }

  // Keys and buttons.

  command(name) {
    const { screen } = this;
    const ways = {
      right: () => this.#right(),
      reject: () => this.say({ state: "rejected" }),
      unsure: () => this.say({ state: "unsure" }),
      accept: () => this.#accept(),
      undo: () => this.#undo(),
      find: () => this.#find(),
      new: () => this.#newClass(),
      sweep: () => this.#sweep(),
      left: () => screen.go(screen.place - 1),
      next: () => screen.go(screen.place + 1),
      up: () => screen.go(screen.place - screen.columns),
      down: () => screen.go(screen.place + screen.columns),
      before: () => screen.number > 0 && screen.openPage(screen.number - 1),
      behind: () => screen.openPage(screen.number + 1),
      queueBefore: () => screen.otherQueue(-1),
      queueBehind: () => screen.otherQueue(1),
      view: () => screen.otherView(),
      group: () => screen.group(),
      larger: () => screen.resize(1),
      smaller: () => screen.resize(-1),
      leave: () => screen.leave(),
      help: () => showHelp(this.keys, screen.nameOf),
    };
    ways[name]();
  }

  #pressed(event) {
    if (document.querySelector("dialog[open]") || !this.screen.queue) return;
    const key = keyOf(event);
    const { target } = event;
    if (key === null) return;
    if (target.matches("input, textarea, select")) {
      if (key === "Escape") this.screen.go(this.screen.place);
      return;
    }
    if ((key === " " || key === "Enter") && target.closest("button, a, summary")) return; // the key presses the button
    const meaning = this.keys.meaning(key);
    if (!meaning) return;
    event.preventDefault();
    if (this.screen.busy || (event.repeat && (meaning.class !== undefined || ONCE.has(meaning.command)))) return;
    if (meaning.class !== undefined) this.say({ class: meaning.class });
    else this.command(meaning.command);
  }

  // What comes from elsewhere.

  #listen() {
    document.addEventListener("keydown", (event) => this.#pressed(event));
    byId("help").addEventListener("click", () => this.command("help"));
    byId("reviewer").addEventListener("click", () => this.#otherReviewer());
    addEventListener("beforeunload", (event) => {
      if (!this.outbox.kept && this.outbox.unsent) event.preventDefault();
    });
    const { review, outbox } = this;
    review.addEventListener("changed", ({ detail }) => this.screen.redraw(detail.cards));
    const conflicts = gathered((all) => this.#conflicts(all));
    const errors = gathered((all) => this.#errors(all));
    review.addEventListener("conflict", ({ detail }) => conflicts(detail));
    review.addEventListener("error", ({ detail }) => errors(detail));
    review.addEventListener("undone", ({ detail }) => this.#undone(detail));
    outbox.addEventListener("refused", ({ detail }) => tell(`Not taken back: ${detail.message}`, { tone: "bad" }));
    outbox.addEventListener("progress", ({ detail }) => this.#take({ ...this.state, progress: detail }));
    outbox.addEventListener("changed", () => {
      clearTimeout(this.timer);
      if (!outbox.unsent) this.timer = setTimeout(() => this.#counts(), 600);
    });
  }

  /** Errors of one kind are one message, however many images have them. */
  #errors(all) {
    for (const [message, same] of Map.groupBy(all, ({ message: line }) => line)) {
      const names = same.flatMap(({ cards }) => cards.slice(0, 1)).map(({ name }) => name);
      const which =
        names.length > 2 ? `${names[0]} and ${count(names.length - 1, "other image")}` : names.join(" and ");
      tell(`Not stored${which ? `, ${which}` : ""}: ${message}`, { tone: "bad" });
    }
  }

  #conflicts(all) {
    if (all.length <= 2) return all.forEach((one) => this.#conflict(one));
    const names = [...new Set(all.map(({ now }) => now.who).filter(Boolean))].join(" and ") || "Somebody";
    tell(`${names} answered ${count(all.length, "image")} of these meanwhile; what they said is shown now.`, {
      tone: "warn",
    });
  }

  #conflict({ cards, message, now, wanted }) {
    const stands = told(
      { answer: now.state === "rejected" || now.state === "unsure" ? { state: now.state } : { class: now.class } },
      this.screen.nameOf,
    ).words;
    const said = now.who && (now.class !== null || now.state === "rejected" || now.state === "unsure");
    const words = said ? `${now.who} has said ${stands} meanwhile; shown now.` : message;
    const [card] = cards;
    if (!card || !wanted) return tell(words, { tone: "warn" });
    const mine = told({ answer: wanted, guess: null, class: null }, this.screen.nameOf).words;
    const insist = () => this.review.say([[this.screen.queue.name, [card]]], wanted, mine);
    tell(`${card.name}: ${words}`, { tone: "warn", actions: [[`Say ${mine} all the same`, insist]] });
  }

  /** What the server took back on its own knowledge: answers from before this page was loaded. */
  #undone({ undone, cards, own }) {
    if (own) return;
    if (!undone.length) return tell("There is nothing left to take back.");
    const found = cards.some((card) => this.screen.cards.includes(card) || this.screen.openAt(card));
    if (!found) tell(`Taken back: ${count(undone.length, "answer")} from before.`);
  }

  async #reviewer() {
    let name = null;
    while (!name) name = await askReviewer(this.state.who ?? "");
    memory.set("who", name);
    return name;
  }

  async #otherReviewer() {
    const name = await askReviewer(this.who);
    if (!name || name === this.who) return;
    memory.set("who", name);
    location.reload(); // what another person said is not this one's to undo
  }

  #count(cards, sign) {
    const { name } = this.screen.queue;
    this.said.set(name, (this.said.get(name) ?? 0) + sign * cards.filter(({ answer }) => !answer).length);
    this.screen.drawHead();
  }

  #take(state) {
    this.state = state;
    this.keys.classes = state.classes;
    this.screen.take(state, this.keys, this.who);
  }

  /** The server's own counts, once it knows all answers. A server that is gone is told by the outbox. */
  async #counts() {
    const state = this.outbox.unsent ? null : await get("state", { who: this.who }).catch(() => null);
    if (!state || this.outbox.unsent) return;
    this.said.clear();
    this.#take(state);
  }

  async #firstState(who) {
    for (;;) {
      try {
        return await get("state", { ...(who && { who }) });
      } catch (error) {
        await new Promise((again) =>
          byId("stage").replaceChildren(
            notice("The server does not answer", error.message, [["", "Try again", again]]),
          ),
        );
      }
    }
  }
}

new App().begin();
