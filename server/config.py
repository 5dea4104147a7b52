"""What a server is told: its models, where it listens, who may use it and how much."""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.parameters import PARAMETERS, check_parameters
from ..runtime.bundle.manifest import Precision
from ..runtime.errors import UsageError

Task = Literal["stt", "tts", "hibiki", "moshi"]
DEMO_TASKS: tuple[Task, ...] = ("stt", "tts", "hibiki")
PAGE, NOTHING = "page", "none"


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    `model` is what `--model` takes; without it the embedded demo of `task` is meant, otherwise
    `task` is what the bundle must be for. Clients call it by `name`, the bundle's own unless
    given, or one of `aliases`. `path` is where its websocket is besides the usual place, as
    moshi-server names it. `precision` chooses among exports of one repository. `slots` is how many
    streams it runs at once. `guided` lets clients choose their guidance by `cfg_coef` where that
    makes every step cost twice as much: for Hibiki, and for text to speech without a
    table of it; an own `cfg_coef` says so too. `voice`, `codebooks`, `cfg_coef` and paddings are
    of text to speech (see `SpeechOptions`); `temperature` is of any.
    """

    model: str | None = None
    task: Task | None = None
    name: str | None = None
    aliases: tuple[str, ...] = ()
    path: str | None = None
    precision: Precision | None = None
    provider: str | None = None
    threads: int | None = None
    allow_fallback: bool = False
    slots: int | None = None
    temperature: float | None = None
    voice: str | None = None
    codebooks: int | None = None
    guided: bool = False
    cfg_coef: float | None = None
    padding_between: int | None = None
    padding_bonus: float | None = None
    initial_padding: int | None = None
    max_padding: int | None = None
    final_padding: int | None = None

    def check(self) -> None:
        """Raises UsageError for a parameter out of its range."""
        check_parameters(**{name: vars(self)[name] for name in PARAMETERS if name in vars(self)})


@dataclass(frozen=True)
class Bounds:
    """How much a client may take, and for how long. Times are in seconds; None is no limit.

    `queue` clients of one model wait for a slot, at most `wait` (a websocket of moshi-server's,
    which is told at once that there is none, `stream_wait`). A session ends after `idle` without
    anything to do, after `session` in all, and where a client takes nothing for `stall`; while it
    is `backlog` ahead of the model it is not read. A websocket that sends nothing at all, not even
    an answer to a ping, is given up after `silence`. A connection asks for something within
    `request`. A posted body has at most `body` bytes and keeps a least rate over any `request`
    seconds, a websocket's message has at most `message` bytes, posted audio at most `audio`, a text
    to speak `characters`. `uploads` recordings are worked on at once, the bodies of all take
    `spooled` bytes of disk, `connections` are kept open. Of one key, or without keys of one
    address, `sessions` run at once and `rate` requests a minute are answered; of one address
    `wrong_keys` a minute are.
    """

    queue: int = 8
    wait: float = 60.0
    stream_wait: float = 0.0
    idle: float = 300.0
    session: float | None = 6 * 3600.0
    stall: float = 30.0
    backlog: float = 600.0
    silence: float = 20.0
    request: float = 20.0
    audio: float = 2 * 3600.0
    body: int = 64 << 20
    message: int = 8 << 20
    characters: int = 100_000
    uploads: int = 16
    spooled: int = 4 << 30
    connections: int = 512
    sessions: int | None = None
    rate: int | None = None
    wrong_keys: int | None = 60

    def check(self) -> None:
        """Raises UsageError for a limit that nothing could keep."""
        for name, value in vars(self).items():
            may_be_none = name in ("queue", "wait", "stream_wait")
            if value is not None and not (value > 0 or (may_be_none and value == 0)):
                least = "0 or more" if may_be_none else "more than 0"
                raise UsageError(f"the limit {name} is {value}: give {least}")


@dataclass(frozen=True)
class Tls:
    """A certificate and its key in PEM, or one that is made for the host at each start."""

    cert: str | None = None
    key: str | None = None
    self_signed: bool = False

    def check(self) -> None:
        """Raises UsageError where it is neither or both."""
        if self.self_signed == (self.cert is not None) or (self.cert is None) != (self.key is None):
            raise UsageError("tls: give both a certificate and its key, or self-signed")


@dataclass(frozen=True)
class ServerConfig:
    """All that `serve` is told. `static` is a folder, `page` for our own or `none`; `no_auth`
    allows others than this machine without keys; `spool` is the folder of posted bodies, the
    system's for temporary files by default."""

    models: tuple[ModelConfig, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8998
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    no_auth: bool = False
    slots: int = 4
    provider: str = "auto"
    threads: int | None = None
    allow_fallback: bool = False
    static: str = PAGE
    tls: Tls | None = None
    cors: tuple[str, ...] = ()
    wyoming_port: int | None = None
    wyoming_host: str = "127.0.0.1"
    hub_voices: bool = False
    spool: str | None = None
    json_logs: bool = False
    instance_name: str = "kyutai-onnx"
    drain: float = 10.0
    limits: Bounds = field(default_factory=Bounds)

    def check(self) -> None:
        """Raises UsageError for what cannot be, or would let in others unasked."""
        for name, port in (("port", self.port), ("wyoming_port", self.wyoming_port)):
            if port is not None and not 0 <= port < 1 << 16:
                raise UsageError(f"{name} {port}: give 0 to 65535")
        if self.slots < 1 or any(m.slots is not None and m.slots < 1 for m in self.models):
            raise UsageError("slots: a model needs 1 at least")
        for model in self.models:
            model.check()
            if model.path is not None and not re.fullmatch(r"(/[\w.~-]+)+", model.path):
                raise UsageError(f"path {model.path!r}: such as /api/asr-streaming")
        if self.static not in (PAGE, NOTHING) and not Path(self.static).is_dir():
            raise UsageError(f"static {self.static}: there is no such folder")
        if self.spool is not None and not os.access(self.spool, os.W_OK | os.X_OK):
            raise UsageError(f"spool {self.spool}: give a folder that can be written")
        if any(not key for key in self.api_keys):
            raise UsageError("an API key is empty: leave it out, or give one")
        self.limits.check()
        if self.tls is not None:
            self.tls.check()
        self._check_exposure()

    def _check_exposure(self) -> None:
        """Without keys nobody else than this machine is let in, unless that was said."""
        if self.no_auth:
            return
        if not self.api_keys and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached by others: give '--api-key KEY', or '--no-auth' to "
                "let in whoever comes"
            )
        if self.wyoming_port is not None and not is_loopback(self.wyoming_host):
            raise UsageError(
                f"Wyoming knows no keys, and {self.wyoming_host} can be reached by others: give "
                "'--no-auth' to let in whoever comes"
            )

    @property
    def keyless(self) -> bool:
        """Whether clients need no key only since they are on this machine."""
        return not self.api_keys and not self.no_auth

    @property
    def served(self) -> tuple[ModelConfig, ...]:
        """The models, or else the embedded demos."""
        return self.models or tuple(ModelConfig(task=task) for task in DEMO_TASKS)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
