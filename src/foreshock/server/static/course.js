/* The time line of a conversation: a few readings over all its tokens, what is in view, and the token pointed at. */

import { colour, draw } from "/static/charts.js";
import { make } from "/static/dom.js";

const DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]];

/** At most `most` stretches of equal length with their lowest, mean and highest reading, so that no extreme is lost. */
export function thinned(values, most) {
  const size = Math.max(1, Math.ceil(values.length / most)), found = [];
  for (let start = 0; start < values.length; start += size) {
    let low = Infinity, high = -Infinity, sum = 0, count = 0;
    for (let k = start; k < Math.min(values.length, start + size); k++) {
      if (Number.isNaN(values[k])) continue;
      low = Math.min(low, values[k]);
      high = Math.max(high, values[k]);
      sum += values[k];
      count += 1;
    }
    if (count) found.push({ token: start + (Math.min(values.length - start, size) + 1) / 2, low, high, reading: sum / count });
  }
  return found;
}

/** The element, which scrolls the text (`go`) when it is clicked or moved by keys. */
export class Course {
  constructor(tokens, alarms, starts, go) {
    this.tokens = tokens;
    this.alarms = alarms;
    this.starts = starts;
    this.chart = make("div", { class: "chart" });
    this.seen = make("div", { class: "seen" });
    this.pointer = make("div", { class: "pointer", hidden: true });
    this.element = make("div", { class: "course", role: "slider", tabindex: 0, "aria-label": "Place in the conversation", "aria-valuemin": 1,
      "aria-valuemax": tokens, "aria-valuenow": 1, "aria-describedby": "course-help" }, this.chart, this.seen, this.pointer);
    this.at = 0;
    this.element.addEventListener("click", (event) => { if (this.view) go(this.under(event)); });
    this.element.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: -tokens / 20, PageDown: tokens / 20, Home: -tokens, End: tokens };
      if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      go(Math.min(tokens - 1, Math.max(0, this.at + Math.trunc(steps[event.key]) || this.at)));
    });
    this.resized = new ResizeObserver(() => requestAnimationFrame(() => this.place()));
    this.resized.observe(this.chart);
  }

  /** `lines`: [emotion, values] each, the picked one first. */
  async draw(lines) {
    const view = await draw(this.chart, this.spec(lines));
    this.view?.finalize();
    this.view = view;
    this.place();
  }

  end() {
    this.resized.disconnect();
    this.view?.finalize();
  }

  under({ clientX }) {
    const x = clientX - this.chart.getBoundingClientRect().left - this.view.origin()[0];
    return Math.min(this.tokens, Math.max(1, Math.round(this.view.scale("x").invert(x)))) - 1;
  }

  /** Mark the tokens in view. */
  show(first, last) {
    this.range = [first, last];
    this.place();
  }

  /** Mark a token, and say it to those who hear the page. */
  point(token, words) {
    this.at = token;
    this.element.setAttribute("aria-valuenow", token + 1);
    this.element.setAttribute("aria-valuetext", words);
    this.place();
  }

  place() {
    if (!this.view) return;
    const [left] = this.view.origin(), x = this.view.scale("x");
    const height = `${this.view.origin()[1] + this.view.height()}px`;
    if (this.range) {
      const [from, to] = [x(this.range[0] + 1), x(this.range[1] + 1)];
      Object.assign(this.seen.style, { left: `${left + from}px`, width: `${Math.max(4, to - from)}px`, height });
    }
    this.pointer.hidden = false;
    Object.assign(this.pointer.style, { left: `${left + x(this.at + 1)}px`, height });
  }

  spec(lines) {
    const words = lines.map(([word]) => word), most = Math.max(100, Math.floor(this.chart.clientWidth / 2));
    const points = lines.flatMap(([emotion, values]) => thinned(values, most).map((point) => ({ ...point, emotion })));
    const x = { field: "token", type: "quantitative", title: "token", scale: { domain: [1, Math.max(2, this.tokens)], nice: false }, axis: { grid: false, format: ",d", tickMinStep: 1 } };
    const y = { field: "reading", type: "quantitative", title: "reading" };
    const legend = { title: null, orient: "top", columns: this.chart.clientWidth < 480 ? 2 : 4, symbolType: "stroke", symbolSize: 300, offset: 4 };
    const color = { field: "emotion", type: "nominal", scale: { domain: words }, legend };
    const strokeDash = { field: "emotion", type: "nominal", scale: { domain: words, range: DASHES }, legend };
    const not = colour("--not"), is = { field: "emotion", equal: words[0] };
    const starts = this.starts.length > 60 ? [] : this.starts.slice(1).map((start) => ({ token: start + 1 }));
    return {
      width: "container", height: 110, data: { values: points },
      description: `Time line of the readings of ${words.join(", ")} over ${this.tokens} tokens.`,
      layer: [
        { data: { values: starts }, mark: { type: "rule", strokeDash: [2, 3], opacity: 0.6 }, encoding: { x } },
        { transform: [{ filter: is }], mark: { type: "area", opacity: 0.28 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
        { transform: [{ filter: { not: is } }], mark: { type: "line", strokeWidth: 1.2, opacity: 0.75 }, encoding: { x, y, color, strokeDash } },
        { transform: [{ filter: is }], mark: { type: "line", strokeWidth: 2 }, encoding: { x, y, color, strokeDash } },
        { data: { values: this.alarms.map((token) => ({ token: token + 1, sign: "⚠" })) },
          layer: [{ mark: { type: "rule", color: not, strokeWidth: 1.5 }, encoding: { x } },
            { mark: { type: "text", color: not, baseline: "bottom", dy: -1, fontSize: 13 }, encoding: { x, y: { value: 0 }, text: { field: "sign" } } }] },
      ],
    };
  }
}
