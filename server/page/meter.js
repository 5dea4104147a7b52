// A level that one sees: the last seconds of a sound as bars.

const BAR = 3; // pixels, and the space after it
const SPACE = 2;
const FLOOR = -50; // decibels that are no bar at all
const EVERY = 250; // milliseconds between what reports to assistive software

export class Meter {
  #canvas;
  #levels = [];
  #announced = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  // The loudest sample of the sound since last time, 0 to 1.
  show(peak) {
    const level = Math.min(1, Math.max(0, 1 - (20 * Math.log10(peak + 1e-9)) / FLOOR));
    this.#levels.push(level);
    this.#announce(level);
    this.#draw();
  }

  clear() {
    this.#levels = [];
    this.#canvas.ariaValueNow = "0";
    this.#draw();
  }

  #announce(level) {
    const now = performance.now();
    if (now - this.#announced < EVERY) return;
    this.#announced = now;
    this.#canvas.ariaValueNow = String(Math.round(100 * level));
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width) return;
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const bars = Math.floor(width / (BAR + SPACE));
    this.#levels = this.#levels.slice(-bars);
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const { color } = getComputedStyle(this.#canvas);
    for (let bar = 0; bar < bars; bar++) {
      const level = this.#levels[bar - bars + this.#levels.length] ?? 0;
      const size = Math.max(BAR, level * height);
      pen.globalAlpha = level ? 1 : 0.25;
      pen.fillStyle = color;
      pen.beginPath();
      pen.roundRect(bar * (BAR + SPACE), (height - size) / 2, BAR, size, BAR / 2);
      pen.fill();
    }
  }
}

// The loudest sample of each part of a block.
export function peaks(pcm, parts) {
  const size = pcm.length / parts;
  return Array.from({ length: parts }, (_, i) =>
    pcm.subarray(i * size, (i + 1) * size).reduce((most, x) => Math.max(most, Math.abs(x)), 0),
  );
}
