// What a visitor shows the page: strokes, pictures from files and the camera, texts. All of it becomes an input of the model.

import { Pad } from "./pad.js";
import { Camera, inverted, openPicture } from "./pictures.js";
import { byId } from "./views.js";

/**
 * Listen to everything that gives an input.
 * @param {() => object} model what is loaded by now
 * @param {(input: any) => Promise<void>} show called with every input, or undefined when there is none any more
 * @param on as in page.js: listen, and say what goes wrong
 */
export function listen(model, show, on) {
  const camera = new Camera(byId("video"));
  let opened; // the picture that was last given, for when an option changes
  let waiting = false; // whether a frame with the drawing is on its way
  const showPicture = (picture) => show(model().fromPicture(picture));
  const drawn = new Pad(byId("pad"), (pad) => {
    if (waiting || !model()) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      on.attempt(() => showPicture(pad.picture(byId("fit").checked)), byId("answer"));
    });
  });
  const open = (picture) => {
    opened = picture;
    return showPicture(byId("invert").checked ? inverted(picture) : picture);
  };
  const turnCamera = async () => {
    await (camera.on ? camera.stop() : camera.start());
    byId("pad").hidden = byId("photo").hidden = camera.on;
    byId("shoot").hidden = !camera.on;
    byId("camera").textContent = camera.on ? "Stop the camera" : "Use the camera";
  };

  on("clear", "click", () => {
    drawn.clear();
    byId("text").value = "";
    opened = undefined;
    return show(undefined);
  });
  on("file", "change", async ({ target }) => {
    const [file] = target.files;
    target.value = ""; // so that the same file can be opened again
    if (file) await open(await openPicture(file));
  });
  on("camera", "click", turnCamera);
  on("shoot", "click", () => open(camera.take()));
  on("invert", "change", () => opened && open(opened));
  on("fit", "change", () => drawn.empty || drawn.changed(drawn));
  on("text", "input", ({ target }) => show(target.value.trim() ? target.value : undefined));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    on("drop", kind, async (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) await open(await openPicture(event.dataTransfer.files[0]));
    });
  }
}
