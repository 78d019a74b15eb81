// A square to draw on: light strokes on black, with a pointer or the keyboard.

const STROKE = 1 / 13; // of the side: about two pixels of 28
const STEP = 1 / 28; // of the side, a press of an arrow key
const FILL = 20 / 28; // of the side, what a centred drawing takes: as the digits of MNIST are framed
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pad {
  /** @param {HTMLCanvasElement} canvas; @param {(pad: Pad) => void} changed called after every stroke's part */
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, pen: [canvas.width / 2, canvas.height / 2], down: false });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.clear();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pen = this.place(event);
      this.line(...this.pen);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      for (const part of event.getCoalescedEvents?.() ?? [event]) this.line(...this.place(part));
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  clear() {
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.empty = true;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect(), { width, height } = this.canvas;
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  key(event) {
    const side = this.canvas.width;
    if (event.key in ARROWS) {
      const to = this.pen.map((value, axis) => Math.min(side, Math.max(0, value + ARROWS[event.key][axis] * STEP * side)));
      if (this.down) this.line(...to);
      this.pen = to;
    } else if (event.key === " ") {
      this.down = !this.down;
      if (this.down) this.line(...this.pen);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
      this.changed(this);
    } else {
      return;
    }
    event.preventDefault();
  }

  line(x, y) {
    const { context } = this;
    Object.assign(context, { strokeStyle: "#fff", lineWidth: STROKE * this.canvas.width, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...this.pen);
    context.lineTo(x, y);
    context.stroke();
    this.pen = [x, y];
    this.empty = false;
    this.changed(this);
  }

  /** The drawing, or, where `fit` says so, its strokes scaled to the frame with their centre of mass in the middle. */
  picture(fit) {
    const { width, height } = this.canvas, whole = this.context.getImageData(0, 0, width, height);
    return fit && !this.empty ? centred(this.canvas, whole) : whole;
  }
}

function centred(canvas, { data, width, height }) {
  let [left, right, top, bottom, mass, sumX, sumY] = [width, 0, height, 0, 0, 0, 0];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const ink = data[4 * (y * width + x)];
      if (ink === 0) continue;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x + 1), Math.min(top, y), Math.max(bottom, y + 1)];
      [mass, sumX, sumY] = [mass + ink, sumX + ink * (x + 0.5), sumY + ink * (y + 0.5)];
    }
  }
  const scale = (FILL * width) / Math.max(right - left, bottom - top);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height);
  context.setTransform(scale, 0, 0, scale, width / 2 - (scale * sumX) / mass, height / 2 - (scale * sumY) / mass);
  context.drawImage(canvas, 0, 0);
  return context.getImageData(0, 0, width, height);
}
