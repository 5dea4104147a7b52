"""Speech for LiveKit agents from `kyutai-onnx serve`: an STT with ends of turns, and a TTS.

    pip install "kyutai-onnx[cpu,serve]" livekit-agents
    kyutai-onnx serve
    python -m examples.livekit_plugin models/demo/samples/alarm.wav

The last line speaks what it transcribes through both classes, without a room. Tried so with
livekit-agents 1.8.9; not tried in a room.
"""

import asyncio
import sys
from collections.abc import Iterator

import numpy as np
from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectionError, stt, tts, utils

from kyutai_onnx.models import TurnPolicy
from kyutai_onnx.models.events import Audio, EndOfTurn, Event, SpeechStarted, Word
from kyutai_onnx.runtime.audio import read_audio
from kyutai_onnx.server.client import RemoteServer, ServerError

RATE = 24000
Kind = stt.SpeechEventType


class KyutaiSTT(stt.STT):
    """A model with pause heads: its own end of a turn makes a transcript final."""

    def __init__(self, server: RemoteServer, model: str | None = None, language: str = "en"):
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True, interim_results=True, offline_recognize=False
            )
        )
        self.server, self.name, self.language = server, model, language

    async def _recognize_impl(self, *_, **__):
        raise NotImplementedError("use stream()")

    def stream(self, *, conn_options=DEFAULT_API_CONNECT_OPTIONS, **_):
        return TranscriptStream(stt=self, conn_options=conn_options, sample_rate=RATE)


class TranscriptStream(stt.RecognizeStream):
    async def _run(self) -> None:
        self._words: list[str] = []
        try:
            model = await asyncio.to_thread(self._stt.server.speech_to_text, self._stt.name)
            stream = await asyncio.to_thread(model.stream, policy=TurnPolicy())
            async for frame in self._input_ch:
                if isinstance(frame, rtc.AudioFrame):
                    samples = np.frombuffer(frame.data, np.int16).astype(np.float32) / 32768
                    self._tell(stream.feed(samples))
            self._tell(await asyncio.to_thread(stream.flush))
            self._end()
        except ServerError as error:
            raise APIConnectionError(str(error)) from error

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, SpeechStarted):
                self._send(Kind.START_OF_SPEECH)
            elif isinstance(event, Word):
                self._words.append(event.text)
                self._send(Kind.INTERIM_TRANSCRIPT)
            elif isinstance(event, EndOfTurn):
                self._end()

    def _end(self) -> None:
        """Words that come after the pause, since text lags behind, begin the next turn."""
        if self._words:
            self._send(Kind.FINAL_TRANSCRIPT)
            self._send(Kind.END_OF_SPEECH)
            self._words = []

    def _send(self, kind: Kind) -> None:
        said = stt.SpeechData(language=self._stt.language, text=" ".join(self._words))
        spoken = kind in (Kind.INTERIM_TRANSCRIPT, Kind.FINAL_TRANSCRIPT)
        self._event_ch.send_nowait(stt.SpeechEvent(kind, alternatives=[said] if spoken else []))


class KyutaiTTS(tts.TTS):
    def __init__(self, server: RemoteServer, model: str | None = None, voice: str | None = None):
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=RATE, num_channels=1
        )
        self.server, self.name, self.voices = server, model, (voice,) if voice else ()

    def synthesize(self, text, *, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return Speaking(tts=self, input_text=text, conn_options=conn_options)


class Speaking(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=RATE,
            num_channels=1,
            mime_type="audio/pcm",
        )
        try:
            speech = await asyncio.to_thread(self._open)
            try:
                speech.end()
                events = speech.events()
                while (event := await asyncio.to_thread(next, events, None)) is not None:
                    if isinstance(event, Audio):
                        output_emitter.push((event.pcm * 32767).astype(np.int16).tobytes())
            finally:
                await asyncio.to_thread(speech.close)
        except ServerError as error:
            raise APIConnectionError(str(error)) from error
        output_emitter.flush()

    def _open(self):
        speech = self._tts.server.text_to_speech(self._tts.name).stream(self._tts.voices)
        speech.add(self._input_text)
        return speech


def frames(path: str) -> Iterator[rtc.AudioFrame]:
    for block in read_audio(path, RATE, block_seconds=0.1):
        samples = (block * 32767).astype(np.int16)
        yield rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples))


async def main(path: str, url: str = "http://127.0.0.1:8998") -> None:
    with RemoteServer(url) as server:
        stream, texts = KyutaiSTT(server).stream(), []
        for frame in frames(path):
            stream.push_frame(frame)
        stream.end_input()
        async for event in stream:
            print(event.type.value, *(said.text for said in event.alternatives))
            if event.type is Kind.FINAL_TRANSCRIPT:
                texts.append(event.alternatives[0].text)
        async with KyutaiTTS(server).synthesize(" ".join(texts)) as speech:
            print(f"said in {(await speech.collect()).duration:.1f} s")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
