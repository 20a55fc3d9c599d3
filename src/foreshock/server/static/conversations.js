/* Page Conversations: the list of those that are kept, and the way to one of them. */

import { get } from "/static/api.js";
import { showConversation } from "/static/conversation.js";
import { labelled, make, notice, say } from "/static/dom.js";

const PAUSE = 250; // ms without a key before a search begins
const FILTERS = [["", "all"], ["true", "with an alarm"], ["false", "without an alarm"]];

export function show(root, parameters) {
  return parameters.id ? showConversation(root, parameters) : new List(root, parameters).begin();
}

class List {
  constructor(root, { search = "", alarm = "" }) {
    this.search = make("input", { type: "search", maxlength: 1000, placeholder: "words of a message", value: search, oninput: () => this.later() });
    this.alarm = make("select", { onchange: () => this.load() }, FILTERS.map(([value, words]) => new Option(words, value)));
    this.alarm.value = alarm;
    this.list = make("ol", { class: "list", "aria-label": "Conversations", onkeydown: (event) => this.step(event) });
    this.more = make("button", { type: "button", hidden: true, onclick: () => this.load(this.next) }, "Show more");
    this.note = make("p", { class: "soft", "aria-live": "polite" });
    this.form = make("form", { class: "row", role: "search", onsubmit: (event) => { event.preventDefault(); this.load(); } },
      labelled("Search", this.search), labelled("Alarms", this.alarm));
    root.append(make("h1", {}, "Conversations"), this.form, this.note, this.list, this.more);
    this.root = root;
  }

  async begin() {
    await this.load();
    return () => { clearTimeout(this.timer); this.asked?.abort(); };
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), PAUSE);
  }

  /* The first page, or the one after a conversation. An answer that came too late for its question is dropped. */
  async load(after = null) {
    clearTimeout(this.timer);
    this.asked?.abort();
    const asked = this.asked = new AbortController();
    const query = new URLSearchParams();
    if (this.search.value.trim()) query.set("search", this.search.value.trim());
    if (this.alarm.value) query.set("alarm", this.alarm.value);
    if (after === null) history.replaceState(null, "", `#/conversations${query.size ? `?${query}` : ""}`);
    if (after !== null) query.set("after", after);
    try {
      const page = await get(`/api/conversations?${query}`, asked.signal);
      this.fill(page, after);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.more.hidden = true;
      this.note.replaceChildren(problem.status === 404 && after === null ? problem.message : notice(problem, () => this.load(after)));
      if (after === null) this.list.replaceChildren();
    }
  }

  fill({ conversations, next }, after) {
    const rows = conversations.map(row);
    if (after === null) this.list.replaceChildren(...rows);
    else {
      this.list.append(...rows);
      rows[0]?.querySelector("a").focus();
    }
    this.next = next;
    this.more.hidden = next === null;
    const count = this.list.childElementCount;
    const asked = this.search.value.trim() || this.alarm.value;
    this.note.textContent = count ? `${count}${next ? " newest" : ""} ${count === 1 ? "conversation" : "conversations"}, the latest first.`
      : asked ? "No conversation fits." : "No conversations are kept yet; what is said to the server appears here.";
    if (after !== null) say(`${rows.length} more conversations`);
  }

  step(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 }, links = [...this.list.querySelectorAll("a")];
    if (!(event.key in steps)) return;
    event.preventDefault();
    links[links.indexOf(document.activeElement) + steps[event.key]]?.focus();
  }
}

function row({ id, started, model, source, surrogate, alarms, first }) {
  return make("li", {}, make("a", { href: `#/conversations/${encodeURIComponent(id)}` },
    make("bdi", { class: "first" }, first?.trim() || "(words are not kept)"),
    alarms ? make("span", { class: "alarm" }, `⚠ ${alarms} ${alarms === 1 ? "alarm" : "alarms"}`) : null,
    make("span", { class: "soft small about" }, when(started), " · ", make("bdi", {}, short(id)), " · ", make("bdi", {}, model), ` · from ${source}`,
      surrogate ? " · written by another model" : "")));
}

/** An instant in the reader's own way. */
export function when(text) {
  return new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

function short(id) {
  return id.length > 40 ? `${id.slice(0, 39)}…` : id;
}
