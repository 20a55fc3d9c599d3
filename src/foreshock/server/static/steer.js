/* Sliders for the emotions that a reply is steered with. */

import { figure, make } from "/static/dom.js";

const STEPS = 40; // from 0 to the end of a slider
const WITHOUT_STUDY = 0.2; // the end of a slider where no study says which strengths are usable

/** The part of the page in which emotions are picked. `doses()` gives {emotion: strength}, without those at 0. */
export function steerPanel(status, changed) {
  const most = status.usable_strength ? 2 * status.usable_strength : WITHOUT_STUDY;
  const rows = make("div", { class: "doses" });
  const pick = make("input", { list: "emotions", id: "pick", autocomplete: "off", placeholder: "e.g. calm", spellcheck: "false" });
  const fault = make("p", { class: "fault", role: "alert" });
  const chosen = new Map();

  function add(event) {
    event.preventDefault();
    const word = pick.value.trim().toLowerCase();
    fault.textContent = status.emotions.includes(word) ? "" : word ? `The vectors have no “${word}”; pick one from the list.` : "Pick an emotion from the list.";
    if (fault.textContent) return;
    if (!chosen.has(word)) chosen.set(word, slider(word));
    pick.value = "";
    chosen.get(word).field.focus();
  }

  function slider(word) {
    const field = make("input", { type: "range", min: -most, max: most, step: most / STEPS, value: 0, "aria-label": `Steering towards ${word}` });
    const said = make("output", {});
    const row = make("div", { class: "dose", "data-emotion": word }, make("strong", {}, word), said, field,
      make("button", { type: "button", class: "plain", "aria-label": `Take ${word} away`, onclick: () => { row.remove(); chosen.delete(word); pick.focus(); changed(); } }, "✕"));
    const tell = () => {
      said.textContent = inWords(Number(field.value), most, Boolean(status.usable_strength));
      field.setAttribute("aria-valuetext", said.textContent);
      changed();
    };
    field.addEventListener("input", tell);
    rows.append(row);
    tell();
    return { field, tell };
  }

  const reset = () => {
    for (const { field, tell } of chosen.values()) {
      field.value = 0;
      tell();
    }
  };
  const range = status.usable_strength
    ? `This model bears strengths up to ${figure(status.usable_strength, 3)} by its study; the sliders go to twice that.`
    : `No study says which strengths this model bears; the sliders go to ${figure(most)}.`;
  const element = make("div", {},
    make("form", { class: "row", onsubmit: add }, make("label", { class: "grow field" }, make("span", {}, "Emotion"), pick), make("button", {}, "Add")),
    make("datalist", { id: "emotions" }, status.emotions.map((word) => make("option", { value: word }))),
    fault, rows, make("button", { type: "button", onclick: reset }, "Reset to 0"),
    make("p", { class: "soft small" }, `Strengths are in mean residual norms at layer ${status.steering_layer ?? status.layer}. ${range}`));
  const doses = () => Object.fromEntries([...chosen].map(([word, { field }]) => [word, rounded(Number(field.value))]).filter(([, value]) => value));
  return { element, doses };
}

const rounded = (value) => Math.round(value * 1e5) / 1e5;

/** A strength in words and as a number. */
export function inWords(value, most, studied) {
  const share = Math.abs(value) / most;
  if (share < 1e-6) return "not steered, 0";
  const size = share <= 0.2 ? "slightly" : share <= 0.5 ? "clearly" : studied ? "beyond usable," : "strongly";
  return `${size} ${value > 0 ? "more" : "less"}, ${value > 0 ? "+" : ""}${figure(value, 3)}`;
}

/** Doses as a heading of a reply. */
export function dosesInWords(doses) {
  const parts = Object.entries(doses).map(([word, value]) => `${word} ${value > 0 ? "+" : ""}${figure(value, 3)}`);
  return parts.length ? `steered: ${parts.join(", ")}` : "unsteered";
}
