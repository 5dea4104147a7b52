"""Where voices are found, by which names, and what is said where they are not."""

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import errors
from safetensors.numpy import save_file
from support.speaking import DIM, FRAMES, SUFFIX, speaking_bundle, write_voice

from kyutai_onnx.models.tts.voices import DEFAULT_VOICE, ListedVoice, Voices, read_embedding
from kyutai_onnx.runtime import hub as runtime_hub
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.errors import ModelError, UsageError

PUBLISHED = ["README.md", "vctk/p225.wav", "vctk/p226.wav", "expresso/happy.wav", "a.wav"]


class Hub:
    """Stands in for the Hub: a repository of files, some of them downloaded before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reachable = True
        self.files = [f"{name}{SUFFIX}" for name in PUBLISHED[1:]] + PUBLISHED
        self.asked: list[str] = []

    def hf_hub_download(self, repo: str, name: str, **_: object) -> str:
        self.asked.append(f"{repo}/{name}")
        if (self.folder / name).is_file():
            return str(self.folder / name)
        self._reach()
        if name not in self.files:
            raise errors.RemoteEntryNotFoundError("no such file", response=_Answer())
        return str(write_voice(self.folder / name))

    def snapshot_download(self, repo: str, *, local_files_only: bool) -> str:
        assert local_files_only
        if not self.folder.is_dir():
            raise errors.LocalEntryNotFoundError("nothing cached")
        return str(self.folder)

    def list_repo_files(self, repo: str) -> list[str]:
        self._reach()
        return self.files

    def _reach(self) -> None:
        if not self.reachable:
            raise errors.OfflineModeIsEnabled("offline")


class _Answer:
    """What the Hub's errors want to know of a response."""

    headers: dict[str, str] = {}  # noqa: RUF012
    request = None
    status_code = 404
    text = ""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(runtime_hub, "is_reachable", lambda: made.reachable)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "list_repo_files", lambda _, repo: made.list_repo_files(repo)
    )
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return speaking_bundle(tmp_path / "bundle")


@pytest.fixture
def voices(bundle: Bundle, hub: Hub) -> Voices:
    return Voices(bundle)


def refused(voices: Voices, name: str) -> str:
    with pytest.raises((UsageError, ModelError)) as caught:
        voices.find(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_of_ones_own_goes_first(voices: Voices, tmp_path: Path, hub: Hub) -> None:
    path = write_voice(tmp_path / f"me.wav{SUFFIX}")
    for name in (path, str(path), f"file://{path}", str(tmp_path / "me.wav")):
        assert voices.find(name) == path
    assert hub.asked == []


def test_the_bundles_own_go_before_the_hub(bundle: Bundle, voices: Voices, hub: Hub) -> None:
    path = write_voice(bundle.path / "voices" / "vctk" / f"p225.wav{SUFFIX}")
    assert voices.find("vctk/p225.wav") == path
    assert hub.asked == []


def test_a_name_is_looked_up_with_the_models_suffix(voices: Voices, hub: Hub) -> None:
    assert voices.find("a.wav") == hub.folder / f"a.wav{SUFFIX}"
    assert hub.asked == [f"kyutai/tts-voices/a.wav{SUFFIX}"]


def test_a_voice_of_another_repository(voices: Voices, hub: Hub) -> None:
    voices.find("hf://me/voices/vctk/p225.wav")
    assert hub.asked == [f"me/voices/vctk/p225.wav{SUFFIX}"]


def test_a_model_that_takes_recordings_gets_them(tmp_path: Path, hub: Hub) -> None:
    voices = Voices(speaking_bundle(tmp_path / "cloning", embeddings=False))
    assert voices.find("a.wav").name == "a.wav"
    assert {voice.name for voice in voices.listed()[0]} == set(PUBLISHED[1:])
    assert voices.default is None


@pytest.mark.parametrize(
    ("name", "near"),
    [("vctk/p222.wav", "vctk/p22"), ("p225", "vctk/p225.wav"), ("hapy", "expresso/happy.wav")],
)
def test_an_unknown_voice_is_reported_near_names(voices: Voices, name: str, near: str) -> None:
    message = refused(voices, name)
    assert f"no voice {name} " in message
    assert near in message


def test_where_nothing_is_near_it_says_how_to_find_one(voices: Voices) -> None:
    assert "voices list" in refused(voices, "zzzzzzzzzz")


def test_a_file_that_is_not_there_is_no_name(voices: Voices, tmp_path: Path, hub: Hub) -> None:
    for name in (f"{tmp_path}/me.wav", "file://me.wav", "kept.npz"):
        assert "no such file" in refused(voices, name)
    assert hub.asked == []


def test_a_path_does_not_leave_the_folder_of_voices(
    bundle: Bundle, voices: Voices, hub: Hub
) -> None:
    write_voice(bundle.path / f"out.wav{SUFFIX}")
    (bundle.path / "voices").mkdir()
    for name in ("../out.wav", "a/../../out.wav", "hf://me/voices/../../out.wav", "C:\\out.wav"):
        assert "no voice" in refused(voices, name)
    assert "no voice" in refused(voices, "out" * 2000)
    assert hub.asked == []


def test_a_link_of_the_hubs_cache_is_a_voice_of_the_bundle(
    bundle: Bundle, voices: Voices, hub: Hub
) -> None:
    blob = write_voice(bundle.path.parent / "blobs" / f"blob{SUFFIX}")
    (bundle.path / "voices").mkdir()
    path = bundle.path / "voices" / f"out.wav{SUFFIX}"
    path.symlink_to(blob)
    assert voices.find("out.wav") == path
    assert hub.asked == []


def test_without_the_hub_the_rest_is_listed_and_why(
    bundle: Bundle, voices: Voices, hub: Hub
) -> None:
    write_voice(bundle.path / "voices" / f"mine.wav{SUFFIX}")
    write_voice(hub.folder / f"a.wav{SUFFIX}")
    hub.reachable = False
    found, reason = voices.listed()
    assert found == [ListedVoice("a.wav", "cache"), ListedVoice("mine.wav", "bundle")]
    assert reason is not None
    message = refused(voices, "mine.waw")
    assert "mine.wav" in message


def test_each_voice_is_listed_where_it_is_nearest(bundle: Bundle, voices: Voices, hub: Hub) -> None:
    write_voice(bundle.path / "voices" / f"a.wav{SUFFIX}")
    write_voice(hub.folder / "vctk" / f"p225.wav{SUFFIX}")
    found, reason = voices.listed()
    places = {voice.name: voice.place for voice in found}
    assert reason is None
    assert places == {
        "a.wav": "bundle",
        "vctk/p225.wav": "cache",
        "vctk/p226.wav": "hub",
        "expresso/happy.wav": "hub",
    }


def test_the_default_is_kyutais_unless_the_bundle_has_its_own(
    bundle: Bundle, voices: Voices
) -> None:
    assert voices.default == DEFAULT_VOICE
    write_voice(bundle.path / "voices" / f"mine.wav{SUFFIX}")
    assert voices.default == "mine.wav"
    write_voice(bundle.path / "voices" / f"{DEFAULT_VOICE}{SUFFIX}")
    assert voices.default == DEFAULT_VOICE


def read(path: Path) -> np.ndarray:
    return read_embedding(path, FRAMES, DIM, SUFFIX)


def test_an_embedding_is_read_by_frames(tmp_path: Path) -> None:
    vectors = np.arange(FRAMES * DIM, dtype=np.float32).reshape(1, DIM, FRAMES)
    save_file({"speaker_wavs": vectors}, tmp_path / "voice.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "voice.safetensors"), vectors[0].T)


def test_a_recording_cannot_be_cloned_and_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"never published.*tts-0\.75b-en-public"):
        read(tmp_path / "me.wav")


def test_a_voice_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another model"):
        read(write_voice(tmp_path / "a.wav.deadbeef@7.safetensors"))


@pytest.mark.parametrize(
    "shape", [(1, DIM, FRAMES + 1), (1, FRAMES, DIM), (2, DIM, FRAMES), (DIM, FRAMES)]
)
def test_a_voice_of_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="expected"):
        read(write_voice(tmp_path / f"a{SUFFIX}", shape=shape))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_that_holds_no_voice_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"a{SUFFIX}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"not a voice|holds nothing"):
        read(path)


def test_a_voice_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not finite"):
        read(write_voice(tmp_path / f"a{SUFFIX}", float("nan")))
