// Text to speech over moshi-server's protocol: a text goes, its speech and the times of its words
// come.

import { pack, unpack } from "./messagepack.js";
import { Socket } from "./socket.js";
import { refusal } from "./trouble.js";

export class Speaking {
  #socket;
  #report;
  #text;

  // `report.ready()`, `report.sound(pcm)` at 24 kHz, `report.word(text, start, stop)` and
  // `report.ended(trouble)`.
  constructor(url, text, report) {
    this.#report = report;
    this.#text = text;
    this.#socket = new Socket(url, {
      message: (bytes) => this.#receive(unpack(bytes)),
      ended: report.ended,
    });
  }

  close() {
    this.#socket.close();
  }

  #receive(message) {
    if (message.type === "Ready") this.#begin();
    else if (message.type === "Audio") this.#report.sound(Float32Array.from(message.pcm));
    else if (message.type === "Text") {
      this.#report.word(message.text, message.start_s, message.stop_s);
    } else if (message.type === "Error") this.#socket.close(refusal(message.message));
  }

  #begin() {
    this.#report.ready();
    this.#socket.send(pack({ type: "Text", text: this.#text }));
    this.#socket.send(pack({ type: "Eos" }));
  }
}
