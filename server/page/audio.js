// The page's one audio context, with the worklets in it.

import { Trouble } from "./trouble.js";

const WORKLETS = ["capture-worklet.js", "playback-worklet.js"];

let opening = null;

async function open() {
  const context = new AudioContext({ latencyHint: "interactive" });
  if (!context.audioWorklet) throw new Trouble(isSecureContext ? "audio" : "insecure");
  await Promise.all(
    WORKLETS.map((file) => context.audioWorklet.addModule(new URL(file, import.meta.url))),
  );
  return context;
}

// The context, running; to be called when a person pressed something, which browsers ask for.
export async function audioContext() {
  opening ??= open();
  try {
    const context = await opening;
    await context.resume();
    return context;
  } catch (error) {
    opening = null;
    throw error;
  }
}
