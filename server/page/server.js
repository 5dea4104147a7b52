// The server that this page came from: what it has, and where its sockets are.

import { Trouble } from "./trouble.js";

const KEY = "kyutai-onnx.key";

export class Server {
  #base;
  #key = sessionStorage.getItem(KEY) ?? "";

  constructor(base = document.baseURI) {
    this.#base = base;
  }

  // Kept until the tab is closed, and sent with every request.
  set key(key) {
    this.#key = key;
    sessionStorage.setItem(KEY, key);
  }

  // [{id, task, has_tail, path, languages, demo}] of every model served: its name, what it is for,
  // whether it goes on speaking after the end of the audio, the path of its websocket, the codes of
  // its languages, and what it knows if it is a demo.
  async models() {
    return (await this.#json("v1/models")).data;
  }

  // {voices: [{name}], default} of a model.
  async voices(model) {
    return this.#json("api/voices", { model: model.id });
  }

  // Of a model.
  socketUrl({ id, path }, query) {
    const url = this.#url(path.replace(/^\//, ""), { model: id, ...query });
    url.protocol = url.protocol.replace("http", "ws");
    return url;
  }

  // How a recording is posted to a model, which answers with its words as they are found.
  recordingPost({ id }) {
    const headers = this.#key ? { "kyutai-api-key": this.#key } : {};
    const url = new URL("v1/audio/transcriptions", this.#base);
    return { url, headers, fields: { model: id, stream: "true" } };
  }

  // Why a socket was refused: browsers report to pages only that it was.
  async whyRefused() {
    try {
      await this.models();
    } catch (error) {
      return error.kind === "key" ? error : new Trouble("lost");
    }
    return new Trouble("refused");
  }

  #url(path, query = {}) {
    const url = new URL(path, this.#base);
    url.search = new URLSearchParams(this.#key ? { ...query, auth_id: this.#key } : query);
    return url;
  }

  async #json(path, query) {
    let answer;
    try {
      answer = await fetch(this.#url(path, query), { cache: "no-store" });
    } catch {
      throw new Trouble("gone");
    }
    if (answer.status === 401) throw new Trouble("key");
    if (!answer.ok) throw new Trouble("gone", `The server answers ${answer.status} to ${path}.`);
    return answer.json();
  }
}
