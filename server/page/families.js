// What a family of models is good for, and how one talks to it.

import { Chat } from "./chat.js";
import { Listening } from "./listening.js";
import { opusIsSupported } from "./opus.js";
import { Trouble } from "./trouble.js";

const HEADPHONES = "Headphones keep the answer out of the microphone.";

async function needsOpus() {
  if (!(await opusIsSupported())) throw new Trouble(isSecureContext ? "codec" : "insecure");
}

// `path` and `open(url, told)` make a session; `keeps` are the seconds of speech that wait for one;
// `plays` says that it answers aloud, and `check` raises what the browser lacks.
export const CONVERSATIONS = {
  stt: {
    title: "Transcribe",
    start: "Start listening",
    running: "Listening",
    ending: "Hearing the last words…",
    hint:
      "Press the button and speak. The words appear here as you say them, a line up to each pause.",
    path: "api/asr-streaming",
    keeps: 10,
    plays: false,
    check: async () => {},
    open: (url, told) => new Listening(url, told),
  },
  hibiki: {
    title: "Translate",
    start: "Start translating",
    running: "Translating",
    ending: "Saying the rest…",
    hint:
      "Press the button and speak: the translation follows a moment later, aloud and in writing. " +
      HEADPHONES,
    path: "api/chat",
    keeps: 0,
    plays: true,
    check: needsOpus,
    open: (url, told) => new Chat(url, told, 3),
  },
  moshi: {
    title: "Talk",
    start: "Start talking",
    running: "Connected",
    ending: "",
    hint: `Press the button and talk as on the telephone: both may speak at once. ${HEADPHONES}`,
    path: "api/chat",
    keeps: 0,
    plays: true,
    check: needsOpus,
    open: (url, told) => new Chat(url, told, 0),
  },
};
