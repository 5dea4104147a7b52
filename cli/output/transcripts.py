"""Where transcripts go: standard output, a file, or one file each in a folder."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import UsageError
from ...runtime.output_file import output_file, refused
from ..choices import Format, Style
from .formats import SUFFIXES, TABLE_HEAD, Transcript, as_json, render


def out_path(out: Path | None, file: str, kind: Format, several: bool) -> Path | None:
    """The file to write for an input; None is standard output."""
    if out is None or str(out) == "-":
        return None
    if several or out.is_dir():
        stem = "stdin" if file == "-" else Path(file).stem
        return out / f"{stem}{SUFFIXES.get(kind, f'.{kind}')}"
    return out


def out_paths(out: Path | None, files: Sequence[str], kind: Format) -> list[Path | None]:
    """The files to write for all inputs."""
    return [out_path(out, file, kind, len(files) > 1) for file in files]


def check_out(out: Path | None, files: Sequence[str], kind: Format) -> None:
    """Raises UsageError where several inputs cannot go where they are to go."""
    if len(files) < 2:
        return
    if out is None or str(out) == "-":
        if kind in (Format.SRT, Format.VTT):
            raise UsageError(f"{kind} of several files needs a folder: give '-o FOLDER'")
        return
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; of several inputs '-o' names a folder")
    paths = out_paths(out, files, kind)
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise UsageError(f"two of the files would both be written to {twice}; do them one by one")


def write_file(path: Path, transcript: Transcript, style: Style) -> None:
    """Writes one transcript; raises KyutaiOnnxError where the disk refuses."""
    with refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path) as file:
        file.write((render(transcript, style) + "\n").encode("utf-8", "backslashreplace"))


def print_whole(transcript: Transcript, style: Style) -> None:
    """Prints the transcript of the only input."""
    print(render(transcript, style), flush=True)


def print_one_of_several(transcript: Transcript, style: Style) -> None:
    """Prints one transcript among others, with the name of its file."""
    if style.kind is Format.JSONL:
        print_whole(transcript, style)
    elif style.kind is Format.TSV:
        rows = render(transcript, style).splitlines()[1:]
        sys.stdout.writelines(f"{transcript.file}\t{row}\n" for row in rows)
    else:
        separator = "\n" if style.timestamps else " "
        print(f"{transcript.file}:{separator}{render(transcript, style)}", flush=True)


def print_head(kind: Format) -> None:
    """What comes before several transcripts."""
    if kind is Format.TSV:
        print(f"file\t{TABLE_HEAD}")


def print_array(transcripts: Sequence[Transcript]) -> None:
    """Several transcripts as one JSON document."""
    print(json.dumps([as_json(t) for t in transcripts], ensure_ascii=False, indent=2), flush=True)
