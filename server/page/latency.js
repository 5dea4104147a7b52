// How late the answer to what is sent comes, and how much later than at its best.

export class Latency {
  #best = Infinity;

  constructor(report) {
    this.report = report;
  }

  // Seconds from something said to what came of it.
  measured(seconds) {
    this.#best = Math.min(this.#best, seconds);
    this.report(seconds, seconds - this.#best);
  }
}
