// On the audio thread: what the microphone gives, as frames of 1920 samples at 24 kHz.

import { Resampler } from "./resampler.js";

const RATE = 24000;
const FRAME = 1920;

class Capture extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, RATE);
  #frame = new Float32Array(FRAME);
  #filled = 0;

  process([[samples]]) {
    if (samples) this.#take(this.#resampler.feed(samples));
    return true;
  }

  #take(samples) {
    while (samples.length) {
      const part = samples.subarray(0, FRAME - this.#filled);
      this.#frame.set(part, this.#filled);
      this.#filled += part.length;
      samples = samples.subarray(part.length);
      if (this.#filled === FRAME) {
        this.port.postMessage(this.#frame.slice());
        this.#filled = 0;
      }
    }
  }
}

registerProcessor("capture", Capture);
