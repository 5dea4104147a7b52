// Text to speech over moshi-server's protocol: a text goes, its speech and the times of its words
// come.

import { pack, unpack } from "./messagepack.js";
import { Socket } from "./socket.js";
import { refusal } from "./trouble.js";

export class Speaking {
  #socket;
  #told;
  #text;

  // `told.ready()`, `told.sound(pcm)` at 24 kHz, `told.word(text, start, stop)` and
  // `told.ended(trouble)`.
  constructor(url, text, told) {
    this.#told = told;
    this.#text = text;
    this.#socket = new Socket(url, {
      message: (bytes) => this.#hear(unpack(bytes)),
      ended: told.ended,
    });
  }

  close() {
    this.#socket.close();
  }

  #hear(message) {
    if (message.type === "Ready") this.#begin();
    else if (message.type === "Audio") this.#told.sound(Float32Array.from(message.pcm));
    else if (message.type === "Text") {
      this.#told.word(message.text, message.start_s, message.stop_s);
    } else if (message.type === "Error") this.#socket.close(refusal(message.message));
  }

  #begin() {
    this.#told.ready();
    this.#socket.send(pack({ type: "Text", text: this.#text }));
    this.#socket.send(pack({ type: "Eos" }));
  }
}
