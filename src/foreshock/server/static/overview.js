/* Page Overview: alarms, the most active emotions, drift, speed. Kept fresh while it is looked at. */

import { get } from "/static/api.js";
import { draw } from "/static/charts.js";
import { figure, make, notice } from "/static/dom.js";

const EVERY = 4000; // ms between two looks

export async function show(root) {
  const page = new Overview(root);
  await page.refresh();
  return page.begin();
}

class Overview {
  constructor(root) {
    this.facts = make("dl", { class: "facts" });
    this.drift = make("div", {});
    this.trouble = make("div", { class: "trouble" });
    this.charts = [
      new Picture("Alarms of the last 24 hours", hours), new Picture("Alarms by rule, last 24 hours", rules), new Picture("Most active emotions", emotions),
    ];
    root.append(make("h1", {}, "Overview"), this.trouble, make("section", { class: "panel", "aria-label": "Now" }, this.facts),
      make("div", { class: "pictures" }, this.charts.map(({ element }) => element),
        make("section", { class: "panel" }, make("h2", {}, "Drift against calibration"), this.drift)));
  }

  begin() {
    const redraw = () => this.charts.forEach((chart) => chart.redraw());
    const tick = async () => {
      if (!document.hidden) await this.refresh();
      if (!this.over) this.timer = setTimeout(tick, EVERY);
    };
    this.timer = setTimeout(tick, EVERY);
    document.addEventListener("themechange", redraw);
    return () => {
      this.over = true;
      clearTimeout(this.timer);
      document.removeEventListener("themechange", redraw);
      this.charts.forEach((chart) => chart.view?.finalize());
    };
  }

  async refresh() {
    let status, found;
    try {
      [status, found] = await Promise.all([get("/api/status"), get("/api/overview")]);
    } catch (problem) {
      this.trouble.replaceChildren(notice(problem));
      return;
    }
    this.trouble.replaceChildren();
    this.facts.replaceChildren(...facts(status, found).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    this.drift.replaceChildren(...drifted(status, found.drift));
    await Promise.all([this.charts[0].take(found.alarms), this.charts[1].take(Object.entries(found.by_rule).map(([rule, count]) => ({ rule, count }))), this.charts[2].take(found.highest)]);
  }
}

function facts(status, { latency, requests, lost, conversations }) {
  const seconds = (value) => (value === null ? "no request yet" : value < 1 ? `${Math.round(1000 * value)} ms` : `${figure(value)} s`);
  const ended = Object.entries(requests).map(([outcome, count]) => `${count.toLocaleString("en")} ${outcome}`).join(", ");
  return [
    ["First token, median", seconds(latency.first_token_p50)],
    ["First token, 95th percentile", seconds(latency.first_token_p95)],
    ["Throughput, last minute", `${figure(latency.tokens_per_second, 1)} tokens a second`],
    ["Running · waiting", `${status.running} · ${status.waiting}`],
    ["Requests by outcome", ended || "none yet"],
    ["Conversations kept", conversations === null ? "this server keeps none" : conversations.toLocaleString("en")],
    ["Records lost", lost ? `⚠ ${lost.toLocaleString("en")}; the server's log says why` : "none"],
  ];
}

/* Drift in words. */
function drifted(status, drift) {
  const line = (mark, kind, words) => make("p", { class: "verdict-line" }, make("span", { class: `verdict ${kind}` }, mark), words);
  if (!status.rules.length) return [line("", "tell", "No rules are watched, so there is no calibration to compare with.")];
  if (!drift) return [line("? ", "tell", "Not told yet: it takes 20 conversations since the server's start.")];
  const numbers = make("p", { class: "soft small" }, `Largest distance between the two distributions of mean scores: ${figure(drift.statistic)} (rule “`,
    make("bdi", {}, drift.rule), `”, Kolmogorov-Smirnov), p = ${drift.p.toPrecision(2)} for all rules, over the newest ${drift.live} conversations.`);
  return [drift.warned
    ? line("⚠ ", "not", "Live traffic does not look like the conversations that the thresholds came from, so the false-alarm rate may be another. Calibrate again on such traffic.")
    : line("✓ ", "holds", "No sign of drift: live traffic looks like the conversations that the thresholds came from."), numbers];
}

/* A chart that gets new rows without being drawn anew; its table is for those who do not see it. */
class Picture {
  constructor(title, kind) {
    this.kind = kind;
    this.chart = make("div", { class: "chart" });
    this.none = make("p", { class: "soft" }, kind.none);
    this.rows = make("table", {});
    this.element = make("section", { class: "panel" }, make("h2", {}, title), this.none, make("figure", { "aria-hidden": "true" }, this.chart), make("div", { class: "hidden" }, this.rows));
  }

  async take(values) {
    const before = this.values;
    this.values = values;
    if (JSON.stringify(before) === JSON.stringify(values)) return;
    this.none.hidden = values.some(({ count, mean }) => count || mean);
    this.chart.hidden = !this.none.hidden;
    this.rows.replaceChildren(...values.map((row) => make("tr", {}, this.kind.cells(row).map((cell) => make("td", {}, String(cell))))));
    if (this.chart.hidden) return;
    if (this.view && before.length === values.length) await this.view.data("rows", values.map(this.kind.shown)).runAsync();
    else await this.redraw();
  }

  async redraw() {
    if (!this.values || this.chart.hidden) return;
    const view = await draw(this.chart, { width: "container", data: { name: "rows", values: this.values.map(this.kind.shown) }, ...this.kind.spec(this.values.length) });
    this.view?.finalize();
    this.view = view;
  }
}

const count = { field: "count", type: "quantitative", title: "alarms", axis: { tickMinStep: 1, format: "d" } };
const bars = (field, value, title, rows) => ({
  height: Math.max(40, 24 * rows),
  encoding: { y: { field, type: "nominal", title: null, sort: null, axis: { ticks: false, domain: false } }, x: { ...value, title } },
  layer: [{ mark: { type: "bar", height: { band: 0.65 } } }, { mark: { type: "text", align: "left", dx: 4 }, encoding: { text: { field: "words" } } }],
});
const hours = {
  none: "No alarm was raised.",
  shown: (row) => ({ ...row, at: new Date(row.hour).getTime(), until: new Date(row.hour).getTime() + 3_600_000 }),
  cells: ({ hour, count: own }) => [new Date(hour).toLocaleTimeString(), own],
  spec: () => ({ height: 150, mark: { type: "bar", tooltip: false }, encoding: {
    x: { field: "at", type: "temporal", title: null, axis: { format: "%H:%M", grid: false, tickCount: 6 } }, x2: { field: "until" }, y: count, y2: { datum: 0 } } }),
};
const rules = {
  none: "No rules are watched, or none has raised an alarm.",
  shown: (row) => ({ ...row, words: String(row.count) }),
  cells: ({ rule, count: own }) => [rule, own],
  spec: (rows) => bars("rule", count, "alarms", rows),
};
const emotions = {
  none: "Nothing was read since the server's start.",
  shown: (row) => ({ ...row, words: figure(row.mean) }),
  cells: ({ emotion, mean }) => [emotion, figure(mean)],
  spec: (rows) => bars("emotion", { field: "mean", type: "quantitative" }, "mean reading of the newest tokens", rows),
};
