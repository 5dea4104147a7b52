"""The quality gate: whether a quantized bundle transcribes as its checkpoint does in fp32.

The bundle transcribes recordings. Then the checkpoint predicts every next token from the bundle's
own past, so that one different token is one difference, and not a different future.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ...conversion.checkpoint.checkpoint import Checkpoint
from ...models.events import Word
from ...models.lm.generation import StepOutput
from ...models.options import SpeechToTextOptions
from ...models.stt.model import SpeechToText
from ...models.stt.task import SpeechToTextTask
from ...runtime.bundle.bundle import Bundle
from ...runtime.typing import Array
from .layerwise_forward import LayerwiseTransformer

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""

MOST_DOUBTED = 0.03
"""Limit of the share of words that differ from fp32; one word may always differ."""
MOST_DIVERGENCE = 0.01
"""Limit of the mean Kullback-Leibler divergence, in nats per step."""
LEAST_SURE = 0.5
"""The checkpoint's mean probability of its best token, below which the gate does not judge."""


@dataclass
class Verdict:
    """The comparison of a bundle with its checkpoint in fp32.

    `words` the bundle found and `doubted` ones that the checkpoint would not have said; `steps` and
    `agreed` ones, of the same token; sums over all steps of the `divergence` in nats and of the
    `certainty`, the probability of the checkpoint's best token.
    """

    words: int = 0
    doubted: int = 0
    steps: int = 0
    agreed: int = 0
    divergence: float = 0.0
    certainty: float = 0.0

    @property
    def understands(self) -> bool:
        """Whether the checkpoint understands such recordings; if not, nothing is judged."""
        return self.steps > 0 and self.certainty >= LEAST_SURE * self.steps

    @property
    def passes(self) -> bool:
        close = self.divergence <= MOST_DIVERGENCE * self.steps
        return close and self.doubted <= max(1.0, MOST_DOUBTED * self.words)

    def add(self, wanted: Array, ours: Array, silent: Collection[int]) -> None:
        """Count steps by the scores `[steps, tokens]` of both.

        A word is doubted if the best tokens differ and are not both among `silent`.
        """
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
            f"{self.doubted} of {self.words} words differ from fp32 "
            f"(limit {100 * MOST_DOUBTED:g} %), KL divergence "
            f"{self.divergence / max(1, self.steps):.4f} nats/step (limit {MOST_DIVERGENCE:g})"
        )


def is_exact(bundle: Bundle) -> bool:
    """Whether nothing in the bundle is quantized."""
    manifest = bundle.manifest
    caches = {state.dtype for graph in manifest.graphs.values() for state in graph.states}
    return manifest.precision == manifest.codec.precision == "fp32" and "int8" not in caches


@dataclass
class ScoredTranscript:
    """What a bundle read and how it scored the text, step by step, and the words it found."""

    tokens: list[Array] = field(default_factory=list)
    scores: list[Array] = field(default_factory=list)
    words: int = 0


class ScoringTask(SpeechToTextTask):
    """A task that keeps tokens and text scores of its first `most` steps."""

    def __init__(self, model: SpeechToText, most: int) -> None:
        self.transcript, self._most = ScoredTranscript(), most
        super().__init__(model, SpeechToTextOptions(temperature=0))

    def on_step(self, output: StepOutput, place: int) -> None:
        if len(self.transcript.tokens) < self._most:
            self.transcript.tokens.append(output.tokens[place].copy())
            self.transcript.scores.append(output.scores[place].copy())
        super().on_step(output, place)


def judge(
    bundle: Bundle,
    checkpoint: Checkpoint,
    recordings: Sequence[Array],
    progress: Progress = lambda *_: None,
) -> Verdict:
    """Compare on recordings, float32 `[n]` at the model's rate, each cut to the model's context.

    Raises:
        UsageError: the bundle has a fixed batch.
        ProviderError: it cannot run here.
    """
    model = SpeechToText(bundle, allow_fallback=True)
    most = model.language_model.spec.context
    transcripts = []
    for index, pcm in enumerate(recordings):
        progress("transcribing with the bundle", index, len(recordings))
        transcripts.append(_transcribed(model, pcm, most))
    return compare(transcripts, checkpoint, progress)


def compare(
    transcripts: Sequence[ScoredTranscript],
    checkpoint: Checkpoint,
    progress: Progress = lambda *_: None,
) -> Verdict:
    """Compare transcripts, none longer than the model's context, with the checkpoint's."""
    config, tensors = checkpoint.config.lm, checkpoint.lm
    assert config is not None
    assert tensors is not None
    verdict = Verdict(words=sum(one.words for one in transcripts))
    frames = max(len(one.tokens) for one in transcripts)
    tokens = np.zeros((len(transcripts), frames, 1 + config.n_q), np.int64)
    for row, one in zip(tokens, transcripts, strict=True):
        row[: len(one.tokens)] = one.tokens
    transformer = LayerwiseTransformer(config, tensors, frames)
    transformer.progress = partial(progress, "scoring with the checkpoint, layer by layer")
    wanted = transformer.text_scores(tokens)
    silent = (config.existing_text_padding_id, config.existing_text_end_padding_id)
    for one, scores in zip(transcripts, wanted, strict=True):
        verdict.add(scores[: len(one.scores)], np.stack(one.scores), silent)
    return verdict


def _transcribed(model: SpeechToText, pcm: Array, most: int) -> ScoredTranscript:
    row = model.batch(1).join(task := ScoringTask(model, most))
    row.feed(pcm[: most * model.frame_size])
    task.transcript.words = sum(isinstance(event, Word) for event in row.flush())
    return task.transcript


def _log_softmax(scores: Array) -> Array:
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    logs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs
