// The list of voices, those of a folder together.

export function offerVoices(panel, { voices, default: usual }) {
  const names = voices.map(({ name }) => name);
  const select = panel.offer("voice", names, usual);
  const folders = new Map();
  for (const option of [...select.options]) {
    const cut = option.value.lastIndexOf("/");
    if (cut < 0) continue;
    const folder = option.value.slice(0, cut);
    if (!folders.has(folder)) {
      const group = document.createElement("optgroup");
      group.label = folder;
      select.append(group);
      folders.set(folder, group);
    }
    option.textContent = option.value.slice(cut + 1);
    folders.get(folder).append(option);
  }
}
