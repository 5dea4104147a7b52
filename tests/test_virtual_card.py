"""`stream` on a sound card of software, in a process of its own: the microphone, the speaker, and
what happens when a device goes and comes back."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import virtual_card
from commands import Command
from speech import RATE, Array, whole
from virtual_card import SETTLE_SECONDS, VirtualCard, likeness, padded, place

from kyutai_onnx.models.locate import DEMO

TEXT = "the train to boston leaves at nine fifty"
pytestmark = pytest.mark.slow
TRIES = 3
"""A machine that others use too may starve any of the programs for a moment."""


@pytest.fixture(scope="module", params=[44100, 48000])
def card(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualCard]:
    virtual_card.require()
    with VirtualCard(tmp_path_factory.mktemp("card"), request.param) as running:
        yield running


@pytest.fixture
def recording(pcm: Array, tmp_path: Path) -> Path:
    """The sentence, with rest around it."""
    return padded(tmp_path / "recording.wav", pcm, 0.5, 1.5)


def stopped(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Stdout and stderr of a program that is interrupted."""
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


def spoken_in(subtitles: Path) -> list[str]:
    """The words of a SubRip file."""
    lines = subtitles.read_text().splitlines()
    return " ".join(line for line in lines if "-->" not in line and not line.isdigit()).split()


def until_it_is(true: Callable[[], bool]) -> None:
    for _ in range(TRIES - 1):
        if true():
            return
    assert true()


def test_devices_are_listed_and_named(card: VirtualCard) -> None:
    with card.running("stream", "--list-devices", "-f", "jsonl") as process:
        out, err = process.communicate(timeout=60)
    devices = [json.loads(line) for line in out.splitlines()]
    assert {"headset", "loudspeaker"} <= {device["name"] for device in devices}
    assert (process.returncode, err) == (0, "")
    with card.running("stream", "--input-device", "nowhere") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "")
    assert "no input device 'nowhere'" in err
    assert "headset" in err


def test_what_is_said_into_the_microphone_is_transcribed(
    card: VirtualCard, command: Command, recording: Path, pcm: Array, tmp_path: Path
) -> None:
    wanted = command("transcribe", recording, "-q").out
    thirds = np.array_split(pcm, 3)
    starts = np.cumsum([0, *map(len, thirds)])[:-1]

    def heard() -> bool:
        saved, words = tmp_path / "heard.wav", tmp_path / "words.srt"
        with card.running(
            *("stream", "--input-device", "HEAD", "--save-input", saved, "--words", words),
            "--stats",
        ) as process:
            time.sleep(SETTLE_SECONDS)
            card.say(recording)
            out, err = stopped(process)
        assert process.returncode == 130, err
        assert "dropped 0.0 s" in err
        assert "sound to word" in err
        caught = whole(saved)
        assert len(caught) / RATE > SETTLE_SECONDS
        again = command("transcribe", saved, "-q").out
        assert out == again
        assert spoken_in(words) == out.split()
        places = [place(caught, third) for third in thirds] - starts
        in_full = np.ptp(places) <= 1 and likeness(caught, pcm) > 0.95
        return in_full and out == wanted

    until_it_is(heard)


HEAR = """
import sys, threading
from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.runtime.audio import LiveSound, SoundCard, WallClock

model = SpeechToText.load()
card = SoundCard(rate=int(sys.argv[1]))
sound = LiveSound(card, WallClock(), model.sample_rate, model.frame_size)
sound.listen("headset")
device = sound.microphone.device
print(device.rate, min(device.inputs, 2), flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), sound.stop())).start()
stream = model.stream()
events = [event for frame in sound.frames() for event in stream.feed(frame.pcm)]
sound.close()
print(" ".join(e.text for e in [*events, *stream.flush()] if isinstance(e, Word)))
"""


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_device_may_have_any_rate(
    card: VirtualCard, command: Command, recording: Path, rate: int
) -> None:
    wanted = command("transcribe", recording, "-q").out

    def heard() -> bool:
        program = [sys.executable, "-c", HEAR, str(rate)]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            program, env=card.env, text=True, stdin=pipe, stdout=pipe, stderr=pipe
        ) as process:
            time.sleep(SETTLE_SECONDS)
            card.say(recording)
            out, err = process.communicate("", timeout=60)
        assert process.returncode == 0, err
        first, *rest = out.splitlines(keepends=True)
        assert first == f"{rate} 2\n"
        return "".join(rest) == wanted

    until_it_is(heard)


ECHO = """
import sys, threading
import numpy as np
from kyutai_onnx.models import Mimi
from kyutai_onnx.runtime.audio import AudioWriter, LiveSound, SoundCard, WallClock

mimi = Mimi.load()
sound = LiveSound(SoundCard(), WallClock(), mimi.sample_rate, mimi.frame_size)
sound.listen("headset")
sound.speak("loudspeaker")
threading.Thread(target=lambda: (sys.stdin.read(), sound.stop())).start()
encoder, decoder = mimi.stream("encode"), mimi.stream("decode")
with AudioWriter(sys.argv[1], mimi.sample_rate) as saved:
    for frame in sound.frames():
        pcm = np.clip(decoder.feed(encoder.feed(frame.pcm)), -1, 1)
        saved.write(pcm)
        sound.play(pcm)
sound.drain()
sound.close()
"""


def test_the_codec_is_an_echo(card: VirtualCard, recording: Path, tmp_path: Path) -> None:
    saved = tmp_path / "said.wav"

    def heard() -> bool:
        program, pipe = [sys.executable, "-c", ECHO, str(saved)], subprocess.PIPE
        with (
            card.recorded() as recorded,
            subprocess.Popen(program, env=card.env, text=True, stdin=pipe, stderr=pipe) as process,
        ):
            time.sleep(SETTLE_SECONDS)
            card.say(recording)
            _, err = process.communicate("", timeout=60)
            assert process.returncode == 0, err
        said = whole(saved)
        loud = np.flatnonzero(np.abs(said) > 0.1)
        assert len(loud) > 0
        return likeness(recorded[0], said[loud[0] : loud[-1]]) > 0.95

    until_it_is(heard)


def test_a_microphone_that_goes_and_returns_is_heard_on(
    card: VirtualCard, command: Command, recording: Path
) -> None:
    wanted = command("transcribe", recording, "-q").out.split()

    def heard() -> bool:
        with card.running("stream", "--input-device", "headset", "-f", "jsonl") as process:
            time.sleep(SETTLE_SECONDS)
            card.say(recording)
            time.sleep(1.0)
            card.unplug()
            time.sleep(5.0)
            card.plug()
            time.sleep(2.0 + SETTLE_SECONDS)
            card.say(recording)
            out, err = stopped(process)
        assert process.returncode == 130, err
        words = [event for event in map(json.loads, out.splitlines()) if event["type"] == "word"]
        starts = [word["start"] for word in words]
        assert starts == sorted(starts)
        _, gone, back, figures = err.splitlines()
        assert gone == "the microphone headset has gone; waiting for it"
        assert back == "the microphone headset is back"
        assert "without the microphone" in figures
        return [word["text"] for word in words] == wanted * 2

    until_it_is(heard)


def test_what_is_read_aloud_comes_out_of_the_speaker(card: VirtualCard, tmp_path: Path) -> None:
    saved = tmp_path / "said.wav"

    def heard() -> bool:
        with (
            card.recorded() as recorded,
            card.running(
                *("stream", "--model", DEMO / "tts", "--output-device", "loud", "--seed", 1),
                *("--save-output", saved, "--temp", 0.3),
            ) as process,
        ):
            _, err = process.communicate(TEXT, timeout=60)
            assert process.returncode == 0, err
        said, _ = soundfile.read(saved, dtype="float32")
        assert np.abs(said).max() > 0.1
        assert len(said) / RATE > 1
        return likeness(recorded[0], said) > 0.95

    until_it_is(heard)


def test_a_translation_comes_out_of_the_speaker(
    card: VirtualCard, tmp_path: Path, recording: Path
) -> None:
    saved = tmp_path / "said.wav"

    def heard() -> bool:
        with (
            card.recorded() as recorded,
            card.running(
                *("stream", "--model", DEMO / "hibiki", "--input-file", recording, "--seed", 1),
                *("--save-output", saved, "--output-device", "loud"),
            ) as process,
        ):
            _, err = process.communicate(timeout=90)
            assert process.returncode == 0, err
        said, _ = soundfile.read(saved, dtype="float32")
        assert np.abs(said).max() > 0.1
        return likeness(recorded[0], said) > 0.95

    until_it_is(heard)


def test_a_translation_is_heard_and_spoken_at_once(
    card: VirtualCard, tmp_path: Path, recording: Path
) -> None:
    saved = tmp_path / "said.wav"

    def heard() -> bool:
        with (
            card.recorded() as recorded,
            card.running(
                *("stream", "--model", DEMO / "hibiki", "--input-device", "headset", "--seed", 1),
                *("--save-output", saved, "--output-device", "loud", "--stats"),
            ) as process,
        ):
            time.sleep(SETTLE_SECONDS)
            talking = threading.Thread(target=card.say, args=(recording,))
            talking.start()
            talking.join()
            _, err = stopped(process)
            assert process.returncode == 130, err
            assert "sound to sound" in err
        said, _ = soundfile.read(saved, dtype="float32")
        loud = np.flatnonzero(np.abs(said) > 0.05)
        assert len(loud) > 0
        return likeness(recorded[0], said[loud[0] : loud[0] + 2 * RATE]) > 0.95

    until_it_is(heard)
