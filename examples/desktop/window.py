"""The window, in Tk."""

import tkinter as tk
from collections.abc import Callable
from tkinter import filedialog, ttk
from tkinter.scrolledtext import ScrolledText

from kyutai_onnx.models.families import SPEECH_TO_TEXT

from .controller import DEFAULT, Controller

POLL_MILLISECONDS = 40
PAD = 10
LOUD, TROUGH = "#2f9e6e", "#dde2e0"


class Window:
    """Implements `View`. `attach` connects it; then `run`."""

    def __init__(self) -> None:
        self.root = tk.Tk()
        self.root.title("Kyutai on ONNX Runtime")
        self.root.geometry("760x420")
        self.root.minsize(520, 280)
        self._device = tk.StringVar(value=DEFAULT)
        self._note = tk.StringVar()
        self._buttons: list[ttk.Widget] = []
        self._controller: Controller | None = None
        self._partial = ""
        self._build_bar()
        self._build_meter()
        ttk.Label(self.root, textvariable=self._note, wraplength=720).pack(
            side="bottom", anchor="w", padx=PAD, pady=PAD
        )
        self._build_text()

    def attach(self, controller: Controller) -> None:
        """From now on the buttons do what they say."""
        self._controller = controller
        controller.find_devices()
        self._poll()

    def choose_device(self, name: str) -> None:
        """Selects a device."""
        self._device.set(name)

    def press(self) -> None:
        """Records, or stops."""
        self._do(lambda controller: controller.record(self._device.get()))

    def close(self) -> None:
        """Ends `run`."""
        self.root.quit()

    def run(self) -> None:
        """Returns when the window is closed."""
        self.root.mainloop()
        self._do(Controller.close)

    def show_devices(self, names: list[str]) -> None:
        """See `View`."""
        self._devices["values"] = names

    def write(self, text: str, partial: str) -> None:
        """See `View`."""
        if not text and partial == self._partial:
            return
        self._partial = partial
        self._text["state"] = "normal"
        self._text.delete("closed", "end")
        self._text.insert("end", text)
        self._text.mark_set("closed", "end-1c")
        self._text.insert("end", partial, "partial")
        self._text["state"] = "disabled"
        self._text.see("end")

    def wipe(self) -> None:
        """See `View`."""
        self._text["state"] = "normal"
        self._text.delete("1.0", "end")
        self._text["state"] = "disabled"

    def show_level(self, level: float) -> None:
        """See `View`."""
        width, height = self._meter.winfo_width(), self._meter.winfo_height()
        self._meter.coords(self._bar, 0, 0, width * level, height)

    def show_state(self, *, ready: bool, recording: bool) -> None:
        """See `View`."""
        self._record["text"] = "Stop" if recording else "Record"
        self._record["state"] = "normal" if ready else "disabled"
        for widget in self._buttons:
            widget["state"] = "disabled" if recording or not ready else "normal"
        self._devices["state"] = "disabled" if recording else "readonly"

    def show_note(self, text: str) -> None:
        """See `View`."""
        self._note.set(text)

    def _build_bar(self) -> None:
        bar = ttk.Frame(self.root)
        bar.pack(fill="x", padx=PAD, pady=PAD)
        self._record = ttk.Button(bar, text="Record", command=self.press)
        self._record.pack(side="left")
        self._devices = ttk.Combobox(
            bar,
            textvariable=self._device,
            state="readonly",
            postcommand=lambda: self._do(Controller.find_devices),
        )
        self._devices.pack(side="left", fill="x", expand=True, padx=PAD)
        for name, command in (
            ("Open recording …", self._open_file),
            ("Save …", self._save),
            ("Clear", lambda: self._do(Controller.clear)),
        ):
            button = ttk.Button(bar, text=name, command=command)
            button.pack(side="left", padx=(0, 4))
            self._buttons.append(button)
        self._build_models(bar)

    def _build_models(self, bar: ttk.Frame) -> None:
        """The demo, Kyutai's model, and any bundle."""
        button = ttk.Menubutton(bar, text="Model")
        menu = tk.Menu(button, tearoff=False)
        kyutai = SPEECH_TO_TEXT.demo.repository
        menu.add_command(label="Demo", command=lambda: self._choose("demo/stt"))
        menu.add_command(label=kyutai, command=lambda: self._choose(kyutai))
        menu.add_command(label="Folder …", command=self._open_model)
        button["menu"] = menu
        button.pack(side="left", padx=(0, 4))
        self._buttons.append(button)

    def _choose(self, model: str) -> None:
        self._do(lambda controller: controller.choose_model(model))

    def _build_meter(self) -> None:
        self._meter = tk.Canvas(self.root, height=10, background=TROUGH, highlightthickness=0)
        self._meter.pack(fill="x", padx=PAD)
        self._bar = self._meter.create_rectangle(0, 0, 0, 0, fill=LOUD, width=0)

    def _build_text(self) -> None:
        self._text = ScrolledText(
            self.root, wrap="word", font=("TkDefaultFont", 16), state="disabled", padx=8, pady=8
        )
        self._text.mark_set("closed", "1.0")
        self._text.mark_gravity("closed", "left")
        self._text.tag_configure("partial", foreground="#888888")
        self._text.pack(fill="both", expand=True, padx=PAD, pady=(PAD, 0))

    def _open_file(self) -> None:
        path = filedialog.askopenfilename(title="A recording")
        if path:
            self._do(lambda controller: controller.hear_file(path))

    def _open_model(self) -> None:
        path = filedialog.askdirectory(title="The folder of a speech-to-text bundle")
        if path:
            self._do(lambda controller: controller.choose_model(path))

    def _save(self) -> None:
        path = filedialog.asksaveasfilename(title="The transcript", defaultextension=".txt")
        if path:
            self._do(lambda controller: controller.save(path))

    def _poll(self) -> None:
        self._do(Controller.poll)
        self.root.after(POLL_MILLISECONDS, self._poll)

    def _do(self, act: Callable[[Controller], None]) -> None:
        if self._controller is not None:
            act(self._controller)
