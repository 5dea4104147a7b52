// What stands before the page until the server lets one in: its key, or that it does not answer.

export class Gate {
  #element = document.getElementById("gate");
  #words = document.getElementById("gate-words");
  #form = document.getElementById("key");
  #field = document.getElementById("key-field");
  #again = document.getElementById("again");

  // `tried()` is called when the person wants to try again, with the key of the form.
  constructor(server, tried) {
    this.#form.onsubmit = (event) => {
      event.preventDefault();
      server.key = this.#field.value;
      tried();
    };
    this.#again.onclick = tried;
  }

  open() {
    this.#element.hidden = true;
    document.body.classList.remove("gated");
  }

  close(trouble) {
    const wrong = trouble.kind === "key" && this.#field.value;
    this.#element.hidden = false;
    document.body.classList.add("gated");
    this.#words.textContent = wrong ? "The server does not know this key." : trouble.message;
    this.#form.hidden = trouble.kind !== "key";
    this.#again.hidden = trouble.kind === "key";
    (trouble.kind === "key" ? this.#field : this.#again).focus();
  }
}
