// The page's head: queues with their counts, progress, who reviews, light or dark.

import { byId, count, el, memory } from "./dom.js";

export function drawQueues(queues, current, open) {
  const tabs = queues.map(({ name, title, left, hint }) =>
    el(
      "button",
      {
        class: "tab",
        role: "tab",
        title: hint,
        data: { queue: name },
        aria: { selected: String(name === current), controls: "stage" },
        on: { click: () => open(name) },
      },
      title,
      " ",
      el("span", { class: "count" }, count(left)),
    ),
  );
  const place = byId("queues");
  const focused = document.activeElement?.dataset?.queue;
  place.replaceChildren(...tabs);
  const selected = tabs.find((tab) => tab.getAttribute("aria-selected") === "true");
  tabs.find((tab) => tab.dataset.queue === focused)?.focus();
  if (selected) place.scrollLeft = selected.offsetLeft - place.clientWidth / 2 + selected.clientWidth / 2;
}

export function drawProgress({ done, left }, { looks_today: looks, minutes_left: minutes }) {
  const whole = Math.max(1, done + left);
  const bar = el(
    "div",
    { class: "bar", role: "progressbar", aria: { label: "This queue", valuemin: 0, valuemax: whole, valuenow: done } },
    el("span"),
  );
  bar.firstChild.style.width = `${(100 * done) / whole}%`;
  const words = [`${count(done)} of ${count(done + left)}`, `${count(looks, "look")} today`];
  if (left && minutes !== null && minutes !== undefined)
    words.push(minutes < 1 ? "less than a minute left" : `about ${count(Math.round(minutes), "minute")} left`);
  byId("progress").replaceChildren(bar, el("span", { class: "pale" }, words.join(" · ")));
}

const THEMES = { system: ["◐", "as the system"], dark: ["☾", "dark"], light: ["☀", "light"] };

/** The switch: as the system, dark, light. */
export function themeSwitch() {
  const button = byId("theme");
  const draw = () => {
    const now = document.documentElement.dataset.theme ?? "system";
    const [sign, words] = THEMES[now];
    Object.assign(button, { textContent: sign, title: `Colors: ${words}` });
    button.setAttribute("aria-label", `Colors: ${words}`);
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % names.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    memory.set("theme", next);
    draw();
  });
  draw();
}

const PATIENCE = 700; // milliseconds in which an answer that is under way needs no words

/** Shows how many answers are unsent, and why. */
export function unsentBadge(outbox, tell) {
  const button = byId("unsent");
  let connection = { state: "ok" };
  let timer = null;
  const draw = () => {
    timer = null;
    button.hidden = outbox.unsent === 0;
    button.dataset.state = connection.state;
    button.textContent = `${count(outbox.unsent)} unsent`;
    button.title = `${connection.message ?? ""} Kept in this browser. Click to try again now.`.trim();
  };
  const soon = () => {
    if (connection.state !== "ok" || outbox.unsent === 0 || !button.hidden) draw();
    else timer ??= setTimeout(draw, PATIENCE);
  };
  button.addEventListener("click", () => outbox.retry());
  outbox.addEventListener("changed", soon);
  outbox.addEventListener("connection", ({ detail }) => {
    const before = connection.state;
    connection = detail;
    draw();
    if (before === detail.state) return;
    if (detail.state === "gone")
      tell("The server does not answer. Your answers are kept in this browser and sent as soon as it is back.", {
        tone: "warn",
        id: "connection",
      });
    if (detail.state === "refused")
      tell(
        `The server refuses this page: ${detail.message} Open the address that it printed last; unsent answers go along.`,
        { tone: "bad", id: "connection" },
      );
    if (detail.state === "ok") tell("The server is back. What was unsent is being sent.", { id: "connection" });
  });
  draw();
}
