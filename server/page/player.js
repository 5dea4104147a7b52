// Plays sound that comes in pieces.

export class Player {
  #node;

  // `report({played, buffered, gaps, peak, done})`: seconds, and the loudest sample since last time.
  constructor(context, { lead, live }, report) {
    this.#node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { lead, live },
    });
    this.#node.port.onmessage = ({ data }) => {
      if (data.done) this.#node.disconnect();
      report(data);
    };
    this.#node.connect(context.destination);
  }

  play(pcm, rate) {
    this.#node.port.postMessage({ pcm, rate });
  }

  // No more comes: what is held is played to its end.
  finish() {
    this.#node.port.postMessage({ now: false });
  }

  // At once.
  stop() {
    this.#node.port.onmessage = null;
    this.#node.port.postMessage({ now: true });
    this.#node.disconnect();
  }
}
