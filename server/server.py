"""A whole server: its models on their engines, every path with its handler, and how it starts and
stops."""

import asyncio
import contextlib
import errno
import functools
import gc
import ipaddress
import itertools
import os
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from ..models.families import SERVED, Task
from ..runtime.errors import KyutaiOnnxError, UsageError
from .config import ServerConfig
from .moshi_server import chat, stt, tts
from .openai import handler as openai
from .openai.realtime.handler import PROTOCOL, parse_realtime_query, serve_realtime
from .openapi import OPERATIONS, PATH, Description
from .registry import ModelRegistry
from .web import status
from .web.connections import ConnectionLimiter, affordable_connections, logging_exhaustion
from .web.context import CONTEXT, Context
from .web.logs import log
from .web.metrics import Metrics
from .web.middleware import Handler, check_request, keyed, set_headers
from .web.pages import Pages
from .web.preparation import Preparation
from .web.tls import ssl_context
from .web.websocket_session import WebSocket, websocket_route
from .wyoming.handler import WyomingServer

KEEP_ALIVE = 30.0
"""Seconds for which a connection may be idle after an answer."""
LINGER = 2.0
"""Seconds for the rest of a body that is refused."""
LAST_INPUT = 5.0
"""Seconds for what clients sent before their sessions are cut."""
LAST_WORDS = 5.0
"""Seconds for handlers to finish, once the engines have stopped."""
URGENT_WORDS = 0.5
"""The same for a server that ends at once."""
BACKLOG = 1024
"""Connections that wait to be accepted."""
ACCEPTED_AT_ONCE = 16
"""Connections that are accepted in one turn of the event loop."""
HTTP_FLAGS, WYOMING_FLAGS = ("--host", "--port"), ("--wyoming-host", "--wyoming-port")
"""Where a port is given, for errors."""
NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors of one address of a host which do not matter if it has another: IPv6 may be off."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that stop the server, unless it is to ignore them, as with nohup."""

Parse = Callable[[str, Context, Mapping[str, str]], Any]
Serve = Callable[[Context, WebSocket, Any], Awaitable[None]]
SOCKETS: Mapping[Task, tuple[Parse, Serve]] = {
    Task.SPEECH_TO_TEXT: (stt.parse_stt_query, stt.serve_stt),
    Task.TEXT_TO_SPEECH: (tts.parse_tts_query, tts.serve_tts),
    Task.SPEECH_TO_SPEECH: (chat.parse_chat_query, chat.serve_chat),
}
POSTS: Mapping[Task, Handler] = {
    Task.SPEECH_TO_TEXT: stt.post_stt,
    Task.TEXT_TO_SPEECH: tts.post_tts,
}


def make_app(
    config: ServerConfig, registry: ModelRegistry, limiter: ConnectionLimiter, pages: Pages
) -> web.Application:
    """Make the application of a server, on its event loop."""
    app = web.Application(middlewares=[check_request], client_max_size=config.limits.body)
    app[CONTEXT] = Context(config, registry, limiter)
    app.on_response_prepare.append(set_headers)
    app.on_cleanup.append(_close)
    sockets = _sockets(registry)
    for task, path in sockets:
        parse, serve = SOCKETS[task]
        handler = websocket_route(functools.partial(parse, path), serve)
        app.router.add_get(path, handler, allow_head=False)
        if task in POSTS:
            app.router.add_post(path, keyed(POSTS[task]))
    realtime = websocket_route(parse_realtime_query, serve_realtime, (PROTOCOL,))
    app.router.add_get("/v1/realtime", realtime, allow_head=False)
    app.router.add_post("/v1/audio/transcriptions", keyed(openai.transcriptions_post))
    app.router.add_post("/v1/audio/translations", keyed(openai.translations_post))
    app.router.add_post("/v1/audio/speech", keyed(openai.speech_post))
    app.router.add_get("/v1/models", keyed(openai.models, session=False))
    app.router.add_get("/v1/models/{name:.+}", keyed(openai.model, session=False))
    app.router.add_get("/v1/audio/voices", keyed(openai.voices, session=False))
    app.router.add_get("/api/voices", keyed(status.voices, session=False))
    app.router.add_get("/health", status.health)
    app.router.add_get("/ready", status.ready)
    app.router.add_get("/metrics", Metrics(app[CONTEXT]).show)
    app.router.add_get("/api/build_info", status.build)
    app.router.add_get("/api/modules_info", status.modules)
    description = Description(registry, sockets, has_keys=bool(config.api_keys))
    app.router.add_get(PATH, description.show)
    app.router.add_get("/{name:(?!v1/).*}", pages.show)
    description.describe(app.router)
    return app


def _check_paths(config: ServerConfig) -> None:
    """Raise UsageError for a model whose path is one that the server itself answers."""
    own = {path for _, path in OPERATIONS}
    for model in config.models:
        path = model.path
        if path is not None and (path in own or path.startswith("/v1/")):
            raise UsageError(f"path {path!r} is one of the server's own; give the model another")


def _sockets(registry: ModelRegistry) -> list[tuple[Task, str]]:
    """Return each websocket path once, with its task."""
    paths = {family.socket: family.task for family in SERVED.values() if family.socket}
    for served in registry.all:
        if served.config.path is not None:
            paths[served.config.path] = served.family.task
    return [(task, path) for path, task in paths.items()]


async def _close(app: web.Application) -> None:
    await app[CONTEXT].close()


class Server:
    """One server on one event loop. It is made before its models are loaded: it takes its ports,
    and reads its certificate and its page. Leave the block of a server that is not started.

    Raises UsageError if a certificate, the page or the path of a model cannot be used, ListenError
    if a port is taken.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.registry = ModelRegistry(())
        """The models, once it has started."""
        self._app: web.Application | None = None
        self._runner: web.AppRunner | None = None
        self._limiter: ConnectionLimiter | None = None
        self._listeners: list[asyncio.Server] = []
        self._wyoming: WyomingServer | None = None
        self._tls: ssl.SSLContext | None = None
        self.fingerprint: str | None = None
        """The SHA-256 fingerprint of a self-signed certificate."""
        _check_paths(config)
        if config.tls is not None:
            self._tls, self.fingerprint = ssl_context(config.tls, config.host)
        self._pages = Pages(config.static)
        with contextlib.ExitStack() as cleanup:
            self._sockets = _bind(config.host, config.port, HTTP_FLAGS, cleanup)
            self.port: int = self._sockets[0].getsockname()[1]
            self.wyoming_port = config.wyoming_port
            self._wyoming_sockets: Sequence[socket.socket] = ()
            if config.wyoming_port is not None:
                self._wyoming_sockets = _bind(
                    config.wyoming_host, config.wyoming_port, WYOMING_FLAGS, cleanup
                )
                _check_apart(self._sockets, self._wyoming_sockets)
                self.wyoming_port = self._wyoming_sockets[0].getsockname()[1]
            self._cleanup = cleanup.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    @property
    def url(self) -> str:
        """The address of the page."""
        scheme = "http" if self.config.tls is None else "https"
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{scheme}://{host}:{self.port}"

    async def start(self, registry: ModelRegistry) -> None:
        """Start the engines of the models, and listen. Raises ListenError if another program
        listens by now."""
        self.registry = registry
        config, loop = self.config, asyncio.get_running_loop()
        for served in registry.all:
            served.engine.start()
        self._cleanup.enter_context(logging_exhaustion(loop))
        limiter = self._limiter = ConnectionLimiter(
            config.limits, affordable_connections(config.limits.connections)
        )
        self._app = make_app(config, registry, limiter, self._pages)
        self._runner = _runner(self._app)
        await self._listen(self._runner, limiter, self._sockets, self._listeners)
        if config.wyoming_port is not None:
            self._wyoming = WyomingServer(self._app[CONTEXT])
            with _listening(config.wyoming_host, config.wyoming_port, WYOMING_FLAGS):
                await self._wyoming.start(self._wyoming_sockets)

    async def _listen(
        self,
        runner: web.AppRunner,
        limiter: ConnectionLimiter,
        sockets: Sequence[socket.socket],
        listeners: list[asyncio.Server],
    ) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        await runner.setup()
        assert runner.server is not None
        opener = limiter.opener(runner.server, http=True, tls=self._tls)
        with _listening(config.host, config.port, HTTP_FLAGS):
            for bound in sockets:
                listeners.append(
                    await loop.create_server(opener, sock=bound, backlog=ACCEPTED_AT_ONCE)
                )
                with bound.dup() as raw:
                    raw.listen(BACKLOG)

    @contextlib.contextmanager
    def preparing(self) -> Iterator[Callable[[str, int, int], bool]]:
        """Answer on the server's port how far its models are, until the block ends.

        A thread does so from the first call of the yielded function on, which takes what is done,
        how many bytes of it and of how many, and returns whether it was the first. Who connects
        between the end of the block and the start of the server waits.
        """
        preparation, over = Preparation(self.config.instance_name), threading.Event()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._answer(preparation, over)), name="preparing"
        )

        def progress(what: str, done: int, total: int) -> bool:
            preparation.report(what, done, total)
            is_first = thread.ident is None
            if is_first:
                thread.start()
            return is_first

        try:
            yield progress
        finally:
            over.set()
            if thread.ident is not None:
                thread.join()

    async def _answer(self, preparation: Preparation, over: threading.Event) -> None:
        """Answer how far the models are, until `over` is set."""
        limits, listeners = self.config.limits, list[asyncio.Server]()
        limiter = ConnectionLimiter(limits, affordable_connections(limits.connections))
        runner = _runner(preparation.app())
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(bound.dup()) for bound in self._sockets]
            try:
                await self._listen(runner, limiter, sockets, listeners)
                await asyncio.to_thread(over.wait)
            except ListenError as error:
                log("cannot answer while models are prepared", why=str(error))
            finally:
                for listener in listeners:
                    listener.close()
                await runner.cleanup()
                await limiter.close()

    async def drain(self, urged: asyncio.Event) -> int:
        """Refuse new sessions, and let the others end; return how many are left.

        It ends when none is left, after `ServerConfig.drain` seconds, or once `urged` is set.
        """
        if self._app is None:
            return 0
        sessions = self._app[CONTEXT].sessions
        log("stopping", drain=self.config.drain, sessions=sessions.running)
        sessions.shut()
        if self._wyoming is not None:
            self._wyoming.shut()
        waits = [asyncio.create_task(each) for each in (sessions.until_none(), urged.wait())]
        await asyncio.wait(waits, timeout=self.config.drain, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        log("drained", left=sessions.running)
        return sessions.running

    async def stop(self, urged: asyncio.Event | None = None) -> None:
        """Refuse new sessions, end those that are left, and stop. Once `urged` is set, nothing
        waits for clients."""
        hurrying = None if urged is None else asyncio.create_task(self._hurry(urged))
        try:
            await self._stop()
        finally:
            if hurrying is not None:
                hurrying.cancel()

    async def _hurry(self, urged: asyncio.Event) -> None:
        await urged.wait()
        for served in self.registry.all:
            served.engine.loop.stop(0.0)
        await asyncio.sleep(URGENT_WORDS)
        if self._limiter is not None:
            self._limiter.abort()

    async def _stop(self) -> None:
        if self._app is not None:
            self._app[CONTEXT].sessions.shut()
        last = min(self.config.drain, LAST_INPUT)
        stopping = (asyncio.to_thread(served.engine.stop, last) for served in self.registry.all)
        await asyncio.gather(*stopping)
        if self._app is not None:
            self._app[CONTEXT].stopped.set()
        if self._wyoming is not None:
            await self._wyoming.stop()
        for listener in self._listeners:
            listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._limiter is not None:
            await self._limiter.close()
        self._cleanup.close()

    async def run(self, registry: ModelRegistry, started: Callable[["Server"], object]) -> None:
        """Serve models until the process gets a signal to stop; a second signal ends it at once.
        `started` is called when the server listens.

        Raises CutSessionsError if sessions were left after `ServerConfig.drain` seconds, and
        UrgedStopError if a second signal came.
        """
        stop, urged = asyncio.Event(), asyncio.Event()
        left = 0
        with _signals(asyncio.get_running_loop(), stop, urged):
            try:
                await self.start(registry)
                started(self)
                await self._load_decoders()
                # A full collection of what is loaded would hold up every client.
                gc.collect()
                gc.freeze()
                await stop.wait()
                left = await self.drain(urged)
            finally:
                await self.stop(urged)
        if urged.is_set():
            raise UrgedStopError(f"stopped at once by a second signal; sessions cut: {left}")
        if left:
            raise CutSessionsError(
                f"sessions cut after {self.config.drain:g} s: {left}; give '--drain' more seconds"
            )

    async def _load_decoders(self) -> None:
        """Load the decoders before the first client needs them, if clients send audio."""
        if self._app is not None and any(served.family.reads_audio for served in self.registry.all):
            try:
                await self._app[CONTEXT].decoders.prepare()
            except OSError as error:  # it is tried again for the first client
                log("no decoder yet", why=error.strerror)


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=KEEP_ALIVE,
        shutdown_timeout=LAST_WORDS,
        lingering_time=LINGER,
        auto_decompress=False,
    )


class ListenError(KyutaiOnnxError):
    """A port cannot be listened on."""


class CutSessionsError(KyutaiOnnxError):
    """The server ended before the sessions of its clients."""

    exit_code = 7


class UrgedStopError(KyutaiOnnxError):
    """The server ended at once, by a second signal."""

    exit_code = 130


def _bind(
    host: str, port: int, flags: tuple[str, str], cleanup: contextlib.ExitStack
) -> Sequence[socket.socket]:
    with _listening(host, port, flags):
        sockets = bound_sockets(host, port)
    for bound in sockets:
        cleanup.callback(bound.close)
    return sockets


def _check_apart(http: Sequence[socket.socket], wyoming: Sequence[socket.socket]) -> None:
    """Raise UsageError if two protocols have a port of one address: that can be bound twice, and
    only one of them could listen."""
    for ours, theirs in itertools.product(http, wyoming):
        (host, port), (other, same) = (each.getsockname()[:2] for each in (ours, theirs))
        is_any = any(ipaddress.ip_address(each).is_unspecified for each in (host, other))
        if port == same and ours.family == theirs.family and (host == other or is_any):
            raise UsageError(f"--wyoming-port {port}: --port is the same; give another one")


def bound_sockets(host: str, port: int) -> Sequence[socket.socket]:
    """Take a port at all addresses of a host, without listening yet; raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with contextlib.ExitStack() as stack:
        sockets, refusal = list[socket.socket](), None
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                bound = stack.enter_context(socket.socket(family, kind, protocol))
                if os.name == "posix":
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound.bind(address)
            except OSError as error:
                if error.errno not in NO_SUCH_ADDRESS:
                    raise
                refusal = error
                continue
            sockets.append(bound)
        if refusal is not None and not sockets:
            raise refusal
        stack.pop_all()
        return sockets


@contextlib.contextmanager
def _listening(host: str, port: int, flags: tuple[str, str]) -> Iterator[None]:
    host_flag, port_flag = flags
    try:
        yield
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", "no name of a host")
        raise UsageError(f"{host_flag} {host}: {reason}; check the name") from None
    except PermissionError:
        raise ListenError(
            f"{host}:{port}: this user must not listen on that port; give '{port_flag}' above 1023"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise ListenError(
            f"{host}:{port}: cannot listen ({reason}); give another '{port_flag}' or '{host_flag}'"
        ) from None


@contextlib.contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, urged: asyncio.Event
) -> Iterator[None]:
    """Set `stop` on the first signal, `urged` on the second, and let the next one act as usual."""
    found = [signal.Signals[name] for name in SIGNALS if hasattr(signal, name)]
    numbers = [n for n in found if n.name != "SIGHUP" or signal.getsignal(n) != signal.SIG_IGN]

    def ask() -> None:
        if not stop.is_set():
            stop.set()
            return
        urged.set()
        for number in numbers:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)

    for number in numbers:
        try:
            loop.add_signal_handler(number, ask)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ask))
    try:
        yield
    finally:
        for number in numbers:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
