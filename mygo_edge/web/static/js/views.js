// What the page shows: bars, dreams, images. Text is always set as text, never as HTML.

const ROWS = 12; // classes that are shown at once

export const byId = (id) => document.getElementById(id);
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** An element with text and properties. */
export function element(kind, text = "", properties = {}) {
  return Object.assign(document.createElement(kind), { textContent: text }, properties);
}

/** Show an ImageData on a canvas. */
export function paint(canvas, picture) {
  Object.assign(canvas, { width: picture.width, height: picture.height });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/** A row a class; where there are many, the likeliest. */
export function showBars(body, found) {
  const best = found.reduce((top, row) => (row.probability > top.probability ? row : top));
  const likely = (rows) => [...rows].sort((a, b) => b.probability - a.probability).slice(0, ROWS);
  const rows = (found.length > ROWS ? likely(found) : found).map((row) => {
    const line = element("tr", "", { className: row === best ? "best" : "" });
    const bar = element("div", "", { className: "bar" });
    bar.style.setProperty("--share", row.probability);
    const cell = element("td");
    cell.append(bar);
    line.dataset.probability = row.probability;
    line.append(element("th", row.label, { scope: "row", title: `task ${row.task}` }), cell, element("td", percent(row.probability)));
    return line;
  });
  body.replaceChildren(...rows);
  return best;
}

/** A button a dream; pressing one classifies it. */
export function showDreams(grid, { images, classIds }, classes, model, chosen) {
  const tiles = images.map((pixels, index) => {
    const label = classes[classIds[index]];
    const tile = element("button", "", { type: "button" });
    tile.setAttribute("aria-label", `Dream ${index + 1} of ${images.length}, of ${label}: classify it`);
    tile.append(paint(element("canvas"), model.toPicture(pixels)), label);
    tile.addEventListener("click", () => chosen(pixels));
    return tile;
  });
  grid.replaceChildren(...tiles);
}

/** Replace the options of a select: [value, text] each. */
export function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => element("option", text, { value })));
}
