/* Charts: Vega-Lite pictures in the page's colours. Expressions are interpreted, as the page allows no eval. */

const LIGHT = ["#1f5fa8", "#b4440b", "#17663a", "#8a3f99", "#725400", "#a3245e", "#0b6e75", "#55606e", "#6b5bb5", "#7a3b1d"];
const DARK = ["#8fbdf3", "#ff9b5e", "#6fd39a", "#d6a2e8", "#e6c25a", "#ff9cc2", "#6fd3da", "#b5bec9", "#b3a8f5", "#e0ae92"];
let library = null;

/* The library, which sets `vegaEmbed`; fetched once, unless the page holds it already. */
function loaded() {
  if (globalThis.vegaEmbed) return Promise.resolve();
  library ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = "/static/vega.js";
    script.onload = done;
    script.onerror = () => { library = null; failed(new Error("The charts' library could not be loaded.")); };
    document.head.append(script);
  });
  return library;
}

/** A colour of the page, by the name of its custom property. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function config() {
  const [ink, soft, line, accent] = ["--ink", "--soft", "--line", "--accent"].map(colour);
  const text = { labelColor: ink, titleColor: soft, titleFontWeight: 600, labelFontSize: 12, titleFontSize: 12 };
  return {
    font: 'system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif', background: "transparent", view: { stroke: null },
    axis: { ...text, gridColor: line, domainColor: line, tickColor: line, labelLimit: 150 },
    legend: { ...text, symbolOpacity: 1 },
    range: { category: isDark() ? DARK : LIGHT },
    bar: { color: accent }, line: { color: accent }, area: { color: accent }, point: { color: accent }, rule: { color: soft }, text: { color: ink },
  };
}

/** Draw a picture in an element, in place of what it holds; resolves to the Vega view, which the caller finalizes. */
export async function draw(element, spec) {
  await loaded();
  const fit = spec.width === "container" ? { autosize: { type: "fit-x", contains: "padding" } } : {};
  const picture = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", ...fit, ...spec, config: { ...config(), ...spec.config } };
  const { view } = await globalThis.vegaEmbed(element, picture, { mode: "vega-lite", actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true }, renderer: "canvas" });
  return view;
}
