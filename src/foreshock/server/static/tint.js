/* How a reading is shown on a token: colour for its sign and size, and an underline that says the same without colour. */

import { figure, make } from "/static/dom.js";

export const LEVELS = 4;

/** −4 … 4: 0 where the reading is less than a fifth of the scale. Warm and solid above 0, cool and dotted below. */
export function level(value, scale) {
  const share = value / scale;
  return Math.sign(share) * Math.min(LEVELS, Math.floor(Math.abs(share) * (LEVELS + 1))) || 0;
}

/** The size of reading that gets the strongest tint: the 95th percentile of what is shown. */
export function scaleOf(values) {
  const sizes = Float64Array.from(values, (value) => Math.abs(value ?? 0)).sort();
  return Math.max(1e-9, sizes[Math.floor(0.95 * (sizes.length - 1))] ?? 1);
}

/** Tint an element; null takes the tint away. */
export function tint(element, value, scale) {
  const found = value === null || value === undefined ? 0 : level(value, scale);
  if (found) element.dataset.tint = found;
  else delete element.dataset.tint;
}

/** What the tints mean. */
export function legend(emotion, scale) {
  const swatches = [-4, -2, 0, 2, 4].map((own) => {
    const swatch = make("span", { class: "swatch" }, figure((own / LEVELS) * scale, scale < 1 ? 3 : 1));
    if (own) swatch.dataset.tint = own;
    return swatch;
  });
  return make("p", { class: "legend soft" }, "Tint: the ", make("em", {}, emotion), " reading ", ...swatches,
    " solid underline above 0, dotted below");
}

/** An alarm's numbers in words. */
export function reason(alarm) {
  const score = alarm.score === null || alarm.score === undefined ? "" : `${figure(alarm.score)} > ${figure(alarm.threshold)}, `;
  return `${alarm.rule}: ${score}p ${alarm.p < 0.001 ? "< 0.001" : `= ${figure(alarm.p, 3)}`}`;
}

/** The mark of an alarm within a text: a sign, a border and words, so that colour is not needed. */
export function alarmMark(alarm) {
  return make("span", { class: "alarm", role: "note" }, make("span", { "aria-hidden": "true" }, "⚠ "),
    make("span", { class: "hidden" }, "Alarm: "), reason(alarm));
}
