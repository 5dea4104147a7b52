// What went wrong, in words for whoever sits before the page.

const WORDS = {
  key: "This server asks for an API key.",
  busy: "The server is full: every channel is in use. Try again in a moment.",
  lost: "The connection to the server was lost.",
  refused: "The server refuses the connection for now.",
  gone: "The server does not answer. Is it running?",
  ended: "The server ended the session.",
  silent: "The server made no speech of this text.",
  nothing: "This server has no model for this page.",
  insecure:
    "Browsers give the microphone only to pages from https or from this very machine. Open the " +
    "page with https://, or reach the server through “ssh -L”.",
  denied:
    "The microphone is blocked. Allow it for this page in the browser (a sign in the address " +
    "bar), then press the button again.",
  missing: "No microphone was found. Plug one in, then press the button again.",
  taken: "The microphone does not start. Another program may be holding it.",
  unplugged: "The microphone was switched off or unplugged.",
  codec:
    "This browser has no Opus codec for pages (WebCodecs). Chrome and Edge, Firefox 130 and " +
    "Safari 26 have one.",
  audio: "This browser has no audio worklets, which the page needs for sound.",
  many: "Open one recording at a time.",
  garbled: "The server sent something that this page does not understand.",
};

const MICROPHONE = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "taken",
  AbortError: "taken",
};

export class Trouble extends Error {
  // `kind` is one of the words above; `text` replaces them if the server said more.
  constructor(kind, text = WORDS[kind]) {
    super(text);
    this.kind = kind;
  }
}

// The trouble of an error that asking for the microphone raised.
export function microphoneTrouble(error) {
  if (error instanceof Trouble) return error;
  const kind = MICROPHONE[error.name];
  return kind ? new Trouble(kind) : new Trouble("taken", `The microphone fails: ${error.message}`);
}

// The trouble of an error that the server reported.
export function refusal(text) {
  const full = text.includes("no free channel");
  return full ? new Trouble("busy") : new Trouble("refused", `The server says: ${text}`);
}
