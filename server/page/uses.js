// What a model is good for, by what the server says that it can do, and how one talks to it.

import { Chat } from "./chat.js";
import { Listening } from "./listening.js";
import { opusIsSupported } from "./opus.js";
import { Recording } from "./recording.js";
import { Trouble } from "./trouble.js";

const HEADPHONES = "Headphones keep the answer out of the microphone.";

async function needsOpus() {
  if (!(await opusIsSupported())) throw new Trouble(isSecureContext ? "codec" : "insecure");
}

// In the order of the tabs. `fits(model)` says whether a model is for it. `open(url, report)` makes a
// session, `read(post, file, report)` one of a whole recording, if it can; `keeps` are the seconds
// of speech that wait for one; `plays` says that it answers aloud, and `check` raises
// what the browser lacks. Without `open` a text is spoken.
export const USES = [
  {
    id: "transcribe",
    title: "Transcribe",
    fits: ({ task }) => task === "speech-to-text",
    start: "Start listening",
    running: "Listening",
    ending: "Transcribing the last words…",
    hint:
      "Press the button and speak. The words appear here as you say them, a line up to each pause. " +
      "Or open a recording, or drop one here.",
    keeps: 10,
    plays: false,
    check: async () => {},
    open: (url, report) => new Listening(url, report),
    read: (post, file, report) => new Recording(post, file, report),
  },
  {
    id: "translate",
    title: "Translate",
    fits: ({ task, has_tail: hasTail }) => task === "speech-to-speech" && hasTail,
    start: "Start translating",
    running: "Translating",
    ending: "Saying the rest…",
    hint:
      "Press the button and speak: the translation follows a moment later, aloud and in writing. " +
      HEADPHONES,
    keeps: 0,
    plays: true,
    check: needsOpus,
    open: (url, report) => new Chat(url, report, 3),
  },
  {
    id: "talk",
    title: "Talk",
    fits: ({ task, has_tail: hasTail }) => task === "speech-to-speech" && !hasTail,
    start: "Start talking",
    running: "Connected",
    ending: "",
    hint: `Press the button and talk as on the telephone: both may speak at once. ${HEADPHONES}`,
    keeps: 0,
    plays: true,
    check: needsOpus,
    open: (url, report) => new Chat(url, report, 0),
  },
  {
    id: "speak",
    title: "Speak",
    fits: ({ task }) => task === "text-to-speech",
  },
];
