// Named numbers in a row.

export class Figures {
  #element;
  #values = new Map();

  constructor(element) {
    this.#element = element;
  }

  // Those that are to come, in their order.
  begin(names) {
    this.#values = new Map(names.map((name) => [name, document.createElement("dd")]));
    this.#element.replaceChildren(
      ...names.map((name) => {
        const group = document.createElement("div");
        const term = document.createElement("dt");
        term.textContent = name;
        group.append(term, this.#values.get(name));
        return group;
      }),
    );
    names.forEach((name) => this.show(name, "–"));
  }

  show(name, value) {
    const shown = this.#values.get(name);
    if (shown.textContent !== value) shown.textContent = value;
  }
}

export function seconds(value) {
  return `${value.toFixed(2)} s`;
}

export function minutes(value) {
  const whole = Math.max(0, Math.floor(value));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
