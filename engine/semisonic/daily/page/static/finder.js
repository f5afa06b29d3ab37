// Find a class by typing: for projects with more classes than keys.

import { el } from "./dom.js";

const SHOWN = 40;

/** Classes whose names fit what was typed, best first: its beginning, a word's beginning, a part, its letters in order. */
export function ranked(classes, typed) {
  const wanted = fold(typed);
  const letters = [...wanted].filter((letter) => letter !== " ");
  const rank = (name) => {
    if (name === wanted) return 0;
    if (name.startsWith(wanted)) return 1;
    if (name.split(/[\s_\-./]+/).some((word) => word.startsWith(wanted))) return 2;
    if (name.includes(wanted)) return 3;
    let from = 0;
    return letters.every((letter) => (from = name.indexOf(letter, from) + 1) > 0) ? 4 : Infinity;
  };
  return classes
    .map((one) => ({ one, rank: rank(fold(one.name)) }))
    .filter(({ rank: found }) => found < Infinity)
    .sort((a, b) => a.rank - b.rank)
    .map(({ one }) => one); // the sort is stable: equal ones keep their order
}

/** Without case and accents. */
const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().trim();

/** Asks for a class; resolves to its id, to `{name}` for one that is to be made, or to null. `recent` come first. */
export function findClass({ classes, keys, recent, what }) {
  const list = el("ul", { class: "found", role: "listbox", id: "found", aria: { label: "Classes" } });
  const more = el("p", { class: "pale small" });
  const input = el("input", {
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: false,
    maxLength: 200,
    placeholder: "Type a part of its name",
    aria: { label: `Find the class for ${what}`, controls: "found", expanded: "true", autocomplete: "list" },
  });
  const dialog = el(
    "dialog",
    { class: "finder", aria: { label: "Find a class" } },
    el("p", { class: "pale small" }, `Enter labels ${what}. Esc leaves.`),
    input,
    list,
    more,
  );
  const order = [
    ...recent.map((id) => classes.find((one) => one.id === id)).filter(Boolean),
    ...classes.filter(({ id }) => !recent.includes(id)),
  ];
  let shown = [];
  let at = 0;
  return new Promise((answer) => {
    let chosen = null;
    const take = (place) => {
      chosen = shown[place] ?? null;
      dialog.close();
    };
    const mark = () =>
      [...list.children].forEach((row, place) => {
        row.setAttribute("aria-selected", String(place === at));
        if (place === at) {
          input.setAttribute("aria-activedescendant", row.id);
          row.scrollIntoView({ block: "nearest" });
        }
      });
    const draw = () => {
      const typed = input.value.trim();
      const fitting = ranked(order, typed);
      shown = fitting.slice(0, SHOWN).map(({ id }) => id);
      const rows = fitting.slice(0, SHOWN).map(({ id, name }) => row(name, keys.of(id)));
      if (typed && !classes.some(({ name }) => name === typed)) {
        shown.push({ name: typed });
        rows.push(row(`New class “${typed}”`, null, "new"));
      }
      rows.forEach((made, place) => {
        made.id = `found-${place}`;
        made.addEventListener("click", () => take(place));
      });
      list.replaceChildren(...rows);
      more.textContent = fitting.length > SHOWN ? `${fitting.length - SHOWN} more: type on` : "";
      at = 0;
      mark();
    };
    input.addEventListener("input", draw);
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) at = Math.max(0, Math.min(shown.length - 1, at + step));
      else if (event.key === "Enter") take(at);
      else return;
      event.preventDefault();
      mark();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(chosen);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    draw();
    dialog.showModal();
    input.focus();
  });
}

const row = (name, key, kind = "") =>
  el("li", { role: "option", class: kind }, el("span", {}, name), key ? el("kbd", {}, key) : null);
