"""Speech for Pipecat from `kyutai-onnx serve`: an STT and a TTS service.

    pip install "kyutai-onnx[cpu,serve]" pipecat-ai
    kyutai-onnx serve
    python -m examples.pipecat_services models/demo/samples/alarm.wav

The last line runs a pipeline of both, which speaks what it transcribes. Tried so with pipecat-ai
1.14.0; not tried with a transport.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator

import numpy as np
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.settings import STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.utils.time import time_now_iso8601

from kyutai_onnx.models import TurnPolicy
from kyutai_onnx.models.events import Audio, EndOfTurn, Event, Word
from kyutai_onnx.runtime.audio import read_audio
from kyutai_onnx.server.client import RemoteServer

RATE = 24000


class KyutaiSTTService(STTService):
    """A model with pause heads: its own end of a turn makes a transcript final. Give the pipeline
    an input rate of 24 kHz."""

    def __init__(self, server: RemoteServer, model: str | None = None, **options):
        settings = STTSettings(model=model, language=None)
        super().__init__(sample_rate=RATE, ttfs_p99_latency=1.0, settings=settings, **options)
        self._server, self._stream, self._words = server, None, []

    def _open(self):
        return self._server.speech_to_text(self._settings.model).stream(policy=TurnPolicy())

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        if self._stream is None:
            self._stream = await asyncio.to_thread(self._open)
        samples = np.frombuffer(audio, np.int16).astype(np.float32) / 32768
        for event in self._stream.feed(samples):
            if frame := self._frame(event):
                yield frame

    async def stop(self, frame: EndFrame) -> None:
        """Sends the last words."""
        if self._stream is not None:
            for event in [*await asyncio.to_thread(self._stream.flush), EndOfTurn(0.0)]:
                if output := self._frame(event):
                    await self.push_frame(output)
        await super().stop(frame)

    def _frame(self, event: Event) -> Frame | None:
        if isinstance(event, Word):
            self._words.append(event.text)
            return InterimTranscriptionFrame(event.text, self._user_id, time_now_iso8601())
        if isinstance(event, EndOfTurn) and self._words:
            text, self._words = " ".join(self._words), []
            return TranscriptionFrame(text, self._user_id, time_now_iso8601(), finalized=True)
        return None


class KyutaiTTSService(TTSService):
    def __init__(self, server: RemoteServer, model: str | None = None, voice: str | None = None):
        settings = TTSSettings(model=model, voice=voice, language=None)
        super().__init__(
            sample_rate=RATE, push_start_frame=True, push_stop_frames=True, settings=settings
        )
        self._server = server

    def _open(self, text: str):
        voices = (self._settings.voice,) if self._settings.voice else ()
        speech = self._server.text_to_speech(self._settings.model).stream(voices)
        speech.add(text)
        return speech

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        speech = await asyncio.to_thread(self._open, text)
        try:
            speech.end()
            events = speech.events()
            while (event := await asyncio.to_thread(next, events, None)) is not None:
                if isinstance(event, Audio):
                    audio = (event.pcm * 32767).astype(np.int16).tobytes()
                    yield TTSAudioRawFrame(audio, RATE, 1, context_id=context_id)
        finally:
            await asyncio.to_thread(speech.close)


class Parrot(FrameProcessor):
    """Speaks the transcript."""

    async def process_frame(self, frame: Frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            print("transcribed:", frame.text)
            frame = TTSSpeakFrame(frame.text)
        await self.push_frame(frame, direction)


class OutputMeter(FrameProcessor):
    """Counts what is said."""

    seconds = 0.0

    async def process_frame(self, frame: Frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.seconds += len(frame.audio) / 2 / frame.sample_rate
        await self.push_frame(frame, direction)


async def main(path: str, url: str = "http://127.0.0.1:8998") -> None:
    with RemoteServer(url) as server:
        meter = OutputMeter()
        parts = [KyutaiSTTService(server), Parrot(), KyutaiTTSService(server), meter]
        params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
        task = PipelineTask(Pipeline(parts), params=params)
        blocks = [*read_audio(path, RATE, block_seconds=0.1), np.zeros(3 * RATE, np.float32)]
        for block in blocks:
            audio = (block * 32767).astype(np.int16).tobytes()
            await task.queue_frame(InputAudioRawFrame(audio, RATE, 1))
        await task.queue_frame(EndFrame())
        await PipelineRunner(handle_sigint=False).run(task)
        print(f"said in {meter.seconds:.1f} s")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
