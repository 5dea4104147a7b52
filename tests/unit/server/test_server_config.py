"""The configuration of a server, by flags and files, and what is refused."""

import dataclasses
from pathlib import Path

import pytest
from support.bundles import copy_demo

from kyutai_onnx.cli.commands.serve import ServerFlags, configured
from kyutai_onnx.conversion.first_use import FirstUse
from kyutai_onnx.runtime.cache_folder import bundles_folder
from kyutai_onnx.runtime.errors import ModelError, UsageError
from kyutai_onnx.server.config import ModelConfig, ServerConfig, Tls, read_config, read_keys
from kyutai_onnx.server.limits import Limits
from kyutai_onnx.server.registry import load_models
from kyutai_onnx.server.server import Server, bound_sockets

OURS = """
host = "0.0.0.0"
port = 9000
api_keys = ["one", "$SECRET", "@FILE"]
cors = ["https://a.example"]
instance_name = "here"

[tls]
self_signed = true

[limits]
queue = 2
session = "none"
idle = 5

[[models]]
model = "kyutai/stt-1b-en_fr"
name = "english"
precision = "int8"
slots = 3

[[models]]
task = "tts"
voice = "a/b.wav"
"""

DSM = """
static_dir = "FOLDER"
log_dir = "$HOME/tmp/logs"
instance_name = "tts"
authorized_ids = ["public_token"]

[modules.asr]
path = "/api/asr-streaming"
type = "BatchedAsr"
lm_model_file = "hf://kyutai/stt-1b-en_fr-candle/model.safetensors"
text_tokenizer_file = "hf://kyutai/stt-1b-en_fr-candle/tokenizer_en_fr_audio_8000.model"
audio_tokenizer_file = "hf://kyutai/stt-1b-en_fr-candle/mimi-pytorch-e351c8d8@125.safetensors"
asr_delay_in_tokens = 6
batch_size = 64
conditioning_learnt_padding = true
temperature = 0.25

[modules.asr.model]
audio_vocab_size = 2049

[modules.tts_py]
type = "Py"
path = "/api/tts_streaming"
text_tokenizer_file = "hf://kyutai/tts-1.6b-en_fr/tokenizer_spm_8k_en_fr_audio.model"
batch_size = 8
text_bos_token = 1

[modules.tts_py.py]
log_folder = "$HOME/tmp"
voice_folder = "hf-snapshot://kyutai/tts-voices/**/*.safetensors"
default_voice = "unmute-prod-website/default_voice.wav"
cfg_coef = 2.0
padding_between = 1
n_q = 24

[modules.clone]
type = "PyPost"
path = "/api/voice"
"""


def read(folder: Path, text: str) -> tuple[ServerConfig, list[str]]:
    path = folder / "server.toml"
    path.write_text(text, "utf-8")
    return read_config(path)


def test_our_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "two")
    (tmp_path / "keys").write_text("three\nfour\n", "utf-8")
    config, notes = read(tmp_path, OURS.replace("@FILE", f"@{tmp_path / 'keys'}"))
    assert notes == []
    assert config == ServerConfig(
        models=(
            ModelConfig(model="kyutai/stt-1b-en_fr", name="english", precision="int8", slots=3),
            ModelConfig(task="tts", voice="a/b.wav"),
        ),
        host="0.0.0.0",
        port=9000,
        api_keys=("one", "two", "three", "four"),
        cors=("https://a.example",),
        instance_name="here",
        tls=Tls(self_signed=True),
        limits=Limits(queue=2, session=None, idle=5.0),
    )
    config.check()


def test_the_keys_of_moshi_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    config, notes = read(tmp_path, DSM.replace("FOLDER", str(tmp_path)))
    assert config == ServerConfig(
        models=(
            ModelConfig(
                model="kyutai/stt-1b-en_fr-candle",
                task="stt",
                name="asr",
                path="/api/asr-streaming",
                slots=64,
                temperature=0.25,
            ),
            ModelConfig(
                model="kyutai/tts-1.6b-en_fr",
                task="tts",
                name="tts_py",
                path="/api/tts_streaming",
                slots=8,
                voice="unmute-prod-website/default_voice.wav",
                cfg_coef=2.0,
                padding_between=1,
                codebooks=24,
            ),
        ),
        api_keys=("public_token",),
        static=str(tmp_path),
        instance_name="tts",
    )
    (note,) = notes
    for said in ("log_dir", "conditioning_learnt_padding", "voice_folder", "modules.clone"):
        assert said in note


def test_a_folder_that_is_not_there_is_announced(tmp_path: Path) -> None:
    text = 'static_dir = "./nowhere"\n[modules.a]\ntype = "Asr"\nlm_model_file = "/m/x.gguf"\n'
    config, (note,) = read(tmp_path, text)
    assert (config.static, config.models[0].model) == ("page", "/m")
    assert "./nowhere" in note


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", "prot"),
        ("[limits]\nqueues = 1", "unknown keys: limits.queues"),
        ('[[models]]\nmodle = "x"', "unknown keys: models[0].modle"),
        ("[modules.a]\ntype = 'Asr'\nlm_model_file = 'x'\nbatchsize = 3", "modules.a.batchsize"),
        ("[modules.a.py]\nnn = 3\n[modules.a]\ntype = 'Py'", "modules.a.py.nn"),
        ("port = 'x'", "port: expected an integer"),
        ("[models]", "models: expected a list"),
        ("[modules.a]\ntype = 'Asr'", "modules.a: give lm_model_file"),
        ("[modules.a]\ntype = [[-1]]\nlm_model_file = 'x'", "modules.a.type"),
        ("[modules.a]\ntype = {}\nlm_model_file = 'x'", "modules.a.type"),
        ("[modules.a]\ntype = 'Cook'", "found 'Cook'"),
        ("when_full = '504'", "when_full"),
        ("host = '$NOWHERE_SET'", "$NOWHERE_SET"),
        ("api_keys = ['@/no/such/file']", "/no/such/file"),
        ("host = ", "TOML"),
        pytest.param("host = " + "[" * 100_000, "TOML", id="deep"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, text)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"host": "0.0.0.0"}, "--api-key"),
        ({"host": "example.org"}, "--no-auth"),
        ({"wyoming_port": 1, "wyoming_host": "::"}, "Wyoming has no keys"),
        ({"port": 70000}, "port 70000"),
        ({"slots": 0}, "slots"),
        ({"drain": -1.0}, "drain -1"),
        ({"drain": float("nan")}, "drain nan"),
        ({"instance_name": "a\r\nb"}, "instance_name"),
        ({"instance_name": ""}, "instance_name"),
        ({"models": (ModelConfig(task="stt", slots=0),)}, "slots"),
        ({"static": "/no/such/folder"}, "/no/such/folder"),
        ({"api_keys": ("",)}, "empty"),
        ({"tls": Tls(cert="a")}, "tls"),
        ({"limits": Limits(uploads=0)}, "uploads is 0"),
        ({"limits": Limits(wait=-1.0)}, "wait is -1"),
        ({"limits": Limits(idle=float("nan"))}, "idle is nan"),
        ({"models": (ModelConfig(task="stt", path="x y"),)}, "path 'x y'"),
        ({"tls": Tls(cert="a", key="b", self_signed=True)}, "tls"),
        ({"models": tuple(ModelConfig(name=n, path="/api/a") for n in "ab")}, "/api/a"),
    ],
)
def test_what_cannot_be_served(change: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        dataclasses.replace(ServerConfig(), **change).check()


@pytest.mark.parametrize("order", [1, -1])
def test_models_of_two_tasks_share_no_path(order: int) -> None:
    tts = "/api/tts_streaming"
    models = (ModelConfig(task="stt", path=tts), ModelConfig(task="tts"))
    with pytest.raises(UsageError, match=tts):
        load_models(ServerConfig(models=models[::order]), lambda _: None)


def test_a_precision_that_is_not_here_is_made_at_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KYUTAI_ONNX_CACHE", str(tmp_path / "cache"))
    repo = "kyutai/stt-1b-en_fr"
    copy_demo(bundles_folder() / "kyutai--stt-1b-en_fr--int8-cpu", lambda _: None)
    made = copy_demo(tmp_path / "int4", lambda manifest: manifest.update(precision="int4"))
    asked = []

    def convert(use: FirstUse) -> Path:
        asked.append((use.repo, use.target, use.precision))
        return made

    monkeypatch.setattr(FirstUse, "convert", convert)
    flags = ServerFlags(models=(repo,), precision="int4")
    (served,) = load_models(configured(flags)[0], lambda _: None).all
    assert served.model.bundle.path == made
    assert asked == [(repo, "cpu", "int4")]


def test_a_folder_of_another_precision_is_refused(tmp_path: Path) -> None:
    made = copy_demo(tmp_path / "int8", lambda _: None)
    flags = ServerFlags(models=(str(made),), precision="int4")
    with pytest.raises(ModelError, match="int4"):
        load_models(configured(flags)[0], lambda _: None)


def test_a_precision_needs_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KYUTAI_ONNX_MODEL", raising=False)
    with pytest.raises(UsageError, match="--model"):
        configured(ServerFlags(precision="int4"))


@pytest.mark.parametrize(
    "config",
    [
        ServerConfig(),
        ServerConfig(host="localhost", wyoming_port=10300),
        ServerConfig(host="::1"),
        ServerConfig(host="0.0.0.0", api_keys=("key",)),
        ServerConfig(host="0.0.0.0", no_auth=True, wyoming_port=1, wyoming_host="0.0.0.0"),
    ],
)
def test_what_can_be_served(config: ServerConfig) -> None:
    config.check()
    assert config.keyless == (config.host in ("127.0.0.1", "localhost", "::1"))


def test_keys_are_not_shown() -> None:
    assert "hush" not in repr(ServerConfig(api_keys=("hush",)))


def test_keys_of_an_empty_file_are_missed(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n", "utf-8")
    with pytest.raises(UsageError, match="is empty"):
        read_keys([f"@{tmp_path / 'keys'}"])


def test_without_models_the_demos_are_served() -> None:
    assert [model.task for model in ServerConfig().served] == ["stt", "tts", "hibiki"]


def test_a_folder_of_a_page_whose_name_is_too_long_is_refused() -> None:
    with pytest.raises(UsageError, match=r"static a+"):
        ServerConfig(static="a" * 5000).check()


def test_a_codec_alone_is_not_served() -> None:
    with pytest.raises(UsageError, match="mimi"):
        ServerConfig(models=(ModelConfig(task="mimi"),)).check()


@pytest.mark.parametrize("path", ["/health", "/openapi.json", "/v1/realtime", "/v1/anything"])
def test_a_model_cannot_have_a_path_of_the_server(path: str) -> None:
    with pytest.raises(UsageError, match=path):
        Server(ServerConfig(port=0, models=(ModelConfig(task="stt", path=path),)))
    with Server(ServerConfig(port=0, models=(ModelConfig(task="stt", path="/api/chat"),))):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_two_protocols_cannot_have_one_port(host: str) -> None:
    (free,) = bound_sockets("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()
    with pytest.raises(UsageError, match="--wyoming-port"):
        Server(ServerConfig(host=host, port=port, wyoming_port=port))


@pytest.mark.parametrize("host", ["..", f"{'a' * 64}.example"])
def test_a_host_whose_name_is_none(host: str) -> None:
    with pytest.raises(UsageError, match="--host"):
        Server(ServerConfig(host=host, port=0))
