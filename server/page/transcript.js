// The transcribed words: a line up to each pause, with the time it began.

import { minutes } from "./figures.js";

const NEAR = 80; // pixels from the end that still count as reading along

export class Transcript {
  #element;
  #said = null; // the words of the last line
  #paused = Infinity; // when it ended

  constructor(element) {
    this.#element = element;
  }

  get isEmpty() {
    return !this.#element.firstChild;
  }

  get text() {
    const lines = this.#element.querySelectorAll(".said");
    return [...lines].map((line) => line.textContent.trim()).join("\n");
  }

  // A piece of text, with the spaces it brings, said at `time` (seconds). What was said before the
  // last pause still belongs to the line that it ended: words come a moment after their sound.
  add(piece, time) {
    const follows = this.#follows();
    if (!this.#said || time >= this.#paused) this.#begin(time);
    const word = document.createElement("span");
    word.className = "word";
    word.textContent = this.#said.firstChild ? piece : piece.trimStart();
    this.#said.append(word);
    if (follows) this.#element.scrollTop = this.#element.scrollHeight;
  }

  // What is said from `time` on begins a line.
  pause(time) {
    if (!this.#said || this.#paused < Infinity) return;
    const mark = document.createElement("span");
    mark.className = "pause";
    mark.role = "img";
    mark.ariaLabel = "pause";
    mark.title = "pause";
    this.#said.after(mark);
    this.#paused = time;
  }

  // What comes next begins a line, whenever it is said.
  end() {
    this.#said = null;
    this.#paused = Infinity;
  }

  clear() {
    this.#element.replaceChildren();
    this.end();
  }

  #begin(time) {
    if (this.#said) this.#said.textContent = this.#said.textContent; // one node for all its words
    const line = document.createElement("p");
    const clock = document.createElement("time");
    clock.textContent = minutes(time);
    const said = document.createElement("span");
    said.className = "said";
    line.append(clock, said);
    this.#element.append(line);
    this.#said = said;
    this.#paused = Infinity;
  }

  #follows() {
    const { scrollTop, scrollHeight, clientHeight } = this.#element;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }
}
