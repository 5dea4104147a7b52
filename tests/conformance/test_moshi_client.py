"""`python -m moshi.client`, unmodified, with the Hibiki demo: it receives French from a
microphone and plays English."""

import signal
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
from support import virtual_card
from support.speech import RATE, say_aloud, whole
from support.virtual_card import VirtualCard, padded
from support.waiting import PATIENCE_SECONDS, until

from benchmarks.served import ServedProcess
from kyutai_onnx.models import SpeechToText

NUMBER = "trois mille deux cent quarante-cinq"
ENGLISH = "three thousand two hundred forty five"


@pytest.fixture
def card(tmp_path: Path) -> Iterator[VirtualCard]:
    virtual_card.require()
    for package in ("moshi", "sphn", "torch"):
        pytest.importorskip(package, reason="the moshi package's client cannot run")
    with VirtualCard(tmp_path / "card", RATE) as made:
        config = tmp_path / "card" / "home" / ".asoundrc"
        config.write_text(config.read_text() + "pcm.!default { type pulse }\n")
        yield made


def test_moshi_client_plays_the_translation(
    server: ServedProcess, card: VirtualCard, model: SpeechToText, tmp_path: Path
) -> None:
    spoken = whole(say_aloud(tmp_path / "spoken.wav", NUMBER, "fr"))
    french = padded(tmp_path / "french.wav", spoken, 0.5, 4.0)
    client = [sys.executable, "-u", "-m", "moshi.client", "--host", "127.0.0.1"]
    with (
        card.recorded() as recorded,
        card.program(*client, "--port", str(server.port)) as program,
    ):
        program.says("connected!")
        until(lambda: card.listeners("vmic") > 0)
        card.say(french)
        until(lambda: ENGLISH in " ".join(program.out.split()))
        card.play_on(2.0)
        program.process.send_signal(signal.SIGINT)
        program.process.wait(PATIENCE_SECONDS)
    (captured,) = recorded
    assert np.abs(captured).max() > 0.05
    assert ENGLISH in " ".join(program.out.split())
    played = [word.text for word in model.transcribe(captured)]
    alike = SequenceMatcher(None, played, ENGLISH.split(), autojunk=False)
    assert alike.ratio() > 0.6, played  # its player drops sound on a busy machine
