"""The code of the pages runs as it stands there, with the demos in place of Kyutai's models."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from support.pages import BLOCKS, PAGES, Block
from support.recordings import film
from support.serving import HIBIKI, STT, TTS, running
from support.speech import whole, write_wav

from benchmarks.served import served_process
from kyutai_onnx.models.families import DEMO, SAMPLES
from kyutai_onnx.server.web.tls import self_signed

PORT = "127.0.0.1:8998"
SERVE = "kyutai-onnx serve"
EXPORTED = {
    "kyutai--stt-1b-en_fr--cpu": "stt",
    "kyutai--mimi--cpu": "stt",
    "kyutai--tts-1.6b-en_fr--cpu": "tts",
    "kyutai--hibiki-1b-pytorch-bf16--cpu": "hibiki",
}
"""Bundles in the cache, as `export` names them."""
TEXT = "set an alarm at six twenty"
OTHERS = {
    "llm": f"echo {TEXT}",
    "aplay": "cat >/dev/null",
    "arecord": "head -c 64000 /dev/zero",
    "ffmpeg": "cat models/demo/samples/alarm.wav",
}
"""Programs of others that commands are piped into and from, as shell scripts."""
SHELL = [block for block in BLOCKS if block.language == "sh" and block.commands]
PYTHON = {
    page: [b for b in BLOCKS if b.page == page and b.language == "python" and not b.is_marked]
    for page in PAGES
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of the pages find in their folder."""
    folder = tmp_path_factory.mktemp("files")
    samples = shutil.copytree(SAMPLES, folder / "models" / "demo" / "samples")
    shutil.copytree(samples, folder / "recordings")
    pcm = whole(samples / "train.flac")
    soundfile.write(folder / "talk.flac", pcm, 24000)
    for name in ("b.mp3", "interview.mp3", "x.ogg"):
        soundfile.write(folder / name, pcm, 24000)
    for name in ("a.wav", "talk.wav", "speech.wav"):
        write_wav(folder / name, pcm)
    write_wav(folder / "talk-fr.wav", whole(samples / "fr" / "deux-mille-vingt-six.flac"))
    film(folder / "film.mkv", pcm, 24000, "matroska", "flac", pictures=0.2)
    (folder / "news.txt").write_text(TEXT)
    lines = [{"text": TEXT, "id": name} for name in ("one", "two")]
    (folder / "scripts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "fullchain.pem").write_bytes(pem := self_signed("localhost"))
    (folder / "privkey.pem").write_bytes(pem)
    (folder / "keys").write_text("a-key-of-sixteen-or-more-characters\n")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "kyutai-onnx").symlink_to(Path(sys.executable).with_name("kyutai-onnx"))
    for name, script in OTHERS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    for name, demo in EXPORTED.items():
        (folder / "cache" / "bundles").mkdir(parents=True, exist_ok=True)
        (folder / "cache" / "bundles" / name).symlink_to(DEMO / demo)
    return folder


@pytest.fixture(autouse=True)
def _place(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own with those files, for what runs here and what it starts."""
    place = shutil.copytree(files, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(place / "cache"))
    monkeypatch.setenv("PATH", f"{place / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")


@contextlib.contextmanager
def served(code: str) -> Iterator[str]:
    """The code, with the port of a server in it if it speaks to one."""
    if PORT not in code:
        yield code
        return
    with running(STT, TTS, HIBIKI) as server:
        yield code.replace(PORT, f"127.0.0.1:{server.server.port}")


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_run_and_print_what_the_page_shows(block: Block) -> None:
    for command in block.commands:
        printed = serve(command) if command.startswith(SERVE) else run(command)
    if block.shown:
        assert printed == block.shown


def run(command: str) -> str:
    with served(command) as line:
        done = subprocess.run(
            ["sh", "-ec", line], capture_output=True, text=True, check=False, timeout=600
        )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def serve(command: str) -> str:
    """Start a server on a port that is free, and interrupt it when it has listened."""
    _, _, *arguments = shlex.split(command, comments=True)
    with served_process(*arguments) as server:
        server.signal(signal.SIGINT)
        assert server.wait() == 0, server.log
    return ""


@pytest.mark.parametrize("page", [page for page, blocks in PYTHON.items() if blocks])
def test_python_runs_from_top_to_bottom(page: str) -> None:
    names: dict[str, Any] = {}
    for block in PYTHON[page]:
        with served(block.code) as code:
            exec(compile(code, str(block), "exec"), names)
