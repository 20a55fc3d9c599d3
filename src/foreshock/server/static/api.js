/* Talking to the server: its key, its errors as sentences, its streams. */

import { make } from "/static/dom.js";

const KEY = "foreshock-key";
const LONGEST_WAIT = 15_000; // ms between two attempts to follow a stream
let asking = null;

/** What went wrong, in a sentence; `status` is 0 where the server could not be reached. */
export class Fault extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server's answer. Asks for the API key where one is needed; throws a Fault where the answer is an error. */
export async function call(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      throw new Fault(0, "The server cannot be reached; see whether it is still running.");
    }
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await faultOf(answer);
    if (sessionStorage.getItem(KEY) !== key) continue; // another request has asked in the meantime
    asking ??= askKey(key !== null).finally(() => { asking = null; });
    await asking;
  }
}

/** JSON of a GET. */
export async function get(path, signal) {
  return (await call(path, { signal })).json();
}

/** The answer to a POST of JSON. */
export function post(path, body, signal) {
  return call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

async function faultOf(answer) {
  let said = "";
  try {
    said = (await answer.json()).error.message;
  } catch { /* a proxy's answer may be no JSON */ }
  const wait = answer.headers.get("Retry-After");
  if (answer.status === 429) said = `The server is busy just now.${wait ? ` It asks for ${wait} s of patience.` : ""}`;
  else if (answer.status === 503) said = `The server cannot do this at the moment. ${said}`;
  return new Fault(answer.status, said || `The server answered with status ${answer.status}.`);
}

/* A small dialog for the key, which stays in this tab and goes with it. */
function askKey(refused) {
  const field = make("input", { type: "password", autocomplete: "off", required: true, id: "key", spellcheck: "false" });
  const form = make("form", { method: "dialog" },
    make("h2", {}, "API key"),
    make("p", {}, refused ? "That key was not accepted. " : "", "This server asks for its API key. It is kept in this tab only."),
    make("label", { class: "field" }, make("span", {}, "Key"), field),
    make("div", { class: "row end" }, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      make("button", { class: "main" }, "Continue")));
  const dialog = make("dialog", { "aria-label": "API key" }, form);
  document.body.append(dialog);
  return new Promise((done, failed) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, field.value.trim());
      dialog.close("given");
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue === "given") done();
      else failed(new Fault(401, "Without its API key the server shows nothing."));
    });
    dialog.showModal();
  });
}

/** The server-sent events of an answer: {id, event, data}. Read through fetch, as EventSource can send no key. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", fields = {}, ended = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      ended = done;
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (Object.keys(fields).length) yield { event: "message", ...fields }; // one without data brings an id
          fields = {};
          continue;
        }
        const [, name, text] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (name === "data" && fields.data !== undefined) fields.data += `\n${text}`;
        else if (name) fields[name] = text;
      }
    }
  } finally {
    if (!ended) reader.cancel().catch(() => {});
  }
}

/** Follow a stream of the server, again after each break from where it was. Returns a function that ends it.
 *  `take` gets {id, event, data: parsed}; `state` is told "open" or "waiting". */
export function follow(path, take, state = () => {}) {
  const ending = new AbortController();
  (async () => {
    let last = null, wait = 500;
    while (!ending.signal.aborted) {
      try {
        const answer = await call(path, { signal: ending.signal, headers: last ? { "Last-Event-ID": last } : {} });
        state("open");
        for await (const one of events(answer)) {
          wait = 500;
          last = one.id ?? last;
          if (one.data !== undefined) take({ ...one, data: JSON.parse(one.data) });
        }
      } catch (problem) {
        if (problem.name === "AbortError" || [401, 404].includes(problem.status)) return;
      }
      state("waiting");
      await new Promise((done) => { setTimeout(done, wait); });
      wait = Math.min(LONGEST_WAIT, 2 * wait);
    }
  })();
  return () => ending.abort();
}
