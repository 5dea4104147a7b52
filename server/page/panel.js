// What every way of using the server shows alike: a button, how it goes, and what went wrong.

import { Figures } from "./figures.js";

export class Panel {
  #idle;
  #button;
  #models = [];

  // A copy of a template, put into `root`; `idle` is what the button says before it is pressed.
  constructor(root, template, idle) {
    root.append(document.getElementById(template).content.cloneNode(true));
    this.root = root;
    this.#idle = idle;
    this.#button = this.find(".main");
    this.figures = new Figures(this.find(".figures"));
    this.rest();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  get state() {
    return this.root.dataset.state;
  }

  // Something is going on: `status` says what, and the button ends it.
  show(state, status) {
    this.#set(state, "Stop", status);
  }

  rest() {
    this.#set("idle", this.#idle, "");
  }

  // Says what went wrong, or nothing for null.
  complain(trouble) {
    const words = this.find(".trouble");
    words.textContent = trouble?.message ?? "";
    words.hidden = !trouble;
  }

  // Offers names if there is a choice, and returns the one that is taken now.
  offer(name, names, chosen) {
    const label = this.find(`.choice.${name}`);
    const select = label.querySelector("select");
    select.replaceChildren(...names.map((each) => new Option(each, each, false, each === chosen)));
    label.hidden = names.length < 2;
    return select;
  }

  // Offers models by their names, and says what the one that is taken is: `model`.
  offerModels(models) {
    this.#models = models;
    const select = this.offer("model", models.map(({ id }) => id));
    const describe = () => (this.find(".about").textContent = described(this.model));
    select.addEventListener("change", describe);
    describe();
    return select;
  }

  get model() {
    return this.#models[this.find(".choice.model select").selectedIndex];
  }

  #set(state, label, status) {
    this.root.dataset.state = state;
    this.find(".label").textContent = label;
    this.find(".status").textContent = status;
  }
}

// "NAME · English, French · a demo that KNOWS"
function described({ id, languages, demo }) {
  const names = new Intl.DisplayNames("en", { type: "language" });
  const known = languages.map((code) => names.of(code)).join(", ");
  return [id, known, demo && `a demo that ${demo}`].filter(Boolean).join(" · ");
}
