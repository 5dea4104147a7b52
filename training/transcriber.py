"""Transcribe through Moshi's own streaming loop, one 80 ms frame at a time, many files at once."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from moshi.models import LMGen, loaders
from sentencepiece import SentencePieceProcessor
from torch import nn

from training.config import (
    AUDIO_DELAY,
    FRAME_RATE,
    FRAME_SIZE,
    SAMPLE_RATE,
    TEXT_END_PADDING,
    TEXT_PAD,
)
from training.espeak import Word

STREAMS = 100


@dataclass(frozen=True)
class Transcription:
    """What came out for one recording: a token per frame, and the probability that the speaker is
    done, [frames, horizons]."""

    tokens: list[int]
    done: np.ndarray

    def words(self, tokenizer: SentencePieceProcessor) -> list[Word]:
        """Words and their times, as Kyutai's stt_from_file_pytorch reads them."""
        marks = [i for i, token in enumerate(self.tokens) if token == TEXT_END_PADDING]
        if not marks:
            return []
        last = min(len(self.tokens), marks[-1] + 1 + int(FRAME_RATE))
        found: list[Word] = []
        for start, end in zip(marks, [*marks[1:], last], strict=True):
            found += _segment(self.tokens, start + 1, end, tokenizer)
        return found


def _segment(
    tokens: list[int], start: int, end: int, tokenizer: SentencePieceProcessor
) -> list[Word]:
    """The words between two marks: mostly one; of several, each but the last takes one frame per
    piece."""
    texts = tokenizer.decode([t for t in tokens[start:end] if t > TEXT_PAD]).split()
    words = []
    for i, text in enumerate(texts):
        until = end if i == len(texts) - 1 else start + len(tokenizer.encode(text))
        words.append(Word(text, seconds(start), seconds(until)))
        start = until
    return words


def seconds(frame: int) -> float:
    return max(0.0, frame / FRAME_RATE - AUDIO_DELAY)


class Transcriber:
    """A checkpoint folder, loaded by Moshi's own loaders."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        config = json.loads((folder / "config.json").read_text())
        info = loaders.CheckpointInfo.from_hf_repo(
            "local",
            moshi_weights=folder / config["moshi_name"],
            mimi_weights=folder / config["mimi_name"],
            tokenizer=folder / config["tokenizer_name"],
            config_path=folder / "config.json",
            mimi_config_path=folder / config["mimi_config_name"],
        )
        self.mimi = info.get_mimi()
        self.tokenizer = info.get_text_tokenizer()
        self.lm: nn.Module = info.get_moshi(dtype=dtype)

    def transcribe(self, recordings: list[np.ndarray], tail: float = 1.5) -> list[Transcription]:
        """Each recording (24 kHz), and `tail` seconds of silence after the longest of a batch."""
        heard: list[Transcription] = []
        for first in range(0, len(recordings), STREAMS):
            heard += self._batch(recordings[first : first + STREAMS], tail)
        return heard

    @torch.no_grad()
    def _batch(self, recordings: list[np.ndarray], tail: float) -> list[Transcription]:
        longest = max(map(len, recordings)) + round(tail * SAMPLE_RATE)
        frames = -(-longest // FRAME_SIZE)
        sound = torch.zeros(len(recordings), 1, frames * FRAME_SIZE)
        for row, pcm in zip(sound, recordings, strict=True):
            row[0, : len(pcm)] = torch.from_numpy(pcm)
        tokens, done = [], []
        generator = LMGen(self.lm, temp=0.0, temp_text=0.0)
        with self.mimi.streaming(len(sound)), generator.streaming(len(sound)):
            for i, frame in enumerate(sound.split(FRAME_SIZE, 2)):
                codes = self.mimi.encode(frame)
                # The first frame goes in twice: Moshi never sees the codes of its first step.
                if i == 0:
                    generator.step(codes)
                text, heads = generator.step_with_extra_heads(codes)
                tokens.append(text[:, 0, 0])
                done.append(torch.stack([head[:, 0, 0] for head in heads], 1).float())
        rows = torch.stack(tokens, 1).tolist()
        pauses = torch.stack(done, 1).numpy()
        return [Transcription(row, pause) for row, pause in zip(rows, pauses, strict=True)]
