"""Do the words that a model transcribes in a recording depend on the moment at which it begins?

    python -m benchmarks.word_shift

Each sample of the demo is transcribed from a file, without a sound card, after rests of random
length that are no multiple of a frame, once as it is and once by way of 48 kHz and back, as a card
brings it.
Then the first one is transcribed with the next one right behind it.
"""

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np

from kyutai_onnx.models import SpeechToText, Word
from kyutai_onnx.models.families import SAMPLES
from kyutai_onnx.runtime.audio import Pcm, read_audio
from kyutai_onnx.runtime.audio.resampler import Resampler

CARD_RATE = 48000
REST_SECONDS = 1.5


def by_card(pcm: Pcm, rate: int, first: int) -> Pcm:
    """Samples by way of a card, which begins `first` of its own later."""
    for source, target in ((rate, CARD_RATE), (CARD_RATE, rate)):
        resampler = Resampler(source, target)
        pcm = np.concatenate([resampler.push(pcm), resampler.flush()])
        pcm = pcm[first:] if target == CARD_RATE else pcm
    return pcm


def text(model: SpeechToText, pcm: Pcm) -> str:
    stream = model.stream()
    events = [*stream.feed(pcm), *stream.flush()]
    return " ".join(event.text for event in events if isinstance(event, Word))


def cases(rate: int) -> Iterator[tuple[str, list[Pcm]]]:
    files = sorted(path for path in SAMPLES.iterdir() if path.suffix in (".wav", ".flac"))
    sounds = {path.name: np.concatenate(list(read_audio(path, rate))) for path in files}
    yield from ((name, [pcm]) for name, pcm in sounds.items())
    yield "train.flac, alarm.wav", [sounds["train.flac"], sounds["alarm.wav"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    times = parser.parse_args().times
    model, random = SpeechToText.load(), np.random.default_rng(0)
    rate = model.sample_rate

    def rest(least: float, most: float) -> Pcm:
        return np.zeros(round(random.uniform(least, most) * rate), np.float32)

    for name, sounds in cases(rate):
        for way in ("file", "card"):
            recognized: Counter[str] = Counter()
            for _ in range(times):
                parts = [rest(0.5, 4)]
                for sound in sounds:
                    parts += [sound, rest(0.01, 0.05)]
                pcm = np.concatenate([*parts, rest(REST_SECONDS, REST_SECONDS)])
                recognized[
                    text(
                        model, by_card(pcm, rate, int(random.integers(2))) if way == "card" else pcm
                    )
                ] += 1
            print(f"{name}, by {way}:")
            for words, count in recognized.most_common():
                print(f"  {count:4} {words}")


if __name__ == "__main__":
    main()
