"""Make the evaluation sets and the sample recordings, from fixed seeds.

Run: `python -m training.sets --sets training/sets --samples models/demo/samples`

Set A: sentences that training never saw, in voices it heard. Set B: other such sentences, in
variants it never heard, half of them with an accent it never heard either. The compressed files
are the test inputs.
"""

import argparse
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import soxr

from training import augment, grammar, voices
from training.config import SAMPLE_RATE
from training.corpus import any_voice
from training.espeak import Espeak, Utterance, Voice, Word

COMPRESSION = 0.95


@dataclass(frozen=True)
class Recipe:
    """`count` utterances of test sentences in the voices drawn by `voice`."""

    count: int
    seed: int
    voice: Callable[[Random], str]


SETS = {
    "a": Recipe(400, 71, voices.train_voice),
    "b": Recipe(400, 72, voices.test_voice),
}
SAMPLES_SEED = 73
LARGER = 100
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Recording:
    """An entry of a set's manifest, with the sound of its file at 24 kHz."""

    audio: str
    text: str
    voice: str
    words: list[Word]
    pcm: np.ndarray


def sentences(rng: Random, used: set[str]) -> Iterator[list[str]]:
    """Test sentences, none of them twice."""
    while True:
        words = grammar.sentence(rng)
        text = " ".join(words)
        if grammar.bucket(words) == "test" and text not in used:
            used.add(text)
            yield words


def write_set(folder: Path, recipe: Recipe, used: set[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng, engine = Random(recipe.seed), Espeak()
    spoken_sentences = sentences(rng, used)
    with (folder / "manifest.jsonl").open("w") as manifest:
        for index in range(1, recipe.count + 1):
            voice = any_voice(rng, recipe.voice(rng))
            spoken = engine.speak(next(spoken_sentences), voice)
            name = f"{index:04}.ogg"
            (folder / name).write_bytes(augment.opus(spoken.pcm, COMPRESSION))
            manifest.write(json.dumps(entry(name, spoken, voice)) + "\n")


def entry(audio: str, spoken: Utterance, voice: Voice) -> dict:
    words = [
        {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in spoken.words
    ]
    return {"audio": audio, "text": spoken.text, "voice": voice.name, "words": words}


def read_set(folder: Path) -> list[Recording]:
    return [_recording(folder, json.loads(line)) for line in _lines(folder / "manifest.jsonl")]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _recording(folder: Path, fields: dict) -> Recording:
    words = [Word(**word) for word in fields["words"]]
    pcm = read_audio(folder / fields["audio"])
    return Recording(fields["audio"], fields["text"], fields["voice"], words, pcm)


def read_audio(path: Path) -> np.ndarray:
    """Mono float samples at 24 kHz."""
    pcm, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32", always_2d=True)
    return soxr.resample(pcm.mean(1), rate, SAMPLE_RATE)


@dataclass(frozen=True)
class Sample:
    """A recording to try the model on: the file and its kind, and how its sentence begins."""

    audio: str
    voice: str
    sample_rate: int
    channels: int
    beginning: str


SAMPLES = [
    Sample("train.flac", "en-us+f3", 24_000, 1, "the train"),
    Sample("alarm.wav", "en+m3", 16_000, 1, "set an alarm"),
    Sample("shopping.flac", "en-us+Andy", 44_100, 2, "remind me"),
]
SAMPLE_SECONDS = (3, 6)


def write_samples(folder: Path, used: set[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    engine, candidates = Espeak(), sentences(Random(SAMPLES_SEED), used)
    with (folder / "manifest.jsonl").open("w") as manifest:
        for sample in SAMPLES:
            voice = Voice(sample.voice, rate=130)
            spoken = say_sample(engine, candidates, sample.beginning, voice)
            pcm = soxr.resample(spoken.pcm, SAMPLE_RATE, sample.sample_rate)
            sound = np.stack([pcm] * sample.channels, 1)
            soundfile.write(folder / sample.audio, sound, sample.sample_rate, subtype="PCM_16")
            manifest.write(json.dumps(entry(sample.audio, spoken, voice)) + "\n")


def say_sample(
    engine: Espeak, candidates: Iterator[list[str]], beginning: str, voice: Voice
) -> Utterance:
    """The next sentence that begins and lasts as it should."""
    low, high = SAMPLE_SECONDS
    for words in candidates:
        if not " ".join(words).startswith(beginning):
            continue
        spoken = engine.speak(words, voice)
        if low < len(spoken.pcm) / SAMPLE_RATE < high:
            return spoken
    raise ValueError(f"no sentence begins with {beginning!r}")


def write(evaluation: Path, samples: Path) -> None:
    """Both sets and the samples, no sentence twice."""
    used: set[str] = set()
    for name, recipe in SETS.items():
        write_set(evaluation / name, recipe, used)
    write_samples(samples, used)


def write_larger(folder: Path, count: int) -> None:
    """`count` utterances for each set's voices: more than the sets hold, with other sentences."""
    used = {recording.text for name in SETS for recording in read_set(HERE / "sets" / name)}
    for name, recipe in SETS.items():
        write_set(folder / name, replace(recipe, count=count, seed=recipe.seed + LARGER), used)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, required=True)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--samples", type=Path)
    kind.add_argument("--count", type=int, help="other sentences, so many for each set, no samples")
    options = parser.parse_args()
    if options.count:
        write_larger(options.sets, options.count)
    else:
        write(options.sets, options.samples)
