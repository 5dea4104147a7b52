"""The configuration of a server, and the TOML file that holds it: our own keys, or those of
moshi-server's configurations."""

import dataclasses
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..models.families import SERVED, served_demos
from ..models.options import PARAMETERS, check_parameters
from ..runtime.bundle.dataclass_json import parse, read_bounded
from ..runtime.bundle.manifest import Family, Precision
from ..runtime.errors import UsageError
from ..runtime.output_file import is_folder
from ..runtime.providers.provider import check_name
from .limits import Limits
from .moshi_config import MODULES, translate
from .web.auth import is_loopback

PAGE, NOTHING = "page", "none"
WhenFull = Literal["message", "503"]

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    `model` is what `--model` takes; without it the embedded demo of `task` is served. With both,
    `task` is what the bundle must be for. Clients choose it by `name`, the bundle's own by default,
    or by one of `aliases`. `path` is an additional path of its websocket, as in moshi-server.
    `precision` chooses among exports of one repository. `slots` is how many streams run at once.
    `guided` lets clients choose `cfg_coef` if that doubles the cost of every step: for Hibiki, and
    for text to speech without a table of coefficients; a `cfg_coef` of its own implies it. `voice`,
    `codebooks`, `cfg_coef` and the paddings are of text to speech (see `SpeechOptions`);
    `temperature` is of any model. `openai_voices` says by `NAME=VOICE` what voices OpenAI's names
    mean, such as `alloy=default`.
    """

    model: str | None = None
    task: Family | None = None
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
    openai_voices: tuple[str, ...] = ()
    codebooks: int | None = None
    guided: bool = False
    cfg_coef: float | None = None
    padding_between: int | None = None
    padding_bonus: float | None = None
    initial_padding: int | None = None
    max_padding: int | None = None
    final_padding: int | None = None

    def check(self) -> None:
        """Raise UsageError for a parameter out of its range, an unknown provider, and a family that
        is not served."""
        if self.provider is not None:
            check_name(self.provider)
        if self.task is not None and self.task not in SERVED:
            raise UsageError(f"task {self.task}: choose among {', '.join(SERVED)}")
        names = (field.name for field in dataclasses.fields(self) if field.name in PARAMETERS)
        check_parameters(**{name: getattr(self, name) for name in names})
        if any(not equals for _, equals, _ in map(_halves, self.openai_voices)):
            raise UsageError("openai_voices: give NAME=VOICE, such as alloy=default")

    @property
    def usual_voices(self) -> dict[str, str]:
        """The voices that OpenAI's names mean, as they are set."""
        return {name: voice for name, _, voice in map(_halves, self.openai_voices)}


def _halves(text: str) -> tuple[str, str, str]:
    return text.partition("=")


@dataclass(frozen=True)
class Tls:
    """A certificate and its key in PEM, or a self-signed one that is made for the host and kept."""

    cert: str | None = None
    key: str | None = None
    self_signed: bool = False

    def check(self) -> None:
        """Raise UsageError if it is neither or both."""
        if self.self_signed == (self.cert is not None) or (self.cert is None) != (self.key is None):
            raise UsageError("tls: give both a certificate and its key, or self-signed")


def _machine() -> str:
    """Return the name of this machine as a header can have it."""
    return re.sub(r"[^!-~]", "-", socket.gethostname())[:100] or "kyutai-onnx"


@dataclass(frozen=True)
class ServerConfig:
    """The configuration of `serve`. `static` is a folder, `page` for our own page, or `none`.
    `no_auth` admits other machines without keys. `instance_name` is the server's in its answers,
    metrics and JSON logs, the name of the machine by default. A websocket for which no slot is free
    is refused as `when_full` says: by a message after its upgrade, as moshi-server does, or by
    status 503 before it, which a balancer can try elsewhere; then it does not wait for a slot
    either. When the server is to stop, its sessions may go on for `drain` seconds. `spool` is the
    folder of posted bodies, the system's for temporary files by default."""

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
    instance_name: str = field(default_factory=_machine)
    when_full: WhenFull = "message"
    drain: float = 10.0
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Raise UsageError for an invalid value, and for a server that would be open to others
        unasked."""
        for name, port in (("port", self.port), ("wyoming_port", self.wyoming_port)):
            if port is not None and not 0 <= port < 1 << 16:
                raise UsageError(f"{name} {port}: give 0 to 65535")
        if self.slots < 1 or any(m.slots is not None and m.slots < 1 for m in self.models):
            raise UsageError("slots: give a model 1 or more")
        check_name(self.provider)
        for model in self.models:
            model.check()
            if model.path is not None and not re.fullmatch(r"(/[\w.~-]+)+", model.path):
                raise UsageError(
                    f"path {model.path!r} is invalid: give one such as /api/asr-streaming"
                )
        paths = [model.path for model in self.models if model.path is not None]
        if twice := [path for path in paths if paths.count(path) > 1]:
            raise UsageError(f"path {twice[0]!r} is of two models; give each another one")
        if self.static not in (PAGE, NOTHING) and not is_folder(self.static):
            raise UsageError(f"static {self.static}: no such folder")
        if self.spool is not None and not os.access(self.spool, os.W_OK | os.X_OK):
            raise UsageError(f"spool {self.spool}: give a writable folder")
        if not re.fullmatch(r"[!-~]{1,100}", self.instance_name):
            raise UsageError(
                f"instance_name {self.instance_name!r}: give up to 100 characters of ASCII, and no "
                "space"
            )
        if not self.drain >= 0:
            raise UsageError(f"drain {self.drain}: give 0 seconds or more")
        if any(not key for key in self.api_keys):
            raise UsageError("an API key is empty: give a key, or none")
        self.limits.check()
        if self.tls is not None:
            self.tls.check()
        self._check_exposure()

    def _check_exposure(self) -> None:
        """Without keys only this machine is admitted, unless `no_auth` is set."""
        if self.no_auth:
            return
        if not self.api_keys and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached by others: give '--api-key KEY', or '--no-auth' to "
                "admit everyone"
            )
        if self.wyoming_port is not None and not is_loopback(self.wyoming_host):
            raise UsageError(
                f"Wyoming has no keys, and {self.wyoming_host} can be reached by others: give "
                "'--no-auth' to admit everyone"
            )

    @property
    def keyless(self) -> bool:
        """Whether clients need no key because they are on this machine."""
        return not self.api_keys and not self.no_auth

    @property
    def served(self) -> tuple[ModelConfig, ...]:
        """The models, or else the embedded demos."""
        return self.models or tuple(ModelConfig(task=name) for name in served_demos())


def read_config(path: Path) -> tuple[ServerConfig, list[str]]:
    """Read a file. Return its configuration, unchecked, and notes on keys that have no effect.

    `$NAME` in a string is replaced by the environment variable. Raises UsageError for a file that
    cannot be read, a variable that is not set, an unknown key, or a value of a wrong type.
    """
    try:
        content = tomllib.loads(read_bounded(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read as TOML ({reason})") from None
    notes: list[str] = []
    try:
        content = expanded(content)
        if MODULES in content:
            content, notes = translate(content)
        return config_of(content), [f"{path}: {note}" for note in notes]
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def config_of(content: Mapping[str, Any]) -> ServerConfig:
    """Convert a table with the names of `ServerConfig`, in which `models`, `limits` and `tls` are
    tables; the string `none` is no limit. Raises ValueError."""
    check_keys(ServerConfig, content, "")
    models = parse(tuple[dict[str, Any], ...], content.get("models", []), "models")
    for index, model in enumerate(models):
        check_keys(ModelConfig, model, f"models[{index}].")
    for name, kind in (("limits", Limits), ("tls", Tls)):
        check_keys(kind, parse(dict[str, Any], content.get(name, {}), name), f"{name}.")
    limits = {name: None if v == "none" else v for name, v in content.get("limits", {}).items()}
    config = parse(ServerConfig, {**content, "limits": limits})
    return dataclasses.replace(config, api_keys=read_keys(config.api_keys))


def read_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the keys, with `@FILE` replaced by the keys in that file, one a line; raises
    UsageError for a file that is missing or empty."""
    found: list[str] = []
    for key in keys:
        if not key.startswith("@"):
            found.append(key)
            continue
        try:
            lines = Path(key[1:]).read_text("utf-8").split()
        except (OSError, ValueError):
            raise UsageError(f"api keys: {key[1:]} cannot be read; check the path") from None
        if not lines:
            raise UsageError(f"api keys: {key[1:]} is empty; write one key a line")
        found += lines
    return tuple(dict.fromkeys(found))


def expanded(value: Any) -> Any:
    """Replace environment variables in the strings of a value; raises ValueError."""
    if isinstance(value, dict):
        return {name: expanded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [expanded(item) for item in value]
    return _VARIABLE.sub(_variable, value) if isinstance(value, str) else value


def _variable(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    if name not in os.environ:
        raise ValueError(f"${name} is not set in the environment")
    return os.environ[name]


def check_keys(kind: type[Any], table: Mapping[str, Any], place: str) -> None:
    """Raise ValueError naming the keys that `kind` does not have."""
    unknown = [key for key in table if key not in {f.name for f in dataclasses.fields(kind)}]
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(place + key for key in unknown)}")
