"""Whether a bundle of low precision still says what its checkpoint would say in fp32.

The bundle transcribes recordings; then the checkpoint is asked, at every step of what the bundle
heard and said, what it would have said next. So one different token is one difference, and not a
different future.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...models.events import Word
from ...models.lm.generation import StepOutput
from ...models.options import SamplingParams
from ...models.stt.model import SpeechToText
from ...models.stt.task import SpeechToTextTask
from ...runtime.bundle.bundle import Bundle
from ...runtime.typing import Array
from ..checkpoint.checkpoint import Checkpoint
from .layerwise_forward import WholeSequences

MOST_DOUBTED = 0.03
"""Of words, but one in any case: doubted where the checkpoint would have said something else."""
MOST_DIVERGENCE = 0.01
"""Nats a step, in the mean."""
LEAST_SURE = 0.5
"""The checkpoint's own certainty below which it does not understand what it hears."""


@dataclass
class Verdict:
    """What was found: words said, those that the checkpoint doubts, steps, those that agree on the
    token, and sums over all steps of the divergence in nats and of the checkpoint's certainty."""

    words: int = 0
    doubted: int = 0
    steps: int = 0
    agreed: int = 0
    divergence: float = 0.0
    certainty: float = 0.0

    @property
    def understands(self) -> bool:
        """Whether the checkpoint was trained to hear such recordings; if not, nothing is judged."""
        return self.steps > 0 and self.certainty >= LEAST_SURE * self.steps

    @property
    def passes(self) -> bool:
        close = self.divergence <= MOST_DIVERGENCE * self.steps
        return close and self.doubted <= max(1.0, MOST_DOUBTED * self.words)

    def add(self, wanted: Array, ours: Array, silent: Collection[int]) -> None:
        """Counts steps: the scores `[steps, tokens]` of both. One that says a token that is not
        `silent` where the other says another doubts a word."""
        theirs, own = _log_softmax(wanted), _log_softmax(ours)
        self.steps += len(theirs)
        self.divergence += float((np.exp(theirs) * (theirs - own)).sum())
        self.certainty += float(np.exp(theirs.max(axis=-1)).sum())
        best, said = wanted.argmax(axis=-1), ours.argmax(axis=-1)
        still = np.isin(best, list(silent)) & np.isin(said, list(silent))
        self.agreed += int((best == said).sum())
        self.doubted += int(((best != said) & ~still).sum())

    def __str__(self) -> str:
        return (
            f"{self.doubted} of {self.words} words would be others in fp32 "
            f"({100 * MOST_DOUBTED:g} % may), divergence "
            f"{self.divergence / max(1, self.steps):.4f} nats a step ({MOST_DIVERGENCE:g} may be)"
        )


def is_exact(bundle: Bundle) -> bool:
    """Whether nothing in it is rounded."""
    manifest = bundle.manifest
    caches = {state.dtype for graph in manifest.graphs.values() for state in graph.states}
    return manifest.precision == manifest.codec.precision == "fp32" and "int8" not in caches


@dataclass
class Said:
    """What a bundle read and how it scored the text, step by step, and how many words it said."""

    tokens: list[Array] = field(default_factory=list)
    scores: list[Array] = field(default_factory=list)
    words: int = 0


class SaidTask(SpeechToTextTask):
    """Keeps what it reads and how it scores the text, of its first `most` steps."""

    def __init__(self, model: SpeechToText, most: int) -> None:
        self.said, self._most = Said(), most
        super().__init__(model, SamplingParams())

    def on_step(self, output: StepOutput, place: int) -> None:
        if len(self.said.tokens) < self._most:
            self.said.tokens.append(output.tokens[place].copy())
            self.said.scores.append(output.scores[place].copy())
        super().on_step(output, place)


def judge(bundle: Bundle, checkpoint: Checkpoint, recordings: Iterable[Array]) -> Verdict:
    """Compares on recordings, float32 `[n]` at the model's rate, together; of each, as many frames
    as the model's context has.

    Raises UsageError for a bundle of a fixed batch, ProviderError where it cannot run here.
    """
    model = SpeechToText(bundle, allow_fallback=True)
    most = model.language_model.spec.context
    return compare([_said(model, pcm, most) for pcm in recordings], checkpoint)


def compare(said: Sequence[Said], checkpoint: Checkpoint) -> Verdict:
    """What the checkpoint makes of recordings that a bundle of it has heard, each of them no longer
    than the model's context."""
    config, tensors = checkpoint.config.lm, checkpoint.lm
    assert config is not None
    assert tensors is not None
    verdict = Verdict(words=sum(one.words for one in said))
    frames = max(len(one.tokens) for one in said)
    tokens = np.zeros((len(said), frames, 1 + config.n_q), np.int64)
    for row, one in zip(tokens, said, strict=True):
        row[: len(one.tokens)] = one.tokens
    wanted = WholeSequences(config, tensors, frames).text_scores(tokens)
    silent = (config.existing_text_padding_id, config.existing_text_end_padding_id)
    for one, scores in zip(said, wanted, strict=True):
        verdict.add(scores[: len(one.scores)], np.stack(one.scores), silent)
    return verdict


def _said(model: SpeechToText, pcm: Array, most: int) -> Said:
    row = model.batch(1).join(task := SaidTask(model, most))
    row.feed(pcm[: most * model.frame_size])
    task.said.words = sum(isinstance(event, Word) for event in row.flush())
    return task.said


def _log_softmax(scores: Array) -> Array:
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    logs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs
