"""`stream` on a sound card of software, in a process of its own: the microphone, the speaker, and
what happens when a device goes and comes back."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import virtual_card
from support.commands import Command
from support.speech import RATE, Array, whole
from support.virtual_card import VirtualCard, likeness, padded, place

from kyutai_onnx.models.resolve import DEMO

TEXT = "the train to boston leaves at nine fifty"


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


def spoken_in(subtitles: Path) -> list[str]:
    """The words of a SubRip file."""
    lines = subtitles.read_text().splitlines()
    return " ".join(line for line in lines if "-->" not in line and not line.isdigit()).split()


def test_devices_are_listed_and_named(card: VirtualCard) -> None:
    with card.running("stream", "--list-devices", "-f", "jsonl") as listing:
        listing.end(0)
    devices = [json.loads(line) for line in listing.out.splitlines()]
    assert {"headset", "loudspeaker"} <= {device["name"] for device in devices}
    assert listing.err == ""
    with card.running("stream", "--input-device", "nowhere") as refused:
        refused.end(4)
    assert refused.out == ""
    assert "no input device 'nowhere'" in refused.err
    assert "headset" in refused.err


def test_what_is_said_into_the_microphone_is_transcribed(
    card: VirtualCard, command: Command, recording: Path, pcm: Array, tmp_path: Path
) -> None:
    saved, words = tmp_path / "heard.wav", tmp_path / "words.srt"
    with card.running(
        *("stream", "--input-device", "HEAD", "--save-input", saved, "--words", words)
    ) as stream:
        stream.records_into(saved)
        card.say(recording)
        stream.records_into(saved)
        stream.interrupt()
    assert "sound to word" in stream.err
    assert stream.out == command("transcribe", saved, "-q").out
    assert spoken_in(words) == stream.out.split()
    caught = whole(saved)
    thirds = np.array_split(pcm, 3)
    starts = np.cumsum([0, *map(len, thirds)])[:-1]
    assert "dropped 0.0 s" in stream.err
    assert np.ptp([place(caught, third) for third in thirds] - starts) <= 1
    assert likeness(caught, pcm) > 0.95
    assert stream.out == command("transcribe", recording, "-q").out


HEAR = """
import sys, threading
from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.runtime.audio.live import LiveSound, SoundCard, WallClock

model = SpeechToText.load()
card = SoundCard(rate=int(sys.argv[1]))
sound = LiveSound(card, WallClock(), model.sample_rate, model.frame_size)
sound.open_microphone("headset")
device = sound.microphone.device
threading.Thread(target=lambda: (sys.stdin.read(), sound.stop())).start()
stream, events = model.stream(), []
for index, frame in enumerate(sound.frames()):
    if index == 0:
        print(device.rate, min(device.inputs, 2), flush=True)
    events += stream.feed(frame.pcm)
sound.close()
print(" ".join(e.text for e in [*events, *stream.flush()] if isinstance(e, Word)))
"""


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_device_may_have_any_rate(
    card: VirtualCard, command: Command, recording: Path, rate: int
) -> None:
    with card.program(sys.executable, "-c", HEAR, str(rate)) as process:
        process.says(f"{rate} 2\n")
        card.say(recording)
        process.end(0)
    first, *rest = process.out.splitlines(keepends=True)
    assert first == f"{rate} 2\n"
    assert "".join(rest) == command("transcribe", recording, "-q").out


ECHO = """
import sys, threading
import numpy as np
from kyutai_onnx.models import Mimi
from kyutai_onnx.runtime.audio import AudioWriter
from kyutai_onnx.runtime.audio.live import LiveSound, SoundCard, WallClock

mimi = Mimi.load()
sound = LiveSound(SoundCard(), WallClock(), mimi.sample_rate, mimi.frame_size)
sound.open_microphone("headset")
sound.open_output("loudspeaker")
threading.Thread(target=lambda: (sys.stdin.read(), sound.stop())).start()
encoder, decoder = mimi.stream("encode"), mimi.stream("decode")
with AudioWriter(sys.argv[1], mimi.sample_rate) as saved:
    for index, frame in enumerate(sound.frames()):
        if index == 0:
            print("hearing", flush=True)
        pcm = np.clip(decoder.feed(encoder.feed(frame.pcm)), -1, 1)
        saved.write(pcm)
        sound.play(pcm)
sound.drain()
sound.close()
"""


def test_the_codec_is_an_echo(card: VirtualCard, recording: Path, tmp_path: Path) -> None:
    saved = tmp_path / "said.wav"
    with (
        card.recorded() as recorded,
        card.program(sys.executable, "-c", ECHO, str(saved)) as echo,
    ):
        echo.says("hearing")
        card.say(recording)
        echo.end(0)
    said = whole(saved)
    loud = np.flatnonzero(np.abs(said) > 0.1)
    assert len(loud) > 0
    assert likeness(recorded[0], said[loud[0] : loud[-1]]) > 0.95


def test_a_microphone_that_goes_and_returns_is_used_again(
    card: VirtualCard, command: Command, recording: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "heard.wav"
    with card.running(
        *("stream", "--input-device", "headset", "-f", "jsonl", "--save-input", saved)
    ) as stream:
        stream.records_into(saved)
        card.say(recording)
        stream.records_into(saved)
        card.unplug()
        stream.says("the microphone headset has gone; waiting for it\n")
        card.plug()
        stream.says("the microphone headset is back\n")
        stream.records_into(saved)
        card.say(recording)
        stream.records_into(saved)
        stream.interrupt()
    words = [event for event in map(json.loads, stream.out.splitlines()) if event["type"] == "word"]
    starts = [word["start"] for word in words]
    assert starts == sorted(starts)
    assert "without the microphone" in stream.err
    wanted = command("transcribe", recording, "-q").out.split()
    assert [word["text"] for word in words] == wanted * 2


@pytest.mark.parametrize("way", ["stream", "say"])
def test_what_is_read_aloud_comes_out_of_the_speaker(
    card: VirtualCard, tmp_path: Path, way: str
) -> None:
    saved = tmp_path / "said.wav"
    ways = {
        "stream": ("stream", "--save-output", saved),
        "say": ("say", "-", "--play", "-o", saved),
    }
    with (
        card.recorded() as recorded,
        card.running(
            *(*ways[way], "--model", DEMO / "tts", "--output-device", "loud"),
            *("--seed", 1, "--temp", 0.3),
        ) as stream,
    ):
        stream.end(0, TEXT)
    said, _ = soundfile.read(saved, dtype="float32")
    assert np.abs(said).max() > 0.1
    assert len(said) / RATE > 1
    assert likeness(recorded[0], said) > 0.95


def test_a_translation_comes_out_of_the_speaker(
    card: VirtualCard, tmp_path: Path, recording: Path
) -> None:
    saved = tmp_path / "said.wav"
    with (
        card.recorded() as recorded,
        card.running(
            *("stream", "--model", DEMO / "hibiki", "--input-file", recording, "--seed", 1),
            *("--save-output", saved, "--output-device", "loud"),
        ) as stream,
    ):
        stream.end(0)
    said, _ = soundfile.read(saved, dtype="float32")
    assert np.abs(said).max() > 0.1
    assert likeness(recorded[0], said) > 0.95


def test_a_translation_is_recorded_and_spoken_at_once(
    card: VirtualCard, tmp_path: Path, recording: Path
) -> None:
    captured, saved = tmp_path / "heard.wav", tmp_path / "said.wav"
    with (
        card.recorded() as recorded,
        card.running(
            *("stream", "--model", DEMO / "hibiki", "--input-device", "headset", "--seed", 1),
            *("--save-input", captured, "--save-output", saved, "--output-device", "loud"),
        ) as stream,
    ):
        stream.records_into(captured)
        card.say(recording)
        stream.interrupt()
    assert "sound to sound" in stream.err
    said, _ = soundfile.read(saved, dtype="float32")
    loud = np.flatnonzero(np.abs(said) > 0.05)
    assert len(loud) > 0
    assert likeness(recorded[0], said[loud[0] : loud[0] + 2 * RATE]) > 0.95
