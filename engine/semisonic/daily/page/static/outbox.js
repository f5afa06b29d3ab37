// Answers on their way to the server. Each is kept in this browser until the server has said what became of it, and
// they are sent in order, so that a page that is closed, a server that is killed and a network that is gone lose none.
//
// Every answer has a key that it keeps when it is sent again: the server stores it once. An answer to an image whose
// last answer is still under way names that one (`after`), since it cannot know its event yet.

import { post, Refused, uuid } from "./api.js";

const BATCH = 50; // answers in one request
const WAITS = [0.5, 1, 2, 4]; // seconds until the next try

/** Names one image of one entry; a batch has one key and many images. */
export const refOf = (key, image) => `${key}/${image}`;

export class Outbox extends EventTarget {
  #entries = [];
  #events = new Map(); // ref -> the event that the server made of it
  #tried = new Set(); // keys that the server may know already
  #prefix;
  #tab = uuid();
  #made = 0;
  #failures = 0;
  #wake = () => {};

  constructor(project) {
    super();
    this.#prefix = `semisonic.unsent.${project}.`;
    this.kept = true; // false: this browser keeps nothing, so closing the page would lose what is unsent
  }

  /** Takes over what closed pages left unsent, and begins to send. */
  async start() {
    const locks = navigator.locks; // secure contexts only
    if (locks) locks.request(this.#prefix + this.#tab, () => new Promise(() => {})); // held as long as this page lives
    const alive = new Set(locks ? (await locks.query()).held.map((lock) => lock.name) : []);
    for (const [order, entry] of stored(this.#prefix)) {
      if (alive.has(this.#prefix + order.split("~")[1])) continue; // another open page sends it
      this.#tried.add(entry.key);
      this.#entries.push({ ...entry, order });
    }
    this.#entries.sort((a, b) => (a.order < b.order ? -1 : 1));
    addEventListener("online", () => this.retry());
    this.#changed();
    this.#send();
  }

  /** How many answers the server has not confirmed. */
  get unsent() {
    return this.#entries.reduce((sum, entry) => sum + (entry.images?.length ?? 1), 0);
  }

  /** Unsent answers to images, newest last, as `[image, ref, answer]`: what a reload must still show. */
  get answers() {
    const images = ({ key, images: several, ...one }) =>
      (several ?? [one]).map(({ image, answer }) => [image, refOf(key, image), answer]);
    return this.#entries.filter(({ kind }) => kind !== "undo").flatMap(images);
  }

  label(who, queue, card, answer) {
    const key = uuid();
    this.#add({ kind: "label", key, who, queue, answer, ...this.#seen(card) });
    return refOf(key, card.image);
  }

  /** The shown labels of `cards`, which are `answers`, are right: one request, one event each. */
  accept(who, queue, cards, answers) {
    const key = uuid();
    this.#add({
      kind: "accept",
      key,
      who,
      queue,
      images: cards.map((card, at) => ({ ...this.#seen(card), answer: answers[at] })),
    });
    return cards.map((card) => refOf(key, card.image));
  }

  /** Takes back the answers named by `refs` as one change. Without any: `who`'s newest answer, whenever it was. */
  undo(who, refs = null) {
    const key = uuid();
    const targets = refs?.map((ref) => ({ ref, event: this.#events.get(ref) ?? null })) ?? null;
    this.#add({ kind: "undo", key, who, targets });
    return key;
  }

  /** Drops an answer that was never sent. False where the server may know it: then it must be undone. */
  cancel(key) {
    const found = this.#entries.find((entry) => entry.key === key);
    if (!found || this.#tried.has(key)) return false;
    this.#drop([found]);
    return true;
  }

  /** Tries at once. */
  retry() {
    this.#failures = 0;
    this.#wake();
  }

  #seen({ image, item, event, ref }) {
    const known = ref ? this.#events.get(ref) : undefined;
    const pending = ref && known === undefined && this.#entries.some((entry) => refsOf(entry).includes(ref));
    return { image, item, seen: known ?? event, ...(pending && { after: ref }) };
  }

  #add(entry) {
    this.#made += 1;
    entry.order = `${Date.now().toString(36).padStart(10, "0")}${String(this.#made).padStart(9, "0")}~${this.#tab}`;
    this.#entries.push(entry);
    this.#keep(entry);
    this.#changed();
    this.#wake();
  }

  #keep({ order, ...entry }) {
    try {
      localStorage.setItem(this.#prefix + order, JSON.stringify(entry));
    } catch {
      this.kept = false;
    }
  }

  #drop(entries) {
    this.#entries = this.#entries.filter((entry) => !entries.includes(entry));
    try {
      for (const { order } of entries) localStorage.removeItem(this.#prefix + order);
    } catch {
      this.kept = false;
    }
    this.#changed();
  }

  async #send() {
    for (;;) {
      if (!this.#entries.length) await new Promise((wake) => (this.#wake = wake));
      const group = this.#next();
      if (!group.length) continue;
      group.forEach(({ key }) => this.#tried.add(key));
      try {
        await this.#deliver(group);
        this.#connection("ok");
      } catch (error) {
        if (error instanceof Refused && !error.passing) this.#refused(group, error);
        else await this.#wait(error);
      }
    }
  }

  /** The first entry, and with an answer those right behind it that fit into one request. */
  #next() {
    const [first] = this.#entries;
    if (first?.kind !== "label" || first.alone) return first ? [first] : [];
    const images = new Set();
    const fits = ({ kind, who, queue, image, after, alone }) =>
      kind === "label" && who === first.who && queue === first.queue && !images.has(image) && !after && !alone;
    const group = [];
    for (const entry of this.#entries) {
      if (group.length && (group.length === BATCH || !fits(entry))) break;
      group.push(entry);
      images.add(entry.image);
    }
    return group;
  }

  async #deliver(group) {
    const [first] = group;
    if (first.kind === "undo") return this.#undo(first);
    const bare = ({ image, item, seen }) => ({ image, item, seen });
    const { who, queue, key } = first;
    const reply =
      first.kind === "accept"
        ? await post("accept", { who, queue, key, images: first.images.map(bare) })
        : await post("label", {
            who,
            queue,
            changes: group.map((entry) => ({ key: entry.key, answer: entry.answer, ...bare(entry) })),
          });
    for (const { key: own, image, event } of reply.done)
      this.#known(refOf(first.kind === "accept" ? key : own, image), event);
    this.#drop(group);
    this.#settle(group, reply);
  }

  async #undo(entry) {
    const events = entry.targets?.map(({ event }) => event).filter((event) => event !== null);
    const wanted = entry.targets ? { events } : { count: 1 };
    const { undone } =
      events?.length === 0 ? { undone: [] } : await post("undo", { who: entry.who, key: entry.key, ...wanted });
    for (const { image, now_event } of undone) this.#known(refOf(entry.key, image), now_event);
    this.#drop([entry]);
    this.#tell("undone", { key: entry.key, undone });
  }

  #settle(group, { done, conflicts = [], errors = [], progress }) {
    const accept = group[0].kind === "accept";
    const images = new Map(group.map((entry) => [entry.key, entry.image]));
    const refs = (row) =>
      accept
        ? row.image === undefined
          ? refsOf(group[0])
          : [refOf(group[0].key, row.image)]
        : [refOf(row.key, images.get(row.key))];
    done.forEach((row) => refs(row).forEach((ref) => this.#tell("done", { ...row, ref })));
    conflicts.forEach((row) => refs(row).forEach((ref) => this.#tell("conflict", { ...row, ref })));
    errors.forEach((row) => refs(row).forEach((ref) => this.#tell("error", { ...row, ref })));
    if (progress) this.#tell("progress", progress);
  }

  /** An answer that the server will never take is told, not tried for ever. Of several, each is tried alone first. */
  #refused(group, error) {
    this.#connection("ok");
    if (group.length > 1) {
      group.forEach((entry) => Object.assign(entry, { alone: true }));
      return;
    }
    this.#drop(group);
    const [{ kind, key }] = group;
    if (kind === "undo") this.#tell("refused", { key, message: error.message });
    else refsOf(group[0]).forEach((ref) => this.#tell("error", { ref, message: error.message }));
  }

  async #wait(error) {
    this.#connection(error instanceof Refused ? "refused" : "gone", error.message);
    const seconds = WAITS[Math.min(this.#failures, WAITS.length - 1)];
    this.#failures += 1;
    const began = Date.now();
    await new Promise((wake) => {
      const timer = setTimeout(wake, seconds * 1000);
      // Another answer is a reason to try again, but not at once for each key.
      this.#wake = () => (this.#failures === 0 || Date.now() - began > 500 ? (clearTimeout(timer), wake()) : undefined);
    });
  }

  #known(ref, event) {
    this.#events.set(ref, event);
    for (const entry of this.#entries) {
      const waiting = [entry, ...(entry.images ?? [])].filter((one) => one.after === ref);
      const targets = entry.targets?.filter((target) => target.ref === ref) ?? [];
      waiting.forEach((one) => {
        one.seen = event;
        delete one.after;
      });
      targets.forEach((target) => {
        target.event = event;
      });
      if (waiting.length || targets.length) this.#keep(entry);
    }
  }

  #connection(state, message = "") {
    if (state === "ok") this.#failures = 0;
    this.#tell("connection", { state, message });
  }

  #changed() {
    this.#tell("changed", {});
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

const refsOf = (entry) =>
  entry.kind === "undo"
    ? (entry.targets ?? []).map(({ ref }) => refOf(entry.key, ref.split("/")[1]))
    : (entry.images ?? [entry]).map(({ image }) => refOf(entry.key, image));

function stored(prefix) {
  try {
    return Object.keys(localStorage)
      .filter((name) => name.startsWith(prefix))
      .map((name) => [name.slice(prefix.length), JSON.parse(localStorage.getItem(name))]);
  } catch {
    return [];
  }
}
