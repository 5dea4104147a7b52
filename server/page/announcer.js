// What assistive software reads aloud: words in portions, not each for itself.

const PORTION = 2500; // milliseconds

export class Announcer {
  #element;
  #waiting = "";
  #timer = 0;

  constructor(element) {
    this.#element = element;
  }

  add(piece) {
    this.#waiting += piece;
    this.#timer ||= setTimeout(() => this.flush(), PORTION);
  }

  // All that is waiting, now.
  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#waiting.trim()) this.#element.textContent = this.#waiting.trim();
    this.#waiting = "";
  }
}
