// A text that is said aloud, word by word as it is made, and can be kept.

import { audioContext } from "./audio.js";
import { seconds } from "./figures.js";
import { Meter } from "./meter.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";
import { Reading } from "./reading.js";
import { Speaking } from "./speaking.js";
import { Trouble } from "./trouble.js";
import { offerVoices } from "./voices.js";
import { wav } from "./wav.js";

const RATE = 24000;
const LEAD = 0.24; // seconds that are held before it is played
const FIGURES = ["First sound", "Speed", "Made", "Played", "Gaps"];

export class Speech {
  #server;
  #locked;
  #panel;
  #meter;
  #reading;
  #session = null;
  #player = null;
  #pieces = [];
  #made = 0; // seconds
  #asked = 0;

  // `locked(trouble)` is called if the server asks for a key.
  constructor(root, server, models, locked) {
    this.#server = server;
    this.#locked = locked;
    this.#panel = new Panel(root, "speech", "Speak");
    this.#meter = new Meter(this.#panel.find(".meter.output"));
    this.#reading = new Reading(this.#panel.find(".reading"));
    this.#panel.offerModels(models).onchange = () => this.#offerVoices();
    this.#label(root.id);
    this.#offerVoices();
  }

  // Ends it at once, as when the person turns to something else.
  leave() {
    if (this.#panel.state !== "idle") this.#stop();
  }

  #label(id) {
    const field = this.#panel.find(".text");
    field.id = `${id}-text`;
    this.#panel.find(".text-label").htmlFor = field.id;
    const form = this.#panel.find("form");
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#press(field.value.trim());
    };
    field.onkeydown = (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      form.requestSubmit();
    };
  }

  async #offerVoices() {
    try {
      offerVoices(this.#panel, await this.#server.voices(this.#panel.model));
    } catch (trouble) {
      this.#fail(trouble);
    }
  }

  #press(text) {
    if (this.#panel.state !== "idle") this.#stop();
    else if (text) this.#start(text);
  }

  async #start(text) {
    this.#panel.complain(null);
    this.#panel.figures.begin(FIGURES);
    this.#panel.find(".actions").hidden = true;
    this.#panel.find(".main").focus(); // the text is about to be hidden
    this.#panel.show("starting", "Waiting for a free channel…");
    this.#pieces = [];
    this.#made = 0;
    let context;
    try {
      context = await audioContext();
    } catch (trouble) {
      return this.#fail(trouble);
    }
    if (this.#panel.state !== "starting") return;
    const report = (state) => this.#played(state);
    this.#player = new Player(context, { lead: LEAD, live: false }, report);
    this.#ask(text);
  }

  #ask(text) {
    const voice = this.#panel.find(".voice select").value;
    const query = { format: "PcmMessagePack", ...(voice && { voice }) };
    this.#session = new Speaking(this.#server.socketUrl(this.#panel.model, query), text, {
      ready: () => this.#begin(),
      sound: (pcm) => this.#sound(pcm),
      word: (word, start, stop) => this.#reading.add(word, start, stop),
      ended: (trouble) => this.#ended(trouble),
    });
  }

  #begin() {
    this.#asked = performance.now();
    this.#reading.begin();
    this.#panel.show("running", "Speaking");
  }

  #sound(pcm) {
    const passed = (performance.now() - this.#asked) / 1000;
    if (!this.#made) this.#panel.figures.show("First sound", seconds(passed));
    this.#pieces.push(pcm);
    this.#made += pcm.length / RATE;
    this.#panel.figures.show("Made", seconds(this.#made));
    this.#panel.figures.show("Speed", `${(this.#made / passed).toFixed(1)}×`);
    this.#player.play(pcm, RATE);
  }

  #played({ played, gaps, peak, done }) {
    this.#meter.show(peak);
    this.#reading.show(played);
    this.#panel.figures.show("Played", seconds(played));
    this.#panel.figures.show("Gaps", String(gaps));
    if (done) this.#rest();
  }

  async #ended(trouble) {
    this.#session = null;
    if (this.#panel.state === "idle") return;
    this.#offerFile();
    if (trouble?.kind === "lost" && !this.#made) trouble = await this.#server.whyRefused();
    if (!this.#made) return this.#fail(trouble ?? new Trouble("silent"));
    this.#panel.complain(trouble);
    this.#player.finish();
  }

  #offerFile() {
    if (!this.#made) return;
    const link = this.#panel.find(".download");
    if (link.href) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(wav(this.#pieces, RATE));
    this.#panel.find(".actions").hidden = false;
  }

  #stop() {
    this.#player?.stop();
    this.#offerFile();
    this.#rest();
  }

  #fail(trouble) {
    this.#player?.stop();
    this.#rest();
    this.#panel.complain(trouble);
    if (trouble.kind === "key") this.#locked(trouble);
  }

  #rest() {
    this.#panel.rest();
    this.#session?.close();
    this.#player = null;
    this.#meter.clear();
    this.#reading.end();
  }
}
