/* Page Live: a chat with the served model, steered or not, its readings and alarms as they come. */

import { get } from "/static/api.js";
import { labelled, make, say } from "/static/dom.js";
import { Reply, Tokens } from "/static/reply.js";
import { dosesInWords, steerPanel } from "/static/steer.js";
import { legend, reason, scaleOf } from "/static/tint.js";
import { thresholds } from "/static/timeline.js";

const MAIN = "main", PLAIN = "plain"; // the steered side of a conversation, and the unsteered one beside it
let kept = null; // the conversation outlives a visit of another page

export async function show(root) {
  if (!kept) {
    root.append(make("p", { class: "soft" }, "Asking the server …"));
    kept = new Live(await get("/api/status"));
  }
  root.replaceChildren(kept.element);
  const redraw = () => kept.redraw();
  document.addEventListener("themechange", redraw);
  kept.redraw();
  return () => {
    document.removeEventListener("themechange", redraw);
    kept.stop();
  };
}

class Live {
  constructor(status) {
    this.status = status;
    this.rules = status.rules;
    this.emotion = make("select", { onchange: () => this.redraw() }, status.emotions.map((word) => new Option(word)));
    this.emotion.value = this.rules[0]?.emotions[0] ?? (status.emotions.includes("afraid") ? "afraid" : status.emotions[0]);
    this.picked = () => this.emotion.value;
    this.largest = 1;
    this.scale = () => this.largest;
    this.steering = steerPanel(status, () => {});
    this.beside = make("input", { type: "checkbox", role: "switch" });
    this.legend = make("div", {});
    this.thread = make("div", { class: "thread" });
    this.alarms = make("ul", { class: "alarms", "aria-live": "polite" });
    this.none = make("p", { class: "soft small" }, "None so far.");
    this.element = make("div", { class: "columns" }, this.head(), this.side(), this.body());
    this.begin();
  }

  head() {
    return make("div", { class: "head" },
      make("div", { class: "heading" }, make("h1", {}, "Live"), make("button", { type: "button", onclick: () => this.begin() }, "New conversation")),
      make("div", { class: "toolbar" }, make("label", { class: "inline" }, "Tint by ", this.emotion),
        make("label", { class: "inline" }, this.beside, " Side by side: steered and unsteered")));
  }

  body() {
    const composer = make("form", { class: "composer", onsubmit: (event) => { event.preventDefault(); this.send(); } },
      this.field = make("textarea", { rows: 2, "aria-label": "Message", placeholder: "Write to the model", title: "Enter sends, Shift+Enter begins a line", onkeydown: (event) => this.key(event) }),
      this.sending = make("button", { class: "main" }, "Send"),
      this.stopping = make("button", { type: "button", hidden: true, onclick: () => this.stop() }, "Stop"));
    return make("div", { class: "body" }, this.legend, this.thread, composer);
  }

  side() {
    const field = (type, value, properties) => make("input", { type, value, ...properties });
    this.system = make("textarea", { rows: 2, placeholder: "none" });
    this.temperature = field("number", 0.7, { min: 0, max: 2, step: 0.1, required: true });
    this.most = field("number", 160, { min: 1, step: 1, required: true });
    this.seed = field("number", 1, { step: 1, required: true });
    const wide = matchMedia("(min-width: 901px)").matches;
    this.settings = make("form", { onsubmit: (event) => event.preventDefault() }, labelled("System message", this.system),
      make("div", { class: "row" }, labelled("Temperature", this.temperature), labelled("Most tokens", this.most), labelled("Seed", this.seed)),
      make("p", { class: "soft small" }, "Both sides draw by the same seed. A reply may still differ from run to run where others run beside it."));
    const alarms = make("div", {}, this.none, this.alarms,
      make("p", { class: "soft small" }, `An alarm asks you to look; it is no verdict. ${this.bound()}`));
    return make("aside", { class: "side", "aria-label": "Steering, alarms and settings" }, panel("Steering", this.steering.element, wide), panel("Alarms", alarms, true), panel("Settings", this.settings, wide));
  }

  bound() {
    const { alpha } = this.status;
    return alpha ? `On benign conversations, at most ${Math.round(1000 * alpha) / 10} % should raise one.` : "";
  }

  key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.send();
  }

  begin() {
    this.stop();
    this.name = `live-${[...crypto.getRandomValues(new Uint8Array(6))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    this.exchanges = [];
    this.alarms.replaceChildren();
    this.none.hidden = false;
    this.thread.replaceChildren(make("p", { class: "empty soft" }, "Say something to the model. Each token of its reply is tinted by one emotion's reading as it is written; steer it on the side, or have it answer twice, steered and unsteered."));
    this.redraw();
  }

  stop() {
    this.stream?.abort();
  }

  async send() {
    const words = this.field.value.trim();
    if (!words || this.stream) return;
    if (!this.settings.checkValidity()) {
      this.settings.parentElement.open = true;
      this.settings.reportValidity();
      return;
    }
    this.field.value = "";
    if (!this.exchanges.length) this.thread.replaceChildren();
    const exchange = { words, done: {}, sides: this.beside.checked ? [MAIN, PLAIN] : [MAIN] };
    exchange.bubble = make("div", { class: "bubble user" }, words);
    exchange.detail = make("p", { class: "detail soft", "aria-live": "polite" });
    exchange.replies = make("div", { class: `replies ${exchange.sides.length > 1 ? "two" : ""}` });
    exchange.element = make("section", { class: "exchange", "aria-label": `Message ${this.exchanges.length + 1}` },
      make("h3", { class: "hidden" }, "You"), exchange.bubble, exchange.detail, exchange.replies,
      make("p", { class: "soft small" }, thresholds(this.rules)));
    this.exchanges.push(exchange);
    this.thread.append(exchange.element);
    exchange.element.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    await this.answer(exchange);
  }

  /* Both sides at once; what did not come to its end may be tried again. */
  async answer(exchange) {
    if (this.stream) return;
    const doses = this.steering.doses(), stream = this.stream = new AbortController();
    const seed = Number(this.seed.value);
    this.sending.hidden = true;
    this.stopping.hidden = false;
    say("The reply begins.");
    const missing = exchange.sides.filter((side) => !exchange.done[side]);
    const running = missing.map((side) => {
      const own = side === MAIN ? doses : {};
      const reply = new Reply(this, dosesInWords(own));
      const old = exchange[side];
      exchange[side] = reply;
      if (old) old.element.replaceWith(reply.element);
      else exchange.replies.append(reply.element);
      return this.run(exchange, side, reply, this.asked(exchange, side, own, seed), stream.signal);
    });
    await Promise.all(running);
    this.stream = null;
    this.sending.hidden = false;
    this.stopping.hidden = true;
    this.tintMessage(exchange);
    this.repaint();
  }

  async run(exchange, side, reply, body, signal) {
    exchange.done[side] = await reply.run(body, signal, () => this.answer(exchange));
  }

  asked(exchange, side, steer, seed) {
    const messages = this.system.value.trim() ? [{ role: "system", content: this.system.value.trim() }] : [];
    for (const earlier of this.exchanges.slice(0, this.exchanges.indexOf(exchange))) {
      const from = earlier.done[side] ? side : MAIN; // from before the two sides parted
      if (!earlier.done[from]) continue;
      messages.push({ role: "user", content: earlier.words }, { role: "assistant", content: earlier[from].text });
    }
    messages.push({ role: "user", content: exchange.words });
    return { model: this.status.model, messages, stream: true, temperature: Number(this.temperature.value), max_tokens: Number(this.most.value), seed,
      foreshock: { readings: true, steer, conversation: side === MAIN ? this.name : `${this.name}-unsteered` } };
  }

  /* The user's message is read too; its tokens take its place where they are the same words. */
  tintMessage(exchange) {
    const reply = exchange[MAIN];
    const own = reply.prompt.filter((token) => token.turn === reply.turn - 1);
    if (exchange.tokens || own.map((token) => token.text).join("").trim() !== exchange.words) return;
    exchange.tokens = new Tokens(exchange.bubble, exchange.detail, this.picked);
    exchange.bubble.setAttribute("role", "group");
    exchange.bubble.setAttribute("aria-label", "Your message; arrow keys go through its tokens");
    exchange.bubble.replaceChildren(...own.flatMap((token) => exchange.tokens.add(token, this.largest)));
  }

  onAlarm(alarm, mark) {
    this.none.hidden = true;
    const look = () => mark.scrollIntoView({ block: "center" });
    this.alarms.append(make("li", {}, `⚠ ${reason(alarm)}, at “${(alarm.text ?? "").trim().slice(-40)}” `, make("button", { type: "button", class: "plain", onclick: look }, "show")));
  }

  shown() {
    return this.exchanges.flatMap((exchange) => [exchange.tokens, exchange[MAIN]?.tokens, exchange[PLAIN]?.tokens]).filter(Boolean);
  }

  /** Tint every token anew: the strongest tint is for the largest readings of the conversation. */
  repaint() {
    const picked = this.picked(), shown = this.shown();
    const values = shown.flatMap(({ own }) => own.map((token) => token.readings[picked]));
    this.largest = values.length ? scaleOf(values) : 1;
    for (const tokens of shown) tokens.repaint(this.largest);
    this.legend.replaceChildren(...(values.length ? [legend(picked, this.largest)] : []));
  }

  redraw() {
    this.repaint();
    for (const exchange of this.exchanges) for (const side of exchange.sides) exchange[side]?.draw(true);
  }
}

/* A part of the side; on a narrow page it begins folded, so that the conversation is near. */
function panel(name, content, open) {
  return make("details", { class: "panel", open }, make("summary", {}, make("h2", {}, name)), content);
}
