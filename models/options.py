"""Options of a stream, one class for each family: their ranges, their help, and who offers them.

Commands and protocols take their options from these fields. Imports nothing slow, for quick help.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Flag, auto
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypedDict, get_args, get_type_hints

from ..runtime.errors import UsageError
from .text.languages import LANGUAGE_NAMES, LanguageName


@dataclass(frozen=True)
class Range:
    """The least and the most that a parameter may be; `whole` for integers."""

    least: float
    most: float
    whole: bool = False

    def __str__(self) -> str:
        kind = "an integer" if self.whole else "a number"
        return f"{kind} from {_short(self.least)} to {_short(self.most)}"

    def has(self, value: object) -> bool:
        """Whether a value is in the range; NaN and booleans are not numbers."""
        kind = Integral if self.whole else Real
        return isinstance(value, kind) and not isinstance(value, bool) and self._spans(value)

    def _spans(self, value: Real) -> bool:
        return bool(self.least <= value <= self.most)  # type: ignore[operator]


def _short(limit: float) -> str:
    return f"{limit:g}" if limit < 1 << 31 else f"2^{int(limit + 1).bit_length() - 1} - 1"


class Offered(Flag):
    """Who offers an option of a stream to its users, besides Python."""

    FILES = auto()
    """The commands for files: `transcribe`, `say`, `translate`, `chat`."""
    LIVE = auto()
    """The command `stream`."""
    CLIENTS = auto()
    """Servers: in the query of a websocket, a form, or a JSON body."""
    ALL = FILES | LIVE | CLIENTS


@dataclass(frozen=True)
class Parameter:
    """What is known of an option: `flag` is its name in commands, `group` the heading of their
    help, `live` its default in `stream` if that is another one than in Python. Without a range it
    is text, one of `choices` if there are any; if it is `long`, commands read it from a file
    too. `is_file`: it names a file to read."""

    help: str
    range: Range | None = None
    flag: str | None = None
    offered: Offered = Offered.ALL
    group: str = "Sampling"
    unit: str | None = None
    choices: tuple[str, ...] = ()
    long: bool = False
    is_file: bool = False


@dataclass(frozen=True)
class StreamOptions:
    """Options of a stream. Raises UsageError for a value out of range."""

    @property
    def recordings(self) -> tuple[str, ...]:
        """Files of audio that they name, which may be checked before a model is loaded."""
        return ()

    def __post_init__(self) -> None:
        for name, parameter in parameters(type(self)).items():
            value = getattr(self, name)
            check_value(name, value, parameter.range)
            if value is not None and parameter.choices and value not in parameter.choices:
                choices = " or ".join(parameter.choices)
                raise UsageError(f"{name} {str(value)[:20]!r}: give {choices}")


def parameters(kind: type[Any], offered: Offered | None = None) -> Mapping[str, Parameter]:
    """The parameters of an options class by their names, in order, those `offered` by somebody if
    given."""
    found: dict[str, Parameter] = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        for one in get_args(hints[field.name]):
            if isinstance(one, Parameter) and (offered is None or offered in one.offered):
                found[field.name] = one
    return found


def given(options: Any) -> dict[str, Any]:
    """The values of those options that differ from their defaults."""
    values = {field: getattr(options, field.name) for field in fields(options)}
    return {field.name: value for field, value in values.items() if value != field.default}


TEMPERATURE = Range(0, 5)
CANDIDATES = Range(0, (1 << 31) - 1, whole=True)
PADDING = Range(0, 750, whole=True)
"""In steps, of which a minute has 750."""
SECONDS = Range(0, 24 * 3600)

Temperature = Annotated[
    float | None,
    Parameter(
        "Sampling temperature; 0 is greedy. Default: that of the model.", TEMPERATURE, "--temp"
    ),
]
Candidates = Annotated[
    int | None,
    Parameter(
        "Sample among so many of the likeliest codes; 0 is all.",
        CANDIDATES,
        offered=Offered.CLIENTS,
    ),
]
TextCandidates = Annotated[
    int | None,
    Parameter(
        "Sample among so many of the likeliest text tokens; 0 is all.",
        CANDIDATES,
        offered=Offered.CLIENTS,
    ),
]
Seed = Annotated[
    int | None,
    Parameter("Repeat sampled output.", Range(0, (1 << 63) - 1, whole=True), "--seed"),
]
CfgCoef = Annotated[
    float | None,
    Parameter(
        "Strength of classifier-free guidance to the voice, at twice the cost. Default: 1, or 2 "
        "for text to speech with a voice.",
        Range(-10, 10),
        "--cfg-coef",
    ),
]

HORIZONS = (0.5, 1.0, 2.0, 3.0)
"""Seconds that the heads of speech to text look ahead, in their order."""
HEAD = 2


@dataclass(frozen=True)
class TurnPolicy:
    """When a head reports a pause, and when a pause ends a turn.

    `horizon`: seconds that the head looks ahead, one of `HORIZONS`. `threshold`: the probability
    above which it reports a pause; it reports speech once it is `hysteresis` below that.
    `min_words`: a turn has so many, or a pause does not end it. `hold`: seconds that a pause stands
    before it ends the turn. Raises UsageError for values out of range.
    """

    horizon: float = HORIZONS[HEAD]
    threshold: float = 0.5
    hysteresis: float = 0.0
    min_words: int = 0
    hold: float = 1.0

    def __post_init__(self) -> None:
        if self.horizon not in HORIZONS:
            known = ", ".join(f"{seconds:g}" for seconds in HORIZONS)
            raise UsageError(f"no head looks {self.horizon:g} s ahead: choose among {known}")
        if not 0 < self.threshold < 1:
            raise UsageError(f"a threshold of {self.threshold:g}: give one between 0 and 1")
        if not 0 <= self.hysteresis < self.threshold:
            raise UsageError(
                f"a hysteresis of {self.hysteresis:g}: give one from 0 to the threshold of "
                f"{self.threshold:g}"
            )
        if self.min_words < 0 or not 0 <= self.hold < float("inf"):
            raise UsageError("words and seconds before the end of a turn are 0 or more")

    @property
    def head(self) -> int:
        """The number of the head that counts."""
        return HORIZONS.index(self.horizon)


@dataclass(frozen=True)
class SpeechToTextOptions(StreamOptions):
    """How a stream transcribes.

    `prompt` is text that the model writes first. `hotwords` are phrases to prefer, divided by
    commas or lines, each with a bonus in nats after a colon if it is to have one of its own; where
    nothing would be written, they write nothing. `temperature` replaces the model's own (0 takes
    the best token), `seed` makes samples repeat. `policy` decides when there is a pause or an end
    of turn. After `watchdog` seconds of what sounds like speech without text the model restarts.
    `live` also emits every frame (`Step`), and every word as soon as its text is complete
    (`WordStarted`). `lead=False` puts no silence before the audio, for those who bring their own.
    """

    prompt: Annotated[
        str | None,
        Parameter(
            "Text that the transcript starts from.",
            flag="--prompt-text",
            offered=Offered.FILES | Offered.CLIENTS,
            group="Model",
        ),
    ] = None
    hotwords: Annotated[
        str | None,
        Parameter(
            "Phrases to prefer, divided by commas, with a bonus of their own after a colon: "
            "'Loonah, Kyutai:3'. Default bonus: 2.",
            flag="--hotwords",
            group="Model",
            long=True,
        ),
    ] = None
    temperature: Temperature = None
    seed: Seed = None
    policy: TurnPolicy | None = None
    watchdog: Annotated[
        float | None,
        Parameter(
            "Restart after so many seconds of speech without a word.", SECONDS, offered=Offered(0)
        ),
    ] = None
    live: bool = False
    lead: bool = True


class SpeechToTextKwargs(TypedDict, total=False):
    """`SpeechToTextOptions` as keyword arguments."""

    prompt: str | None
    hotwords: str | None
    temperature: float | None
    seed: int | None
    policy: TurnPolicy | None
    watchdog: float | None
    live: bool
    lead: bool


TextForm = Literal["written", "as-is"]
TEXT_FORMS: tuple[TextForm, ...] = get_args(TextForm)


@dataclass(frozen=True)
class SpeechOptions(StreamOptions):
    """How a text is spoken, apart from the voice; defaults are those of moshi run_tts.py.

    `cfg_coef` is the guidance to the voice and the text; None is 2, or no guidance for a model that
    has neither a table of it nor a voice. `temperature` is that of text and codes, 0 takes the
    best token; like `top_k` (of codes) and `text_top_k` it is the bundle's own unless given.

    `padding_between` is the shortest pause after a word, `max_padding` the longest that the model
    may choose, in steps of 80 ms. `padding_bonus`, from -2 to 2, makes speech slower, or faster if
    negative. `initial_padding` comes before the first word, `final_padding` after the last. Each
    padding is at most a minute.

    `text_form` "written" is text as people write it: figures are read as words, Markdown and emoji
    are left out, SSML is honoured. "as-is" is Kyutai's script, word for word. `language` is that of
    the figures, found from the text unless given.
    """

    cfg_coef: CfgCoef = None
    temperature: Temperature = None
    top_k: Candidates = None
    text_top_k: TextCandidates = None
    seed: Seed = None
    padding_between: Annotated[
        int,
        Parameter(
            "Least pause between words, in steps of 80 ms.",
            PADDING,
            "--padding-between",
            Offered.FILES | Offered.CLIENTS,
        ),
    ] = 1
    padding_bonus: Annotated[
        float,
        Parameter(
            "From -2 to 2: positive is slower speech, negative is faster.",
            Range(-2, 2),
            "--padding-bonus",
            Offered.FILES | Offered.CLIENTS,
        ),
    ] = 0.0
    initial_padding: Annotated[
        int, Parameter("Steps before the first word.", PADDING, offered=Offered(0))
    ] = 2
    max_padding: Annotated[
        int, Parameter("Longest pause between words.", PADDING, offered=Offered(0))
    ] = 8
    final_padding: Annotated[
        int, Parameter("Steps after the last word.", PADDING, offered=Offered(0))
    ] = 4
    text_form: Annotated[
        TextForm,
        Parameter(
            "'written' reads figures as words, leaves Markdown and emoji out and honours SSML; "
            "'as-is' is Kyutai's script, word for word.",
            flag="--text",
            offered=Offered.FILES | Offered.CLIENTS,
            group="Input",
            choices=TEXT_FORMS,
        ),
    ] = "written"
    language: Annotated[
        LanguageName | None,
        Parameter(
            "Language of figures, en or fr. Default: found from the text.",
            flag="--language",
            offered=Offered.FILES | Offered.CLIENTS,
            group="Input",
            choices=LANGUAGE_NAMES,
        ),
    ] = None


class SpeechKwargs(TypedDict, total=False):
    """`SpeechOptions` as keyword arguments."""

    cfg_coef: float | None
    temperature: float | None
    top_k: int | None
    text_top_k: int | None
    seed: int | None
    padding_between: int
    padding_bonus: float
    initial_padding: int
    max_padding: int
    final_padding: int
    text_form: TextForm
    language: LanguageName | None


@dataclass(frozen=True)
class SpeechToSpeechOptions(StreamOptions):
    """How a stream answers speech: the temperature and `top_k` of its codes, the same of its text,
    and the seed; None is the model's own, and a random seed."""

    temperature: Temperature = None
    text_temperature: Annotated[
        float | None,
        Parameter(
            "Temperature of the text, if it differs from --temp.",
            TEMPERATURE,
            "--temp-text",
            Offered.FILES | Offered.CLIENTS,
        ),
    ] = None
    top_k: Candidates = None
    text_top_k: TextCandidates = None
    seed: Seed = None


class SpeechToSpeechKwargs(TypedDict, total=False):
    """`SpeechToSpeechOptions` as keyword arguments."""

    temperature: float | None
    text_temperature: float | None
    top_k: int | None
    text_top_k: int | None
    seed: int | None


@dataclass(frozen=True)
class ConversationOptions(SpeechToSpeechOptions):
    """How a stream talks: as `SpeechToSpeechOptions`, and for a model that was trained for it a
    `role`, a text that says who it is, and the file of a recording whose voice it speaks with.
    Raises UsageError for a file of another kind."""

    role: Annotated[
        str | None,
        Parameter(
            "Who the model is and how it behaves, for PersonaPlex.",
            flag="--role",
            group="Model",
            long=True,
        ),
    ] = None
    voice_prompt: Annotated[
        str | None,
        Parameter(
            "Recording of the voice that the model speaks with, for PersonaPlex.",
            flag="--voice-prompt",
            offered=Offered.FILES | Offered.LIVE,
            group="Model",
            is_file=True,
        ),
    ] = None

    @property
    def recordings(self) -> tuple[str, ...]:
        return () if self.voice_prompt is None else (self.voice_prompt,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.voice_prompt is not None and self.voice_prompt.lower().endswith(EMBEDDED_VOICES):
            raise UsageError(
                f"{self.voice_prompt}: holds embeddings of a voice, which no graph takes; give a "
                "recording of the voice, such as a wav of 10 s"
            )


EMBEDDED_VOICES = (".pt", ".safetensors", ".npz")
"""How the files of voices end that are no recordings: PersonaPlex's own, and those of text to
speech."""


class ConversationKwargs(SpeechToSpeechKwargs, total=False):
    """`ConversationOptions` as keyword arguments."""

    role: str | None
    voice_prompt: str | None


@dataclass(frozen=True)
class TranslationOptions(SpeechToSpeechOptions):
    """How a stream translates: as `SpeechToSpeechOptions`, and `cfg_coef`, which leads it away from
    speech that is unlike the speaker's, at twice the cost; 1, the default, does without. After the
    end of the audio it speaks for at most `max_tail` seconds: as long as the audio and 30 more,
    unless given."""

    cfg_coef: CfgCoef = None
    max_tail: Annotated[
        float | None,
        Parameter(
            "How long the translation may go on after the end of the recording. Default: its "
            "length and 30 s.",
            SECONDS,
            "--max-tail",
            Offered.FILES,
            group="Output",
            unit="seconds",
        ),
    ] = None


class TranslationKwargs(SpeechToSpeechKwargs, total=False):
    """`TranslationOptions` as keyword arguments."""

    cfg_coef: float | None
    max_tail: float | None


@dataclass(frozen=True)
class CodecOptions(StreamOptions):
    """A codec has none."""


FAMILY_OPTIONS = (SpeechToTextOptions, SpeechOptions, TranslationOptions)
PARAMETERS: Mapping[str, Range] = {
    name: parameter.range
    for kind in FAMILY_OPTIONS
    for name, parameter in parameters(kind).items()
    if parameter.range is not None
}
"""The range of each parameter by its name, which is the same in every family."""


def check_parameters(**values: object) -> None:
    """Raise UsageError for a parameter out of its range; None means not given."""
    for name, value in values.items():
        check_value(name, value, PARAMETERS[name])


def check_value(name: str, value: object, limits: Range | None) -> None:
    """Raise UsageError for a value out of a range; None means not given."""
    if value is not None and limits is not None and not limits.has(value):
        raise UsageError(f"{name} {str(value)[:20]}: give {limits}")
