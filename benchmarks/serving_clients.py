"""Simulated speakers of `benchmarks.serving`, all in this process: reads a plan from standard
input, and writes what they received to standard output, both JSON."""

import asyncio
import dataclasses
import json
import sys
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from kyutai_onnx.server.moshi_server import messages
from kyutai_onnx.server.wire.messagepack import pack

from .talks import FRAME, RATE, talk

PATH = "/api/asr-streaming"
FRAME_SECONDS = FRAME / RATE
START_SECONDS = 1.0
SPREAD = (5**0.5 - 1) / 2
"""Of a frame, by which each speaker begins after the one before: phases of any number of them are
spread over a frame, and not in the order in which they came."""
SILENCE = np.zeros(RATE, np.float32)
LAST_SECONDS = 30.0
"""For which answers are awaited after the last frame."""


@dataclass(frozen=True)
class Plan:
    """`streams` speakers of `seconds`, of `talks` talks that differ; where a third is over, `extra`
    more come. With `mark_every` a marker follows that many frames. `key` is an API key."""

    url: str
    streams: int
    talks: int
    seconds: float
    extra: int = 0
    mark_every: int | None = None
    key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"kyutai-api-key": self.key}


@dataclass
class Speaker:
    """One stream. Times are in seconds from its first sample: `words` and `marks` are those at
    which answers came, `late` how much later than due frames were sent."""

    talk: int
    words: list[tuple[str, float]] = field(default_factory=list)
    marks: list[tuple[int, float]] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    error: str | None = None


class Clients:
    def __init__(self, plan: Plan, session: aiohttp.ClientSession) -> None:
        self._plan, self._session = plan, session
        self._loop = asyncio.get_running_loop()
        self._frames = {number: packed_frames(number, plan.seconds) for number in range(plan.talks)}

    async def run(self) -> dict[str, Any]:
        """All speak at once, each at a phase of its own that does not depend on its number."""
        plan = self._plan
        sockets = [await self._open() for _ in range(plan.streams)]
        start = self._loop.time() + START_SECONDS
        speakers = [Speaker(index % plan.talks) for index in range(plan.streams)]
        speaking = [
            self._speak(socket, speaker, start + FRAME_SECONDS * (index * SPREAD % 1))
            for index, (socket, speaker) in enumerate(zip(sockets, speakers, strict=True))
        ]
        *_, refused = await asyncio.gather(*speaking, self._come_late(start + plan.seconds / 3))
        return {
            "speakers": [dataclasses.asdict(one) for one in speakers],
            "refused": refused,
            "seconds": self._loop.time() - start,
        }

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        socket = await self._session.ws_connect(self._plan.url + PATH, max_msg_size=0)
        reply = messages.parse_stt_reply(await socket.receive_bytes())
        assert isinstance(reply, messages.ReadyMessage), reply
        return socket

    async def _come_late(self, when: float) -> list[list[str]]:
        """What each that is too many gets, and how its socket ends."""
        await self._until(when)
        found = []
        for _ in range(self._plan.extra):
            socket = await self._session.ws_connect(self._plan.url + PATH)
            reported = messages.parse_stt_reply(await socket.receive_bytes())
            last = await socket.receive()
            found.append([str(reported), f"{last.type.name} {last.data}"])
        return found

    async def _speak(
        self, socket: aiohttp.ClientWebSocketResponse, speaker: Speaker, start: float
    ) -> None:
        receiver = asyncio.create_task(self._receive(socket, speaker, start))
        frames, every = self._frames[speaker.talk], self._plan.mark_every
        try:
            for index, message in enumerate(frames):
                due = start + (index + 1) * FRAME_SECONDS
                await self._until(due)
                speaker.late.append(self._loop.time() - due)
                await socket.send_bytes(message)
                if every is not None and index % every == 0:
                    await socket.send_bytes(pack(messages.MarkerMessage(index)))
            await socket.send_bytes(pack(messages.MarkerMessage(-1)))
            await socket.send_bytes(pack(messages.AudioMessage(SILENCE)))
            await asyncio.wait_for(receiver, LAST_SECONDS)
        except (ConnectionError, TimeoutError) as error:
            speaker.error = repr(error)
        finally:
            receiver.cancel()
            await socket.close()

    async def _receive(
        self, socket: aiohttp.ClientWebSocketResponse, speaker: Speaker, start: float
    ) -> None:
        """Until the last marker is back."""
        while True:
            message = await socket.receive()
            came = self._loop.time() - start
            if message.type is not aiohttp.WSMsgType.BINARY:
                speaker.error = f"{message.type.name} {message.data} {message.extra}"
                return
            match messages.parse_stt_reply(message.data):
                case messages.WordMessage(text):
                    speaker.words.append((text, came))
                case messages.MarkerMessage(-1):
                    return
                case messages.MarkerMessage(number):
                    speaker.marks.append((number, came))

    async def _until(self, when: float) -> None:
        if (left := when - self._loop.time()) > 0:
            await asyncio.sleep(left)


def packed_frames(number: int, seconds: float) -> list[bytes]:
    """The messages of a talk, made before it begins."""
    pcm = talk(number, seconds).pcm
    pieces = (pcm[start : start + FRAME] for start in range(0, len(pcm), FRAME))
    return [pack(messages.AudioMessage(piece)) for piece in pieces]


async def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=plan.headers) as session:
        json.dump(await Clients(plan, session).run(), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
