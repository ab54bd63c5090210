/** An area to draw on with mouse, finger or pen: white strokes on black, as the digits of MNIST are. */

/** Width of a stroke, in pixels of a canvas of 280 pixels. */
const STROKE = 20;

/** @typedef {{ x: number, y: number }} Point */

export class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} onChange called after each part of a stroke
   */
  constructor(canvas, onChange) {
    const context = canvas.getContext("2d");
    if (!context) throw new Error("This browser cannot draw.");
    this.canvas = canvas;
    this.context = context;
    this.onChange = onChange;
    /** Whether what is shown was drawn, rather than opened. */
    this.drawn = false;
    this.empty = true;
    /** @type {Point | null} */
    this.last = null;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.draw(event));
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"]))
      canvas.addEventListener(name, () => {
        this.last = null;
      });
    this.clear();
  }

  clear() {
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.drawn = false;
    this.empty = true;
  }

  /** Show a picture that was opened, as large as it fits. */
  show(/** @type {CanvasImageSource} */ image, /** @type {number} */ width, /** @type {number} */ height) {
    this.clear();
    const scale = Math.min(this.canvas.width / width, this.canvas.height / height);
    const [wide, high] = [width * scale, height * scale];
    this.context.imageSmoothingEnabled = scale < 1;
    this.context.drawImage(image, (this.canvas.width - wide) / 2, (this.canvas.height - high) / 2, wide, high);
    this.empty = false;
  }

  /** What is drawn, as the address of a PNG. */
  toPng() {
    return this.canvas.toDataURL("image/png");
  }

  begin(/** @type {PointerEvent} */ event) {
    if (event.button !== 0) return;
    if (!this.drawn) this.clear();
    this.drawn = true;
    this.empty = false;
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.placeOf(event);
    this.line(this.last, this.last);
    event.preventDefault();
  }

  draw(/** @type {PointerEvent} */ event) {
    if (!this.last) return;
    // A fast pen reports several places at once.
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const place = this.placeOf(each);
      this.line(this.last, place);
      this.last = place;
    }
  }

  line(/** @type {Point} */ from, /** @type {Point} */ to) {
    const { context } = this;
    context.strokeStyle = "#fff";
    context.lineWidth = STROKE;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y + 0.01);
    context.stroke();
    this.onChange();
  }

  /** @returns {Point} */
  placeOf(/** @type {PointerEvent} */ event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * this.canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.canvas.height,
    };
  }
}
