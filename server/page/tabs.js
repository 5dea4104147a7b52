// Tabs as https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ asks: one stop of the Tab key, arrows
// between them.

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

export class Tabs {
  #list;
  #tabs = [];
  #left;

  // `left(panel)` is called for a panel that is turned away from.
  constructor(list, left) {
    this.#list = list;
    this.#left = left;
    list.onkeydown = (event) => this.#key(event);
  }

  add(id, title, panel) {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.role = "tab";
    tab.id = `${id}-tab`;
    tab.textContent = title;
    tab.setAttribute("aria-controls", id);
    tab.onclick = () => this.choose(this.#tabs.findIndex((each) => each.tab === tab));
    panel.id = id;
    panel.role = "tabpanel";
    panel.setAttribute("aria-labelledby", tab.id);
    this.#list.append(tab);
    this.#tabs.push({ tab, panel });
    this.#list.hidden = this.#tabs.length < 2;
  }

  choose(chosen) {
    this.#tabs.forEach(({ tab, panel }, index) => {
      if (index !== chosen && tab.ariaSelected === "true") this.#left(panel);
      tab.ariaSelected = String(index === chosen);
      tab.tabIndex = index === chosen ? 0 : -1;
      panel.hidden = index !== chosen;
    });
  }

  clear() {
    this.#list.replaceChildren();
    this.#list.hidden = true;
    this.#tabs = [];
  }

  #key(event) {
    const now = this.#tabs.findIndex(({ tab }) => tab === document.activeElement);
    const last = this.#tabs.length - 1;
    let next = { Home: 0, End: last }[event.key];
    if (event.key in STEPS) next = (now + STEPS[event.key] + last + 1) % (last + 1);
    if (now < 0 || next === undefined) return;
    event.preventDefault();
    this.choose(next);
    this.#tabs[next].tab.focus();
  }
}
