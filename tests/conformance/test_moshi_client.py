"""`python -m moshi.client`, unmodified, with the Hibiki demo: it hears French from a microphone and
plays English."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import virtual_card
from speech import RATE, Array, say_aloud, whole
from virtual_card import SETTLE_SECONDS, VirtualCard, padded

from benchmarks.served import ServedProcess
from kyutai_onnx.models import SpeechToText

NUMBER = "trois mille deux cent quarante-cinq"
ENGLISH = "three thousand two hundred forty five"
TRIES = 3
"""A card of software drops sound where the machine is busy."""


@pytest.fixture
def card(tmp_path: Path) -> Iterator[VirtualCard]:
    virtual_card.require()
    for package in ("moshi", "sphn", "torch"):
        pytest.importorskip(package, reason="the moshi package's client cannot run")
    with VirtualCard(tmp_path / "card", RATE) as made:
        config = tmp_path / "card" / "home" / ".asoundrc"
        config.write_text(config.read_text() + "pcm.!default { type pulse }\n")
        yield made


def test_moshi_client_hears_the_translation(
    server: ServedProcess, card: VirtualCard, model: SpeechToText, tmp_path: Path
) -> None:
    spoken = whole(say_aloud(tmp_path / "spoken.wav", NUMBER, "fr"))
    french = padded(tmp_path / "french.wav", spoken, 0.5, 4.0)
    found = []
    for _ in range(TRIES):
        printed, log, heard = converse(server, card, french)
        assert "connected!" in log, log
        said = " ".join(word.text for word in model.transcribe(heard))
        found.append((printed, said, float(np.abs(heard).max())))
        if ENGLISH in printed and ENGLISH in said:
            break
    else:
        pytest.fail(f"neither said nor printed: {found}")
    assert found[-1][2] > 0.05


def converse(server: ServedProcess, card: VirtualCard, recording: Path) -> tuple[str, str, Array]:
    """What the client prints, logs and plays while a recording is spoken to it."""
    client = [sys.executable, "-u", "-m", "moshi.client", "--host", "127.0.0.1"]
    with card.recorded() as heard:
        process = subprocess.Popen(
            [*client, "--port", str(server.port)],
            env=card.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            time.sleep(SETTLE_SECONDS + 5.0)  # it imports torch
            card.say(recording)
            time.sleep(1.0)
            process.send_signal(signal.SIGINT)
            printed, log = process.communicate(timeout=30)
        finally:
            process.kill()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    return " ".join(printed.split()), f"{printed}{plain}", heard[0]
