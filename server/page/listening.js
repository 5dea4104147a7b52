// Speech to text over moshi-server's protocol: samples go, words and pauses come.

import { Latency } from "./latency.js";
import { pack, unpack } from "./messagepack.js";
import { Socket } from "./socket.js";
import { refusal } from "./trouble.js";

const RATE = 24000;
const FRAME = 1920;
const HEAD = 2; // of the model's extra heads: a pause of two seconds is coming
const PAUSE = 0.5; // its probability
const GAP = 2; // seconds between words that are a pause if the model has no heads
const MARK_EVERY = 12; // frames
const LAST = -1; // the marker after which all is said
const BURST = 8; // frames of silence that are sent at once to get the end
const BURST_EVERY = 120; // milliseconds
const PATIENCE = 150; // frames of silence at most

export class Listening {
  #socket;
  #report;
  #latency;
  #frames = 0;
  #marks = new Map();
  #steps = 0;
  #hasHeads = false;
  #paused = 0; // when, and Infinity once something was said since
  #previous = 0;
  #silence = 0;
  #timer = 0;

  // `report.ready()`, `report.word(text, start)`, `report.pause(time)`, `report.late(latency, lag)` and
  // `report.ended(trouble)`.
  constructor(url, report) {
    this.#report = report;
    this.#latency = new Latency(report.late);
    this.#socket = new Socket(url, {
      message: (bytes) => this.#receive(unpack(bytes)),
      ended: (trouble) => {
        clearInterval(this.#timer);
        report.ended(trouble);
      },
    });
  }

  // A frame: 1920 samples at 24 kHz.
  feed(pcm) {
    this.#socket.send(pack({ type: "Audio", pcm }));
    this.#frames += 1;
    if (this.#frames % MARK_EVERY === 0) this.#mark(this.#frames);
  }

  // No more will be fed: the last words still come, then the end.
  finish() {
    this.#mark(LAST);
    this.#timer = setInterval(() => {
      if (this.#silence >= PATIENCE) return this.close();
      for (let i = 0; i < BURST; i++) this.feed(new Float32Array(FRAME));
      this.#silence += BURST;
    }, BURST_EVERY);
  }

  close() {
    this.#socket.close();
  }

  #mark(id) {
    this.#marks.set(id, performance.now());
    this.#socket.send(pack({ type: "Marker", id }));
  }

  #receive(message) {
    if (message.type === "Ready") this.#report.ready();
    else if (message.type === "Word") this.#word(message);
    else if (message.type === "Step") this.#step(message);
    else if (message.type === "Marker") this.#marked(message.id);
    else if (message.type === "Error") this.#socket.close(refusal(message.message));
  }

  #word({ text, start_time: start }) {
    if (!text.trim()) return;
    if (!this.#hasHeads && start - this.#previous > GAP) this.#report.pause(start);
    if (start >= this.#paused) this.#paused = Infinity;
    this.#previous = start;
    this.#report.word(text.trim(), start);
  }

  #step({ prs }) {
    this.#steps += 1;
    this.#hasHeads ||= prs.length > 0;
    const pauses = prs[Math.min(HEAD, prs.length - 1)] > PAUSE;
    if (!pauses || this.#paused < Infinity) return;
    this.#paused = this.#steps * (FRAME / RATE);
    this.#report.pause(this.#paused);
  }

  #marked(id) {
    if (id === LAST) return this.close();
    this.#latency.measured((performance.now() - this.#marks.get(id)) / 1000);
    this.#marks.delete(id);
  }
}
