"""Parameters of a stream have one range each, in every API."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import Command
from support.scripted_models import hibiki, moshi, tokens

from kyutai_onnx.models import Hibiki, SpeechToText
from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.models.lm.language_model import Guidance, SamplingParams
from kyutai_onnx.models.options import (
    PARAMETERS,
    SpeechOptions,
    SpeechToTextOptions,
    TranslationOptions,
    check_parameters,
)
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.server.config import config_of, read_config
from kyutai_onnx.server.openai.messages import (
    InvalidRequestError,
    read_speech_request,
    read_transcription_request,
)
from kyutai_onnx.server.wire.query import read_options

WRONG = [
    ("temperature", 11.0),
    ("temperature", -1e-9),
    ("temperature", 1e308),
    ("padding_bonus", 1e308),
    ("cfg_coef", -11.0),
    ("seed", -1),
    ("seed", 1 << 63),
    ("top_k", 1 << 31),
    ("padding_between", (1 << 63) - 1),
    ("initial_padding", 751),
    ("max_padding", -1),
    ("final_padding", 1 << 40),
]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "1", True, [1]])
def test_what_is_no_number_is_no_parameter(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} .*give an? "):
        check_parameters(**{name: value})


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_ends_of_a_range_are_in_it(name: str) -> None:
    limits = PARAMETERS[name]
    kind: Callable[[Any], Any] = int if limits.whole else np.float32
    check_parameters(**{name: kind(limits.least)})
    check_parameters(**{name: kind(limits.most)})
    with pytest.raises(UsageError, match=name):
        check_parameters(**{name: limits.least - 1})


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_speech_is_not_made_of_a_parameter_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} "):
        SpeechOptions(**{name: value})


@pytest.mark.parametrize(
    "given", [{"temperature": 11.0}, {"text_temperature": np.inf}, {"top_k": -1}, {"seed": 0.5}]
)
def test_no_stream_draws_by_a_parameter_out_of_range(given: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        SamplingParams(**given)
    with pytest.raises(UsageError, match=next(iter(given))):
        moshi(tokens()).stream(**given)
    with pytest.raises(UsageError, match=next(iter(given))):
        hibiki(tokens()).task(**given)


def test_other_parameters_of_streams_have_ranges_too(model: SpeechToText) -> None:
    with pytest.raises(UsageError, match="cfg_coef"):
        Guidance(float("nan"))
    with pytest.raises(UsageError, match="cfg_coef"):
        hibiki(tokens()).stream(cfg_coef=1e30)
    with pytest.raises(UsageError, match="max_tail"):
        hibiki(tokens()).stream(max_tail=1e30)
    with pytest.raises(UsageError, match="temperature"):
        model.stream(temperature=float("nan"))
    with pytest.raises(UsageError, match="watchdog"):
        model.task(watchdog=-1.0)
    with pytest.raises(UsageError, match="codebooks"):
        Hibiki.load(codebooks=2)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_server_is_not_configured_with_a_parameter_out_of_range(name: str, value: Any) -> None:
    if name in ("seed", "top_k"):
        pytest.skip("not of a configuration")
    with pytest.raises(UsageError, match=name):
        config_of({"models": [{"task": "tts", name: value}]}).check()


def test_a_servers_file_has_the_same_ranges(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text("[[models]]\ntask = 'tts'\npadding_between = 9223372036854775807\n")
    config, _ = read_config(path)
    with pytest.raises(UsageError, match="padding_between"):
        config.check()


def test_queries_forms_and_bodies_have_the_same_ranges() -> None:
    for name, given in (("temperature", "11"), ("text_temperature", "1e308"), ("cfg_coef", "99")):
        with pytest.raises(UsageError, match=name):
            read_options(TranslationOptions, {name: given})
    with pytest.raises(UsageError, match="padding_between"):
        read_options(SpeechOptions, {"padding_between": str((1 << 63) - 1)})
    with pytest.raises(UsageError, match="audio_topk"):
        read_options(TranslationOptions, {"audio_topk": str(1 << 31)}, {"top_k": "audio_topk"})
    assert read_options(SpeechToTextOptions, {"temperature": "1e-40"}) == {"temperature": 1e-40}
    with pytest.raises(InvalidRequestError, match="temperature"):
        read_transcription_request({"temperature": ["11"]})
    with pytest.raises(InvalidRequestError, match="padding_bonus"):
        read_speech_request({"input": "one", "padding_bonus": 1e308}, 100)
    with pytest.raises(InvalidRequestError, match="seed"):
        read_speech_request({"input": "one", "seed": True}, 100)


@pytest.mark.parametrize(
    "arguments",
    [
        ("say", "one", "--padding-between", str((1 << 63) - 1)),
        ("say", "one", "--padding-bonus", "1e308"),
        ("say", "one", "--temp", "nan"),
    ],
)
def test_so_do_options(arguments: tuple[str, ...], command: Command) -> None:
    ended = command(*arguments, "--quiet")
    assert (ended.code, ended.out) == (2, "")
    assert arguments[2].strip("-").replace("-", "_")[:4] in ended.error


@pytest.mark.parametrize("temperature", ["1e-40", "1e-300", "5e-324"])
def test_a_tiny_temperature_transcribes_as_none(
    temperature: str, model: SpeechToText, pcm: np.ndarray[Any, Any], words: list[Any]
) -> None:
    stream = model.stream(temperature=float(temperature))
    found = [*stream.feed(pcm), *stream.flush()]
    greedy = model.stream(temperature=0)
    assert found == [*greedy.feed(pcm), *greedy.flush()]
    assert len(found) >= len(words)


def test_a_tiny_temperature_speaks_as_none(pcm: np.ndarray[Any, Any]) -> None:
    model = Hibiki.load()
    spoken = []
    for temperature in (0.0, 1e-31, 1e-40, 5e-324):
        trace = TokenTrace()
        model.stream(temperature=temperature, text_temperature=temperature, trace=trace).feed(
            pcm[:20_000]
        )
        spoken.append((trace.text, [codes.tolist() for codes in trace.audio]))
    assert len(spoken[0][1]) > 5
    assert spoken[1:] == spoken[:1] * 3
