"""Hibiki and Moshi, live: speech answers the microphone, and its text is printed."""

from collections import deque
from typing import TYPE_CHECKING, Any

from ...models.batch import Stream
from ...models.options import SpeechToSpeechOptions
from ...runtime.errors import AudioError
from ..output.live_output import Caption
from ..translation import TranslationRequest, TranslationSession, resume
from .live_audio import LiveAudio, LiveRequest

if TYPE_CHECKING:
    from ...server.client import RemoteTalk


class LiveTranslation:
    """A stream of a model that answers speech, between live audio and what prints its text."""

    def __init__(self, request: LiveRequest, stream: "Stream[Any] | RemoteTalk") -> None:
        self._request, self._stream = request, stream

    def run(self) -> None:
        """Answer until the audio ends; what is still to be spoken is spoken."""
        request, stream = self._request, self._stream
        model = stream.model
        with LiveAudio(request, model.sample_rate, model.frame_size) as audio:
            caption = Caption(
                request.kind, aside=request.save_output == "-", subtitles=request.words
            )
            session = TranslationSession(stream, _as_recording(request), caption, audio.play)
            try:
                session.run(audio.frames(), then=audio.end_input)
            except AudioError:
                if not audio.interrupted or stream.task.received_seconds:
                    raise
            finally:
                session.end(None)
        if session.failure is not None:
            raise session.failure


def open_stream(request: LiveRequest, model: Any, options: SpeechToSpeechOptions) -> Stream[Any]:
    """Open a stream of a model of this machine, or continue a saved one. A prompt is stepped here,
    before the audio begins."""
    stream: Stream[Any] = model.stream(options=options)
    resume(stream, _as_recording(request), options)
    if request.load_state is None:
        deque(stream.events(), maxlen=0)
    return stream


def _as_recording(request: LiveRequest) -> TranslationRequest:
    return TranslationRequest(
        audio=request.source,
        out=request.save_output,
        save_state=request.save_state,
        load_state=request.load_state,
        quiet=request.quiet,
    )
