// What a reviewer says and takes back: shown at once, sent by the outbox, put right when the server sees it otherwise.

import { refOf } from "./outbox.js";

export const SWEEP = "sweep";

export class Review extends EventTarget {
  #history = []; // actions of this page load, newest last; older ones are the server's to take back
  #own = new Set(); // keys of undos whose outcome is shown already

  constructor(outbox, cards, who) {
    super();
    Object.assign(this, { outbox, cards, who });
    outbox.addEventListener("done", ({ detail }) => this.#done(detail));
    outbox.addEventListener("conflict", ({ detail }) => this.#conflict(detail));
    outbox.addEventListener("error", ({ detail }) => this.#error(detail));
    outbox.addEventListener("undone", ({ detail }) => this.#undone(detail));
    outbox.addEventListener("refused", ({ detail }) => this.#notUndone(detail));
  }

  /** One answer to one or many cards: one action, which one undo takes back. `parts` is `[[queue, cards], ...]`. */
  say(parts, answer, words) {
    const action = { words, steps: [] };
    for (const [queue, cards] of parts) {
      for (const card of cards) {
        const ref = this.outbox.label(this.who, queue, card, answer);
        // An image of a sweep may wait in the queue as well: it is not asked for twice.
        const same = queue === SWEEP ? this.cards.ofImage(card.image).filter((other) => other.status === "open") : [];
        for (const one of new Set([card, ...same])) this.#put(action, one, answer, ref);
      }
    }
    this.#finish(action);
  }

  /** The shown guesses of `cards` are right, as one action. */
  accept(queue, cards, words) {
    const action = { words, steps: [] };
    const answers = cards.map((card) => ({ class: shown(card) }));
    const refs = this.outbox.accept(this.who, queue, cards, answers);
    cards.forEach((card, at) => this.#put(action, card, answers[at], refs[at]));
    this.#finish(action);
  }

  /** Takes the newest action back; returns it, or null where only the server knows what was said before. */
  undo() {
    const action = this.#history.pop();
    if (!action) {
      this.outbox.undo(this.who);
      return null;
    }
    const refs = new Set(action.steps.map(({ ref }) => ref));
    const dropped = new Set([...refs].map(keyOfRef).filter((key) => this.outbox.cancel(key)));
    const sent = [...refs].filter((ref) => !dropped.has(keyOfRef(ref)));
    const key = sent.length ? this.outbox.undo(this.who, sent) : null;
    if (key) this.#own.add(key);
    for (const { card, before, ref } of action.steps) {
      Object.assign(card, before);
      if (sent.includes(ref)) Object.assign(card, { status: "unsent", ref: refOf(key, card.image) });
    }
    this.#changed(action.steps.map(({ card }) => card));
    return action;
  }

  #put(action, card, answer, ref) {
    const { answer: said, status, ref: last, message } = card;
    action.steps.push({ card, ref, before: { answer: said, status, ref: last, message } });
    Object.assign(card, { answer, ref, status: "unsent", message: "" });
  }

  #finish(action) {
    this.#history.push(action);
    this.#changed(action.steps.map(({ card }) => card));
  }

  #done({ ref, image, event }) {
    for (const card of this.cards.waiting(ref)) {
      Object.assign(card, { event: event ?? card.event, status: "saved" });
      this.#changed([card]);
    }
    this.#tell("stored", { image });
  }

  #conflict({ ref, image, message, now }) {
    const cards = this.cards.waiting(ref);
    this.#forget(ref);
    const [wanted] = cards.map((card) => card.answer);
    for (const card of cards) {
      Object.assign(card, {
        event: now.event,
        state: now.state,
        class: now.class,
        answer: answerOf(now),
        status: "conflict",
      });
    }
    this.#changed(cards);
    this.#tell("conflict", { cards, image, message, now, wanted });
  }

  #error({ ref, message }) {
    const cards = this.cards.waiting(ref);
    this.#forget(ref);
    for (const card of cards) Object.assign(card, { answer: null, status: "error", message });
    this.#changed(cards);
    this.#tell("error", { cards, message });
  }

  /** What the server has taken back: an undo of this page, or on its own knowledge an answer from before. */
  #undone({ key, undone }) {
    const own = this.#own.delete(key);
    const touched = own ? this.cards.ofKey(key) : [];
    for (const { image, state, class: stands, now_event: event } of undone) {
      const cards = own ? this.cards.waiting(refOf(key, image)) : this.#settled(image);
      for (const card of cards) Object.assign(card, { event, state, class: stands, ...(!own && { answer: null }) });
      if (!own) touched.push(...cards);
    }
    for (const card of touched) card.status = card.answer ? "saved" : "open";
    this.#changed(touched);
    this.#tell("undone", { undone, cards: touched, own });
  }

  #notUndone({ key, message }) {
    this.#own.delete(key);
    const cards = this.cards.ofKey(key);
    for (const card of cards) Object.assign(card, { answer: null, status: "error", message });
    this.#changed(cards);
  }

  #settled(image) {
    return this.cards.ofImage(image).filter(({ status }) => status !== "unsent");
  }

  /** An answer that was not stored is no step that an undo could take back. */
  #forget(ref) {
    for (const action of this.#history) action.steps = action.steps.filter((step) => step.ref !== ref);
    this.#history = this.#history.filter(({ steps }) => steps.length);
  }

  #changed(cards) {
    if (cards.length) this.#tell("changed", { cards });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** The class that a card shows before it is answered: its label, or else the network's guess; null in blind queues. */
export const shown = (card) => card.class ?? card.guess ?? null;

const PERSON = new Set(["given", "reviewed"]);
const DECIDED = new Set([...PERSON, "rejected", "unsure"]);

/** Whether a person had answered an image before it was shown here. */
export const decided = (card) => DECIDED.has(card.state);

/** What stands now, as an answer; null where nobody's answer stands. */
export function answerOf({ state, class: stands }) {
  if (state === "rejected" || state === "unsure") return { state };
  return PERSON.has(state) ? { class: stands } : null;
}

const keyOfRef = (ref) => ref.split("/")[0];
