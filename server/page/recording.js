// Speech to text of a whole recording: its file is posted, its words come as they are found.

import { Trouble, refusal } from "./trouble.js";

const GAP = 2; // seconds between words that are a pause
const PREFIX = "data: ";

export class Recording {
  #request = new XMLHttpRequest(); // fetch does not report how much was sent
  #told;
  #read = 0; // letters of the answer
  #end = 0; // of the last word, in seconds
  #failure = null;

  // `post` is {url, headers, fields}. `told.sent(part)` from 0 to 1, `told.word(text, start)`,
  // `told.pause(time)`, `told.reached(time)` and, once, `told.ended(trouble)`.
  constructor({ url, headers, fields }, file, told) {
    this.#told = told;
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file);
    this.#request.open("POST", url);
    for (const [name, value] of Object.entries(headers)) {
      this.#request.setRequestHeader(name, value);
    }
    this.#request.upload.onprogress = ({ loaded, total }) => told.sent(total ? loaded / total : 0);
    this.#request.upload.onload = () => told.sent(1);
    this.#request.onprogress = () => this.#hear();
    this.#request.onload = () => this.#answered();
    this.#request.onerror = () => this.#finish(new Trouble("lost"));
    this.#request.send(form);
  }

  // Ends it from here: nothing more is told.
  close() {
    this.#told = null;
    this.#request.abort();
  }

  #finish(trouble) {
    const told = this.#told;
    this.#told = null;
    told?.ended(trouble);
  }

  #answered() {
    const { status, responseText } = this.#request;
    if (status === 200) {
      this.#hear();
      return this.#finish(this.#failure);
    }
    if (status === 401) return this.#finish(new Trouble("key"));
    let said = `${status} ${responseText.slice(0, 200)}`;
    try {
      said = JSON.parse(responseText).error.message;
    } catch {
      // a proxy answered in the place of the server
    }
    this.#finish(status === 503 ? new Trouble("busy") : refusal(said));
  }

  #hear() {
    if (this.#request.status !== 200) return;
    const text = this.#request.responseText;
    const whole = text.lastIndexOf("\n\n") + 2;
    const events = text.slice(this.#read, whole).split("\n\n");
    this.#read = Math.max(this.#read, whole);
    for (const event of events) {
      const data = event.slice(PREFIX.length);
      if (data.startsWith("{")) this.#take(JSON.parse(data));
    }
  }

  #take({ type, delta, start, end, error }) {
    if (error) this.#failure = refusal(error.message);
    if (type !== "transcript.text.delta" || !this.#told) return;
    if (start - this.#end > GAP) this.#told.pause(start);
    this.#told.word(delta.trim(), start);
    this.#told.reached(end);
    this.#end = end;
  }
}
