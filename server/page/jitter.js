// Sound that comes in pieces at uneven times, played evenly: it begins once enough is there, waits
// where it runs dry, longer each time, and where too much piles up it cuts silences short.

import { Resampler } from "./resampler.js";

const LONGEST_LEAD = 2; // seconds
const GROWTH = 1.5; // of the lead, each time it runs dry
const SLACK = 0.16; // seconds beyond the lead that are no hurry
const SILENCE = 0.004; // the loudest sample of what may be cut

export class Jitter {
  played = 0; // samples
  gaps = 0;
  cut = 0; // samples of silence
  #rate;
  #lead;
  #live;
  #playing = false;
  #ending = false;
  #pieces = [];
  #at = 0; // in the first piece
  #waiting = 0;
  #resampler;
  #from = 0;

  // `rate` is that of playing, `lead` the seconds that are held before it begins. `live` sound
  // keeps up with its source.
  constructor(rate, lead, live) {
    this.#rate = rate;
    this.#lead = lead * rate;
    this.#live = live;
  }

  get buffered() {
    return this.#waiting;
  }

  // Nothing is left, and nothing will come.
  get done() {
    return this.#ending && this.#waiting === 0;
  }

  feed(pcm, rate) {
    if (rate !== this.#from) {
      this.#from = rate;
      this.#resampler = new Resampler(rate, this.#rate);
    }
    const piece = this.#resampler.feed(pcm);
    this.#pieces.push(piece);
    this.#waiting += piece.length;
  }

  end() {
    this.#ending = true;
  }

  // Forgets what was not played.
  clear() {
    this.#pieces = [];
    this.#at = 0;
    this.#waiting = 0;
  }

  // Fills a block with what comes next, and with silence where there is nothing.
  fill(block) {
    if (!this.#playing) this.#playing = this.#waiting > 0 && this.#enough();
    if (!this.#playing) return;
    let count = this.#take(block);
    while (this.#live && this.#late() && quiet(block)) {
      this.cut += count;
      count = this.#take(block);
    }
    this.played += count;
    if (count < block.length) {
      block.fill(0, count);
      this.#starve();
    }
  }

  #enough() {
    return this.#ending || this.#waiting >= this.#lead;
  }

  #late() {
    return this.#waiting > this.#lead + SLACK * this.#rate;
  }

  #starve() {
    this.#playing = false;
    if (this.#ending) return;
    this.gaps += 1;
    this.#lead = Math.min(GROWTH * this.#lead, LONGEST_LEAD * this.#rate);
  }

  #take(block) {
    let filled = 0;
    while (filled < block.length && this.#pieces.length) {
      const rest = this.#pieces[0].subarray(this.#at, this.#at + block.length - filled);
      block.set(rest, filled);
      filled += rest.length;
      this.#at += rest.length;
      if (this.#at >= this.#pieces[0].length) {
        this.#pieces.shift();
        this.#at = 0;
      }
    }
    this.#waiting -= filled;
    return filled;
  }
}

function quiet(block) {
  return block.every((sample) => Math.abs(sample) < SILENCE);
}
