/* The shell: which page is shown, the theme, the alarms that come in meanwhile. */

import { follow, get } from "/static/api.js";
import { notice } from "/static/dom.js";

const PAGES = ["live", "conversations", "overview", "model"];
const main = document.getElementById("main");
const theme = document.getElementById("theme");
let leave = () => {}, visit = 0;

/* #/conversations/ID?alarm=true → {page, parameters: {id, alarm}} */
function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  const id = rest.length ? decodeURIComponent(rest.join("/")) : null;
  return { page: PAGES.includes(page) ? page : PAGES[0], parameters: { ...Object.fromEntries(new URLSearchParams(query)), id } };
}

async function go() {
  const { page, parameters } = route(), own = ++visit;
  leave();
  leave = () => {};
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${page[0].toUpperCase()}${page.slice(1)} · Foreshock`;
  const root = document.createElement("div");
  root.className = `page ${page}`;
  main.replaceChildren(root);
  try {
    const { show } = await import(`/static/${page}.js`);
    const done = await show(root, parameters);
    if (own === visit) leave = done ?? leave;
    else done?.();
  } catch (problem) {
    if (own !== visit) return;
    console.info(problem);
    root.replaceChildren(notice(problem.status === undefined ? { message: `This page could not be shown: ${problem.message}` } : problem, go));
  }
  // Those who hear the page begin at its heading; not at the first visit, where the browser begins by itself.
  const heading = root.querySelector("h1");
  if (heading && own === visit && own > 1) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  scrollTo(0, 0);
}

function setTheme() {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem("foreshock-theme", theme.value);
  document.dispatchEvent(new Event("themechange")); // charts are drawn anew
}

/* How many alarms came since the page was opened, beside the way to them. */
function countAlarms() {
  const raised = document.getElementById("raised");
  let count = 0;
  return follow("/events?kinds=alarm", ({ event }) => {
    if (event !== "alarm") return;
    count += 1;
    raised.hidden = false;
    raised.textContent = `⚠ ${count} new ${count === 1 ? "alarm" : "alarms"}`;
  });
}

theme.value = localStorage.getItem("foreshock-theme") ?? "";
setTheme();
theme.addEventListener("change", setTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
addEventListener("hashchange", () => { if (location.hash !== "#main") go(); });
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
go();
get("/api/status").then((status) => {
  document.getElementById("served").textContent = status.model;
  countAlarms();
}, () => {});
