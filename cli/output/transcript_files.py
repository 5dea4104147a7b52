"""Where transcripts are written: a file, a folder with a file for each input, standard output."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...models.events import Transcript
from ...runtime.errors import UsageError
from ...runtime.output_file import is_folder, output_file, refused
from ..files import InputFile
from ..option_values import Format
from .formats import FORMATS, Style, ending_format, known_endings


def names_folder(out: str) -> bool:
    """Whether a name is that of a folder: of one that exists, or with a slash at its end."""
    return out.endswith(("/", os.sep)) or is_folder(out)


def make_folder(out: str, subfolder: Path = Path()) -> None:
    """Make the folder that a name with a slash at its end asks for, with those around it, and the
    subfolder.

    Raises KyutaiOnnxError if the system refuses.
    """
    if out.endswith(("/", os.sep)) or subfolder.parts:
        with refused(out):
            Path(out, subfolder).mkdir(parents=True, exist_ok=True)


def check_folder(path: Path) -> None:
    """Raise UsageError if the folder of a file does not exist."""
    if not is_folder(str(path.parent)):
        raise UsageError(f"{path}: there is no folder {path.parent}; make it, or name another one")


def chosen_format(out: str | None, kind: Format | None) -> Format:
    """Return the format of transcripts: that of `-f`, else of the ending of `-o`, else text.

    Raises UsageError if the two contradict each other.
    """
    if out is None or out == "-" or names_folder(out):
        return kind or Format.TEXT
    path = Path(out)
    named = ending_format(path)
    if kind is not None and named is not None and named is not kind:
        raise UsageError(
            f"-f {kind} contradicts {path}, which names the format {named}; leave '-f' out, or "
            f"name a file that ends in {FORMATS[kind].ending}"
        )
    return kind or named or Format.TEXT


def check_ending(out: str | None, kind: Format | None) -> None:
    """Raise UsageError if the ending of `-o` names no format, and `-f` is not given."""
    if kind is not None or out is None or names_folder(out):
        return
    path = Path(out)
    if out in list(Format):
        raise UsageError(f"-o {out} would be a file named {out}; for the format give '-f {out}'")
    if path.suffix and ending_format(path) is None:
        raise UsageError(
            f"{path}: the ending {path.suffix} names no format; use {known_endings()}, or choose "
            "the format with '-f'"
        )


def check_words(path: Path) -> None:
    """Raise UsageError if the ending of a file of words names no format, or its folder does not
    exist."""
    words_format(path)
    check_folder(path)


def words_format(path: Path) -> Format:
    """Return the format that the ending of a file of words names; raises UsageError if it names
    none."""
    found = ending_format(path)
    if found is None or not FORMATS[found].holds_spoken_words:
        endings = known_endings(spoken=True)
        said = f"the ending {path.suffix}" if path.suffix else "no ending"
        raise UsageError(f"{path}: {said} names no format of words; use {endings}")
    return found


def out_path(out: str | None, file: InputFile, kind: Format) -> Path | None:
    """Return the file to write for an input; None is standard output.

    In a folder of results lie the subfolders of the folder that was given as an input.
    """
    if out is None or out == "-":
        return None
    if names_folder(out):
        stem = "stdin" if file.name == "-" else Path(file.name).stem
        return Path(out, file.subfolder, f"{stem}{FORMATS[kind].ending}")
    return Path(out)


def check_out(out: str | None, files: Sequence[InputFile], kind: Format) -> None:
    """Raise UsageError if the transcripts of the inputs cannot be written to `out`."""
    if out is None or out == "-":
        if len(files) > 1 and not FORMATS[kind].holds_several:
            raise UsageError(f"{kind} of several files needs a folder; give '-o FOLDER/'")
        return
    if not names_folder(out):
        if len(files) > 1:
            cause = "is a file" if Path(out).exists() else "is not a folder that exists"
            raise UsageError(f"{out} {cause}; several inputs need a folder: give '-o FOLDER/'")
        check_folder(Path(out))
    paths = [out_path(out, file, kind) for file in files]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise UsageError(f"two files would be written to {twice}; transcribe them one by one")


def write_transcript(path: Path, transcript: Transcript, style: Style) -> None:
    """Write a transcript; raises KyutaiOnnxError if the file cannot be written."""
    text = style.format.document(transcript, replace(style, folder=path.parent))
    with output_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_words(path: Path, transcript: Transcript, kind: Format | None = None) -> None:
    """Write a transcript, by default in the format of the ending; text and tables have the times
    of each word."""
    kind = kind or words_format(path)
    layout = FORMATS[kind].word_layout
    write_transcript(path, transcript, Style(kind, timestamps=True, layout=layout))
