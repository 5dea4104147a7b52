// Speech into the microphone, or a recording, words and perhaps speech out of the server: one press
// begins it, one ends it.

import { audioContext } from "./audio.js";
import { takeFiles } from "./files.js";
import { minutes, seconds } from "./figures.js";
import { Meter, peaks } from "./meter.js";
import { Microphone } from "./microphone.js";
import { Notes } from "./notes.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";
import { Trouble } from "./trouble.js";

const FRAME = 0.08; // seconds
const BARS = 4; // of the meter, for a frame
const RETRIES = [0.5, 1, 2, 4, 8]; // seconds until the next try
const LEAD = 0.16; // seconds of an answer that are held before it is played
const LATE = ["Latency", "Lag"];
const PLAYED = ["Buffer", "Gaps"];
const NEW_LINE = 2000; // milliseconds without text

export class Conversation {
  #use;
  #server;
  #locked;
  #panel;
  #notes;
  #input;
  #output;
  #microphone = null;
  #session = null;
  #player = null;
  #ready = false;
  #waiting = []; // frames that no session took yet
  #taken = 0; // frames of the microphone
  #begun = 0; // seconds of it before the session
  #tries = 0;
  #timer = 0;
  #late = 0;
  #buffered = 0;
  #lastText = 0;

  // `locked(trouble)` is called if the server asks for a key.
  constructor(root, use, server, models, locked) {
    this.#use = use;
    this.#server = server;
    this.#locked = locked;
    this.#panel = new Panel(root, "conversation", use.start);
    this.#notes = new Notes(this.#panel, use);
    this.#input = new Meter(this.#panel.find(".meter.input"));
    this.#output = new Meter(this.#panel.find(".meter.output"));
    this.#panel.find(".answer").hidden = !use.plays;
    this.#panel.offerModels(models);
    this.#panel.find(".main").onclick = () => this.#press();
    if (use.read) takeFiles(root, this.#panel.find(".file"), (files) => this.#open(files));
  }

  // Ends it at once, as when the person turns to something else.
  leave() {
    if (this.#panel.state !== "idle") this.#rest();
  }

  // Seconds of the microphone.
  get #time() {
    return this.#taken * FRAME;
  }

  #press() {
    if (this.#panel.state === "idle") this.#start();
    else if (this.#panel.state === "running") this.#finish();
    else this.#rest();
  }

  async #start() {
    this.#panel.complain(null);
    this.#panel.figures.begin(this.#use.plays ? [...LATE, ...PLAYED] : LATE);
    this.#panel.show("starting", "Waiting for the microphone…");
    this.#taken = this.#tries = 0;
    this.#notes.begin();
    try {
      await this.#use.check();
      const received = (pcm) => this.#receive(pcm);
      const lost = (trouble) => this.#fail(trouble);
      const microphone = await Microphone.open(received, lost, { played: this.#use.plays });
      if (this.#panel.state !== "starting") return microphone.close();
      this.#microphone = microphone;
      if (this.#use.plays) await this.#openPlayer();
    } catch (trouble) {
      return this.#fail(trouble);
    }
    this.#connect();
  }

  #open([file, ...others]) {
    if (this.#panel.state !== "idle") return;
    if (others.length) return this.#fail(new Trouble("many"));
    this.#panel.complain(null);
    this.#panel.figures.begin([]);
    this.#panel.show("reading", `Sending ${file.name}…`);
    this.#taken = this.#begun = 0;
    this.#notes.begin();
    const post = this.#server.recordingPost(this.#panel.model);
    this.#session = this.#use.read(post, file, {
      sent: (part) =>
        this.#panel.show("reading", part < 1 ? `Sending… ${percent(part)}` : "Reading…"),
      word: (text, start) => this.#notes.add(` ${text}`, start),
      pause: (time) => this.#notes.pause(time),
      reached: (time) => this.#panel.show("reading", `Reading… ${minutes(time)}`),
      ended: (trouble) => (trouble ? this.#fail(trouble) : this.#rest()),
    });
  }

  async #openPlayer() {
    const report = ({ buffered, gaps, peak, done }) => {
      if (done) return this.#output.clear();
      this.#output.show(peak);
      this.#buffered = buffered;
      this.#panel.figures.show("Buffer", seconds(buffered));
      this.#panel.figures.show("Gaps", String(gaps));
    };
    this.#player = new Player(await audioContext(), { lead: LEAD, live: true }, report);
  }

  #connect() {
    this.#panel.show("waiting", "Waiting for a free channel…");
    this.#session = this.#use.open(this.#server.socketUrl(this.#panel.model), {
      ready: () => this.#begin(),
      word: (text, start) => this.#notes.add(` ${text}`, this.#begun + start),
      text: (piece) => this.#text(piece),
      pause: (time) => this.#notes.pause(this.#begun + time),
      sound: (pcm, rate) => this.#player?.play(pcm, rate),
      late: (latency, lag) => this.#measured(latency, lag),
      ended: (trouble) => this.#ended(trouble),
    });
  }

  #begin() {
    this.#ready = true;
    this.#begun = (this.#taken - this.#waiting.length) * FRAME;
    this.#panel.complain(null);
    this.#panel.show("running", this.#use.running);
    this.#waiting.splice(0).forEach((pcm) => this.#session.feed(pcm));
  }

  #receive(pcm) {
    this.#taken += 1;
    peaks(pcm, BARS).forEach((peak) => this.#input.show(peak));
    if (this.#ready) return this.#session.feed(pcm);
    this.#waiting.push(pcm);
    if (this.#waiting.length * FRAME > this.#use.keeps) this.#waiting.shift();
  }

  #text(piece) {
    const now = performance.now();
    if (now - this.#lastText > NEW_LINE) this.#notes.pause(this.#time);
    this.#lastText = now;
    this.#notes.add(piece, this.#time);
  }

  #measured(latency, lag) {
    this.#tries = 0;
    this.#late = latency + this.#buffered;
    this.#panel.figures.show("Latency", seconds(this.#late));
    this.#panel.figures.show("Lag", seconds(lag));
  }

  #finish() {
    this.#panel.show("finishing", this.#use.ending);
    this.#closeMicrophone();
    this.#session.finish();
  }

  async #ended(trouble) {
    this.#session = null;
    const wasReady = this.#ready;
    this.#ready = false;
    if (this.#panel.state === "idle") return;
    if (this.#panel.state === "finishing") return this.#rest(trouble);
    if (trouble && trouble.kind !== "lost") return this.#fail(trouble);
    if (!trouble && !this.#use.keeps) return this.#fail(new Trouble("ended"));
    this.#panel.show("lost", "");
    const why = wasReady ? new Trouble("lost") : await this.#server.whyRefused();
    if (this.#panel.state === "lost") this.#retry(why);
  }

  #retry(trouble) {
    const wait = RETRIES[this.#tries];
    this.#tries += 1;
    if (trouble.kind === "key" || wait === undefined) return this.#fail(trouble);
    this.#notes.pause(this.#time);
    this.#panel.show("lost", `${trouble.message} Trying again in ${wait} s…`);
    this.#timer = setTimeout(() => this.#connect(), 1000 * wait);
  }

  #fail(trouble) {
    this.#rest(trouble);
    if (trouble.kind === "key") this.#locked(trouble);
  }

  #rest(trouble = null) {
    clearTimeout(this.#timer);
    this.#panel.rest();
    this.#panel.complain(trouble);
    this.#closeMicrophone();
    this.#session?.close();
    this.#session = null;
    this.#player?.finish();
    this.#player = null;
    this.#waiting = [];
    this.#notes.pause(this.#time);
  }

  #closeMicrophone() {
    this.#microphone?.close();
    this.#microphone = null;
    this.#input.clear();
  }
}

function percent(part) {
  return `${Math.round(100 * part)} %`;
}
