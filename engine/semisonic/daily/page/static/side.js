// The answers beside the wall, at the page's foot on a phone: right, reject, don't know, undo, and every class.

import { cap, el } from "./dom.js";

/** Draws the answers. `act(command)` and `label(class)` do what their keys do. */
export function drawSide(place, { classes, keys, blind, sweeping, act, label, assign }) {
  const scrolled = place.querySelector(".classes")?.scrollTop ?? 0;
  const button = (name, words, key, extra = {}) =>
    el("button", { class: `answer ${name}`, title: extra.title ?? "", disabled: extra.disabled ?? false, on: { click: () => act(name) } }, el("span", {}, words), cap(key));
  const answers = el("div", { class: "answers" },
    button("right", sweeping ? "Mark" : "Right", " ", { disabled: blind && !sweeping, title: blind ? "This queue hides the guess: there is nothing to confirm" : "" }),
    button("reject", "Reject", "x"), button("unsure", "Don't know", "?"), button("undo", "Undo", "u"));
  const rows = classes.map(({ id, name }) => {
    const key = keys.of(id);
    return el("button", { class: "class", title: name, data: { class: id }, on: { click: () => label(id) } }, el("span", {}, name), key ? cap(key) : null);
  });
  const list = el("div", { class: "classes", role: "group", aria: { label: "Classes" } }, ...rows);
  const small = (words, key, act) => el("button", { class: "quiet", on: { click: act } }, words, ...(key ? [" ", cap(key)] : []));
  place.replaceChildren(answers, el("div", { class: "heading" }, el("h2", {}, `${classes.length} classes`), small("Find", "/", () => act("find"))),
    list, el("div", { class: "heading foot" }, small("New class", "n", () => act("new")), small("Assign keys", "", assign)));
  list.scrollTop = scrolled;
}
