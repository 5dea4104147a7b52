// Speech to text of a whole recording: its file is posted, its words come as they are found.

import { Trouble, refusal } from "./trouble.js";

const GAP = 2; // seconds between words that are a pause
const PREFIX = "data: ";

export class Recording {
  #request = new XMLHttpRequest(); // fetch does not report how much was sent
  #report;
  #read = 0; // letters of the answer
  #end = 0; // of the last word, in seconds
  #failure = null;

  // `post` is {url, headers, fields}. `report.sent(part)` from 0 to 1, `report.word(text, start)`,
  // `report.pause(time)`, `report.reached(time)` and, once, `report.ended(trouble)`.
  constructor({ url, headers, fields }, file, report) {
    this.#report = report;
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file);
    this.#request.open("POST", url);
    for (const [name, value] of Object.entries(headers)) {
      this.#request.setRequestHeader(name, value);
    }
    this.#request.upload.onprogress = ({ loaded, total }) => report.sent(total ? loaded / total : 0);
    this.#request.upload.onload = () => report.sent(1);
    this.#request.onprogress = () => this.#receive();
    this.#request.onload = () => this.#answered();
    this.#request.onerror = () => this.#finish(new Trouble("lost"));
    this.#request.send(form);
  }

  // Ends it from here: nothing more is reported.
  close() {
    this.#report = null;
    this.#request.abort();
  }

  #finish(trouble) {
    const report = this.#report;
    this.#report = null;
    report?.ended(trouble);
  }

  #answered() {
    const { status, responseText } = this.#request;
    if (status === 200) {
      this.#receive();
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

  #receive() {
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
    if (type !== "transcript.text.delta" || !this.#report) return;
    if (start - this.#end > GAP) this.#report.pause(start);
    this.#report.word(delta.trim(), start);
    this.#report.reached(end);
    this.#end = end;
  }
}
