// Asks the server what it has, and offers it.

import { Conversation } from "./conversation.js";
import { CONVERSATIONS } from "./families.js";
import { Gate } from "./gate.js";
import { Server } from "./server.js";
import { Speech } from "./speech.js";
import { Tabs } from "./tabs.js";
import { Trouble } from "./trouble.js";

const ORDER = ["stt", "hibiki", "moshi", "tts"];

const server = new Server();
const panels = document.getElementById("panels");
const offered = new Map();
const tabs = new Tabs(document.getElementById("tabs"), (panel) => offered.get(panel).leave());
const gate = new Gate(server, begin);

async function begin() {
  let models;
  try {
    models = await server.models();
    if (!models.length) throw new Trouble("nothing");
  } catch (trouble) {
    return gate.close(trouble);
  }
  gate.open();
  tabs.clear();
  panels.replaceChildren();
  offered.clear();
  for (const family of ORDER) {
    const names = models.filter((model) => model.family === family).map(({ id }) => id);
    if (names.length) offer(family, names);
  }
  tabs.choose(0);
}

function offer(family, names) {
  const panel = document.createElement("section");
  panels.append(panel);
  tabs.add(family, CONVERSATIONS[family]?.title ?? "Speak", panel);
  const locked = (trouble) => gate.close(trouble);
  const use = CONVERSATIONS[family]
    ? new Conversation(panel, CONVERSATIONS[family], server, names, locked)
    : new Speech(panel, server, names, locked);
  offered.set(panel, use);
}

begin();
