// On the audio thread: plays what is posted, and reports how it goes.

import { Jitter } from "./jitter.js";

const REPORT_EVERY = 0.04; // seconds

class Playback extends AudioWorkletProcessor {
  #jitter;
  #reported = 0;
  #peak = 0;

  constructor({ processorOptions: { lead, live } }) {
    super();
    this.#jitter = new Jitter(sampleRate, lead, live);
    this.port.onmessage = ({ data }) => {
      if (data.pcm) this.#jitter.feed(data.pcm, data.rate);
      else this.#end(data.now);
    };
  }

  process(_, [[block]]) {
    this.#jitter.fill(block);
    for (const sample of block) this.#peak = Math.max(this.#peak, Math.abs(sample));
    if (currentTime - this.#reported >= REPORT_EVERY || this.#jitter.done) this.#report();
    return !this.#jitter.done;
  }

  #end(now) {
    if (now) this.#jitter.clear();
    this.#jitter.end();
  }

  #report() {
    this.#reported = currentTime;
    this.port.postMessage({
      played: this.#jitter.played / sampleRate,
      buffered: this.#jitter.buffered / sampleRate,
      gaps: this.#jitter.gaps,
      peak: this.#peak,
      done: this.#jitter.done,
    });
    this.#peak = 0;
  }
}

registerProcessor("playback", Playback);
