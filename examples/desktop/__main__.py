"""`python -m examples.desktop`: opens the window."""

import argparse

from .controller import Controller
from .transcriber import Transcriber
from .window import Window


def main() -> None:
    """Returns when the window is closed."""
    parser = argparse.ArgumentParser(
        prog="kyutai-desktop", description="Writes what it transcribes."
    )
    parser.add_argument("--model", help="a bundle's folder, a name, or hf://owner/name")
    parser.add_argument("--input-device", metavar="NAME", help="the microphone to choose")
    parser.add_argument("--record", action="store_true", help="record at once")
    parser.add_argument("--file", help="a recording to transcribe at once")
    parser.add_argument(
        "--save", metavar="OUT", help="with --file: write its words to OUT at its end, and close"
    )
    given = parser.parse_args()
    window = Window()
    controller = Controller(window, Transcriber(), given.model)
    if given.save:

        def finish() -> None:
            controller.save(given.save)
            window.close()

        controller.when_ended = finish
    window.attach(controller)
    if given.input_device:
        window.choose_device(given.input_device)
    if given.file:
        controller.hear_file(given.file)
    elif given.record:
        window.press()
    window.run()


if __name__ == "__main__":
    main()
