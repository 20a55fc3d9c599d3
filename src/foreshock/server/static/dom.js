/* Elements, made from scripts. Words of models and users only ever become text nodes. */

/** An element. Properties that are functions become listeners (`onclick`), true an empty attribute, null nothing. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A field with its label above. */
export function labelled(words, field, hint = null) {
  return make("label", { class: "field" }, make("span", {}, words), field, hint && make("small", {}, hint));
}

/** A calm notice of what went wrong, with a button to try again. */
export function notice(problem, again) {
  return make("div", { class: "notice", role: "alert" }, make("p", {}, problem.message),
    again && make("button", { type: "button", onclick: again }, "Try again"));
}

/** Say something to those who hear the page. */
export function say(words) {
  document.getElementById("said").textContent = words;
}

/** A number as it is shown everywhere; a true minus, so that it lines up. */
export function figure(value, digits = 2) {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits).replace("-", "−");
}
