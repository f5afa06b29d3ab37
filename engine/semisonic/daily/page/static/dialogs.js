// The questions that the page asks: who reviews, what a new class is called, which key a class has; and the help.

import { cap, el } from "./dom.js";
import { COMMANDS } from "./keys.js";

/** Opens a dialog; resolves to what `close(value)` was called with, or to null when it was left. */
function ask(title, fill, { wide = false } = {}) {
  return new Promise((answer) => {
    let value = null;
    const dialog = el("dialog", { class: wide ? "wide" : "", tabIndex: -1, aria: { label: title } });
    const close = (given) => {
      value = given;
      dialog.close();
    };
    dialog.append(
      el(
        "header",
        {},
        el("h2", {}, title),
        el("button", { class: "quiet icon", aria: { label: "Close" }, on: { click: () => dialog.close() } }, "×"),
      ),
      ...fill(close),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(value);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
    const first = dialog.querySelector("[autofocus]") ?? dialog;
    first.focus();
    first.select?.(); // what is typed replaces what is proposed
  });
}

/** A dialog of one line of text. `check` tells what is wrong with it, or "". */
function askText(title, words, { label, value = "", action, check, limit }) {
  return ask(title, (close) => {
    const input = el("input", {
      type: "text",
      value,
      maxLength: limit,
      autofocus: true,
      autocomplete: "off",
      spellcheck: false,
      aria: { label },
    });
    const wrong = el("p", { class: "bad", role: "alert" });
    const take = async () => {
      const typed = input.value.trim();
      wrong.textContent = await check(typed);
      if (!wrong.textContent) close(typed);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        take();
      }
    });
    return [
      el("p", { class: "pale" }, words),
      input,
      wrong,
      el("div", { class: "actions" }, el("button", { class: "primary", on: { click: take } }, action)),
    ];
  });
}

export const askReviewer = (value) =>
  askText(
    "Who is reviewing?",
    "Your name stands beside every label that you give. It is asked once, and kept in this browser.",
    {
      label: "Your name",
      value,
      action: "Begin",
      limit: 100,
      check: (name) => (name ? "" : "A name of at least one letter is needed."),
    },
  );

/** `make` asks the server and tells what is wrong, or "". */
export const askClass = (value, make) =>
  askText("New class", "The project has it from now on. Older runs keep the classes that they were trained with.", {
    label: "Name of the class",
    value,
    action: "Add the class",
    limit: 200,
    check: async (name) => (name ? make(name) : "A class needs a name."),
  });

export function showHelp(keys, nameOf) {
  const part = (title, lines) =>
    el(
      "section",
      {},
      el("h3", {}, title),
      el("ul", { class: "keys" }, ...lines.map(([key, words]) => el("li", {}, cap(key), el("span", {}, words)))),
    );
  const commands = (answers) =>
    COMMANDS.filter((one) => Boolean(one.answers) === answers).map(({ key, words }) => [key, words]);
  return ask(
    "Keys",
    () => [
      el(
        "div",
        { class: "columns" },
        part("Answers", commands(true)),
        part("Ways", commands(false)),
        part(
          "Classes",
          [...keys.all].map(([key, id]) => [key, nameOf(id)]),
        ),
      ),
      el(
        "p",
        { class: "pale small" },
        "A queue that hides the guess has nothing to confirm: space and Enter do nothing there. " +
          "A double click opens a single image; on a phone, swipe to the next.",
      ),
    ],
    { wide: true },
  );
}

/** Assigns keys to classes: a press of a key in a class' field gives it that key. */
export function assignKeys(keys, classes) {
  return ask(
    "Keys of classes",
    () => {
      const wrong = el("p", { class: "bad", role: "alert" });
      const fields = classes.map(({ id, name }) => {
        const field = el("input", {
          type: "text",
          class: "key",
          value: keys.of(id) ?? "",
          readOnly: true,
          aria: { label: `Key of ${name}` },
        });
        field.addEventListener("keydown", (event) => {
          if (
            ["Tab", "Escape", "Enter"].includes(event.key) ||
            (event.key.length > 1 && !["Backspace", "Delete"].includes(event.key))
          )
            return;
          event.preventDefault();
          wrong.textContent = keys.assign(id, event.key.length > 1 ? "" : event.key.toLowerCase());
          fields.forEach((other, at) => {
            other.value = keys.of(classes[at].id) ?? "";
          });
        });
        return field;
      });
      const again = () => {
        keys.reset();
        fields.forEach((field, at) => {
          field.value = keys.of(classes[at].id) ?? "";
        });
      };
      return [
        el(
          "p",
          { class: "pale" },
          "Go to a field and press the key. Backspace takes it away. Keys are kept in this browser.",
        ),
        wrong,
        el(
          "ul",
          { class: "assign" },
          ...classes.map(({ name }, at) => el("li", {}, el("label", {}, fields[at], el("span", {}, name)))),
        ),
        el(
          "div",
          { class: "actions" },
          el("button", { class: "quiet", on: { click: again } }, "The project's keys again"),
        ),
      ];
    },
    { wide: true },
  );
}
