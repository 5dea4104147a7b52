"""A bundle and Kyutai's package side by side on the same audio: how far they agree.

Both hear the same frames, one a call. The language models are held in step: each reads the codes
and the text of the reference, so that one different token is one difference and not a different
future.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..models.delays import DelayCache
from ..models.mimi import Mimi
from ..runtime.bundle import Bundle
from ..runtime.chain import open_graph
from ..runtime.errors import ModelError
from ..runtime.providers import choose
from .agreement import Choices, Numbers
from .checkpoint import Checkpoint
from .reference import reference_lm, reference_mimi

Array = np.ndarray[Any, Any]
WAVEFORM_BOUND = 1e-4
"""Part of the peak by which a waveform may differ."""


@dataclass
class Report:
    """What was compared, by name, in the order in which it is told."""

    codes: list[Choices] = field(default_factory=list)
    tokens: Choices | None = None
    heads: Numbers | None = None
    waveform: Numbers | None = None
    frames: int = 0

    def lines(self) -> Iterator[str]:
        total = Choices()
        for choices in self.codes:
            total.equal += choices.equal
            total.ties += choices.ties
            total.wrong += choices.wrong
            total.distinct |= choices.distinct
        yield f"frames        {self.frames}"
        yield f"codes         {total}"
        if self.waveform is not None:
            yield f"waveform      {self.waveform}"
        if self.tokens is not None:
            yield f"text tokens   {self.tokens}"
        if self.heads is not None:
            yield f"extra heads   {self.heads.error:.1e} at most"

    def failures(self, precision: str) -> Iterator[str]:
        """What is not as it must be: all exact in fp32; the codec always."""
        if any(choices.wrong for choices in self.codes):
            yield "codes differ"
        if self.waveform is not None and self.waveform.relative > WAVEFORM_BOUND:
            yield f"the waveform differs by more than {WAVEFORM_BOUND:g} of its peak"
        if precision == "fp32" and self.tokens is not None and self.tokens.wrong:
            yield "text tokens differ"


def made_up_voice(sample_rate: int, samples: int, seed: int = 0) -> Array:
    """Harmonics of a gliding pitch under an envelope of syllables, and noise: float32 `[n]`."""
    noise = np.random.default_rng(seed)
    time = np.arange(samples) / sample_rate
    pitch = 120 * 2 ** (0.5 * np.sin(2 * np.pi * 0.7 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    envelope = (0.5 + 0.5 * np.sin(2 * np.pi * 2.3 * time)) ** 2
    voice = sum(np.sin(k * phase + noise.uniform(0, 6)) / k for k in range(1, 20))
    hiss = 0.3 * noise.standard_normal(samples) * (0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * time)) ** 2
    return (0.15 * (voice * envelope + hiss)).astype(np.float32)


def verify_bundle(
    bundle: Bundle,
    checkpoint: Checkpoint,
    pcm: Array,
    *,
    provider: str = "auto",
    allow_fallback: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Report:
    """Compares on whole frames of `pcm` float32 `[n]`; raises ModelError where the two are not of
    the same model."""
    manifest = bundle.manifest
    chosen = choose(provider, manifest.target, allow_fallback=allow_fallback).name
    if checkpoint.family != manifest.family:
        raise ModelError(f"{bundle.path} is {manifest.family}, {checkpoint.family} is compared")
    size = manifest.audio.frame_size
    frames = pcm[: len(pcm) // size * size].reshape(-1, size)
    report = Report(frames=len(frames))
    with torch.no_grad():
        steps = _Steps(bundle, checkpoint, chosen, report)
        for index, frame in enumerate(frames):
            steps.step(frame)
            progress(index + 1, len(frames))
    return report


class _Steps:
    """Both programs, a frame at a time."""

    def __init__(
        self, bundle: Bundle, checkpoint: Checkpoint, provider: str, report: Report
    ) -> None:
        manifest = bundle.manifest
        self._report = report
        self._codebooks = manifest.codec.codebooks
        self._reference = reference_mimi(checkpoint, self._codebooks)
        self._reference.streaming_forever(1)
        mimi = Mimi.load(bundle, provider=provider, allow_fallback=True)
        self._encoder = mimi.stream("encode")
        self._decoder = mimi.stream("decode") if manifest.codec.decoder else None
        report.codes = [Choices() for _ in range(self._codebooks)]
        report.waveform = Numbers() if self._decoder is not None else None
        self._lm = None
        if manifest.lm is not None:
            self._lm = _LanguageModels(bundle, checkpoint, provider, report)

    def step(self, frame: Array) -> None:
        pcm = torch.from_numpy(frame)[None, None]
        latent = self._reference.encode_to_latent(pcm, quantize=False)
        codes = self._reference.quantizer.encode(latent)
        self._compare_codes(latent, codes[0, :, 0], self._encoder.encode(frame[None])[:, 0])
        if self._decoder is not None and self._report.waveform is not None:
            decoded = self._reference.decode(codes)[0, 0].numpy()
            self._report.waveform.add(decoded, self._decoder.feed(codes[0].numpy()))
        if self._lm is not None:
            self._lm.step(codes)

    def _compare_codes(self, latent: torch.Tensor, reference: torch.Tensor, ours: Array) -> None:
        """Codebook by codebook; after a difference the rest of a chain has another residual."""
        quantizer = self._reference.quantizer
        split = quantizer.n_q_semantic
        chains = ((quantizer.rvq_first, 0, split), (quantizer.rvq_rest, split, self._codebooks))
        for chain, start, end in chains:
            residual = chain.input_proj(latent)[0, :, 0]
            for index in range(start, end):
                book = chain.vq.layers[index - start].embedding
                scores = book @ residual - 0.5 * (book * book).sum(1)
                best = int(reference[index])
                same = self._report.codes[index].add(scores.numpy(), int(ours[index]), best)
                if not same:
                    break
                residual = residual - book[best]


class _LanguageModels:
    """Two language models that read the same tokens."""

    def __init__(
        self, bundle: Bundle, checkpoint: Checkpoint, provider: str, report: Report
    ) -> None:
        lm = bundle.manifest.lm
        assert lm is not None
        self._report, self._active = report, np.ones(1, np.bool_)
        self._model = reference_lm(checkpoint)
        self._model.streaming_forever(1)
        chosen = choose(provider, bundle.manifest.target, allow_fallback=True)
        self._graph = open_graph(bundle, lm.temporal, chosen).streams()
        self._cache = DelayCache(lm)
        self._codebooks = lm.n_q - lm.dep_q
        self._started = False
        report.tokens = Choices()
        report.heads = Numbers() if lm.extra_heads else None

    def step(self, codes: torch.Tensor) -> None:
        heard = codes[:, : self._codebooks, 0].numpy()
        for _ in range(1 if self._started else 2):  # the first frame twice, as in run_inference.py
            self._step(heard)
        self._started = True

    def _step(self, heard: Array) -> None:
        tokens = self._cache.read(heard, self._active)
        hidden, logits = self._model.forward_text(torch.from_numpy(tokens)[:, :, None])
        scores = logits[0, 0, 0].numpy()
        outputs = self._graph.step({"tokens": tokens})
        assert self._report.tokens is not None
        self._report.tokens.add(scores, int(np.argmax(outputs["text_logits"][0])))
        if self._report.heads is not None:
            heads = [torch.softmax(head(hidden), -1)[0, 0] for head in self._model.extra_heads]
            self._report.heads.add(torch.stack(heads).numpy(), outputs["extra_heads"][0])
        self._cache.write(np.array([[int(np.argmax(scores))]]), self._active)
