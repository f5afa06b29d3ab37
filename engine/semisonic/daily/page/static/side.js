// The answers beside the wall, at the page's foot on a phone: right, reject, don't know, undo, and every class.

import { cap, el } from "./dom.js";

const BLIND = "This queue hides the guess: there is nothing to confirm";

/** Draws the answers. `act(command)` and `label(class)` do what their keys do. */
export function drawSide(place, { classes, keys, blind, sweeping, act, label, assign }) {
  const old = place.querySelector(".classes");
  const [top, left] = [old?.scrollTop ?? 0, place.querySelector(".reach")?.scrollLeft ?? 0];
  const button = (name, words, key, extra = {}) =>
    el(
      "button",
      { class: `answer ${name}`, ...extra, on: { click: () => act(name) } },
      el("span", {}, words),
      cap(key),
    );
  const way = (name, words, key, go = () => act(name)) =>
    el("button", { class: "way", data: { way: name }, on: { click: go } }, el("span", {}, words), key && cap(key));
  const right = sweeping
    ? button("right", "In or out", " ", { title: "Takes this image out of the wall, or back into it" })
    : button("right", "Right", " ", { disabled: blind, title: blind ? BLIND : "The label that is shown is right" });
  const answers = el(
    "div",
    { class: "answers" },
    right,
    button("reject", "Reject", "x", { title: "Not an image of any class" }),
    button("unsure", "Don't know", "?"),
    button("undo", "Undo", "u"),
  );
  const ways = el(
    "div",
    { class: "ways" },
    way("find", "Find", "/"),
    !sweeping && way("sweep", "Sweep", "s"),
    way("new", "New class", "n"),
  );
  const rows = classes.map(({ id, name }) => {
    const key = keys.of(id);
    return el(
      "button",
      { class: "class", title: name, data: { class: id }, on: { click: () => label(id) } },
      el("span", {}, name),
      key && cap(key),
    );
  });
  const list = el("div", { class: "classes", role: "group", aria: { label: "Classes" } }, ...rows);
  const heading = el(
    "div",
    { class: "heading" },
    el("h2", {}, `${classes.length} classes`),
    way("assign", "Assign keys", "", assign),
  );
  place.replaceChildren(answers, el("div", { class: "reach" }, ways, heading, list));
  list.scrollTop = top;
  place.querySelector(".reach").scrollLeft = left;
}
