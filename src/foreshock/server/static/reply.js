/* One reply as it streams: tinted tokens, alarms at their place, its time line. */

import { events, post } from "/static/api.js";
import { draw } from "/static/charts.js";
import { figure, make, notice, say } from "/static/dom.js";
import { alarmMark, reason, tint } from "/static/tint.js";
import { timeline, top } from "/static/timeline.js";

const REDRAW = 1200; // ms between two drawings of a time line that grows
const ENDS = { length: "stopped at the most tokens allowed", content_filter: "ended by an alarm", tool_calls: "ended with a call of a tool" };

/** Where tinted tokens stand in a bubble; arrow keys and the pointer ask for one token's readings. */
export class Tokens {
  constructor(bubble, detail, picked) {
    Object.assign(this, { bubble, detail, picked, own: [], spans: [], at: null });
    bubble.tabIndex = 0;
    bubble.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined || !this.own.length) return;
      event.preventDefault();
      this.mark(Math.max(0, Math.min(this.own.length - 1, (this.at ?? -1) + step)));
    });
    for (const kind of ["pointerover", "click"]) bubble.addEventListener(kind, (event) => this.mark(event.target.place));
  }

  add(token, scale) {
    // Space before a word is not tinted: it would hang over the end of a line.
    const word = token.text.trimStart() || token.text;
    const span = make("span", { class: "token" }, word);
    span.place = this.own.length;
    tint(span, token.readings[this.picked()], scale);
    this.own.push(token);
    this.spans.push(span);
    return [token.text.slice(0, token.text.length - word.length), span];
  }

  repaint(scale) {
    this.spans.forEach((span, k) => tint(span, this.own[k].readings[this.picked()], scale));
    if (this.at !== null) this.mark(this.at);
  }

  mark(k) {
    if (k === undefined) return;
    this.spans[this.at]?.classList.remove("at");
    this.spans[k].classList.add("at");
    this.at = k;
    const words = top([this.own[k]], this.picked());
    this.detail.textContent = `Token ${k + 1}, “${this.own[k].text.trim()}”, reads: ${words.map((word) => `${word} ${figure(this.own[k].readings[word])}`).join(" · ")}`;
  }
}

/** A reply; `run` streams it. `page` gives picked(), scale(), status, onAlarm(alarm, reply), repaint(). */
export class Reply {
  constructor(page, heading) {
    this.page = page;
    this.text = "";
    this.alarms = []; // {alarm, mark, place: number of its token, from 1}
    this.bubble = make("div", { class: "bubble", role: "group", "aria-label": "Reply; arrow keys go through its tokens" });
    this.detail = make("p", { class: "detail soft", "aria-live": "polite" });
    this.tail = make("span", { class: "unread" });
    this.state = make("p", { class: "state soft" }, "waiting …");
    this.chart = make("div", { class: "chart" });
    this.figure = make("figure", { hidden: true }, make("figcaption", {}, "Top readings"), this.chart);
    this.trouble = make("div", {});
    this.element = make("article", { class: "reply" }, make("h3", {}, heading), this.bubble, this.detail, this.state, this.trouble, this.figure);
    this.bubble.append(this.tail);
    this.tokens = new Tokens(this.bubble, this.detail, page.picked);
    this.prompt = [];
    this.turn = -1;
  }

  /** Stream it; true where it came to its end. `again` is what "Try again" does. */
  async run(body, signal, again) {
    try {
      for await (const { data } of events(await post("/v1/chat/completions", body, signal))) {
        if (data !== "[DONE]") this.take(JSON.parse(data));
      }
      if (!this.ended) throw Object.assign(new Error("The reply broke off before its end."), { status: 0 });
      return true;
    } catch (problem) {
      const stopped = problem.name === "AbortError";
      this.state.textContent = stopped ? "stopped" : "";
      if (!stopped) this.trouble.replaceChildren(notice(problem.status === undefined ? { message: `The reply could not be shown: ${problem.message}` } : problem, again));
      return stopped && this.text !== "";
    } finally {
      this.page.repaint();
      await this.draw(true);
    }
  }

  take(chunk) {
    if (chunk.error) throw Object.assign(new Error(chunk.error.message), { status: 500 });
    const choice = chunk.choices[0], extra = chunk.foreshock;
    this.text += choice?.delta?.content ?? "";
    for (const token of extra?.tokens ?? []) this.hear(token);
    for (const alarm of extra?.alarms ?? []) this.raise(alarm);
    this.showTail();
    const count = this.tokens.own.length;
    this.state.textContent = `${count} ${count === 1 ? "token" : "tokens"} read`;
    if (choice?.finish_reason) this.end(choice.finish_reason, extra);
    else this.draw();
  }

  /* Tokens of the prompt come first; those of the reply are the last turn's. */
  hear(token) {
    if (token.turn > this.turn) {
      this.turn = token.turn;
      this.bubble.replaceChildren(this.tail);
      this.prompt.push(...this.tokens.own);
      Object.assign(this.tokens, { own: [], spans: [] });
    }
    if (!token.own) return;
    const [space, span] = this.tokens.add(token, this.page.scale());
    this.tail.before(space, span);
  }

  /* What is written and not read yet: a token is read when the model runs over it, which is one pass later. */
  showTail() {
    const read = this.tokens.own.map((token) => token.text).join("").trimStart();
    this.tail.textContent = this.text.trimStart().slice(read.length);
  }

  raise(alarm) {
    const spans = this.tokens.spans;
    const span = spans[this.tokens.own.findIndex((one) => one.token === alarm.token)] ?? spans.at(-1);
    const mark = alarmMark(alarm);
    span?.classList.add("alarmed");
    // After the marks that stand there already; the reply goes on before its unread rest.
    const marks = this.alarms.filter(({ place }) => span && place === span.place + 1).map((one) => one.mark);
    const before = marks.at(-1) ?? span;
    if (before) before.after(mark);
    else this.tail.before(mark);
    this.alarms.push({ alarm, mark, place: (span?.place ?? 0) + 1 });
    this.page.onAlarm(alarm, mark);
  }

  end(why, extra) {
    this.ended = true;
    this.conversation = extra?.conversation;
    const parts = [this.state.textContent, ENDS[why], extra?.note].filter(Boolean);
    this.state.replaceChildren(parts.join(" · "));
    if (this.conversation && this.page.status.store) this.state.append(" · ", make("a", { href: `#/conversations/${encodeURIComponent(this.conversation)}` }, "open in Conversations"));
    say(`Reply finished: ${this.tokens.own.length} tokens, ${this.alarms.length} alarms.${this.alarms.map(({ alarm }) => ` ${reason(alarm)}`)}`);
  }

  /** Its time line, not more often than it can be read while the reply grows. */
  async draw(now = false) {
    if (this.drawing || (!now && performance.now() - (this.drawn ?? 0) < REDRAW)) {
      this.missed ||= now;
      return;
    }
    const { own } = this.tokens;
    if (own.length < (now ? 2 : 8)) return; // two points are no course yet
    this.drawing = true;
    this.figure.hidden = false;
    try {
      const spec = timeline(own, top(own, this.page.picked()), this.alarms.map(({ place }) => place), this.page.status.rules);
      const view = await draw(this.chart, spec);
      this.view?.finalize();
      this.view = view;
      if (!now) this.page.repaint();
    } finally {
      this.drawing = false;
      this.drawn = performance.now();
    }
    if (this.missed) {
      this.missed = false;
      await this.draw(true);
    }
  }
}
