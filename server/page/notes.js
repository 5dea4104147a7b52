// What was said, to be read, spoken by assistive software, copied and saved.

import { Announcer } from "./announcer.js";
import { Transcript } from "./transcript.js";

export class Notes {
  #panel;
  #transcript;
  #announcer;

  constructor(panel, { title, hint }) {
    this.#panel = panel;
    const element = panel.find(".transcript");
    element.ariaLabel = `${title}: words`;
    panel.find(".hint").textContent = hint;
    this.#transcript = new Transcript(element);
    this.#announcer = new Announcer(panel.find(".announcer"));
    panel.find(".copy").onclick = () => this.#copy();
    panel.find(".save").onclick = () => save(this.#transcript.text);
    panel.find(".clear").onclick = () => this.#clear();
  }

  // What comes now has times of its own, from 0 on.
  begin() {
    this.#transcript.end();
  }

  add(piece, time) {
    this.#transcript.add(piece, time);
    this.#announcer.add(piece);
    this.#show();
  }

  pause(time) {
    this.#transcript.pause(time);
    this.#announcer.flush();
  }

  async #copy() {
    const status = this.#panel.find(".status");
    try {
      await navigator.clipboard.writeText(this.#transcript.text);
      status.textContent = "Copied";
    } catch {
      status.textContent = "This browser does not let the page copy.";
    }
  }

  #clear() {
    this.#transcript.clear();
    this.#show();
    this.#panel.find(".main").focus();
  }

  #show() {
    this.#panel.find(".hint").hidden = !this.#transcript.isEmpty;
    this.#panel.find(".actions").hidden = this.#transcript.isEmpty;
  }
}

function save(text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain" }));
  link.download = "words.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
