"""How well a model speaks: the speech-to-text demo transcribes it.

Run: `python -m training.score_speech --transcriber training/stt-demo-en --tts training/tts-demo-en`
or, for Hibiki, with `--hibiki training/hibiki-demo-fr-en` instead of `--tts`
"""

import argparse
import json
from pathlib import Path
from random import Random

import numpy as np
import torch
from whisper_normalizer.english import EnglishTextNormalizer

from training import french
from training.espeak import Espeak
from training.score import Tally, align
from training.sets import sentences
from training.speakers import Answer, Interpreter, Reader, Sampling
from training.transcriber import Transcriber
from training.voices import french_test_voice, french_voice

TEXTS_SEED = 95
NUMBERS_SEED = 96


def figures(texts: list[str], answers: list[Answer], transcriber: Transcriber) -> dict[str, float]:
    """Word error rates in per cent: of what is heard, as words and after Whisper's normaliser,
    and of what an interpreter wrote."""
    normal = EnglishTextNormalizer()
    heard = transcribed(transcriber, answers)
    right = [text == other for text, other in zip(texts, heard, strict=True)]
    return {
        "sentences": len(texts),
        "words": sum(len(text.split()) for text in texts),
        "spoken_wer": rate(texts, heard),
        "normalised_wer": rate([normal(t) for t in texts], [normal(h) for h in heard]),
        "sentences_right": 100 * float(np.mean(right)),
        "written_wer": rate(texts, [a.text for a in answers]),
        "ended": 100 * float(np.mean([a.ended for a in answers])),
        "seconds": round(float(np.mean([len(a.pcm) for a in answers])) / 24_000, 2),
    }


def transcribed(transcriber: Transcriber, answers: list[Answer]) -> list[str]:
    heard = transcriber.transcribe([answer.pcm for answer in answers])
    return [" ".join(w.text for w in h.words(transcriber.tokenizer)) for h in heard]


def rate(right: list[str], heard: list[str]) -> float:
    tally = Tally()
    for text, other in zip(right, heard, strict=True):
        tally.errors += align(text.split(), other.split())[0]
        tally.words += len(text.split())
    return round(tally.rate, 2)


def test_texts(count: int) -> list[str]:
    """Sentences that no training saw, other than those of the sets."""
    drawn = sentences(Random(TEXTS_SEED), set())
    return [" ".join(next(drawn)) for _ in range(count)]


def test_numbers(count: int, unheard: bool) -> tuple[list[str], list[np.ndarray]]:
    """English words and French recordings of numbers that no training saw."""
    rng, engine, noise = Random(NUMBERS_SEED), Espeak(), np.random.default_rng(NUMBERS_SEED)
    voice = french_test_voice if unheard else french_voice
    texts, sounds = [], []
    while len(texts) < count:
        n = french.draw_number(rng)
        if french.bucket(n) == "test":
            said = french.source(engine, n, rng, voice)
            texts.append(" ".join(french.english_number(n)))
            sounds.append(french.recorded(said, noise)[0])
    return texts, sounds


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transcriber", type=Path, required=True)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--tts", type=Path)
    kind.add_argument("--hibiki", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--unheard", action="store_true", help="French voices never heard")
    parser.add_argument("--temp", type=float, default=0.6)
    parser.add_argument("--temp-text", type=float, default=0.0, help="of an interpreter")
    parser.add_argument("--top-k", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="print so many mistakes")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    torch.manual_seed(chosen.seed)
    sampling = Sampling(chosen.temp, chosen.temp_text, chosen.top_k)
    if chosen.tts:
        # Moshi's TTSModel has one temperature for both.
        sampling = Sampling(chosen.temp, chosen.temp, chosen.top_k)
        texts = test_texts(chosen.count)
        answers = Reader(chosen.tts).speak(texts, sampling)
    else:
        texts, sounds = test_numbers(chosen.count, chosen.unheard)
        answers = Interpreter(chosen.hibiki).interpret(sounds, sampling)
    transcriber = Transcriber(chosen.transcriber)
    print(json.dumps(vars(sampling) | figures(texts, answers, transcriber), indent=None))
    for text, answer in list(zip(texts, answers, strict=True))[: chosen.show]:
        print(text, answer.text, *transcribed(transcriber, [answer]), sep=" | ")


if __name__ == "__main__":
    main()
