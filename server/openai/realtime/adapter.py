"""The events of streams to those of the Realtime API: turns of speech that are transcribed, and
responses that are spoken."""

import base64
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ....models import events
from ....models.events import Word, WordStarted
from ..adapter import logprobs
from .conversation import Conversation, ServerEvent, new_id
from .settings import SessionSettings

TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(eq=False)
class Turn:
    """Speech that becomes one item: when it began, when its speaker paused, how many frames are
    left until all of its text is known, and for how long it lasted, in seconds of its stream."""

    start: float = 0.0
    end: float = math.inf
    frames_left: float = math.inf
    duration: float = 0.0
    words: list[Word | WordStarted] = field(default_factory=list)
    id: str = field(default_factory=lambda: new_id("item"))

    def take(self, found: Word | WordStarted) -> None:
        """Add a word; a whole one stands for those that had begun until then."""
        if isinstance(found, Word):
            words = self.words
            self.words = [w for w in words if isinstance(w, Word) or w.start > found.start]
        self.words.append(found)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


class InputAdapter:
    """One stream of a client's audio. With turn detection each turn is an item, else all that is
    committed. `before` is how many seconds of audio came before the stream; text follows the audio
    by `delay` seconds."""

    def __init__(
        self,
        conversation: Conversation,
        settings: SessionSettings,
        *,
        frame_rate: float,
        delay: float,
        before: float,
    ) -> None:
        given = settings.audio.input
        self._conversation, self._turns = conversation, given.turn_detection
        self._transcribes = given.transcription is not None
        self._with_logprobs = settings.with_logprobs
        self._before, self._ended, self._committed = before, 0.0, False
        self._pending: deque[Turn] = deque()
        self._current = Turn() if self._turns is None else None
        hold = 0.0 if self._turns is None else self._turns.policy.hold
        self._hold, self._frames = hold, max(0, math.ceil((delay - hold) * frame_rate) + 1)

    def report(self, event: object) -> list[ServerEvent]:
        """Return the events for an event of the stream."""
        match event:
            case events.Step():
                return self._count()
            case events.SpeechStarted(time):
                return self._begin(time)
            case events.EndOfTurn(time):
                return self._pause(time)
            case WordStarted():
                return self._start_word(event)
            case Word():
                self._end_word(event)
        return []

    def commit(self, seconds: float) -> list[ServerEvent]:
        """End the last turn after so many seconds of the stream, and return the events for that."""
        turn = self._current or Turn(start=self._ended)
        self._current, self._committed = None, True
        turn.duration = max(0.0, seconds - turn.start)
        return self._commit(turn)

    @property
    def is_between_turns(self) -> bool:
        """Whether a turn has ended, and no other one has started."""
        return self._turns is not None and self._current is None and self._ended > 0

    def finish(self, seconds: float | None = None) -> list[ServerEvent]:
        """Return the events for the turns that have ended: their text is known. A turn that goes on
        ends here, if `seconds`, the length of the stream, are given."""
        stopped = [] if seconds is None else self._pause(seconds - self._hold)
        return [*stopped, *self._finish()]

    def _finish(self) -> list[ServerEvent]:
        done, self._pending = self._pending, deque()
        return [event for turn in done for event in self._complete(turn)]

    def fail(self, message: str, kind: str) -> list[ServerEvent]:
        """Return the events for a stream that failed, of every turn whose text is not known."""
        failed = [*self._pending, *([self._current] if self._current is not None else [])]
        self._pending, self._current = deque(), None
        if not self._transcribes:
            return []
        error = {"type": kind, "code": None, "message": message, "param": None}
        return [
            {
                "type": f"{TRANSCRIPTION}.failed",
                "item_id": turn.id,
                "content_index": 0,
                "error": error,
            }
            for turn in failed
        ]

    def _begin(self, time: float) -> list[ServerEvent]:
        if self._turns is None or self._current is not None or self._committed:
            return []
        self._current = Turn(start=time)
        since = self._before + time - self._turns.prefix_padding_ms / 1000
        return [
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": round(max(0.0, since) * 1000),
                "item_id": self._current.id,
            }
        ]

    def _pause(self, time: float) -> list[ServerEvent]:
        if self._turns is None or self._current is None:
            return []
        turn, self._current, self._ended = self._current, None, time
        turn.end, turn.frames_left = time, self._frames
        turn.duration = max(0.0, time - turn.start)
        stopped = {
            "type": "input_audio_buffer.speech_stopped",
            "audio_end_ms": round((self._before + time + self._hold) * 1000),
            "item_id": turn.id,
        }
        return [stopped, *self._commit(turn), *self._settled()]

    def _commit(self, turn: Turn) -> list[ServerEvent]:
        self._pending.append(turn)
        committed = {
            "type": "input_audio_buffer.committed",
            "previous_item_id": self._conversation.last_id,
            "item_id": turn.id,
        }
        return [committed, *self._conversation.add(audio_item(turn.id))]

    def _count(self) -> list[ServerEvent]:
        for turn in self._pending:
            turn.frames_left -= 1
        return self._settled()

    def _settled(self) -> list[ServerEvent]:
        """Return the events for the turns whose text is known by now."""
        found: list[ServerEvent] = []
        while self._pending and self._pending[0].frames_left <= 0:
            found += self._complete(self._pending.popleft())
        return found

    def _start_word(self, word: WordStarted) -> list[ServerEvent]:
        found: list[ServerEvent] = []
        turn = next((turn for turn in self._pending if word.start <= turn.end), self._current)
        if turn is None:
            found += self._begin(word.start)
            turn = self._current
        if turn is None:
            return found
        text = f" {word.text}" if turn.words else word.text
        turn.take(word)
        if not self._transcribes:
            return found
        delta = {
            "type": f"{TRANSCRIPTION}.delta",
            "item_id": turn.id,
            "content_index": 0,
            "delta": text,
        }
        if self._with_logprobs:
            (entry,) = logprobs([word])
            delta["logprobs"] = [{**entry, "token": text, "bytes": list(text.encode())}]
        return [*found, delta]

    def _end_word(self, word: Word) -> None:
        """Replace the word that had begun; that of a turn whose text was complete is over."""
        turns = [*self._pending, *([self._current] if self._current is not None else [])]
        begun = [turn for turn in turns if turn.words and turn.words[0].start <= word.start]
        if begun:
            begun[-1].take(word)

    def _complete(self, turn: Turn) -> list[ServerEvent]:
        if not self._transcribes:
            return []
        completed: ServerEvent = {
            "type": f"{TRANSCRIPTION}.completed",
            "item_id": turn.id,
            "content_index": 0,
            "transcript": turn.text,
            "usage": {"type": "duration", "seconds": round(turn.duration, 3)},
        }
        if self._with_logprobs:
            completed["logprobs"] = logprobs(turn.words)
        return [completed]


def audio_item(item_id: str) -> dict[str, Any]:
    """Return the item of a user's audio."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }


class ResponseAdapter:
    """One response: the words and the speech of its stream. Without a conversation its item is
    added to none."""

    def __init__(
        self,
        conversation: Conversation | None,
        settings: SessionSettings,
        metadata: dict[str, str] | None,
    ) -> None:
        self.id, self._item_id = new_id("resp"), new_id("item")
        self._conversation, self._settings, self._metadata = conversation, settings, metadata
        self._words: list[str] = []
        self._frames = 0
        self._added: ServerEvent | None = None

    def start(self) -> list[ServerEvent]:
        """Return the first events."""
        item = self._item("in_progress")
        part = {"type": "audio", "transcript": ""}
        if self._conversation is not None:
            self._added = self._conversation.begin(item)
        return [
            {"type": "response.created", "response": self._response("in_progress")},
            self._event("response.output_item.added", output_index=0, item=item),
            *([] if self._added is None else [self._added]),
            self._part_event("response.content_part.added", part=part),
        ]

    def word(self, text: str) -> list[ServerEvent]:
        """Return the events for a word that is spoken."""
        delta = f" {text}" if self._words else text
        self._words.append(text)
        return [self._part_event("response.output_audio_transcript.delta", delta=delta)]

    def audio(self, data: bytes) -> list[ServerEvent]:
        """Return the events for a piece of speech."""
        self._frames += 1
        encoded = base64.b64encode(data).decode()
        return [self._part_event("response.output_audio.delta", delta=encoded)]

    def end(
        self, status: str, *, reason: str | None = None, error: dict[str, Any] | None = None
    ) -> list[ServerEvent]:
        """Return the last events: `completed`, `cancelled` or `failed`."""
        item = self._item("completed" if status == "completed" else "incomplete")
        part = {"type": "audio", "transcript": self._text}
        details = {"type": status, "reason": reason, "error": error}
        kept = {name: value for name, value in details.items() if value is not None}
        done: list[ServerEvent] = []
        if self._conversation is not None and self._added is not None:
            self._conversation.replace(item)
            done = [{**self._added, "type": "conversation.item.done", "item": item}]
        return [
            self._part_event("response.output_audio.done"),
            self._part_event("response.output_audio_transcript.done", transcript=self._text),
            self._part_event("response.content_part.done", part=part),
            self._event("response.output_item.done", output_index=0, item=item),
            *done,
            {
                "type": "response.done",
                "response": self._response(status)
                | {
                    "status_details": None if status == "completed" else kept,
                    "output": [item],
                    "usage": self._usage(),
                },
            },
        ]

    @property
    def _text(self) -> str:
        return " ".join(self._words)

    def _event(self, kind: str, **more: Any) -> ServerEvent:
        return {"type": kind, "response_id": self.id, **more}

    def _part_event(self, kind: str, **more: Any) -> ServerEvent:
        return self._event(
            kind, item_id=self._item_id, output_index=0, content_index=0, **more
        )  # fmt: skip

    def _item(self, status: str) -> dict[str, Any]:
        begun = status == "in_progress"
        content = [] if begun else [{"type": "output_audio", "transcript": self._text}]
        return {
            "id": self._item_id,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _response(self, status: str) -> dict[str, Any]:
        spoken = self._settings.audio.output
        form: dict[str, Any] = {"type": spoken.format.type}
        form |= {"rate": 24000} if form["type"] == "audio/pcm" else {}
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [],
            "conversation_id": None if self._conversation is None else self._conversation.id,
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": form, "voice": spoken.voice}},
            "metadata": self._metadata,
            "usage": None,
        }

    def _usage(self) -> dict[str, Any]:
        """Tokens are counted as words read and pieces spoken."""
        read, spoken = len(self._words), self._frames
        return {
            "total_tokens": read + spoken,
            "input_tokens": read,
            "output_tokens": spoken,
            "input_token_details": {"text_tokens": read, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 0, "audio_tokens": spoken},
        }
