/* The time line of a reply: its top readings over its tokens. */

export const LINES = 5;
const DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4]];

/** Emotions of the time line: the picked one, then those with the largest mean size of reading. */
export function top(tokens, picked) {
  const sums = new Map();
  for (const token of tokens) for (const [word, value] of Object.entries(token.readings)) sums.set(word, (sums.get(word) ?? 0) + value);
  const others = [...sums.keys()].filter((word) => word !== picked).sort((a, b) => Math.abs(sums.get(b)) - Math.abs(sums.get(a)));
  return [picked, ...others].filter((word) => sums.has(word)).slice(0, LINES);
}

/** A rule whose threshold is a height of one emotion's reading; those of other detectors and weights have no such line. */
export function isLevel(rule) {
  return rule.emotions.length === 1 && Number.isFinite(rule.reading);
}

/** The Vega-Lite picture. `at`: numbers of tokens with alarms. */
export function timeline(tokens, words, alarms, rules) {
  const points = words.flatMap((emotion) => tokens.map((token, k) => ({ token: k + 1, reading: token.readings[emotion], emotion })));
  const x = { field: "token", type: "quantitative", title: "token of the reply", scale: { domain: [1, Math.max(2, tokens.length)], nice: false }, axis: { grid: false, format: "d", tickMinStep: 1 } };
  const y = { field: "reading", type: "quantitative", title: "reading" };
  const lines = rules.filter((rule) => isLevel(rule) && words.includes(rule.emotions[0]));
  const legend = { title: null, orient: "top", columns: 3, symbolType: "stroke", symbolSize: 300 };
  const layer = [
    { mark: { type: "line", strokeWidth: 1.8 }, encoding: { x, y,
      color: { field: "emotion", type: "nominal", scale: { domain: words }, legend },
      strokeDash: { field: "emotion", type: "nominal", scale: { domain: words, range: DASHES }, legend } } },
  ];
  if (lines.length) layer.push({ data: { values: lines.map((rule) => ({ reading: rule.reading, rule: `alarm above: ${rule.name}` })) },
    layer: [{ mark: { type: "rule", strokeDash: [4, 4] }, encoding: { y } },
      { mark: { type: "text", align: "left", baseline: "bottom", dx: 4 }, encoding: { y, x: { value: 0 }, text: { field: "rule" } } }] });
  if (alarms.length) layer.push({ data: { values: alarms.map((token) => ({ token, sign: "⚠" })) },
    layer: [{ mark: { type: "rule", strokeWidth: 1.5 }, encoding: { x } },
      { mark: { type: "text", baseline: "bottom", dy: -2, fontSize: 13 }, encoding: { x, y: { value: 0 }, text: { field: "sign" } } }] });
  return { width: "container", height: 170, data: { values: points }, layer };
}

/** The rules and their thresholds in a sentence. */
export function thresholds(rules) {
  if (!rules.length) return "No rules are watched.";
  const named = rules.slice(0, 3).map((rule) => `${rule.name} above ${rule.threshold.toFixed(2)}`);
  const more = rules.length > 3 ? `, and ${rules.length - 3} more` : "";
  const drawn = rules.some(isLevel) ? " Where a rule is about the level of one emotion, its line is drawn as a reading." : "";
  return `Thresholds: ${named.join("; ")}${more}. They are of each rule's running score, in spreads over benign tokens.${drawn}`;
}
