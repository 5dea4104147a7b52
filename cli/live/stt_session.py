"""Speech to text, live: prints the words of a microphone or a recording as they come."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...models.events import EndOfTurn, Event, Restart, Word
from ...models.options import SpeechToTextOptions
from ...runtime.state_file import read_state, write_state
from ..load import require_pauses
from ..output.live_output import open_renderer
from ..output.subtitles import SubtitleFile
from .live_audio import LiveAudio, LiveRequest

if TYPE_CHECKING:
    from ...models import SpeechToText
    from ...server.client import RemoteSpeechToText


class LiveTranscription:
    """A stream of speech to text between live audio and what prints its words."""

    def __init__(
        self,
        request: LiveRequest,
        model: "SpeechToText | RemoteSpeechToText",
        options: SpeechToTextOptions,
    ) -> None:
        policy = request.policy
        self._flushes = policy is not None and policy.flush
        if request.vad or self._flushes:
            require_pauses(model)
        self._request, self._model = request, model
        opened: Any = model
        turns = None if policy is None else policy.turns
        self._stream = opened.stream(options=replace(options, policy=turns))
        if request.load_state is not None:
            self._stream.load(read_state(request.load_state))

    def run(self) -> None:
        """Print words as they come; interrupted or broken off, what was read so far is finished.

        The stream is saved where the audio ends, before the words that are still to come.
        """
        request, model, stream = self._request, self._model, self._stream
        with LiveAudio(request, model.sample_rate, model.frame_size, speaks=False) as audio:
            subtitles = None if request.words is None else SubtitleFile(request.words)
            renderer = open_renderer(request.kind, vad=request.vad)

            def show(events: list[Event]) -> None:
                renderer.show(events, stream.task)
                if subtitles is not None:
                    subtitles.add(events)

            try:
                for pcm in audio.frames():
                    events = stream.feed(pcm)
                    if self._flushes and any(isinstance(e, EndOfTurn) for e in events):
                        stream.task.catch_up()
                        events += stream.events()
                    show(events)
                    _note(events, audio)
                if request.save_state is not None:
                    write_state(request.save_state, stream.save())
            finally:
                try:
                    stream.end()
                    for event in stream.events():
                        show([event])
                finally:
                    renderer.end()


def _note(events: list[Event], audio: LiveAudio) -> None:
    """Measure when words were printed, and report when the model was restarted."""
    for event in events:
        if isinstance(event, Word):
            audio.meter.note_word(event.end)
        elif isinstance(event, Restart):
            audio.note(f"note: speech but no words: the model restarts at {event.time:.1f} s")
