"""What a model is given before a conversation: a voice and a role, frame by frame.

The rules are those of NVIDIA/personaplex moshi/models/lm.py `LMGen.step_system_prompts`.
"""

from pathlib import Path

import numpy as np

from ...runtime.audio import audio_blocks
from ...runtime.audio.loudness import loudness
from ...runtime.bundle.manifest import PromptSettings
from ...runtime.errors import UsageError
from ...runtime.typing import Array, Codes
from ..lm.generation import StepHooks
from ..model import Model
from ..options import ConversationOptions


def make_prompt(model: Model, options: ConversationOptions) -> Array:
    """Return tokens int64 `[1 + dep_q, frames]` of a prompt, text first; no frames without a role
    and a voice.

    Raises UsageError if the model takes no prompt, or forgets the beginning of this one, and for a
    recording without a voice; AudioError for one that cannot be read.
    """
    spec, settings = model.language_model.spec, model.bundle.manifest.prompt
    if not options.role and not options.voice_prompt:
        return np.empty((1 + spec.dep_q, 0), np.int64)
    if settings is None:
        given = "--role (role)" if options.role else "--voice-prompt (voice_prompt)"
        raise UsageError(
            f"{given}: {model.name} was not trained to be given one; leave it out, or use "
            "nvidia/personaplex-7b-v1"
        )
    padding, silence = spec.tokens.text_padding, np.array(settings.silence)
    pause = _frames([padding] * settings.pause_frames, silence)
    voice = np.empty((spec.dep_q, 0), np.int64)
    if options.voice_prompt:
        voice = encode_voice(model, Path(options.voice_prompt), settings)
    role = _role_tokens(model, options.role, settings) if options.role else []
    spoken = np.concatenate([np.full((1, voice.shape[1]), padding), voice])
    made = np.concatenate([spoken, pause, _frames(role, silence), pause], axis=1)
    if made.shape[1] >= spec.context:
        raise UsageError(
            f"a prompt of {made.shape[1]} frames, {voice.shape[1]} of the voice and {len(role)} of "
            f"the role: {model.name} remembers {spec.context}; shorten it"
        )
    return made


def _frames(text: list[int], codes: Array) -> Array:
    """Frames of these text tokens, each with the same codes."""
    return np.concatenate([np.array([text], np.int64), np.tile(codes[:, None], len(text))])


def _role_tokens(model: Model, role: str, settings: PromptSettings) -> list[int]:
    text, mark = role.strip(), settings.role_mark
    if not (text.startswith(mark) and text.endswith(mark)):
        text = f"{mark} {text} {mark}"
    return list(model.tokenizer.encode(text))


def encode_voice(model: Model, path: Path, settings: PromptSettings) -> Codes:
    """Return the codes `[dep_q, frames]` of a recording, brought to the loudness of prompts."""
    pcm = _read_voice(model, path)
    now = loudness(pcm, model.sample_rate)
    if not np.isfinite(now):
        raise UsageError(
            f"{path}: silent, or shorter than 0.4 s; give some seconds of speech as a voice"
        )
    louder = (pcm * 10 ** ((settings.loudness - now) / 20)).astype(np.float32)
    codes: Codes = model.mimi.encode(louder, model.language_model.spec.dep_q)
    return codes


def _read_voice(model: Model, path: Path) -> Array:
    """The samples of a recording that is shorter than what the model remembers."""
    blocks: list[Array] = []
    left = model.language_model.spec.context * model.frame_size
    for block in audio_blocks(str(path), model.sample_rate):
        blocks.append(block)
        left -= len(block)
        if left <= 0:
            seconds = model.language_model.spec.context / model.frame_rate
            raise UsageError(
                f"{path}: a voice of {seconds:g} s or more, which is all that {model.name} "
                "remembers; give some seconds of speech"
            )
    return np.concatenate(blocks)


class PromptHooks(StepHooks):
    """Gives a row its prompt, int64 `[1 + dep_q, frames]`, each stream at its delay; `step` counts
    the steps made."""

    def __init__(self, prompt: Array, delays: Array, step: int = 0) -> None:
        self.prompt, self.step = prompt, step
        self._delays = delays

    @property
    def left(self) -> int:
        """Steps until the conversation begins."""
        return max(0, int(self.prompt.shape[1]) - self.step)

    def samples_text(self) -> bool:
        """Not while the text is given: then the same seed makes the same of any prompt."""
        return not self._forced[0]

    def choose_text(self, token: int) -> int:
        (chosen,) = self._chosen(np.array([token]), slice(0, 1)).tolist()
        return int(chosen)

    def makes_audio(self) -> bool:
        return not self._forced[1:].all()

    def choose_audio(self, codes: Array) -> Array:
        return self._chosen(codes, slice(1, None))

    @property
    def _frames(self) -> Array:
        """The frame of each stream that this step makes."""
        frames: Array = self.step + 1 - self._delays
        return frames

    @property
    def _forced(self) -> Array:
        """Whether the prompt has it; before the first frame streams read their initial tokens."""
        frames = self.prompt.shape[1]
        forced: Array = (self._frames < frames) & (frames > 0)
        return forced

    def _chosen(self, tokens: Array, streams: slice) -> Array:
        chosen: Array = tokens.copy()
        forced = np.flatnonzero(self._forced[streams])
        frames = np.maximum(self._frames[streams][forced], 0)
        chosen[forced] = self.prompt[streams][forced, frames]
        return chosen
