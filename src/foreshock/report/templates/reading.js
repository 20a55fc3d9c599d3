"use strict";
const LINES = 5; // emotions in a time line: the picked one, and the highest others
const COLOURS = ["#4c78a8", "#f58518", "#e45756", "#54a24b", "#b279a2", "#72b7b2", "#eeca3b", "#ff9da6", "#9d755d", "#7f7f7f", "#3aa0d0", "#8f9a2b"];
const smoothing = document.getElementById("smooth"), layers = document.getElementById("layer");
const scheme = matchMedia("(prefers-color-scheme: dark)");

/* The same as Readings.smoothed: a centred moving average over the tokens of a turn that are counted. */
function smoothed(values, turns, window) {
  if (window === 1) return values;
  const found = values.slice(), before = Math.floor(window / 2), after = window - before - 1;
  for (let start = 0, end; start < values.length; start = end) {
    for (end = start; end < values.length && turns[end] === turns[start]; end++);
    const own = [];
    for (let k = start; k < end; k++) if (values[k] !== null) own.push(k);
    const sums = [0];
    for (const k of own) sums.push(sums.at(-1) + values[k]);
    own.forEach((k, place) => {
      const low = Math.max(0, place - before), high = Math.min(own.length, place + after + 1);
      found[k] = (sums[high] - sums[low]) / (high - low);
    });
  }
  return found;
}

class Conversation {
  constructor(section, own) {
    this.own = own;
    this.messages = section.querySelector(".messages");
    this.tokens = [...section.querySelectorAll(".story span")];
    this.tokens.forEach((token, k) => { token.place = k; });
    this.select = section.querySelector(".emotion");
    this.chart = section.querySelector(".timeline");
    this.figure = section.querySelector(".figure");
    this.alarms = new Map(own.alarms.map((alarm) => [alarm.at, alarm.said]));
    for (const at of this.alarms.keys()) this.tokens[at].classList.add("alarm");
    this.messages.addEventListener("pointerover", (event) => this.mark(event.target.place));
    this.messages.addEventListener("click", (event) => this.mark(event.target.place));
    this.select.addEventListener("change", () => { this.tint(); this.draw(); });
    for (const link of section.querySelectorAll(".go")) {
      const go = () => this.mark(Number(link.dataset.at), true);
      link.addEventListener("click", go);
      link.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    }
  }

  show() {
    this.layer = this.own.layers[layers ? layers.value : 0];
    const picked = this.select.value;
    this.select.replaceChildren(...this.layer.emotions.map((word) => new Option(word)));
    if (this.layer.emotions.includes(picked)) this.select.value = picked;
    this.values = this.layer.values.map((row) => smoothed(row, this.own.turn, Number(smoothing.value)));
    this.tint();
    if (this.seen) this.draw();
  }

  tint() {
    const row = this.values[this.select.selectedIndex];
    this.tokens.forEach((token, k) => {
      const value = row[k], strength = value === null ? 0 : Math.min(1, Math.abs(value) / 6);
      token.style.background = strength ? `rgba(var(${value < 0 ? "--cool" : "--warm"}), ${(0.55 * strength).toFixed(3)})` : "";
    });
    this.mark(this.at);
  }

  /* Mark a token in the text and in the time line, and say its readings. */
  mark(k, scroll = false) {
    if (k === undefined || !(k in this.tokens)) return;
    if (this.at !== undefined) this.tokens[this.at].classList.remove("at");
    this.at = k;
    const token = this.tokens[k], picked = this.select.selectedIndex;
    token.classList.add("at");
    if (scroll) {
      const box = this.messages.getBoundingClientRect(), at = token.getBoundingClientRect();
      this.messages.scrollTop += at.top - box.top - box.height / 2;
    }
    const figures = this.values[picked][k] === null ? "not counted" :
      this.lines().map((one) => `${this.layer.emotions[one]} ${this.values[one][k].toFixed(2)}`).join(" · ");
    const alarm = this.alarms.has(k) ? ` · alarm: ${this.alarms.get(k)}` : "";
    this.figure.textContent = `token ${k + 1}, message ${this.own.turn[k] + 1}, “${token.textContent.trim()}”: ${figures}${alarm}`;
    token.title = figures + alarm;
    if (this.view) this.view.signal("at", k + 1).runAsync();
  }

  /* Numbers of the emotions in the time line, the picked one first. */
  lines() {
    return [...new Set([this.select.selectedIndex, ...this.values.keys()])].slice(0, LINES);
  }

  async draw() {
    this.seen = true;
    const rows = this.lines();
    const points = rows.flatMap((row) => this.values[row].map((reading, k) => ({ token: k + 1, reading, emotion: this.layer.emotions[row], turn: this.own.turn[k] })));
    const turns = this.own.turn.flatMap((turn, k) => (turn !== this.own.turn[k - 1] ? [{ token: k + 1, message: turn + 1 }] : []));
    let labelled = -Infinity; // numbers of messages that would stand on one another are left out
    for (const turn of turns) {
      turn.label = turn.token - labelled > (22 * this.own.turn.length) / this.chart.clientWidth ? String(turn.message) : "";
      if (turn.label) labelled = turn.token;
    }
    const picture = spec(points, turns, this.own, this.layer.emotions, rows);
    const drawn = await vegaEmbed(this.chart, picture, { actions: false, renderer: "canvas" });
    if (this.view) this.view.finalize();
    this.view = drawn.view;
    const under = (event) => {
      const box = this.chart.querySelector("canvas").getBoundingClientRect();
      const x = event.clientX - box.left - this.view.origin()[0];
      return Math.min(this.tokens.length, Math.max(1, Math.round(this.view.scale("x").invert(x)))) - 1;
    };
    for (const kind of ["pointermove", "click"]) this.view.addEventListener(kind, (event) => this.mark(under(event), true));
    this.mark(this.at);
  }
}

function spec(points, turns, own, emotions, rows) {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, not] = ["--ink", "--soft", "--line", "--not"].map((name) => style.getPropertyValue(name).trim());
  const last = own.turn.length, picked = emotions[rows[0]];
  const x = { field: "token", type: "quantitative", title: "token", scale: { domain: [1, Math.max(2, last)], nice: false }, axis: { grid: false, format: "d", tickMinStep: 1 } };
  const y = { field: "reading", type: "quantitative", title: "reading" };
  const color = { field: "emotion", type: "nominal", title: null, scale: { domain: emotions, range: COLOURS },
    legend: { orient: "top", columns: 3, values: rows.map((row) => emotions[row]) } };
  const is = { field: "emotion", equal: picked };
  const lines = (filter, mark) => ({ transform: [{ filter }], mark: { type: "line", ...mark }, encoding: { x, y, color, detail: { field: "turn" } } });
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    width: "container", height: 150, background: "transparent", autosize: { type: "fit-x", contains: "padding" },
    data: { values: points },
    params: [{ name: "at", value: null }],
    layer: [
      { data: { values: turns }, mark: { type: "rule", color: soft, strokeDash: [3, 3], opacity: turns.length > 30 ? 0.25 : 0.6 }, encoding: { x } },
      { data: { values: turns }, mark: { type: "text", color: soft, align: "left", baseline: "bottom", dx: 2, fontSize: 10 }, encoding: { x, y: { value: -2 }, text: { field: "label" } } },
      lines({ not: is }, { strokeWidth: 1, opacity: last > 2000 ? 0.3 : 0.6 }),
      lines(is, { strokeWidth: last > 2000 ? 1.5 : 2.5 }),
      { data: { values: own.alarms.map((alarm) => ({ token: alarm.at + 1 })) }, mark: { type: "rule", color: not, strokeWidth: 2 }, encoding: { x } },
      { data: { values: [{}] }, transform: [{ calculate: "at", as: "token" }, { filter: "isValid(datum.token)" }], mark: { type: "rule", color: ink }, encoding: { x } },
    ],
    config: { font: "system-ui, Liberation Sans, sans-serif", view: { stroke: null },
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line },
      legend: { labelColor: ink, symbolOpacity: 1, symbolStrokeWidth: 2 } },
  };
}

const sections = [...document.querySelectorAll(".conversation")];
const conversations = sections.map((section, k) => new Conversation(section, data[k]));
const redraw = () => conversations.forEach((one) => one.show());
redraw();
smoothing.addEventListener("change", redraw);
if (layers) layers.addEventListener("change", redraw);
scheme.addEventListener("change", redraw);
// A time line is drawn once it comes near the window, so that a long page opens at once.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    near.unobserve(entry.target);
    conversations[sections.indexOf(entry.target)].draw();
  }
}, { rootMargin: "400px" });
sections.forEach((section) => near.observe(section));
