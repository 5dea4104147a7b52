"""The demo's models that speak, run by Moshi's own code: many texts or recordings at once."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from moshi.models import LMGen, MimiModel, loaders
from moshi.models.tts import TTSModel

from training.config import BINS, CODEBOOKS, FRAME_SIZE, TEXT_PAD
from training.hibiki_layout import EOS
from training.tts_layout import INITIAL_PADDING, MAX_PADDING, PADDING_BETWEEN

PATIENCE = 64
STREAMS = 25


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled; 0 takes the likeliest."""

    temp: float = 0.6
    temp_text: float = 0.6
    top_k: int = 250
    top_k_text: int = 25


@dataclass(frozen=True)
class Answer:
    """Samples at 24 kHz, text written (of an interpreter), and whether it came to its end."""

    pcm: np.ndarray
    text: str
    ended: bool


def checkpoint(folder: Path) -> loaders.CheckpointInfo:
    config = json.loads((folder / "config.json").read_text())

    def named(key: str) -> Path:
        return Path(folder / config[key])

    return loaders.CheckpointInfo.from_hf_repo(
        "local",
        moshi_weights=named("moshi_name"),
        mimi_weights=named("mimi_name"),
        tokenizer=named("tokenizer_name"),
        config_path=folder / "config.json",
        mimi_config_path=named("mimi_config_name"),
    )


class Reader:
    """The text-to-speech checkpoint in Moshi's `TTSModel`."""

    def __init__(self, folder: Path) -> None:
        self.model = TTSModel.from_checkpoint_info(
            checkpoint(folder),
            initial_padding=INITIAL_PADDING,
            max_padding=MAX_PADDING,
            dtype=torch.float32,
            n_q=CODEBOOKS,
            max_gen_length=400,
        )

    def speak(self, texts: list[str], sampling: Sampling) -> list[Answer]:
        model = self.model
        entries = [model.prepare_script([text], PADDING_BETWEEN) for text in texts]
        model.temp = sampling.temp
        made = model.generate(entries, [], top_k=sampling.top_k, top_k_text=sampling.top_k_text)
        frames = torch.cat(made.frames[model.delay_steps :], 2)[:, 1:]
        sounds = decode(model.mimi, frames)
        answers = []
        for pcm, end in zip(sounds, made.end_steps, strict=True):
            last = None if end is None else (end + model.final_padding) * FRAME_SIZE
            answers.append(Answer(pcm[:last], "", end is not None))
        return answers


class Interpreter:
    """The Hibiki checkpoint in the loop of Moshi's `run_inference`, many recordings at once."""

    def __init__(self, folder: Path) -> None:
        info = checkpoint(folder)
        self.mimi, self.tokenizer = info.get_mimi(), info.get_text_tokenizer()
        self.lm = info.get_moshi(dtype=torch.float32)

    def interpret(self, recordings: list[np.ndarray], sampling: Sampling) -> list[Answer]:
        """Near lengths together, a few at once."""
        order = sorted(range(len(recordings)), key=lambda i: len(recordings[i]))
        answers: dict[int, Answer] = {}
        for first in range(0, len(order), STREAMS):
            rows = order[first : first + STREAMS]
            answers |= zip(rows, self._batch([recordings[i] for i in rows], sampling), strict=True)
        return [answers[i] for i in range(len(recordings))]

    @torch.no_grad()
    def _batch(self, recordings: list[np.ndarray], sampling: Sampling) -> list[Answer]:
        heard, ends = self._encode(recordings)
        count = len(recordings)
        generator = LMGen(
            self.lm,
            temp=sampling.temp,
            temp_text=sampling.temp_text,
            top_k=sampling.top_k,
            top_k_text=sampling.top_k_text,
        )
        frames, over = [], torch.full((count,), -1)
        with generator.streaming(count):
            generator.step(heard[:, :, :1])
            for i in range(heard.shape[2]):
                frame = generator.step(heard[:, :, i : i + 1])
                if frame is None:
                    continue
                frames.append(frame)
                eos = (frame[:, 0, 0] == EOS) & (ends < i) & (over < 0)
                over[eos] = len(frames) - 1
                if bool((over >= 0).all()):
                    break
        made = torch.cat(frames, 2)
        sounds = decode(self.mimi, made[:, 1:].clamp(max=BINS - 1))
        return [
            self._answer(row, pcm, int(last))
            for row, pcm, last in zip(made[:, 0], sounds, over, strict=True)
        ]

    def _encode(self, recordings: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes [batch, 8, frames] with the mark of the end, and the frames it is in."""
        ends = torch.tensor([len(pcm) // FRAME_SIZE for pcm in recordings])
        total = int(ends.max()) + PATIENCE
        sound = torch.zeros(len(recordings), 1, total * FRAME_SIZE)
        for row, pcm, end in zip(sound, recordings, ends, strict=True):
            whole = int(end) * FRAME_SIZE
            row[0, :whole] = torch.from_numpy(pcm[:whole])
        with self.mimi.streaming(len(sound)):
            codes = torch.cat([self.mimi.encode(f) for f in sound.split(FRAME_SIZE, 2)], 2)
        mark = torch.full((CODEBOOKS, 1), BINS)
        rows = [
            torch.cat([row[:, :end], mark, row[:, end:]], 1)
            for row, end in zip(codes, ends.tolist(), strict=True)
        ]
        return torch.stack(rows), ends

    def _answer(self, tokens: torch.Tensor, pcm: np.ndarray, last: int) -> Answer:
        until = last if last >= 0 else len(tokens)
        pieces = [t for t in tokens[:until].tolist() if t > TEXT_PAD]
        text = self.tokenizer.decode(pieces)
        return Answer(pcm[: until * FRAME_SIZE], text, last >= 0)


@torch.no_grad()
def decode(mimi: MimiModel, codes: torch.Tensor) -> list[np.ndarray]:
    """[batch, 8, frames] -> samples of each row, one frame at a time."""
    with mimi.streaming(len(codes)):
        parts = [mimi.decode(codes[:, :, i : i + 1]) for i in range(codes.shape[2])]
    return list(torch.cat(parts, 2)[:, 0].clip(-1, 1).numpy())
