"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const line = { domainColor: "currentColor", domainOpacity: 0.5, tickColor: "currentColor", tickOpacity: 0.5,
    gridColor: "currentColor", gridOpacity: 0.14, labelColor: "currentColor", titleColor: "currentColor",
    labelFontSize: 11.5, titleFontSize: 12, titleFontWeight: 500 };
  const config = {
    background: "transparent",
    font: "system-ui, -apple-system, \"Segoe UI\", \"DejaVu Sans\", sans-serif",
    view: { stroke: null },
    axis: line,
    legend: { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 11.5, titleFontSize: 12,
      titleFontWeight: 500, orient: "top", direction: "horizontal", columns: 8, symbolOpacity: 1, labelLimit: 420, symbolLimit: 60 },
  };
  // Names are text; an image or a link in a tooltip would be the only other thing that they could become.
  const text = (value) => String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
  const options = {
    // It would warn of every chart that is as wide as the page and as high as its rows.
    logLevel: vega.Error,
    mode: "vega-lite", renderer: "svg", ast: true, config,
    actions: { export: { svg: true, png: false }, source: false, compiled: false, editor: false },
    tooltip: { theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light", sanitize: text },
  };
  specs.forEach((spec, index) => {
    const place = document.getElementById("chart-" + index);
    vegaEmbed(place, spec, options).catch((error) => {
      place.classList.add("failed");
      place.textContent = "This chart could not be drawn (" + error.message + "); its numbers are in the table.";
      console.error(error);
    });
  });
  // What is folded away on a screen is wanted on paper.
  const opened = [];
  addEventListener("beforeprint", () => {
    document.querySelectorAll("main details:not([open])").forEach((details) => { details.open = true; opened.push(details); });
  });
  addEventListener("afterprint", () => { opened.splice(0).forEach((details) => { details.open = false; }); });
})();
