// A talk over /api/chat: speech goes, speech and text come, all in messages whose first byte is
// their kind.

import { Latency } from "./latency.js";
import { OpusReader, OpusWriter } from "./opus.js";
import { Socket } from "./socket.js";
import { Trouble, refusal } from "./trouble.js";

const HANDSHAKE = 0;
const AUDIO = 1;
const TEXT = 2;
const ERROR = 5;
const COLORED_TEXT = 7;

const RATE = 24000;
const FRAME = 1920;
const LONGEST_END = 30; // seconds

export class Chat {
  #socket;
  #report;
  #writer;
  #reader;
  #latency;
  #sent = 0; // seconds
  #received = 0;
  #linger;
  #timer = 0;
  #lastText = 0;

  // `report.ready()`, `report.text(piece)`, `report.sound(pcm, rate)`, `report.late(latency, lag)` and
  // `report.ended(trouble)`. `linger` seconds without text end a conversation that is finished.
  constructor(url, report, linger) {
    this.#report = report;
    this.#linger = linger;
    this.#latency = new Latency(report.late);
    const failed = (error) => this.#socket.close(new Trouble("garbled", error.message));
    this.#reader = new OpusReader((pcm, rate) => this.#sound(pcm, rate), failed);
    this.#socket = new Socket(url, {
      message: (bytes) => this.#receive(bytes[0], bytes.subarray(1), failed),
      ended: (trouble) => {
        clearInterval(this.#timer);
        this.#writer?.close();
        this.#reader.close();
        report.ended(trouble);
      },
    });
  }

  // Samples at 24 kHz.
  feed(pcm) {
    this.#writer?.write(pcm);
    this.#sent += pcm.length / RATE;
  }

  // No more will be said: silence goes until the answer is over.
  finish() {
    if (!this.#linger) return this.close();
    const start = performance.now();
    const before = this.#sent;
    this.#lastText = start;
    this.#timer = setInterval(() => {
      const now = performance.now();
      while (this.#sent - before < (now - start) / 1000) this.feed(new Float32Array(FRAME));
      const quiet = (now - this.#lastText) / 1000 > this.#linger;
      if (quiet || this.#sent - before > LONGEST_END) this.close();
    }, 80);
  }

  close() {
    this.#socket.close();
  }

  #receive(kind, payload, failed) {
    if (kind === HANDSHAKE) this.#begin(failed);
    else if (kind === AUDIO) this.#reader.feed(payload);
    else if (kind === TEXT) this.#text(payload);
    else if (kind === COLORED_TEXT) this.#text(payload.subarray(1));
    else if (kind === ERROR) this.#socket.close(refusal(new TextDecoder().decode(payload)));
  }

  #begin(failed) {
    const send = (page) => {
      const message = new Uint8Array(1 + page.length);
      message[0] = AUDIO;
      message.set(page, 1);
      this.#socket.send(message);
    };
    this.#writer = new OpusWriter(send, failed);
    this.#report.ready();
  }

  #text(payload) {
    this.#lastText = performance.now();
    this.#report.text(new TextDecoder().decode(payload));
  }

  #sound(pcm, rate) {
    this.#received += pcm.length / rate;
    this.#latency.measured(this.#sent - this.#received);
    this.#report.sound(pcm, rate);
  }
}
