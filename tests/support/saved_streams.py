"""Streams of every family that are kept saved in `tests/saved`, and what each goes on to make.

`python tests/support/saved_streams.py` writes those of a version that has none; what is there stays
as it is: every later version loads it.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kyutai_onnx.models import Audio, Hibiki, Mimi, Moshi, SpeechToText, TextToSpeech
from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.audio import read_audio
from kyutai_onnx.runtime.state_file import read_state, write_state

Array = np.ndarray[Any, Any]
Made = dict[str, Any]
"""What a stream makes: arrays of tokens, codes and samples, and the text of its other events."""

FOLDER = Path(__file__).parents[1] / "saved"
AUDIO_FRAMES = 3
"""Frames of which the samples are kept; of the rest, the codes say the same."""


def samples(name: str, rate: int) -> Array:
    """A recording of the demo, float32 `[n]`."""
    return np.concatenate(list(read_audio(DEMO / "samples" / name, rate)))


@dataclass(frozen=True)
class Case:
    """`before` makes the stream that is saved, `after` a new one goes on from it."""

    name: str
    load: Callable[[Path], Any]
    before: Callable[[Any], Any]
    after: Callable[[Any, dict[str, Any]], Made]
    version: int = 1
    """The last version that changed its kind."""


def events_of(events: list[Any]) -> list[dict[str, Any]]:
    """Those without samples, as JSON holds them."""
    plain = [event for event in events if is_dataclass(event) and not isinstance(event, Audio)]
    named = [{"event": type(event).__name__, **asdict(event)} for event in plain]  # type: ignore[call-overload]
    written: list[dict[str, Any]] = json.loads(json.dumps(named))
    return written


def sound_of(events: list[Any], size: int) -> Array:
    parts = [np.empty(0, np.float32), *(one.pcm for one in events if isinstance(one, Audio))]
    return np.concatenate(parts)[: AUDIO_FRAMES * size]


def recognized(stop: int, **options: Any) -> Callable[[SpeechToText], Any]:
    def before(model: SpeechToText) -> Any:
        stream = model.stream(**options)
        stream.feed(samples("train.flac", model.sample_rate)[:stop])
        return stream

    return before


def transcribed(start: int) -> Callable[[SpeechToText, dict[str, Any]], Made]:
    def after(model: SpeechToText, saved: dict[str, Any]) -> Made:
        trace = TokenTrace()
        stream = model.stream(trace=trace, watchdog=10.0)
        stream.load(saved)
        pcm = samples("train.flac", model.sample_rate)
        events = [*stream.feed(pcm[start : start + 48_000]), *stream.flush()]
        return {
            "text": np.array(trace.text),
            "codes": np.array(trace.codes),
            "events": events_of(events),
        }

    return after


def said(*texts: str, **options: Any) -> Callable[[TextToSpeech], Any]:
    def before(model: TextToSpeech) -> Any:
        stream = model.stream(**options)
        for text in texts:
            stream.feed(text)
        return stream

    return before


def spoken(text: str) -> Callable[[TextToSpeech, dict[str, Any]], Made]:
    def after(model: TextToSpeech, saved: dict[str, Any]) -> Made:
        trace = TokenTrace()
        stream = model.stream(trace=trace)
        stream.load(saved)
        events = [*stream.feed(text), *stream.flush()]
        return {
            "text": np.array(trace.text),
            "codes": np.array(trace.audio),
            "pcm": sound_of(events, model.frame_size),
            "events": events_of(events),
        }

    return after


def interpreted(frames: float, flushed: int = 0, **options: Any) -> Callable[[Hibiki | Moshi], Any]:
    def before(model: Hibiki | Moshi) -> Any:
        stream = model.stream(**options)
        stream.feed(samples("alarm.wav", model.sample_rate)[: int(frames * model.frame_size)])
        stream.end()
        ending = stream.events()
        for _ in range(flushed):
            next(ending)
        return stream

    return before


def answered(frames: int, **options: Any) -> Callable[[Hibiki | Moshi, dict[str, Any]], Made]:
    def after(model: Hibiki | Moshi, saved: dict[str, Any]) -> Made:
        trace = TokenTrace()
        stream = model.stream(trace=trace, **options)
        stream.load(saved)
        pcm = samples("train.flac", model.sample_rate)[: frames * model.frame_size]
        events = [*(stream.feed(pcm) if frames else []), *stream.flush()]
        return {
            "heard": np.array(trace.codes),
            "text": np.array(trace.text),
            "codes": np.array(trace.audio),
            "pcm": sound_of(events, model.frame_size),
            "events": events_of(events),
        }

    return after


def encoded(stop: int) -> Case:
    def before(model: Mimi) -> Any:
        stream = model.stream("encode")
        stream.feed(samples("alarm.wav", model.sample_rate)[:stop])
        return stream

    def after(model: Mimi, saved: dict[str, Any]) -> Made:
        stream = model.stream("encode")
        stream.load(saved)
        pcm = samples("alarm.wav", model.sample_rate)[stop : stop + 40_000]
        return {"codes": np.concatenate([stream.feed(pcm), stream.flush()], axis=1)}

    return Case(f"mimi-encoder-{stop}", lambda _: Mimi.load(DEMO / "stt"), before, after)


def decoded(stop: int, codebooks: int) -> Case:
    codes = np.random.default_rng(stop).integers(0, 200, (codebooks, stop + AUDIO_FRAMES))

    def before(model: Mimi) -> Any:
        stream = model.stream("decode")
        stream.feed(codes[:, :stop])
        return stream

    def after(model: Mimi, saved: dict[str, Any]) -> Made:
        stream = model.stream("decode")
        stream.load(saved)
        return {"pcm": stream.feed(codes[:, stop:])}

    return Case(f"mimi-decoder-{stop}", lambda _: Mimi.load(DEMO / "stt"), before, after)


def stt(_: Path) -> SpeechToText:
    return SpeechToText.load(DEMO / "stt")


def tts(_: Path) -> TextToSpeech:
    return TextToSpeech.load(DEMO / "tts")


def hibiki(_: Path) -> Hibiki:
    return Hibiki.load(DEMO / "hibiki")


def moshi(folder: Path) -> Moshi:
    """A Moshi of random weights, kept with the streams: it must stay as it is, since they are of
    its weights."""
    with zipfile.ZipFile(FOLDER / "tiny-moshi.zip") as archive:
        archive.extractall(folder)
    return Moshi.load(folder / "tiny-moshi")


CASES = [
    Case("stt-word", stt, recognized(9_999), transcribed(9_999), version=2),
    Case(
        "stt-prompt",
        stt,
        recognized(9_000, prompt="the", temperature=0.8, seed=3, watchdog=10.0),
        transcribed(9_000),
        version=2,
    ),
    Case("tts-word", tts, said("one ", "two thr", seed=5), spoken("ee four")),
    Case(
        "tts-rest",
        tts,
        said('set <break time="0.2s"/> a', seed=6, temperature=0.7, top_k=20),
        spoken("n alarm"),
    ),
    Case("hibiki-begun", hibiki, interpreted(3.5, seed=7), answered(9, max_tail=0.5)),
    Case("hibiki-tail", hibiki, interpreted(2, 3, seed=8), answered(0, max_tail=0.5)),
    Case("moshi-begun", moshi, interpreted(5.5, seed=9, top_k=32), answered(20, top_k=32)),
    Case(
        "moshi-late",
        moshi,
        interpreted(40, seed=10, top_k=8, temperature=0.5, text_temperature=0.9),
        answered(20, top_k=32),
    ),
    encoded(4_000),
    encoded(11_111),
    decoded(2, 8),
    decoded(5, 3),
]


def assert_same(ours: Any, theirs: Any) -> None:
    """The same arrays, bit by bit, and the same values and types."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert_same(value, theirs[name])
    elif isinstance(ours, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes()
    else:
        assert (type(ours), ours) == (type(theirs), theirs)


def state_file(case: Case, version: int) -> Path:
    return FOLDER / f"v{version}-{case.name}.npz"


def made_file(case: Case) -> Path:
    return FOLDER / f"{case.name}-made.npz"


def read_made(path: Path) -> Made:
    made = read_state(path)
    made["events"] = made.get("events", [])
    return made


@contextmanager
def compact(path: Path) -> Iterator[Path]:
    """Writes an archive compressed."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / path.name
        with np.load(Path(folder) / path.name) as arrays:
            np.savez_compressed(path, **arrays)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if state_file(case, case.version).exists():
                continue
            model = case.load(Path(folder))
            stream = case.before(model)
            saved = stream.save()
            with compact(state_file(case, case.version)) as path:
                write_state(path, saved)
            if not made_file(case).exists():
                with compact(made_file(case)) as path:
                    write_state(path, case.after(model, saved))
            print(case.name, state_file(case, case.version).stat().st_size)


if __name__ == "__main__":
    main()
