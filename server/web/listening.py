"""`/api/asr-streaming`: speech to text as moshi-server does it, by websocket and by POST."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ..config import Task
from ..engine.events import Busy, Ended, Marked, Ready, Told
from ..protocols import listening
from ..protocols.listener import ListeningRules
from ..served import Served
from .context import CONTEXT, Context
from .conversation import converse, refuse
from .numbers import number, whole
from .socket import Socket
from .transcribing import Transcribing, join
from .uploads import read_body, room_for_body
from .visit import Visit

TASKS: tuple[Task, ...] = ("stt",)
PARSED_ELSEWHERE = 1 << 17
"""Bytes of a message whose parsing would keep the event loop."""


@dataclass(frozen=True)
class Query:
    """What a client asks for. `exact` is of ours alone: the model's own silence comes before the
    audio, and words are told as `transcribe` has them, once they are closed. `given` are arguments
    of `join`."""

    served: Served
    exact: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)


def parse_query(path: str, context: Context, query: Mapping[str, str]) -> Query:
    """Raises UnknownModel, ValueError for a number that is none; what else a query has is
    ignored."""
    served = context.shelf.at(path, TASKS, query.get("model"))
    given = {"temperature": number(query, "temperature"), "seed": whole(query, "seed")}
    return Query(served, query.get("exact") == "true", given)


class ListeningTalk:
    """A client of the websocket."""

    def __init__(self, context: Context, visit: Visit, query: Query) -> None:
        self._context, self._visit = context, visit
        self._rate = query.served.model.sample_rate
        self._rules = ListeningRules(exact=query.exact)

    async def hear(self, message: bytes | str) -> None:
        """A message; text is ignored."""
        if isinstance(message, str):
            return
        if len(message) > PARSED_ELSEWHERE:
            said = await self._context.work(listening.parse, message)
        else:
            said = listening.parse(message)
        session = self._visit.session
        match said:
            case listening.Audio() | listening.OggOpus():
                session.feed(self._rules.hear(said))
            case listening.Marker(id):
                session.mark(id)
            case listening.Eos():
                session.end()
            case listening.Init():
                session.reset()

    def tell(self, told: Told) -> list[bytes]:
        match told:
            case Ready():
                replies: list[listening.Reply] = [self._rules.begin()]
            case Marked(id):
                replies = [listening.Marker(id)]
            case Ended():
                replies = []
            case _:
                buffered = round(self._visit.session.backlog * self._rate)
                replies = self._rules.tell(told, buffered)
        return [listening.pack(reply) for reply in replies]

    def refuse(self) -> list[bytes]:
        return [listening.pack(self._rules.refuse())]


async def serve(context: Context, socket: Socket, query: Query) -> None:
    """One client of the websocket."""
    served = query.served
    begin = functools.partial(join, served, lead=query.exact, **query.given)
    try:
        visit = Visit(served.engine, begin, wait=context.limits.stream_wait)
    except Busy:
        await refuse(socket, [listening.pack(ListeningRules().refuse())])
        return
    with visit:
        await converse(socket, visit, ListeningTalk(context, visit, query))


async def post(request: web.Request) -> web.Response:
    """A whole recording: its words and their ends, in order."""
    context = request.app[CONTEXT]
    served = context.shelf.at(request.path, TASKS, request.query.get("model"))
    rules, told = ListeningRules(), list[listening.Reply]()
    async with room_for_body(context):
        heard = Transcribing(context, served, await read_body(request, context.limits))
        async for event in heard.events():
            told += rules.tell(event)
    kinds = (listening.Word, listening.EndWord)
    return web.json_response(listening.as_json(said for said in told if isinstance(said, kinds)))
