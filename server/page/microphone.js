// The microphone as frames of 1920 samples at 24 kHz.

import { audioContext } from "./audio.js";
import { Trouble, microphoneTrouble } from "./trouble.js";

export class Microphone {
  #stream;
  #source;
  #node;

  // Asks the person for it. `received(pcm)` gets the frames, `lost(trouble)` is called when no more come.
  // If the answer is `played`, its echo is taken out. Raises Trouble.
  static async open(received, lost, { played = false } = {}) {
    if (!isSecureContext || !navigator.mediaDevices) throw new Trouble("insecure");
    const audio = { channelCount: 1, echoCancellation: played, noiseSuppression: played };
    let stream = null;
    try {
      const context = await audioContext();
      stream = await navigator.mediaDevices.getUserMedia({ audio });
      return new Microphone(context, stream, received, lost);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      throw microphoneTrouble(error);
    }
  }

  constructor(context, stream, received, lost) {
    this.#stream = stream;
    this.#source = context.createMediaStreamSource(stream);
    this.#node = new AudioWorkletNode(context, "capture", {
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.#node.port.onmessage = ({ data }) => received(data);
    this.#source.connect(this.#node);
    this.#node.connect(context.destination); // silent, but some browsers run no node without
    const [track] = stream.getAudioTracks();
    track.onended = () => {
      this.close();
      lost(new Trouble("unplugged"));
    };
  }

  close() {
    this.#node.port.onmessage = null;
    this.#source.disconnect();
    this.#node.disconnect();
    this.#stream.getTracks().forEach((track) => track.stop());
  }
}
