"""A bundle and Kyutai's package side by side on the same audio: how far they agree.

Both read the same frames, one per call. Our language model goes on with what the reference chose.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from ...conversion.checkpoint.checkpoint import Checkpoint
from ...models.lm.language_model import LanguageModel
from ...models.mimi.model import Mimi
from ...runtime.bundle.bundle import Bundle
from ...runtime.errors import ModelError
from ...runtime.providers.provider import choose
from ...runtime.typing import Array
from .agreement import Choices, Numbers
from .reference import reference_lm, reference_mimi
from .synthetic_inputs import make_generator, make_reference_trace, synthetic_case
from .teacher_forcing import Agreement, SideBySide

WAVEFORM_BOUND = 1e-4
"""Part of the peak by which a waveform may differ, and, of a codec in int8, that part."""
ROUNDED_WAVEFORM_BOUND = 0.05


@dataclass
class Report:
    """What was compared, by name, in the order in which it is printed. `lm` is None for a codec;
    `guidance` is what the language model was guided by."""

    codes: list[Choices] = field(default_factory=list)
    waveform: Numbers | None = None
    lm: Agreement | None = None
    guidance: float = 1.0
    frames: int = 0

    def lines(self) -> Iterator[str]:
        yield f"frames        {self.frames}"
        yield f"codes         {together(self.codes)}"
        if self.waveform is not None:
            yield f"waveform      {self.waveform}"
        if self.lm is None:
            return
        if self.guidance != 1:
            yield f"guidance      {self.guidance:g}"
        yield f"text tokens   {self.lm.text}"
        if self.lm.codes:
            yield f"hidden        {self.lm.hidden}"
            yield f"made codes    {together(self.lm.codes)}"
        if self.lm.heads is not None:
            yield f"extra heads   {self.lm.heads.error:.1e} at most"

    def failures(self, precision: str, codec: str = "fp32") -> Iterator[str]:
        """What is not as it must be: exact what is in fp32, the waveform closer than is
        audible, and the delays always."""
        if codec == "fp32" and any(choices.wrong for choices in self.codes):
            yield "codes differ"
        bound = WAVEFORM_BOUND if codec == "fp32" else ROUNDED_WAVEFORM_BOUND
        if self.waveform is not None and not self.waveform.within(bound):
            yield f"the waveform differs by more than {bound:g} of its peak"
        if self.lm is None:
            return
        if self.lm.frames:
            yield "frames are put together from other steps"
        if precision == "fp32" and self.lm.text.wrong:
            yield "text tokens differ"
        if precision == "fp32" and any(choices.wrong for choices in self.lm.codes):
            yield "made codes differ"


def together(parts: list[Choices]) -> Choices:
    """The counts of all codebooks."""
    total = Choices()
    for choices in parts:
        total.equal += choices.equal
        total.ties += choices.ties
        total.wrong += choices.wrong
        total.distinct |= choices.distinct
    return total


def synthetic_voice(sample_rate: int, samples: int, seed: int = 0) -> Array:
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
    """Compares on whole frames of `pcm` float32 `[n]`; raises ModelError if the two are not of
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
    """Two language models that go on with the same tokens."""

    def __init__(
        self, bundle: Bundle, checkpoint: Checkpoint, provider: str, report: Report
    ) -> None:
        lm = LanguageModel(bundle, provider=provider, allow_fallback=True)
        self._codebooks = lm.spec.n_q - lm.spec.dep_q
        self._started, self._active = False, np.ones(1, np.bool_)
        case = synthetic_case(bundle.manifest, guided=lm.temporal.fixed_batch is None)
        self._doubles = bundle.manifest.family != "tts"
        model = reference_lm(checkpoint)
        self._reference_lm = make_reference_trace(model, case)
        self._reference_lm.generator.streaming_forever(1)
        agreement = Agreement(codes=[Choices() for _ in range(lm.spec.dep_q)])
        generator, rules = make_generator(lm, case, agreement)
        self._beside = SideBySide(generator, [rules], agreement)
        report.lm, report.guidance = agreement, case.coefficient
        if not lm.spec.extra_heads:
            agreement.heads = None

    def step(self, codes: torch.Tensor) -> None:
        """The first frame twice, as in moshi run_inference.py; text to speech reads no audio."""
        given = codes[:, : self._codebooks, 0].numpy()
        for _ in range(1 if self._started or not self._doubles else 2):
            self._beside.step(self._reference_lm.step(given), given, self._active)
        self._started = True
