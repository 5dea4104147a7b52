"""Text to speech from the text to the waveform, beside moshi's own `TTSModel.generate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.numpy import save_file
from support.parity.kyutai_tts import kyutai_tts, made_up_script
from support.parity.makers import distinct, write_checkpoint
from support.parity.variants import LMS, MIMIS
from support.shared import Shared
from support.speech import write_wav
from support.voices import voices

from kyutai_onnx.conversion.checkpoint.checkpoint import open_checkpoint
from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.export.verification.reference import reference_lm, reference_mimi
from kyutai_onnx.models.tts.model import Speech, SpeechRequest, TextToSpeech
from kyutai_onnx.runtime.bundle.bundle import Bundle

Array = np.ndarray[Any, Any]
RATE, FRAME = 24000, 1920
MIMI = {**MIMIS["mimi"], "quantizer": {**MIMIS["mimi"]["quantizer"], "bins": 400}}  # type: ignore[dict-item]
CLOSE = 1e-4
AS_IS: Literal["as-is"] = "as-is"
"""Kyutai's package speaks a script word for word."""


@dataclass(frozen=True)
class Pair:
    """The same weights here and there; `voices` are three files that the model can take."""

    ours: Callable[[int | None], TextToSpeech]
    theirs: Callable[..., Any]
    voices: list[Path]


def make_pair(shared: Shared, folder: Path, name: str) -> Pair:
    repo = shared.once(f"pair-{name}", lambda out: write_checkpoint(out, LMS[name], MIMI))
    request = Request(str(repo), target="cpu", precision="fp32")
    bundle = shared.once(
        f"pair-bundle-{name}", lambda out: export_bundle(replace(request, out=out))
    )
    checkpoint = open_checkpoint(str(repo))
    opened = Bundle.open(bundle)

    def theirs(codebooks: int, **settings: Any) -> Any:
        lm, tts, values = reference_lm(checkpoint), kyutai_tts(), checkpoint.config.tts
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint.tokenizer))
        machine = tts.StateMachine(
            tts.TokenIds(lm.text_card + 1), values.second_stream_ahead, max_padding=8
        )
        return tts.TTSModel(
            lm,
            reference_mimi(checkpoint, codebooks),
            tokenizer,
            "",
            "",
            machine,
            int(values.audio_delay * 12.5),
            values.max_speakers,
            n_q=codebooks,
            **({"temp": 0.0} | settings),
        )

    return Pair(
        lambda codebooks: TextToSpeech(opened, provider="cpu", threads=1, codebooks=codebooks),
        theirs,
        recordings(folder) if name == "tts-prefix" else embeddings(folder),
    )


def embeddings(folder: Path) -> list[Path]:
    """Voices as vectors, 125 of them each."""
    noise, paths = np.random.default_rng(1), []
    for index in range(3):
        vectors = noise.standard_normal((1, 12, 125)).astype(np.float32)
        paths.append(folder / f"{index}.wav.1e68beda@240.safetensors")
        save_file({"speaker_wavs": vectors}, paths[-1])
    return paths


def recordings(folder: Path) -> list[Path]:
    """Voices as sound, of different lengths."""
    sounds = voices(3, 20 * FRAME, RATE, seed=3)
    lengths = (9 * FRAME, 12 * FRAME - 700, 20 * FRAME)
    return [
        write_wav(folder / f"{index}.wav", sound[:length], subtype="FLOAT")
        for index, (sound, length) in enumerate(zip(sounds, lengths, strict=True))
    ]


@pytest.fixture(scope="module")
def by_table(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The layout of TTS 1.6B."""
    return make_pair(shared, tmp_path_factory.mktemp("tts"), "tts")


@pytest.fixture(scope="module")
def by_prefix(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The layout of TTS 0.75B."""
    return make_pair(shared, tmp_path_factory.mktemp("tts-prefix"), "tts-prefix")


@dataclass(frozen=True)
class Expected:
    """What Kyutai's package made of a batch: frames int64 `[T, rows, 1 + dep_q]`, all samples
    `[rows, n]`, and how it cuts and times them."""

    frames: Array
    pcm: Array
    result: Any
    prefixes: list[int]
    final_padding: int
    delay_steps: int

    def length(self, row: int) -> int:
        """Frames that it would make of this text alone; beside longer ones it goes on with them."""
        ends = self.result.end_steps
        return len(self.frames) - int(max(ends) - ends[row])

    def wav(self, row: int) -> Array:
        """As run_tts.py writes it, of this text alone."""
        made = self.length(row) - self.delay_steps
        end = min(self.result.end_steps[row] + self.final_padding, made)
        return np.clip(self.pcm[row, self.prefixes[row] * FRAME : end * FRAME], -1, 1)


@torch.no_grad()
def generate(
    model: Any, texts: Sequence[Sequence[str]], attributes: Sequence[Any], prefixes: Any = None
) -> Expected:
    entries = [model.prepare_script(turns, padding_between=1) for turns in texts]
    result = model.generate(entries, attributes, prefixes=prefixes)
    with model.mimi.streaming(len(texts)):
        decoded = [model.mimi.decode(frame[:, 1:]) for frame in result.frames[model.delay_steps :]]
    return Expected(
        torch.cat(result.frames, dim=-1).permute(2, 0, 1).numpy(),
        torch.cat(decoded, dim=-1)[:, 0].numpy(),
        result,
        [0] * len(texts) if prefixes is None else [prefix.shape[1] for prefix in prefixes],
        model.final_padding,
        model.delay_steps,
    )


def scripts(model: Any, *lengths: int) -> list[list[str]]:
    """Texts of so many words, the second one with turns of two speakers."""
    made = [made_up_script(model.tokenizer, words, seed) for seed, words in enumerate(lengths)]
    texts = [[text] for text in made]
    if len(texts) > 1:
        middle = len(made[1]) // 2
        texts[1] = [made[1][:middle], "", made[1][middle:]]
    return texts


def assert_equal(expected: Expected, found: Sequence[Speech]) -> None:
    for row, speech in enumerate(found):
        frames = expected.frames[: expected.length(row), row]
        np.testing.assert_array_equal(speech.text_tokens, frames[:, 0])
        np.testing.assert_array_equal(speech.audio_tokens, frames[:, 1:].T)
        wav = expected.wav(row)
        assert len(speech.pcm) == len(wav)
        assert np.abs(speech.pcm - wav).max() <= CLOSE * np.abs(wav).max()
        starts = [(word, step) for word, step in expected.result.all_transcripts[row]]
        assert [word.text for word in speech.words] == [word for word, _ in starts]
        for word, (_, step) in zip(speech.words, starts, strict=True):
            assert word.start == pytest.approx((step - expected.prefixes[row]) / 12.5)


def assert_lively(expected: Expected) -> None:
    """The comparison says something."""
    frames = expected.frames.reshape(-1, expected.frames.shape[-1])
    assert distinct(frames[:, 0]) >= 50
    assert min(distinct(codes) for codes in frames[:, 1:].T) >= 200
    assert np.abs(expected.pcm).max() >= 0.1


@pytest.mark.parametrize(("codebooks", "words"), [(8, 30), (5, 8)])
def test_voices_by_cross_attention(by_table: Pair, codebooks: int, words: int) -> None:
    theirs, ours = by_table.theirs(codebooks), by_table.ours(codebooks)
    texts = scripts(theirs, words, words * 3 // 4, 4, words, words)
    one, two, three = by_table.voices
    chosen = [[one], [two, three], [three], [two, one], [two]]
    attributes = [theirs.make_condition_attributes(files, 2.5) for files in chosen]
    expected = generate(theirs, texts, attributes)
    if words >= 30:
        assert_lively(expected)
    requests = [
        SpeechRequest(tuple(turns), tuple(map(str, files)))
        for turns, files in zip(texts, chosen, strict=True)
    ]
    found = list(ours.speak_many(requests, cfg_coef=2.5, temperature=0.0, text_form=AS_IS))
    assert_equal(expected, found)


@pytest.mark.parametrize(("coefficient", "words"), [(2.0, 30), (1.0, 8)])
def test_voices_by_prefix(by_prefix: Pair, coefficient: float, words: int) -> None:
    theirs, ours = by_prefix.theirs(8, cfg_coef=coefficient), by_prefix.ours(8)
    texts = [[" ".join(turns)] for turns in scripts(theirs, words, words * 3 // 4, 4, words, words)]
    files = [*by_prefix.voices, *by_prefix.voices[:2]]
    prefixes = [prefix(theirs, path) for path in files]
    attributes = [] if theirs.lm.condition_provider is None else [no_attributes()] * len(files)
    expected = generate(theirs, texts, attributes, prefixes)
    if words >= 30:
        assert_lively(expected)
    requests = [
        SpeechRequest(tuple(turns), (str(path),)) for turns, path in zip(texts, files, strict=True)
    ]
    found = list(ours.speak_many(requests, cfg_coef=coefficient, temperature=0.0, text_form=AS_IS))
    assert_equal(expected, found)


def test_tokens_drawn_by_the_same_noise(by_table: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = by_table.theirs(8, temp=0.6), by_table.ours(8)
    texts = scripts(theirs, 10, 6)
    files = by_table.voices[:1]
    attributes = [theirs.make_condition_attributes(files, 2.0)] * 2
    monkeypatch.setattr("moshi.utils.sampling.multinomial", Noise(seed=11, rows=2))
    expected = generate(theirs, texts, attributes)
    requests = [SpeechRequest(tuple(turns), (str(files[0]),)) for turns in texts]
    assert_equal(expected, list(ours.speak_many(requests, seed=11, text_form=AS_IS)))
    greedy = ours.speak(texts[0], files[0], temperature=0.0, text_form=AS_IS)
    assert greedy.audio_tokens.tobytes() != expected.frames[:, 0, 1:].T.tobytes()


class Noise:
    """Stands in for `moshi.utils.sampling.multinomial`: its rule, and for each row the noise that
    ours draws."""

    def __init__(self, seed: int, rows: int) -> None:
        self._rows = [np.random.default_rng(seed) for _ in range(rows)]

    def __call__(self, chances: torch.Tensor, num_samples: int) -> torch.Tensor:
        assert num_samples == 1
        noise = [row.exponential(size=chances.shape[-1]) for row in self._rows]
        noise = torch.from_numpy(np.array(noise, np.float32)).reshape(chances.shape)
        return (chances / noise).argmax(dim=-1, keepdim=True)


def no_attributes() -> Any:
    from moshi.conditioners import ConditionAttributes

    return ConditionAttributes()


@torch.no_grad()
def prefix(model: Any, path: Path) -> torch.Tensor:
    """As `TTSModel.get_prefix` makes it, frame by frame."""
    import soundfile

    samples = soundfile.read(path, dtype="float32")[0]
    padded = np.zeros(-(-len(samples) // FRAME) * FRAME, np.float32)
    padded[: len(samples)] = samples
    with model.mimi.streaming(1):
        chunks = torch.from_numpy(padded)[None, None].split(FRAME, dim=2)
        codes = torch.cat([model.mimi.encode(chunk) for chunk in chunks], dim=2)[0, :, :-2]
    return torch.cat([torch.full_like(codes[:1], -1), codes])
