// Changes the rate of a stream of samples with a windowed sinc, in as many phases as the two rates
// need: the same samples come out however the stream is cut.

const REACH = 24; // zero crossings to each side of the slower rate
const PASS = 0.92; // of the slower rate's half: the rest is for the filter to fall
const BETA = 8; // of the Kaiser window: 80 dB

function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}

function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-9 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

export class Resampler {
  #up;
  #down;
  #taps;
  #phases;
  #held; // the input that is still needed
  #position = 0; // of the next sample, in steps of 1 / up of the input held

  constructor(from, to) {
    const common = divisor(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const cutoff = PASS * Math.min(1, to / from);
    const half = Math.ceil(REACH / Math.min(1, to / from));
    this.#taps = 2 * half;
    this.#phases = Array.from({ length: this.#up }, (_, phase) => {
      const kernel = Float32Array.from({ length: this.#taps }, (_, tap) => {
        const x = tap - half + 1 - phase / this.#up;
        const inside = Math.sqrt(Math.max(0, 1 - (x / half) ** 2));
        return (cutoff * sinc(cutoff * x) * bessel(BETA * inside)) / bessel(BETA);
      });
      const sum = kernel.reduce((a, b) => a + b, 0);
      return kernel.map((value) => value / sum);
    });
    this.#held = new Float32Array(half - 1);
  }

  // The samples that are known now.
  feed(samples) {
    if (this.#up === this.#down) return samples;
    const input = new Float32Array(this.#held.length + samples.length);
    input.set(this.#held);
    input.set(samples, this.#held.length);
    const last = input.length - this.#taps;
    const count = Math.max(
      0,
      Math.floor((last * this.#up + this.#up - 1 - this.#position) / this.#down) + 1,
    );
    const output = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const start = Math.floor(this.#position / this.#up);
      const kernel = this.#phases[this.#position % this.#up];
      let sum = 0;
      for (let tap = 0; tap < kernel.length; tap++) sum += kernel[tap] * input[start + tap];
      output[i] = sum;
      this.#position += this.#down;
    }
    const used = Math.min(Math.floor(this.#position / this.#up), input.length);
    this.#position -= used * this.#up;
    this.#held = input.slice(used);
    return output;
  }
}
