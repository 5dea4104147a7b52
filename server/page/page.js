// Asks the server what it has, and offers it.

import { Conversation } from "./conversation.js";
import { Gate } from "./gate.js";
import { Server } from "./server.js";
import { Speech } from "./speech.js";
import { Tabs } from "./tabs.js";
import { Trouble } from "./trouble.js";
import { USES } from "./uses.js";

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
  for (const use of USES) {
    const fitting = models.filter(use.fits);
    if (fitting.length) offer(use, fitting);
  }
  tabs.choose(0);
}

function offer(use, models) {
  const panel = document.createElement("section");
  panels.append(panel);
  tabs.add(use.id, use.title, panel);
  const locked = (trouble) => gate.close(trouble);
  const offering = use.open
    ? new Conversation(panel, use, server, models, locked)
    : new Speech(panel, server, models, locked);
  offered.set(panel, offering);
}

begin();
