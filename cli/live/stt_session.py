"""Hears live what comes on stage, and shows the words."""

from ...models import SpeechToText
from ...models.events import EndOfTurn, Event, Restart, Word
from ...models.stt.stream import SpeechToTextStream
from ...runtime.state_file import read_state, write_state
from ..output.live_output import open_screen
from ..output.subtitles import SubtitleFile
from ..shapes import HearingStream, Named
from ..transcription import require_pauses
from .live_audio import LiveAudio
from .request import LiveRequest


def listen(
    model: SpeechToText, request: LiveRequest, temperature: float | None, seed: int | None
) -> None:
    """Shows what a model here hears, by a stream that may be saved and loaded."""
    if request.vad or request.turn_flush:
        require_pauses(model)
    stream = model.stream(
        temperature=temperature, seed=seed, policy=request.policy, watchdog=request.watchdog
    )
    if request.load_state is not None:
        stream.load(read_state(request.load_state))
    hear(model, stream, request)


def hear(model: Named, stream: HearingStream, request: LiveRequest) -> None:
    """Shows words as they come; interrupted or broken off, what was heard so far is finished.

    The stream is saved where the sound ends, before what it still has to say.
    """
    with LiveAudio(request, model.sample_rate, model.frame_size, speaks=False) as stage:
        subtitles = None if request.words is None else SubtitleFile(request.words)
        screen = open_screen(request.kind, vad=request.vad)

        def show(events: list[Event]) -> None:
            screen.show(events, stream)
            if subtitles is not None:
                subtitles.add(events)

        try:
            for pcm in stage.frames():
                events = stream.feed(pcm)
                if isinstance(stream, SpeechToTextStream) and _flushes(request, events):
                    events += stream.catch_up()
                show(events)
                note(events, stage)
            if request.save_state is not None:
                assert isinstance(stream, SpeechToTextStream)
                write_state(request.save_state, stream.save())
        finally:
            try:
                for event in stream.finish():
                    show([event])
            finally:
                screen.end()


def _flushes(request: LiveRequest, events: list[Event]) -> bool:
    """Whether a turn has ended whose last words are wanted at once."""
    return request.turn_flush and any(isinstance(event, EndOfTurn) for event in events)


def note(events: list[Event], stage: LiveAudio) -> None:
    """Measures when words were told, and says where the model was begun anew."""
    for event in events:
        if isinstance(event, Word):
            stage.meter.note_word(event.end)
        elif isinstance(event, Restart):
            stage.tell(f"note: speech but no words: the model begins anew at {event.time:.1f} s")
