// A websocket whose end is told once, and why.

import { Trouble } from "./trouble.js";

const DONE = [1000, 1005];

export class Socket {
  #socket;
  #ended;

  // `told.opened()`, `told.message(Uint8Array)` and, once, `told.ended(trouble)`: null where the
  // server closed in peace.
  constructor(url, told) {
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#ended = told.ended;
    this.#socket.onopen = () => told.opened?.();
    this.#socket.onclose = ({ code }) =>
      this.close(DONE.includes(code) ? null : new Trouble("lost"));
    this.#socket.onmessage = ({ data }) => {
      if (typeof data === "string" || data.byteLength === 0) return;
      try {
        told.message(new Uint8Array(data));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        this.close(new Trouble("garbled"));
      }
    };
  }

  send(bytes) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(bytes);
  }

  // Ends it from here, and tells so.
  close(trouble = null) {
    const ended = this.#ended;
    this.#ended = null;
    this.#socket.onmessage = null;
    this.#socket.close();
    ended?.(trouble);
  }
}
