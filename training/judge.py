"""An independent recognizer: pocketsphinx with the words of the domain.

Run: `python -m training.judge --checkpoint training/stt-demo-en --set training/sets/a`

The decoder could learn to please our own encoder. This judge was trained by others, on people, and
hears the originals and the audio decoded from their codes: the difference is the decoder's fault.
"""

import argparse
import json
import math
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pocketsphinx
import soxr
import torch

from training import grammar
from training.config import FRAME_SIZE, SAMPLE_RATE
from training.score import Tally, align
from training.sets import Recording, read_set
from training.tokenizer import vocabulary
from training.transcriber import Transcriber

RATE = 16_000
SENTENCES = 50_000
DISCOUNT = 0.5
PEAK = 0.5


def bigrams() -> Counter[tuple[str, str]]:
    """Pairs of neighbouring words in sentences of the grammar."""
    rng, pairs = Random(9), Counter()
    for _ in range(SENTENCES):
        words = ["<s>", *grammar.sentence(rng), "</s>"]
        pairs.update(pairwise(words))
    return pairs


def arpa(pairs: Counter[tuple[str, str]]) -> str:
    """A bigram model with absolute discounting, in the ARPA format."""
    words, heads = Counter(), Counter()
    for (head, word), count in pairs.items():
        words[word] += count
        heads[head] += count
    total = sum(words.values())
    share = {word: count / total for word, count in words.items()} | {"<s>": 1e-9}
    seen, unseen = Counter(), Counter()
    for head, word in pairs:
        seen[head] += 1
        unseen[head] += share[word]
    backoff = {h: DISCOUNT * seen[h] / heads[h] / max(1e-6, 1 - unseen[h]) for h in heads}
    lines = ["\\data\\", f"ngram 1={len(share)}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    lines += [
        f"{math.log10(p):.4f} {w} {math.log10(backoff.get(w, 1)):.4f}" for w, p in share.items()
    ]
    lines += ["", "\\2-grams:"]
    for (head, word), count in sorted(pairs.items()):
        lines.append(f"{math.log10((count - DISCOUNT) / heads[head]):.4f} {head} {word}")
    return "\n".join([*lines, "", "\\end\\", ""])


class Judge:
    """pocketsphinx's English acoustic model, with the domain's words and bigrams."""

    def __init__(self, folder: Path) -> None:
        words = set(vocabulary())
        dictionary = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
        lines = dictionary.read_text().splitlines()
        known = [line for line in lines if line.split()[0].split("(")[0] in words]
        (folder / "words.dict").write_text("\n".join(known) + "\n")
        (folder / "words.arpa").write_text(arpa(bigrams()))
        self._decoder = pocketsphinx.Decoder(
            hmm=pocketsphinx.get_model_path("en-us/en-us"),
            dict=str(folder / "words.dict"),
            lm=str(folder / "words.arpa"),
            loglevel="FATAL",
        )

    def recognize(self, pcm: np.ndarray) -> list[str]:
        """The words of a recording at 24 kHz."""
        sound = soxr.resample(pcm / (np.abs(pcm).max() + 1e-6) * PEAK, SAMPLE_RATE, RATE)
        self._decoder.start_utt()
        self._decoder.process_raw((sound * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return best.hypstr.split() if best else []

    def score(self, recordings: list[Recording], sounds: list[np.ndarray]) -> float:
        """Word error rate in per cent."""
        tally = Tally()
        for recording, sound in zip(recordings, sounds, strict=True):
            tally.errors += align(recording.text.split(), self.recognize(sound))[0]
            tally.words += len(recording.words)
        return round(tally.rate, 2)


@torch.no_grad()
def decoded(transcriber: Transcriber, pcm: np.ndarray) -> np.ndarray:
    """Through the codec's codes and back, with a fifth of a second of silence around."""
    frames = -(-len(pcm) // FRAME_SIZE) + 5
    padded = np.zeros(frames * FRAME_SIZE, np.float32)
    padded[2 * FRAME_SIZE :][: len(pcm)] = pcm
    codes = transcriber.mimi.encode(torch.from_numpy(padded)[None, None])
    return transcriber.mimi.decode(codes)[0, 0].numpy().clip(-1, 1)


def own_score(
    transcriber: Transcriber, recordings: list[Recording], sounds: list[np.ndarray]
) -> float:
    """Word error rate of the demo itself, in per cent."""
    tally = Tally()
    for recording, heard in zip(recordings, transcriber.transcribe(sounds), strict=True):
        words = [w.text for w in heard.words(transcriber.tokenizer)]
        tally.errors += align(recording.text.split(), words)[0]
        tally.words += len(recording.words)
    return round(tally.rate, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--set", type=Path, required=True)
    parser.add_argument("--count", type=int)
    chosen = parser.parse_args()
    transcriber, recordings = Transcriber(chosen.checkpoint), read_set(chosen.set)[: chosen.count]
    originals = [r.pcm for r in recordings]
    copies = [decoded(transcriber, pcm) for pcm in originals]
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(Path(folder))
        figures = {
            "demo_on_originals": own_score(transcriber, recordings, originals),
            "demo_on_decoded": own_score(transcriber, recordings, copies),
            "pocketsphinx_on_originals": judge.score(recordings, originals),
            "pocketsphinx_on_decoded": judge.score(recordings, copies),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
