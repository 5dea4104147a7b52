"""Hears live what comes on stage, and shows the words."""

from ..models import SpeechToText
from ..models.events import EndOfTurn, Event, Restart, Word
from ..runtime.state_file import read_state, write_state
from .live_request import LiveRequest
from .screen import open_screen
from .stage import Stage
from .subtitle_file import SubtitleFile, check_ending
from .transcription import require_pauses


def listen(
    model: SpeechToText, request: LiveRequest, temperature: float | None, seed: int | None
) -> None:
    """Shows words as they come; interrupted or broken off, what was heard so far is finished.

    The stream is saved where the sound ends, before what it still has to say.
    """
    if request.words is not None:
        check_ending(request.words)
    if request.vad or request.turn_flush:
        require_pauses(model)
    stream = model.stream(
        temperature=temperature, seed=seed, policy=request.policy, watchdog=request.watchdog
    )
    if request.load_state is not None:
        stream.load(read_state(request.load_state))
    with Stage(request, model.sample_rate, model.frame_size, speaks=False) as stage:
        subtitles = None if request.words is None else SubtitleFile(request.words)
        screen = open_screen(request.kind, vad=request.vad)

        def show(events: list[Event]) -> None:
            screen.show(events, stream)
            if subtitles is not None:
                subtitles.add(events)

        try:
            for pcm in stage.frames():
                events = stream.feed(pcm)
                if request.turn_flush and any(isinstance(e, EndOfTurn) for e in events):
                    events += stream.catch_up()
                show(events)
                note(events, stage)
            if request.save_state is not None:
                write_state(request.save_state, stream.save())
        finally:
            show(stream.flush())
            screen.end()


def note(events: list[Event], stage: Stage) -> None:
    """Measures when words were told, and says where the model was begun anew."""
    for event in events:
        if isinstance(event, Word):
            stage.meter.told(event.end)
        elif isinstance(event, Restart):
            stage.tell(f"note: speech but no words: the model begins anew at {event.time:.1f} s")
