// What of a queue is shown: by class, by pair of label and runner-up, by score, by a part of the file's name.

import { el, memory } from "./dom.js";

/** Draws the filters; `change(filters)` is called with what the server is to be asked. */
export function drawFilters(place, { classes, blind, free, filters, change, view, grouped, act }) {
  const set = (name, value) => change({ ...filters, [name]: value });
  const pick = (label, value, first, other, taken) => {
    const options = [
      el("option", { value: "" }, first),
      ...other.map(({ id, name }) => el("option", { value: id }, name)),
    ];
    const select = el("select", { aria: { label }, on: { change: () => taken(select.value) } }, ...options);
    select.value = value ?? "";
    return select;
  };
  const label = filters.pair?.split(",")[0] || filters.class || "";
  const second = filters.pair?.split(",")[1] || "";
  const pair = (first, then) =>
    change({ ...filters, class: first && !then ? first : "", pair: first && then ? `${first},${then}` : "" });
  const others = classes.filter(({ id }) => String(id) !== String(label));
  const number = (name, words, empty) => {
    const input = el("input", {
      type: "number",
      min: 0,
      max: 1,
      step: "any",
      placeholder: empty,
      value: filters[name] ?? "",
      aria: { label: words },
    });
    input.addEventListener("change", () => set(name, input.checkValidity() ? input.value : ""));
    return input;
  };
  const text = el("input", {
    type: "search",
    placeholder: "File name",
    value: filters.text ?? "",
    maxLength: 200,
    aria: { label: "Part of the file's name" },
  });
  text.addEventListener("change", () => set("text", text.value.trim()));
  const any = Object.values(filters).some((value) => value !== "");
  const guessed = blind
    ? []
    : [
        pick("Label", label, "Every label", classes, (value) => pair(value, "")),
        label !== "" && pick("Runner-up", second, "any runner-up", others, (value) => pair(label, value)),
        free && pick("Order", filters.sort, "Newest", ORDERS, (value) => set("sort", value)),
        el(
          "span",
          { class: "range" },
          el("span", { class: "pale" }, "Score"),
          number("low", "Lowest score", "0"),
          "–",
          number("high", "Highest score", "1"),
        ),
      ];
  const inner = el(
    "div",
    { class: "fields" },
    ...guessed.filter(Boolean),
    text,
    any && el("button", { class: "link", on: { click: () => change({}) } }, "Clear"),
  );
  const fold = el(
    "details",
    { class: "fold", open: any || memory.get("filters", innerWidth > 700) },
    el("summary", {}, any ? "Filters (on)" : "Filters"),
    inner,
  );
  fold.addEventListener("toggle", () => memory.set("filters", fold.open));
  place.replaceChildren(fold, views(view, grouped && !blind, blind, act));
}

const ORDERS = [
  { id: "oldest", name: "Oldest" },
  { id: "suspicious", name: "Most suspicious" },
  { id: "sure", name: "Surest" },
];

function views(view, grouped, blind, act) {
  const choice = (name, words) =>
    el(
      "button",
      {
        class: "quiet",
        aria: { pressed: String(view === name) },
        title: `${words} (g)`,
        on: { click: () => view !== name && act("view") },
      },
      words,
    );
  const size = (name, sign, words) =>
    el("button", { class: "quiet icon", title: words, aria: { label: words }, on: { click: () => act(name) } }, sign);
  return el(
    "div",
    { class: "views", role: "group", aria: { label: "View" } },
    choice("grid", "Grid"),
    choice("single", "Single"),
    !blind &&
      el(
        "button",
        {
          class: "quiet",
          aria: { pressed: String(grouped) },
          title: "Images of one label side by side (.)",
          on: { click: () => act("group") },
        },
        "By label",
      ),
    size("smaller", "−", "Smaller thumbnails (-)"),
    size("larger", "+", "Larger thumbnails (+)"),
  );
}
