// Messages: short ones are spoken and fade, those that ask for something stay until they are answered.

import { byId, el } from "./dom.js";

const SHORT = 5000; // milliseconds

/** Tells screen readers alone; what is seen has changed already. */
export function speak(words) {
  byId("spoken").textContent = words;
}

/** Gathers what comes at once, and gives it on together. */
export function gathered(take) {
  let waiting = [];
  return (one) => {
    if (waiting.push(one) > 1) return;
    setTimeout(() => {
      const all = waiting;
      waiting = [];
      take(all);
    });
  };
}

/** A message at the edge of the page. `actions` are `[words, what to do]`; `stays` until it is closed.
 *  A message with the `id` of an open one takes its place. */
export function tell(words, { tone = "plain", actions = [], stays = tone !== "plain", id = null } = {}) {
  const box = el("div", { class: "message", role: tone === "plain" ? "status" : "alert", data: { tone } });
  const close = () => box.remove();
  const link = (label, act) => el("button", { class: "link", on: { click: act } }, label);
  box.append(
    el("p", {}, words),
    el("button", { class: "quiet icon", aria: { label: "Close this message" }, on: { click: close } }, "×"),
    ...actions.map(([label, act]) => link(label, () => (close(), act()))),
  );
  if (id) {
    box.dataset.id = id;
    for (const old of byId("messages").children) if (old.dataset.id === id) old.remove();
  }
  byId("messages").append(box);
  if (!stays) setTimeout(close, SHORT);
  while (byId("messages").children.length > 4) byId("messages").firstElementChild.remove();
  return close;
}
