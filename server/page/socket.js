// A websocket whose end is reported once, with the reason.

import { Trouble } from "./trouble.js";

const DONE = [1000, 1005];

export class Socket {
  #socket;
  #ended;

  // `report.opened()`, `report.message(Uint8Array)` and, once, `report.ended(trouble)`: null if the
  // server closed in peace.
  constructor(url, report) {
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#ended = report.ended;
    this.#socket.onopen = () => report.opened?.();
    this.#socket.onclose = ({ code }) =>
      this.close(DONE.includes(code) ? null : new Trouble("lost"));
    this.#socket.onmessage = ({ data }) => {
      if (typeof data === "string" || data.byteLength === 0) return;
      try {
        report.message(new Uint8Array(data));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        this.close(new Trouble("garbled"));
      }
    };
  }

  send(bytes) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(bytes);
  }

  // Ends it from here, and reports that.
  close(trouble = null) {
    const ended = this.#ended;
    this.#ended = null;
    this.#socket.onmessage = null;
    this.#socket.close();
    ended?.(trouble);
  }
}
