"""moshi-server's configurations, translated to ours.

The keys are those of moshi-server's own source: `static_dir`, `instance_name`, `authorized_ids`,
and for each `[modules.NAME]` its `type`, `path`, files and settings.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..models.families import SPEECH_TO_TEXT, TEXT_TO_SPEECH
from ..runtime.bundle.dataclass_json import parse
from ..runtime.output_file import is_folder

MODULES = "modules"
PY = "py"
TASKS = {
    "Asr": SPEECH_TO_TEXT.name,
    "BatchedAsr": SPEECH_TO_TEXT.name,
    "PyBatchedAsr": SPEECH_TO_TEXT.name,
    "Tts": TEXT_TO_SPEECH.name,
    "Py": TEXT_TO_SPEECH.name,
    "Lm": None,
}
"""The task of each type of module; None if the bundle decides."""
UNSERVED = {
    "Mimi": "rooms in which Mimi's codes are shared are not served",
    "PyPost": "the encoder that makes voices of recordings was never published",
}
FILES = ("lm_model_file", "moshi_weight", "text_tokenizer_file", "audio_tokenizer_file")
SETTINGS = {
    "batch_size": "slots",
    "path": "path",
    "temperature": "temperature",
    "temp": "temperature",
    "default_voice": "voice",
    "n_q": "codebooks",
    "cfg_coef": "cfg_coef",
    "padding_between": "padding_between",
    "padding_bonus": "padding_bonus",
    "initial_padding": "initial_padding",
    "max_padding": "max_padding",
    "final_padding": "final_padding",
}
"""Their key and ours."""
KNOWN = {
    *SETTINGS,
    *FILES,
    *("type", "hf_repo", "model", "generation", "gen", PY, "script", "device", "log_folder"),
    *("asr_delay_in_tokens", "log_frequency_s", "conditioning_delay", "dtype_override"),
    *("conditioning_learnt_padding", "text_bos_token", "speaker_tokenizer_file", "voices"),
    *("voice_dir", "voice_folder", "mimi_weight", "config_path", "tokenizer", "debug"),
    *("interleaved_text_only", "cfg_is_no_text", "delay_steps"),
}
IMPLIED = {"type", "hf_repo", "model", PY, *FILES, "generation", "gen", "asr_delay_in_tokens"}
"""Keys for what the bundle itself knows, or that name it."""
TOP = {"static_dir", "log_dir", "instance_name", "authorized_ids", MODULES}
DEFAULT_TTS = "kyutai/tts-1.6b-en_fr"
"""The model of moshi-server's own script by default."""

_REPOSITORY = re.compile(r"hf(?:-snapshot)?://([\w.-]+/[\w.-]+)")


def translate(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return our keys for theirs, and notes on those that have no effect; our own keys may stand
    among them. Raises ValueError for an unknown key or an invalid module."""
    ours = {key: value for key, value in content.items() if key not in TOP}
    notes: list[str] = []
    models = []
    for name, module in parse(dict[str, dict[str, Any]], content[MODULES], MODULES).items():
        kind = parse(str, module.get("type"), f"{MODULES}.{name}.type")
        if kind in UNSERVED:
            notes.append(f"{MODULES}.{name} is left out: {UNSERVED[kind]}")
            continue
        if kind not in TASKS:
            known = ", ".join([*TASKS, *UNSERVED])
            raise ValueError(f"{MODULES}.{name}.type: expected one of {known}, found {kind!r}")
        model, ignored = _module(name, module, TASKS[kind])
        models.append(model)
        notes += ignored
    if "log_dir" in content:
        notes.append("log_dir has no effect: sessions are not recorded")
    return ours | {"models": models} | _top(content, notes), _joined(notes)


def _top(content: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "authorized_ids" in content:
        found["api_keys"] = content["authorized_ids"]
    if "instance_name" in content:
        found["instance_name"] = content["instance_name"]
    static = content.get("static_dir")
    if isinstance(static, str) and not is_folder(static):
        notes.append(f"there is no folder {static} (static_dir): our own page is shown")
        static = None
    return found if static is None else found | {"static": static}


def _module(
    name: str, module: Mapping[str, Any], task: str | None
) -> tuple[dict[str, Any], list[str]]:
    place = f"{MODULES}.{name}"
    model: dict[str, Any] = {"name": name} | ({"task": task} if task else {})
    unknown, vain = [], []
    for where, key, value in _settings(place, module):
        if key not in KNOWN:
            unknown.append(where)
        elif key in SETTINGS:
            model[SETTINGS[key]] = value
        elif key not in IMPLIED:
            vain.append(key)
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}")
    model["model"] = _bundle_name(module, place, task)
    return model, [f"{', '.join(vain)} of {place} have no effect"] if vain else []


def _settings(place: str, module: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield every setting with its full name, those of the script included."""
    script = module.get(PY, {})
    for table, where in ((module, place), (script, f"{place}.{PY}")):
        for key, value in table.items():
            yield f"{where}.{key}", key, value


def _bundle_name(module: Mapping[str, Any], place: str, task: str | None) -> str:
    """Return the repository of the weights, or the folder that they are in."""
    tables = (module, module.get(PY, {}))
    for key in ("hf_repo", *FILES):
        for table in tables:
            if isinstance(value := table.get(key), str):
                found = _REPOSITORY.match(value)
                if key == "hf_repo":
                    return value
                return found[1] if found else os.path.dirname(value) or "."  # noqa: PTH120
    if task == TEXT_TO_SPEECH.name:
        return DEFAULT_TTS
    raise ValueError(f"{place}: give lm_model_file or hf_repo to name the model")


def _joined(notes: list[str]) -> list[str]:
    return ["; ".join(notes)] if notes else []
