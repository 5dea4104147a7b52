"""Options and groups of options that commands share; nothing slow is imported, for quick help."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from ..runtime.errors import UsageError

INPUT, OUTPUT, MODEL, SAMPLING = "Input", "Output", "Model", "Sampling"
HARDWARE, SERVER, STATE, TURNS = "Hardware", "Server", "State", "Turns"


def option(*names: str, help: str, panel: str | None = None, **given: Any) -> Any:  # noqa: A002
    """Return a Typer option in a panel of the help, its text shown as it stands."""
    return typer.Option(*names, help=_plain(help), rich_help_panel=panel, **given)


def argument(*, help: str, **given: Any) -> Any:  # noqa: A002
    """Return a Typer argument, its text shown as it stands."""
    return typer.Argument(help=_plain(help), **given)


class Flags:
    """A command whose flags are shown in its help without a type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, that of the help included."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters


class FlagsCommand(Flags, TyperCommand):
    """A command of an app."""


class FlagsGroup(Flags, TyperGroup):
    """A command that has subcommands."""


class App(typer.Typer):
    """The commands of one module."""

    def command(  # type: ignore[override]
        self, name: str | None = None, **given: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function as a command."""
        return super().command(name, cls=FlagsCommand, **given)


def new_app(**given: Any) -> App:
    """Return an app for the commands of one module."""
    return App(cls=FlagsGroup, add_completion=False, pretty_exceptions_enable=False, **given)


def _plain(text: str) -> str:
    """Escape brackets, which Rich would take for markup and leave out."""
    return text.replace("[", "\\[")


def with_groups(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take dataclasses: each parameter of such a type becomes its fields' options."""
    signature = inspect.signature(function)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if dataclasses.is_dataclass(parameter.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(groups[name], include_extras=True)
        for field in dataclasses.fields(groups[name]):
            default = field.default
            parameters.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
                    annotation=hints[field.name],
                )
            )

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        for name, group in groups.items():
            fields = dataclasses.fields(group)
            given[name] = group(**{field.name: given.pop(field.name) for field in fields})
        return function(**given)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


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


Model = Annotated[
    str | None,
    option(
        "--model",
        metavar="M",
        panel=MODEL,
        help="Bundle folder, exported repository or hf://owner/name[@rev]. Default: "
        "KYUTAI_ONNX_MODEL, else the embedded demo.",
    ),
]
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
Quiet = Annotated[bool, option("--quiet", "-q", help="Print results and errors only.")]
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
CfgCoef = Annotated[
    float | None,
    option(
        "--cfg-coef",
        panel=SAMPLING,
        help="Strength of classifier-free guidance to the voice, at twice the cost. Default: 1, "
        "or 2 for text to speech with a voice.",
    ),
]
Seed = Annotated[int | None, option("--seed", min=0, panel=SAMPLING, help="Repeat sampled output.")]


@dataclass(frozen=True)
class General:
    """How much a command prints."""

    quiet: Quiet = False
    debug: Debug = False


@dataclass(frozen=True)
class NamedModel:
    """A bundle, by an option or as an argument."""

    argument_model: Annotated[str | None, argument(metavar="MODEL", help="As --model.")] = None
    model: Model = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", one_of("--model", self.model, self.argument_model))


@dataclass(frozen=True)
class ModelOptions:
    """Which model a command runs, and on what."""

    model: Model = None
    provider: Provider = "auto"
    allow_fallback: AllowFallback = False
    threads: Threads = None

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


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; None is what the model's repository says."""

    temp: Annotated[
        float | None,
        option(
            "--temp",
            min=0.0,
            panel=SAMPLING,
            help="Sampling temperature; 0 is greedy. Default: that of the model.",
        ),
    ] = None
    seed: Seed = None


@dataclass(frozen=True)
class SpeechSampling(Sampling):
    """The same for a model that makes codes and text."""

    temp_text: Annotated[
        float | None,
        option(
            "--temp-text",
            min=0.0,
            panel=SAMPLING,
            help="Temperature of the text, if it differs from --temp.",
        ),
    ] = None

    @property
    def text(self) -> float | None:
        """The temperature of the text."""
        return self.temp if self.temp_text is None else self.temp_text


NOT_HERE = "with '--server' the model does not run here; leave it out"


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

    @property
    def key_file(self) -> str | None:
        """The file that the API key is read from, if it names one."""
        key = self.api_key
        return key[1:] if key is not None and key.startswith("@") else None

    def refuse(self, **given: object) -> None:
        """Raise UsageError for options that need the server that was not named."""
        refuse("needs '--server URL'; give it or leave this out", api_key=self.api_key, **given)


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
