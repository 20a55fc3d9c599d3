/* Page Model: the map of emotions, and what the study found on this model. */

import { get } from "/static/api.js";
import { draw } from "/static/charts.js";
import { figure, labelled, make } from "/static/dom.js";

const STAR = "M0,-1 L0.29,-0.4 L0.95,-0.31 L0.48,0.15 L0.59,0.81 L0,0.5 L-0.59,0.81 L-0.48,0.15 L-0.95,-0.31 L-0.29,-0.4 Z";
const CROSS = "M-0.9,-0.6 L-0.6,-0.9 L0,-0.3 L0.6,-0.9 L0.9,-0.6 L0.3,0 L0.9,0.6 L0.6,0.9 L0,0.3 L-0.6,0.9 L-0.9,0.6 L-0.3,0 Z";
const HEXAGON = "M0,-1 L0.87,-0.5 L0.87,0.5 L0,1 L-0.87,0.5 L-0.87,-0.5 Z";
const SHAPES = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", STAR, CROSS, "triangle-left", "triangle-right", HEXAGON];
const VERDICTS = { holds: ["✓", "holds"], "does not hold": ["✗", "not"], "cannot tell": ["?", "tell"] };
const AXES = {
  axes: { x: ["x", "principal axis 1"], y: ["y", "principal axis 2"] },
  ratings: { x: ["valence", "valence (human ratings)"], y: ["arousal", "arousal (one judge, 1 to 7)"] },
};

export async function show(root) {
  root.append(make("h1", {}, "Model"), make("p", { class: "soft" }, "Asking the server …"));
  const [status, model] = await Promise.all([get("/api/status"), get("/api/model")]);
  const map = new EmotionMap(model.map, status.layer);
  root.replaceChildren(make("h1", {}, "Model"), card(status, model), map.element, claims(model));
  const redraw = () => map.draw();
  document.addEventListener("themechange", redraw);
  await map.draw();
  return () => {
    document.removeEventListener("themechange", redraw);
    map.view?.finalize();
  };
}

function card(status, model) {
  const facts = [
    ["Model", model.name ?? status.model],
    ["Layer read", `${status.layer}${status.layers.length > 1 ? ` of the layers ${status.layers.join(", ")}` : ""}`],
    ["Emotions", `${status.emotions.length}`],
    ["False alarms", status.alpha ? `at most ${Math.round(1000 * status.alpha) / 10} % of benign conversations should raise one` : "no rules, so no bound"],
    ["Usable strength", status.usable_strength ? `${figure(status.usable_strength, 3)} mean residual norms at layer ${status.steering_layer}` : "not measured"],
    ["Foreshock", status.version],
  ];
  const rules = status.rules.map((rule) => make("tr", {}, make("th", { scope: "row" }, rule.name), make("td", { "data-name": "Emotions" }, several(rule.emotions)),
    make("td", { "data-name": "Detector" }, rule.detector), make("td", { class: "n", "data-name": "Threshold" }, figure(rule.threshold))));
  return make("section", { class: "panel card", "aria-labelledby": "card" }, make("h2", { id: "card" }, "Card"),
    make("dl", { class: "facts" }, facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    status.rules.length ? table("Rules", ["Rule", "Emotions", "Detector", "Threshold"], rules, "stack") : make("p", { class: "soft" }, "No rules are watched; make some with foreshock calibrate."));
}

/* A learned rule weighs all emotions; naming them all would hide the others. */
function several(words) {
  return words.length > 6 ? `${words.slice(0, 4).join(", ")} and ${words.length - 4} more` : words.join(", ");
}

function claims({ claims: found, note }) {
  if (!found?.length) return make("section", {}, make("h2", {}, "Claims"), make("p", { class: "soft" }, note ?? "No study lies beside these vectors; foreshock study makes one."));
  const count = (verdict) => found.filter((one) => one.verdict === verdict).length;
  const rows = found.map((one) => make("tr", {}, make("th", { scope: "row" }, emphasised(one.claim)), make("td", {}, verdict(one.verdict)),
    make("td", { class: "n", "data-name": "Value" }, figure(one.value)),
    make("td", { class: "n", "data-name": "95 % interval" }, one.interval ? `${figure(one.interval[0])} to ${figure(one.interval[1])}` : "–"),
    make("td", { "data-name": "Published" }, one.published ?? "–")));
  return make("section", { "aria-labelledby": "claims" }, make("h2", { id: "claims" }, "Claims"),
    make("p", {}, `Of ${found.length} claims tested on this model, ${count("holds")} hold, ${count("does not hold")} do not, and ${count("cannot tell")} cannot be told either way.`),
    table("Claims and verdicts", ["Claim", "Verdict", "Value", "95 % interval", "Published"], rows, "stack"));
}

/* Claims name readings as *calm*. */
function emphasised(words) {
  return words.split(/\*([^*]+)\*/).map((part, k) => (k % 2 ? make("em", {}, part) : part));
}

function verdict(words) {
  const [mark, kind] = VERDICTS[words] ?? ["", "tell"];
  return make("span", { class: `verdict ${kind}` }, make("span", { "aria-hidden": "true" }, `${mark} `), words);
}

/* A wide table scrolls inside its own box, which the keyboard reaches. */
function table(name, heads, rows, more = "") {
  return make("div", { class: `wide ${more}`, role: "region", "aria-label": name, tabindex: 0 },
    make("table", {}, make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, rows)));
}

class EmotionMap {
  constructor(points, layer) {
    this.points = points ?? [];
    this.axes = make("select", { onchange: () => this.draw() }, new Option("principal axes of the vectors", "axes"), new Option("valence and arousal", "ratings"));
    this.search = make("input", { type: "search", placeholder: "e.g. hopeful", oninput: () => this.filter() });
    this.chart = make("div", { class: "chart" });
    this.note = make("p", { class: "soft small", "aria-live": "polite" });
    this.rows = this.points.map((point) => this.row(point));
    this.element = make("section", { "aria-labelledby": "map" }, make("h2", { id: "map" }, "Map of emotions"),
      make("p", {}, `Each point is an emotion's vector at layer ${layer}. Colour and shape say its published cluster; pick an emotion in the table to find it.`),
      make("div", { class: "row" }, labelled("Axes", this.axes), labelled("Find an emotion", this.search)),
      make("div", { class: "beside" }, make("figure", {}, this.chart, this.note),
        table("Emotions", ["Emotion", "Cluster", "Valence", "Arousal", "Axis 1", "Axis 2"], this.rows, "tall")));
  }

  row(point) {
    const pick = () => { this.picked = this.picked === point.emotion ? null : point.emotion; this.draw(); };
    const button = make("button", { type: "button", class: "plain", "aria-pressed": "false", onclick: pick }, point.emotion);
    return Object.assign(make("tr", {}, make("th", { scope: "row" }, button), make("td", {}, point.cluster ?? "–"),
      [point.valence, point.arousal, point.x, point.y].map((value) => make("td", { class: "n" }, figure(value)))), { button, emotion: point.emotion });
  }

  filter() {
    const words = this.search.value.trim().toLowerCase();
    for (const row of this.rows) row.hidden = !row.textContent.toLowerCase().includes(words);
  }

  async draw() {
    for (const { button, emotion } of this.rows) button.setAttribute("aria-pressed", String(emotion === this.picked));
    const { x: [x, xTitle], y: [y, yTitle] } = AXES[this.axes.value];
    const points = this.points.filter((point) => Number.isFinite(point[x]) && Number.isFinite(point[y]));
    const left = this.points.length - points.length;
    this.note.textContent = left ? `${left} of ${this.points.length} emotions have no rating and are left out.` : "";
    const view = await draw(this.chart, this.spec(points, x, xTitle, y, yTitle));
    this.view?.finalize();
    this.view = view;
  }

  spec(points, x, xTitle, y, yTitle) {
    const clusters = [...new Set(this.points.map((point) => point.cluster ?? "none"))].sort();
    const narrow = this.chart.clientWidth < 480;
    const legend = { title: "cluster", orient: "bottom", columns: narrow ? 1 : 2, labelLimit: 260 };
    const place = { x: { field: x, type: "quantitative", title: xTitle, scale: { zero: false } }, y: { field: y, type: "quantitative", title: yTitle, scale: { zero: false } } };
    const layer = [{ mark: { type: "point", filled: true, size: 70, opacity: 0.85 }, encoding: { ...place,
      color: { field: "cluster", type: "nominal", scale: { domain: clusters }, legend },
      shape: { field: "cluster", type: "nominal", scale: { domain: clusters, range: clusters.map((_, k) => SHAPES[k % SHAPES.length]) }, legend },
      tooltip: [{ field: "emotion" }, { field: "cluster" }, { field: x, title: xTitle, format: ".2f" }, { field: y, title: yTitle, format: ".2f" }] } }];
    const picked = points.filter((point) => point.emotion === this.picked);
    if (picked.length) layer.push({ data: { values: picked }, layer: [
      { mark: { type: "point", size: 320, strokeWidth: 2.5 }, encoding: place },
      { mark: { type: "text", dy: -18, fontSize: 14, fontWeight: "bold" }, encoding: { ...place, text: { field: "emotion" } } }] });
    return { width: "container", height: narrow ? 320 : 460, data: { values: points.map((point) => ({ ...point, cluster: point.cluster ?? "none" })) }, layer };
  }
}
