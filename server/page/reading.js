// The words of a speech, the one that is heard now marked.

export class Reading {
  #element;
  #words = [];

  constructor(element) {
    this.#element = element;
  }

  begin() {
    this.#words = [];
    this.#element.replaceChildren();
  }

  // A word, and when it is heard, in seconds of the speech.
  add(text, start, stop) {
    const element = document.createElement("span");
    element.textContent = text;
    this.#element.append(element, " ");
    this.#element.hidden = false;
    this.#words.push({ element, start, stop });
  }

  // Marks what is heard at a time.
  show(time) {
    for (const { element, start, stop } of this.#words) {
      element.className = time < start ? "coming" : time < stop ? "now" : "";
      if (element.className === "now") this.#keepInSight(element);
    }
  }

  end() {
    this.#element.hidden = true;
  }

  #keepInSight(word) {
    const { offsetTop: top, offsetHeight: height } = word;
    const { scrollTop, clientHeight } = this.#element;
    if (top < scrollTop || top + height > scrollTop + clientHeight) this.#element.scrollTop = top;
  }
}
