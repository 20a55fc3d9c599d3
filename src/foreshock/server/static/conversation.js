/* One conversation: its words tinted by a reading, its time line, its alarms with their why. */

import { get } from "/static/api.js";
import { when } from "/static/conversations.js";
import { Course } from "/static/course.js";
import { figure, labelled, make, notice } from "/static/dom.js";
import { legend, reason, scaleOf } from "/static/tint.js";
import { Transcript, pieces, why } from "/static/transcript.js";

const LINES = 4;

export async function showConversation(root, { id }) {
  const back = make("p", { class: "back" }, make("a", { href: "#/conversations" }, "← All conversations"));
  root.append(back, make("h1", {}, "Conversation"), make("p", { class: "soft" }, "Asking the server …"));
  const path = `/api/conversations/${encodeURIComponent(id)}`;
  const own = await get(path);
  const page = new Page(own, (query) => get(`${path}?${query}`), root.clientWidth);
  root.replaceChildren(back, ...page.elements);
  await page.begin();
  return () => page.end();
}

class Page {
  constructor(own, ask, width) {
    this.own = own;
    this.ask = ask;
    this.lay();
    const { alarms, loose } = this.placed();
    this.emotion = make("select", { onchange: () => this.pick() });
    this.layer = make("select", { onchange: () => this.relayer() }, own.layers.map((layer) => new Option(layer)));
    this.legend = make("div", {});
    this.said = make("p", { class: "detail" }, "Point at a token, or move along the time line with the arrow keys, to see its readings.");
    const messages = this.messages.map((message) => ({ ...message, loose: loose.filter(({ turn }) => turn === message.turn) }));
    this.text = new Transcript(messages, alarms, width, (place, kind) => this.mark(place, kind === "click"));
    this.course = new Course(this.count, [...alarms.keys()], this.messages.map(({ first }) => first), (place) => this.go(place));
    this.head = make("div", { class: "steady" },
      make("div", { class: "toolbar" }, labelled("Tint by", this.emotion), own.layers.length > 1 && labelled("Layer", this.layer), this.legend),
      this.count ? this.course.element : null, this.said, make("span", { id: "course-help", class: "hidden" }, "Arrow keys move by a token, page keys by a twentieth; the text follows."));
    this.layer.value = own.layer;
    this.onscroll = () => { this.frame ??= requestAnimationFrame(() => { this.frame = null; this.follow(); }); };
    this.redraw = () => this.draw();
  }

  /* All messages' tokens in one row, a column of readings an emotion. */
  lay() {
    const byTurn = new Map(this.own.readings.map((one) => [one.turn, one]));
    let first = 0;
    this.messages = this.own.messages.map(({ turn, role, text }) => {
      const words = pieces(text, byTurn.get(turn)?.spans ?? []), at = first;
      first += words.length;
      return { turn, role, text, words, first: at };
    });
    this.count = first;
    this.columns = new Map();
    this.take(this.own);
  }

  take({ emotions, readings }) {
    const byTurn = new Map(readings.map((one) => [one.turn, one]));
    emotions.forEach((emotion, column) => {
      const values = new Float32Array(this.count).fill(NaN);
      for (const { turn, words, first } of this.messages) {
        const rows = byTurn.get(turn)?.values ?? []; // a conversation that goes on may have more by now
        for (let k = 0; k < Math.min(rows.length, words.length); k++) values[first + k] = rows[k][column] ?? NaN;
      }
      this.columns.set(emotion, values);
    });
  }

  /* Alarms at their tokens; those whose token is not known, at their message. */
  placed() {
    const alarms = new Map(), loose = [];
    for (const alarm of this.own.alarms) {
      const message = this.messages.find(({ turn }) => turn === alarm.turn);
      if (alarm.place === null || !message || alarm.place >= message.words.length) loose.push(alarm);
      else {
        alarm.at_token = message.first + alarm.place;
        alarms.set(alarm.at_token, [...(alarms.get(alarm.at_token) ?? []), alarm]);
      }
    }
    return { alarms, loose };
  }

  get elements() {
    const { id, started, model, source, surrogate, alarms } = this.own;
    const about = [when(started), make("bdi", {}, model), `from ${source}`, `${this.messages.length} messages`, `${this.count.toLocaleString("en")} tokens`, surrogate && "written by another model than the one that was read"];
    return [make("h1", {}, "Conversation ", make("bdi", { class: "id" }, id)),
      make("p", { class: "soft small" }, about.filter(Boolean).flatMap((one, k) => (k ? [" · ", one] : [one]))),
      alarms.length ? this.alarms(alarms) : make("p", { class: "soft" }, "No rule raised an alarm."),
      this.count ? this.head : make("p", { class: "notice" }, "No readings of this conversation are kept."), this.text.element];
  }

  alarms(alarms) {
    const rows = alarms.map((alarm) => make("li", {}, make("strong", {}, "⚠ ", make("bdi", {}, reason(alarm))), make("p", {}, why(alarm)),
      alarm.text && make("blockquote", {}, "… ", make("bdi", {}, alarm.text.trim())),
      alarm.at_token === undefined ? `At token ${alarm.token + 1} of message ${alarm.turn + 1}.`
        : make("button", { type: "button", onclick: () => this.go(alarm.at_token) }, `Go to it in message ${alarm.turn + 1}`)));
    const title = `${alarms.length} ${alarms.length === 1 ? "alarm" : "alarms"}`;
    return make("details", { class: "panel raised-here", open: alarms.length === 1 }, make("summary", {}, title), make("ul", { class: "alarms" }, rows));
  }

  async begin() {
    if (!this.count) return;
    this.options();
    addEventListener("scroll", this.onscroll, { passive: true });
    document.addEventListener("themechange", this.redraw);
    await this.pick();
  }

  end() {
    removeEventListener("scroll", this.onscroll);
    document.removeEventListener("themechange", this.redraw);
    this.text.watch.disconnect();
    this.course.end();
  }

  options() {
    const group = (label, words) => {
      const own = make("optgroup", { label });
      own.append(...words.map((word) => new Option(word)));
      return own;
    };
    const others = this.own.all_emotions.filter((word) => !this.own.emotions.includes(word));
    this.emotion.replaceChildren(group("highest here", this.own.emotions), group("all others", others));
  }

  /* Tint by the picked emotion, whose readings are asked for where they are not here yet. */
  async pick() {
    const word = this.emotion.value;
    try {
      if (!this.columns.has(word)) this.take(await this.ask(new URLSearchParams({ emotions: word, layer: this.layer.value || this.own.layer })));
    } catch (problem) {
      this.said.replaceChildren(notice(problem, () => this.pick()));
      return;
    }
    if (word !== this.emotion.value) return;
    const values = this.columns.get(word), scale = scaleOf(values.filter((value) => !Number.isNaN(value)));
    this.text.tint({ values, scale });
    this.legend.replaceChildren(legend(word, scale));
    await this.draw();
    if (this.marked) this.mark(this.course.at);
    this.follow();
  }

  async relayer() {
    const words = [...new Set([this.emotion.value, ...this.own.emotions])].slice(0, 12);
    const found = await this.ask(new URLSearchParams({ emotions: words.join(","), layer: this.layer.value }));
    this.columns.clear();
    this.take(found);
    await this.pick();
  }

  lines() {
    const picked = this.emotion.value;
    return [...new Set([picked, ...this.own.emotions])].filter((word) => this.columns.has(word)).slice(0, LINES);
  }

  draw() {
    return this.course.draw(this.lines().map((word) => [word, this.columns.get(word)]));
  }

  /* Mark in the time line what stands between the head and the end of the window. */
  follow() {
    const top = this.head.getBoundingClientRect().bottom;
    this.course.show(...this.text.between(Math.max(0, top), innerHeight));
  }

  /* Show a token's readings. */
  mark(place, steady = false) {
    const token = this.text.token(place);
    this.marked?.classList.remove("at");
    this.marked = token;
    token.classList.add("at");
    const message = this.messages.findLast(({ first, words }) => words.length && first <= place);
    const figures = this.lines().map((word) => `${word} ${figure(this.columns.get(word)[place])}`).join(" · ");
    this.said.replaceChildren(`Token ${(place + 1).toLocaleString("en")}, message ${message.turn + 1}, “`, make("bdi", {}, token.textContent.trim()), `”: ${figures}`);
    this.course.point(place, this.said.textContent);
    if (steady) this.follow();
  }

  /* Scroll the text to a token. Twice, as what is laid out on the way may turn out higher or lower than guessed. */
  go(place) {
    this.mark(place);
    const centre = () => {
      const box = this.marked.getBoundingClientRect(), top = Math.max(0, this.head.getBoundingClientRect().bottom);
      if (box.top < top + 40 || box.bottom > innerHeight - 40) scrollBy({ top: box.top - (top + innerHeight) / 2, behavior: "instant" });
    };
    centre();
    requestAnimationFrame(() => { centre(); this.follow(); });
  }
}
