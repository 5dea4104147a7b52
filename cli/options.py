"""Options and groups of options that commands share; nothing slow is imported, for quick help."""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from .. import runtime
from ..models.families import FAMILIES, Family, demo_names
from ..models.options import Offered, Parameter, StreamOptions
from ..models.options import parameters as stream_parameters
from ..runtime.errors import UsageError
from .files import Declared, decoded
from .option_values import Precision

if TYPE_CHECKING:
    from ..runtime.audio import Encoding, RawFormat

INPUT, OUTPUT, MODEL = "Input", "Output", "Model"
HARDWARE, SERVER, STATE, TURNS = "Hardware", "Server", "State", "Turns"
MODELS = (
    "Repository, such as kyutai/stt-1b-en_fr, bundle folder, hf://owner/name[@rev], or a demo: "
    f"{', '.join(demo_names())}"
)
"""What `--model` takes."""


def option(*names: str, help: str, panel: str | None = None, **given: Any) -> Any:  # noqa: A002
    """Return a Typer option in a panel of the help, its text shown as it stands."""
    return typer.Option(*names, help=_plain(help), rich_help_panel=panel, **given)


def argument(*, help: str, **given: Any) -> Any:  # noqa: A002
    """Return a Typer argument, its text shown as it stands."""
    return typer.Argument(help=_plain(help), **given)


WORDS = {"int": "N", "float": "N", "str": "TEXT", "path": "PATH"}
"""What the help writes for the types of values."""


class PlainTypes:
    """A command whose help shows flags without a type, and other options with a plain word."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, that of the help included."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
            elif parameter.param_type_name == "argument":
                parameter.metavar = parameter.metavar or parameter.name.upper()
                parameter.display_type = lambda _: ""
            elif parameter.metavar is None:
                parameter.metavar = _plain_type(parameter.display_type(ctx))
        return parameters


def _plain_type(shown: str) -> str:
    """Return the word for a type as Typer shows it, such as `<int range>` or `<a|b>`."""
    bare = shown.strip("<>").removeprefix("list[").removesuffix("]").removesuffix(" range")
    return WORDS.get(bare, bare)


class PlainCommand(PlainTypes, TyperCommand):
    """A command of an app."""


class PlainGroup(PlainTypes, TyperGroup):
    """A command that has subcommands."""


class App(typer.Typer):
    """The commands of one module."""

    def command(  # type: ignore[override]
        self, name: str | None = None, **given: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function as a command."""
        return super().command(name, cls=PlainCommand, **given)


def new_app(**given: Any) -> App:
    """Return an app for the commands of one module."""
    return App(cls=PlainGroup, add_completion=False, pretty_exceptions_enable=False, **given)


def _plain(text: str) -> str:
    """Escape brackets, which Rich would take for markup and leave out."""
    return text.replace("[", "\\[")


def with_groups(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take dataclasses: each parameter of such a type becomes its fields' options."""
    signature = inspect.signature(function)
    groups: dict[str, type[Any]] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if isinstance(parameter.annotation, type) and dataclasses.is_dataclass(parameter.annotation)
    }
    parameters: list[inspect.Parameter] = []
    fields: dict[str, list[str]] = {}
    for name, parameter in signature.parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        found = _group(groups[name])
        parameters += found
        fields[name] = [each.name for each in found]

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = _made(group, {field: given.pop(field) for field in fields[name]})
        return function(**given)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _group(group: type[Any]) -> list[inspect.Parameter]:
    """The options of a group: its fields, or those that the families of models offer."""
    if issubclass(group, StreamOptions):
        return _offered(group, Offered.FILES)
    if group is LiveOptions:
        kinds = [family.options for family in FAMILIES.values()]
        found = {one.name: one for kind in kinds for one in _offered(kind, Offered.LIVE)}
        return list(found.values())
    hints = get_type_hints(group, include_extras=True)
    return [
        _parameter(field.name, hints[field.name], field.default)
        for field in dataclasses.fields(group)
    ]


def _offered(kind: type[StreamOptions], offered: Offered) -> list[inspect.Parameter]:
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    return [
        _parameter(name, Annotated[hints[name], _option(given)], defaults[name])
        for name, given in stream_parameters(kind, offered).items()
    ]


def _option(given: Parameter) -> Any:
    assert given.flag is not None
    positive = given.range is not None and given.range.least == 0
    return option(
        given.flag,
        help=f"{given.help} @FILE takes the text of a file." if given.long else given.help,
        panel=given.group,
        min=0 if positive else None,
        metavar=_metavar(given),
        callback=read_text if given.long else declare_input if given.is_file else None,
    )


def _metavar(given: Parameter) -> str | None:
    if given.long:
        return "TEXT|@FILE"
    return "FILE" if given.is_file else given.unit and given.unit.upper()


def declare_input(given: str | None) -> str | None:
    """Return the name of a file, which no output may replace."""
    if given is not None:
        Declared.inputs.append(Path(given))
    return given


def read_text(given: str | None) -> str | None:
    """Return a text, or that of the file whose name follows @, which no output may replace.

    Raises UsageError for a file that cannot be read.
    """
    if given is None or not given.startswith("@"):
        return given
    path = Path(given[1:])
    Declared.inputs.append(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); name a file of text"
        ) from None
    return decoded(content, path)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    needed = default is dataclasses.MISSING
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else default,
        annotation=annotation,
    )


def _made(group: type[Any], values: dict[str, Any]) -> Any:
    if issubclass(group, StreamOptions):
        return stream_options(group, values)
    if group is LiveOptions:
        return LiveOptions({name: value for name, value in values.items() if value is not None})
    return group(**values)


def stream_options(kind: type[StreamOptions], given: Mapping[str, Any]) -> Any:
    """Return options of a family, as a command was given them: the temperature is that of text too,
    unless text has its own."""
    named = {name: value for name, value in given.items() if value is not None}
    if "text_temperature" in stream_parameters(kind) and "temperature" in named:
        named = {"text_temperature": named["temperature"]} | named
    return kind(**named)


@dataclass(frozen=True)
class LiveOptions:
    """Options of a stream of any family, as `stream` was given them, before its model is known."""

    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def of(self, family: Family, offered: Offered = Offered.LIVE) -> Any:
        """The options of a family; raises UsageError for an option that the family has not, or that
        is not `offered`."""
        known = stream_parameters(family.options, offered)
        for name in self.given:
            if name not in known:
                there = name in stream_parameters(family.options)
                raise UsageError(f"{_flag(name)}: {NOT_HERE if there else NOT_WITH_IT}")
        return stream_options(family.options, self.given)


def _flag(name: str) -> str:
    flags = [stream_parameters(family.options).get(name) for family in FAMILIES.values()]
    return next(one.flag for one in flags if one is not None and one.flag is not None)


def refuse(why: str, **given: object) -> None:
    """Raise UsageError for the first option that was given, by its name and `why`."""
    for name, value in given.items():
        if value is not None and value is not False and value != ():
            raise UsageError(f"--{name.replace('_', '-')}: {why}")


def one_of(name: str, given: str | None, argument: str | None) -> str | None:
    """Return what was given by an option or as an argument; raises UsageError for both."""
    if given is not None and argument is not None:
        raise UsageError(f"{name} {given}: {argument} is given besides; leave one out")
    return argument if given is None else given


class Debugging:
    """Whether errors are shown with a traceback; `--debug` of any command sets it."""

    enabled: ClassVar[bool] = False

    @classmethod
    def set(cls, value: bool) -> bool:
        cls.enabled = cls.enabled or value
        return value


def silence(value: bool) -> bool:
    """Let nothing be printed of what the runtime logs, if `--quiet` is given."""
    if value:
        logging.getLogger(runtime.__name__).setLevel(logging.ERROR)
    return value


Model = Annotated[
    str | None,
    option(
        "--model",
        metavar="M",
        panel=MODEL,
        help=f"{MODELS}. Default: KYUTAI_ONNX_MODEL, else the embedded demo.",
    ),
]
BundlePrecision = Annotated[
    Precision | None,
    option(
        "--precision",
        panel=MODEL,
        help="Precision of a repository's model, which is converted at its first use. Default: "
        "the newest bundle's; at the first use int8 for CPU, fp16 for other providers.",
    ),
]
Offline = Annotated[bool, option("--offline", panel=MODEL, help="Download no model.")]
Provider = Annotated[
    str,
    option(
        "--provider",
        panel=HARDWARE,
        help="auto (the provider that the bundle was exported for), cpu, cuda, cuda-graphs, "
        "directml, webgpu or coreml.",
    ),
]
AllowFallback = Annotated[
    bool,
    option(
        "--allow-fallback",
        panel=HARDWARE,
        help="Run on a provider that the bundle was not exported for.",
    ),
]
Threads = Annotated[
    int | None,
    option(
        "--threads",
        min=1,
        panel=HARDWARE,
        help="CPU threads per graph. Default: the number of cores, at most 4.",
    ),
]
Debug = Annotated[
    bool, option("--debug", callback=Debugging.set, help="Show tracebacks and debug logs.")
]
Json = Annotated[bool, option("--json", panel=OUTPUT, help="Print JSON.")]
Channel = Annotated[
    int | None,
    option(
        "--channel",
        min=0,
        panel=INPUT,
        help="Use one channel of the audio, counted from 0, instead of the mean of all.",
    ),
]
Force = Annotated[
    bool,
    option(
        "--force",
        panel=OUTPUT,
        help="Overwrite a recording or a model's file with another kind of file.",
    ),
]
DumpTokens = Annotated[
    Path | None,
    option(
        "--dump-tokens",
        metavar="FILE.npz",
        panel=OUTPUT,
        help="Write tokens and codes, to compare with another program.",
    ),
]
Words = Annotated[
    Path | None,
    option(
        "--words",
        metavar="FILE",
        panel=OUTPUT,
        help="Write the spoken words with times: .srt, .vtt, .json, .jsonl, .tsv or .txt.",
    ),
]
Voice = Annotated[
    list[str] | None,
    option(
        "--voice",
        metavar="V",
        panel=MODEL,
        help="Voice of text to speech: a name ('kyutai-onnx voices list'), an audio file, or a "
        "file of 'say --save-voice'; twice for two speakers.",
    ),
]


@dataclass(frozen=True)
class General:
    """How much a command prints."""

    quiet: Annotated[
        bool, option("--quiet", "-q", callback=silence, help="Print results and errors only.")
    ] = False
    debug: Debug = False


@dataclass(frozen=True)
class ChosenModel:
    """A bundle, and how a repository that has none is converted."""

    model: Model = None
    precision: BundlePrecision = None
    offline: Offline = False

    @property
    def made_for(self) -> str:
        """The provider that a bundle is made for."""
        return "auto"


@dataclass(frozen=True)
class NamedModel(ChosenModel):
    """A bundle, by an option or as an argument."""

    argument_model: Annotated[str | None, argument(metavar="MODEL", help="As --model.")] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", one_of("--model", self.model, self.argument_model))


@dataclass(frozen=True)
class ModelOptions(ChosenModel):
    """Which model a command runs, and on what."""

    provider: Provider = "auto"
    allow_fallback: AllowFallback = False
    threads: Threads = None

    @property
    def made_for(self) -> str:
        """The provider that a bundle is made for."""
        return self.provider

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments for the `load` of a model."""
        return {
            "provider": self.provider,
            "allow_fallback": self.allow_fallback,
            "threads": self.threads,
        }

    def refuse_hardware(self) -> None:
        """Raise UsageError if a provider or threads are named, with a model on a server."""
        refuse(
            NOT_HERE,
            provider=None if self.provider == "auto" else self.provider,
            allow_fallback=self.allow_fallback,
            threads=self.threads,
        )


@dataclass(frozen=True)
class NamedModelOptions(ModelOptions, NamedModel):
    """The same for a command whose model may be an argument."""


NOT_HERE = "with '--server' the model does not run here; leave it out"
NOT_WITH_IT = "not with this model; leave it out"


@dataclass(frozen=True)
class ServerOptions:
    """A server whose model is used instead of one on this machine."""

    server: Annotated[
        str | None,
        option(
            "--server",
            metavar="URL",
            panel=SERVER,
            help="Use a model of 'kyutai-onnx serve', such as http://127.0.0.1:8998.",
        ),
    ] = None
    api_key: Annotated[
        str | None,
        option(
            "--api-key",
            metavar="KEY",
            panel=SERVER,
            help="API key for --server, or @FILE to read it from a file.",
        ),
    ] = None
    tls_fingerprint: Annotated[
        str | None,
        option(
            "--tls-fingerprint",
            metavar="SHA256",
            panel=SERVER,
            help="Certificate of --server, as 'serve --tls-self-signed' or 'openssl x509 "
            "-fingerprint -sha256' prints it.",
        ),
    ] = None

    @property
    def key_file(self) -> str | None:
        """The file that the API key is read from, if it names one."""
        key = self.api_key
        return key[1:] if key is not None and key.startswith("@") else None

    def refuse(self, **given: object) -> None:
        """Raise UsageError for options that need the server that was not named."""
        needless = {"api_key": self.api_key, "tls_fingerprint": self.tls_fingerprint}
        refuse("needs '--server URL'; give it or leave this out", **needless, **given)


@dataclass(frozen=True)
class CheckpointOptions:
    """The checkpoint that a bundle is made from."""

    argument_repo: Annotated[str | None, argument(metavar="REPO", help="As --repo.")] = None
    repo_option: Annotated[
        str | None,
        option(
            "--repo",
            metavar="REPO",
            panel=INPUT,
            help="Checkpoint of the bundle: owner/name on the Hub, or a local folder.",
        ),
    ] = None
    revision: Annotated[
        str | None,
        option("--revision", panel=INPUT, help="Branch, tag or commit on the Hub."),
    ] = None
    lora: Annotated[
        str | None,
        option(
            "--lora", panel=INPUT, help="LoRA adapter to merge: a file or hf://owner/name/file."
        ),
    ] = None
    extra_heads: Annotated[
        str | None,
        option(
            "--extra-heads",
            panel=INPUT,
            help="Another repository of the same model, to take the pause heads from.",
        ),
    ] = None

    @property
    def repo(self) -> str:
        """The checkpoint; raises UsageError if it was not named."""
        found = one_of("--repo", self.repo_option, self.argument_repo)
        if found is None:
            raise UsageError("--repo is missing; name a checkpoint, such as kyutai/stt-1b-en_fr")
        return found


@dataclass(frozen=True)
class RawInput:
    """What samples without a header are."""

    raw: Annotated[
        str | None,
        option(
            "--raw",
            metavar="ENCODING",
            panel=INPUT,
            help="Read samples without a header: s16le, s16be, s32le, f32le, u8, mulaw, alaw and "
            "other names of FFmpeg. Needs --rate.",
        ),
    ] = None
    rate: Annotated[
        int | None,
        option("--rate", metavar="HZ", min=1, panel=INPUT, help="Sample rate of --raw."),
    ] = None
    channels: Annotated[
        int | None,
        option("--channels", min=1, panel=INPUT, help="Interleaved channels of --raw. Default: 1."),
    ] = None

    @property
    def format(self) -> "RawFormat | None":
        """The format; None for audio with a header. Raises UsageError for an unknown encoding, and
        for options that need each other."""
        if self.raw is None:
            why = "needs '--raw ENCODING'; give it or leave this out"
            refuse(why, rate=self.rate, channels=self.channels)
            return None
        from ..runtime.audio.pcm import RawFormat, check_encoding

        check_encoding(self.raw)
        if self.rate is None:
            raise UsageError(f"--raw {self.raw} needs the sample rate: give '--rate 16000'")
        return RawFormat(self.rate, cast("Encoding", self.raw), self.channels or 1)


@dataclass(frozen=True)
class Recording:
    """A recording that a model answers, and what is written of the answer."""

    audio: Annotated[str, argument(metavar="IN", help="Audio file to read; - is standard input.")]
    out: Annotated[
        str,
        argument(
            metavar="OUT",
            help="Audio file to write; - is standard output, and then the text goes to stderr.",
        ),
    ]
    channel: Channel = None
    words: Words = None
    srt: Annotated[
        Path | None, option("--srt", metavar="FILE", panel=OUTPUT, help="Write subtitles.")
    ] = None
    dump_tokens: DumpTokens = None
    force: Force = False


@dataclass(frozen=True)
class StateFiles:
    """Files of a stream that is continued later."""

    save_state: Annotated[
        Path | None,
        option(
            "--save-state",
            metavar="FILE",
            panel=STATE,
            help="Save the stream as it is at the end of the audio.",
        ),
    ] = None
    load_state: Annotated[
        Path | None,
        option("--load-state", metavar="FILE", panel=STATE, help="Continue a saved stream."),
    ] = None
