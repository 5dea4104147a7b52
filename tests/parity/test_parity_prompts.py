"""PersonaPlex with a voice and a role against its own rules, on Kyutai's model of both sides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from support.npz import arrays
from support.parity.fixtures import Bundles, Checkpoints
from support.voices import voices

from kyutai_onnx.cli.main import run
from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.checkpoint.config import LMConfig
from kyutai_onnx.export.verification.reference import lm_arguments, reference_mimi
from kyutai_onnx.runtime.audio.loudness import loudness
from kyutai_onnx.runtime.tokenizer import open_tokenizer

Array = np.ndarray[Any, Any]
RATE, SIZE, OWN = 24000, 1920, 8
SILENCE = [948, 243, 1178, 546, 1736, 1030, 1978, 2008]
SINE = [430, 1268, 381, 1611, 1095, 1495, 56, 472]
ROLE = "You work for a bank. Your name is Ann."
FRAMES = 120


@dataclass(frozen=True)
class Prompt:
    """What is forced in a step: text, the model's codes, its partner's."""

    text: int
    own: list[int]
    partner: list[int]


def spoken(seed: int, seconds: float) -> Array:
    return voices(1, int(seconds * RATE), RATE, seed=seed)[0]


def codes_of(checkpoint: Checkpoint, pcm: Array) -> Array:
    """Codes `[frames, 8]`, frame by frame, the last one filled with zeros."""
    mimi = reference_mimi(checkpoint, OWN)
    whole = np.concatenate([pcm, np.zeros(-len(pcm) % SIZE, np.float32)])
    with torch.no_grad(), mimi.streaming(1):
        frames = torch.from_numpy(whole.reshape(-1, 1, 1, SIZE))
        return np.stack([mimi.encode(frame)[0, :, 0].numpy() for frame in frames])


def prompt_of(checkpoint: Checkpoint, voice: Array | None, role: str | None) -> list[Prompt]:
    """The voice at -24 LUFS, half a second of silence, the role, and silence again."""
    silence = [Prompt(3, SILENCE, SINE)] * 6
    spoken, said = [], []
    if voice is not None:
        louder = voice * np.float32(10 ** ((-24 - loudness(voice, RATE)) / 20))
        spoken = [Prompt(3, codes.tolist(), SINE) for codes in codes_of(checkpoint, louder)]
    if role is not None:
        assert checkpoint.tokenizer is not None
        tokens = open_tokenizer(checkpoint.tokenizer).encode(f"<system> {role} <system>")
        said = [Prompt(token, SILENCE, SINE) for token in tokens]
    return [*spoken, *silence, *said, *silence]


def both_sides(folder: Path, config: LMConfig) -> Any:
    """Kyutai's model with a step of the depth transformer for each of the 16 codebooks."""
    from moshi.models.lm import LMModel
    from safetensors.torch import load_file

    arguments = lm_arguments(config) | {"dep_q": 16}
    model = LMModel(**arguments, dtype=torch.float32)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


@torch.no_grad()
def converse(model: Any, prompt: list[Prompt], heard: Array) -> tuple[list[int], list[list[int]]]:
    """The text and codes of the frames of a conversation, by the rules of PersonaPlex's LMGen: a
    step reads the tokens of the position before, and what is given for its own counts instead of
    what is made, also within the depth transformer."""
    delays, steps = model.delays, len(prompt) + len(heard) + 1
    tokens = np.full((17, steps + 2), -2)
    given = np.zeros(tokens.shape, bool)

    def give(stream: int, step: int, token: int) -> None:
        tokens[stream, step + delays[stream]] = token
        given[stream, step + delays[stream]] = True

    text: list[int] = []
    codes: list[list[int]] = []
    with model.streaming(1):
        for step in range(steps):
            if step < len(prompt):
                frame = prompt[step]
                for stream, token in enumerate([frame.text, *frame.own, *frame.partner]):
                    give(stream, step, token)
            elif step < steps - 1:
                for stream, token in enumerate(heard[step - len(prompt)], 9):
                    give(stream, step, int(token))
            for stream, delay in enumerate(delays):
                if step <= delay:
                    tokens[stream, step] = 300 if stream == 0 else 2048
                    given[stream, step] = True
            if step > 0:
                make(model, tokens, given, step)
            frame_index = step - 1
            if frame_index >= len(prompt):
                text.append(int(tokens[0, frame_index]))
                places = [frame_index + delay for delay in delays[1:9]]
                codes.append([int(tokens[1 + k, place]) for k, place in enumerate(places)])
    return text, codes


def make(model: Any, tokens: Array, given: Array, step: int) -> None:
    """Put what a step makes where nothing is given."""
    read = torch.from_numpy(tokens[None, :, step - 1, None])
    hidden, logits = model.forward_text(read)
    previous = tokens[0, step] if given[0, step] else int(logits[0, 0, 0].argmax())
    tokens[0, step] = previous
    with model.depformer.streaming(1):
        for codebook in range(16):
            before = torch.tensor([[[previous]]])
            made = int(model.forward_depformer(codebook, before, hidden)[0, 0, 0].argmax())
            previous = tokens[1 + codebook, step] if given[1 + codebook, step] else made
            tokens[1 + codebook, step] = previous


@dataclass(frozen=True)
class Given:
    """What a conversation is preceded by."""

    voice: bool
    role: bool

    def __str__(self) -> str:
        return "-and-".join(name for name in ("voice", "role") if getattr(self, name))


@pytest.mark.parametrize(
    "given", [Given(True, True), Given(False, True), Given(True, False)], ids=str
)
def test_chat_with_a_prompt_says_what_personaplex_says(
    given: Given, checkpoint: Checkpoints, bundle: Bundles, tmp_path: Path
) -> None:
    folder = checkpoint("published-codes", "personaplex")
    torch.set_num_threads(1)
    opened = open_checkpoint(str(folder))
    assert opened.config.lm is not None
    voice, heard = spoken(3, 1.93), spoken(4, FRAMES / 12.5)
    soundfile.write(tmp_path / "voice.wav", voice, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "in.wav", heard, RATE, subtype="FLOAT")
    model = bundle("published-codes", "personaplex").path
    options = ["--voice-prompt", str(tmp_path / "voice.wav")] if given.voice else []
    options += ["--role", ROLE] if given.role else []
    files = [str(tmp_path / name) for name in ("in.wav", "out.wav", "tokens.npz")]
    command = ["chat", *files[:2], "--dump-tokens", files[2], "--model", str(model), *options]
    assert run([*command, "--temp", "0", "-q"]) == 0
    prompt = prompt_of(opened, voice if given.voice else None, ROLE if given.role else None)
    assert 12 < len(prompt) < 90
    recognized = codes_of(opened, heard)
    text, codes = converse(both_sides(folder, opened.config.lm), prompt, recognized)
    dumped = arrays(tmp_path / "tokens.npz")
    assert dumped["codes"].T.tolist() == recognized.tolist()
    assert dumped["text"].tolist() == text
    assert dumped["audio"].T.tolist() == codes
    distinct = [len(set(column)) for column in zip(*codes, strict=True)]
    print(f"{given}: {len(prompt)} frames before {len(text)}, {len(set(text))} texts, {distinct}")
    assert len(text) == FRAMES
    assert len(set(text)) >= 30, "hollow: too few tokens occur"
    assert min(distinct) >= 80, "hollow: too few codes occur"
    assert len(soundfile.read(files[1])[0]) == FRAMES * SIZE
