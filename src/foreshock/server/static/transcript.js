/* The words of a conversation, made quick: a text is cut into stretches, which the browser lays out as they come near,
   and a stretch gets an element a token only then. Before, it holds its words alone. */

import { alarmMark, tint } from "/static/tint.js";
import { make } from "/static/dom.js";

const FEW = 60, MANY = 300, MOST = 600; // tokens of a stretch: cut after a line, before a word, anywhere
const LINE = 31, LETTER = 8; // px, only to guess the height of what was not laid out yet

/** Tokens of a message: their words, of which the joined text is the message's. */
export function pieces(text, spans) {
  if (text === null) return spans.map(() => "• ");
  const letters = /[\ud800-\udfff]/.test(text) ? Array.from(text) : null; // spans count code points, strings do not
  const cut = (start, end) => (letters ? letters.slice(start, end).join("") : text.slice(start, end));
  let at = 0;
  const found = spans.map(([, end]) => {
    const own = cut(at, end); // what stands between two tokens goes with the second
    at = Math.max(at, end);
    return own;
  });
  const rest = letters ? letters.slice(at).join("") : text.slice(at);
  if (rest && found.length) found[found.length - 1] += rest;
  return found;
}

/** First token of every stretch. */
function cuts(words) {
  const found = [0];
  for (let k = 1; k < words.length; k++) {
    const size = k - found.at(-1);
    if ((size >= FEW && words[k - 1].endsWith("\n")) || (size >= MANY && /^\s/.test(words[k])) || size >= MOST) found.push(k);
  }
  return found;
}

/** A stretch of a message's text. `first`: number of its first token in the conversation. */
class Stretch {
  constructor(words, first, alarms, width) {
    this.words = words;
    this.first = first;
    this.alarms = alarms;
    this.element = make("div", { class: "stretch", dir: "auto" });
    this.element.append(words.join(""));
    const lines = Math.ceil((words.join("").length * LETTER) / width) || 1;
    this.element.style.containIntrinsicSize = `auto ${lines * LINE}px`;
    this.tokens = null;
    this.tinted = null;
    if (alarms.size) this.fill();
  }

  /* An element a token, and after it what was said of it. */
  fill() {
    if (this.tokens) return;
    const parts = [];
    this.tokens = this.words.map((word, k) => {
      const token = document.createElement("span");
      token.className = "token";
      const [, own, breaks] = /^(.*?)(\n*)$/s.exec(word); // a line's end has nothing to tint
      token.textContent = own;
      token.place = this.first + k;
      parts.push(token, breaks);
      for (const alarm of this.alarms.get(this.first + k) ?? []) {
        token.classList.add("alarmed");
        parts.push(make("details", { class: "why" }, make("summary", {}, alarmMark(alarm)), make("p", {}, why(alarm))));
      }
      return token;
    });
    this.element.replaceChildren(...parts);
  }

  /* `shade`: {values, scale}; nothing is done where it is the same as before. */
  tint(shade) {
    this.fill();
    if (this.tinted === shade) return;
    this.tinted = shade;
    this.tokens.forEach((token, k) => tint(token, shade.values[this.first + k], shade.scale));
  }
}

/** An alarm's why in words. */
export function why(alarm) {
  const number = (value) => (value === null ? "beyond all numbers" : value.toFixed(2).replace("-", "−"));
  const of = alarm.p >= 0.095 ? `${Math.round(10 * alarm.p)} in 10` : alarm.p >= 0.0095 ? `${Math.round(100 * alarm.p)} in 100` : `${Math.max(1, Math.round(1000 * alarm.p))} in 1,000`;
  return `The score of the rule “${alarm.rule}” rose to ${number(alarm.score)}, above its threshold of ${number(alarm.threshold)}. `
    + `Of benign conversations like those it was calibrated on, about ${of} or fewer get this far (p = ${alarm.p.toPrecision(2)}, all rules together). `
    + "This asks somebody to look; it proves nothing.";
}

/** All messages of a conversation. `alarms`: token of the conversation → alarms at it. */
export class Transcript {
  constructor(messages, alarms, width, onToken) {
    this.stretches = [];
    this.shade = null;
    this.near = new Set();
    this.watch = new IntersectionObserver((entries) => this.come(entries), { rootMargin: "900px 0px" });
    this.element = make("div", { class: "transcript" }, messages.map((message) => this.message(message, alarms, width)));
    const on = ({ target, type }) => { if (target.place !== undefined) onToken(target.place, type); };
    this.element.addEventListener("click", on);
    // When text scrolls under a pointer at rest, browsers tell of a move too; that is nobody's pointing.
    this.element.addEventListener("pointermove", (event) => { if (event.movementX || event.movementY) on(event); });
  }

  message({ turn, role, words, first, text, loose }, alarms, width) {
    const body = make("div", { class: "words" });
    const starts = cuts(words);
    starts.forEach((start, k) => {
      if (!words.length) return;
      const own = words.slice(start, starts[k + 1]);
      const here = new Map(own.flatMap((_, j) => (alarms.has(first + start + j) ? [[first + start + j, alarms.get(first + start + j)]] : [])));
      const stretch = new Stretch(own, first + start, here, width);
      stretch.element.stretch = stretch;
      this.stretches.push(stretch);
      this.watch.observe(stretch.element);
      body.append(stretch.element);
    });
    if (!words.length) body.append(make("div", { class: "unread", dir: "auto" }, text ?? "Words are not kept here."));
    const note = words.length ? `${words.length.toLocaleString("en")} tokens` : "not read";
    return make("section", { class: `said ${role === "user" ? "user" : ""}`, "aria-label": `Message ${turn + 1}, ${role}` },
      make("h3", {}, make("bdi", {}, role), ` · message ${turn + 1} · ${note}`),
      loose.map((alarm) => make("details", { class: "why" }, make("summary", {}, alarmMark(alarm)), make("p", {}, why(alarm), ` It was raised at token ${alarm.token + 1} of the conversation.`))), body);
  }

  come(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) this.near.delete(target.stretch);
      else {
        this.near.add(target.stretch);
        if (this.shade) target.stretch.tint(this.shade);
      }
    }
  }

  /** Tint what is near; the rest once it comes near. */
  tint(shade) {
    this.shade = shade;
    for (const stretch of this.near) stretch.tint(shade);
  }

  /** The element of a token. */
  token(place) {
    const stretch = this.stretches[this.find((one) => one.first > place) - 1];
    stretch.fill();
    if (this.shade) stretch.tint(this.shade);
    return stretch.tokens[place - stretch.first];
  }

  /** First and last token between two heights of the window; within a stretch by its share of the height. */
  between(top, bottom) {
    const box = (stretch) => stretch.element.getBoundingClientRect();
    const at = (k, height, low) => {
      const stretch = this.stretches[Math.min(k, this.stretches.length - 1)], { top: begin, height: size } = box(stretch);
      const share = Math.min(1, Math.max(0, (height - begin) / size));
      return stretch.first + (low ? Math.floor : Math.ceil)(share * (stretch.words.length - 1));
    };
    const first = this.find((one) => box(one).bottom > top);
    const last = Math.max(first, this.find((one) => box(one).top > bottom) - 1);
    return [at(first, top, true), at(last, bottom, false)];
  }

  /* Number of the first stretch of which something is true that is true of all after it. */
  find(is) {
    let low = 0, high = this.stretches.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (is(this.stretches[middle])) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
