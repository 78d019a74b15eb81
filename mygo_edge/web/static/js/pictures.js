// Pictures from files and from the camera, as ImageData.

import { Refusal, require } from "./errors.js";

const MAX_PIXELS = 89_000_000; // as on a device, where Pillow warns of more

/** The picture in a file, turned as its EXIF says. Throws Refusal. */
export async function openPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Refusal(`${file.name} cannot be read as a picture.`);
  }
  require(bitmap.width * bitmap.height <= MAX_PIXELS, `${file.name} has too many pixels; make it smaller first.`);
  return imageData(bitmap, bitmap.width, bitmap.height);
}

/** Dark for light: what a photo of ink on paper needs where the network learnt light strokes on black. */
export function inverted(picture) {
  const data = picture.data.map((value, index) => (index % 4 === 3 ? value : 255 - value));
  return new ImageData(data, picture.width, picture.height);
}

export class Camera {
  /** @param {HTMLVideoElement} video where its picture is shown */
  constructor(video) {
    this.video = video;
  }

  get on() {
    return Boolean(this.video.srcObject);
  }

  async start() {
    require(navigator.mediaDevices, "The camera needs the page to be opened over https or localhost.");
    try {
      this.video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      throw new Refusal(`The camera cannot be used (${error.name}).`);
    }
    this.video.hidden = false;
    await this.video.play();
  }

  stop() {
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.video.hidden = true;
  }

  /** The middle square of what it shows now. */
  take() {
    const { videoWidth: width, videoHeight: height } = this.video, side = Math.min(width, height);
    return imageData(this.video, side, side, (side - width) / 2, (side - height) / 2);
  }
}

function imageData(source, width, height, x = 0, y = 0) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // what is transparent lies on white, as a device reads it
  context.fillRect(0, 0, width, height);
  context.drawImage(source, x, y);
  return context.getImageData(0, 0, width, height);
}
