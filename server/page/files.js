// Files that a person chooses in a field, or drops on an element.

export function takeFiles(element, label, taken) {
  const field = label.querySelector("input");
  label.hidden = false;
  field.onchange = () => {
    const files = [...field.files];
    field.value = ""; // the same file may be chosen again
    if (files.length) taken(files);
  };
  const over = (event, isOver) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // or the browser would leave the page for the file
    element.classList.toggle("over", isOver);
  };
  element.ondragover = (event) => over(event, true);
  element.ondragleave = (event) => over(event, false);
  element.ondrop = (event) => {
    over(event, false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) taken(files);
  };
}
