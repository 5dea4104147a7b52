"""An export appears whole or not at all, whatever ends it."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.toy_codec import Toy

from kyutai_onnx.conversion.filling.atomic_folder import atomic_folder
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.errors import KyutaiOnnxError, UsageError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "models" / "bundle"


def export(
    out: Path, *, force: bool = False, name: str = "made", fail: BaseException | None = None
) -> None:
    """Writes a bundle, or half of one."""
    with atomic_folder(out, force=force) as folder:
        Toy().write(folder)
        (folder / name).write_text("")
        if fail is not None:
            raise fail


def left(out: Path) -> list[str]:
    """What lies where bundles go."""
    return sorted(path.name for path in out.parent.iterdir()) if out.parent.exists() else []


def test_a_bundle_appears_when_it_is_whole(out: Path) -> None:
    with atomic_folder(out, force=False) as folder:
        assert folder.parent == out.parent
        Toy().write(folder)
        assert not out.exists()
    assert Bundle.open(out).manifest.name == "toy"
    assert left(out) == ["bundle"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(1)])
def test_what_ends_an_export_leaves_nothing(error: BaseException, out: Path) -> None:
    with pytest.raises(type(error)):
        export(out, fail=error)
    assert left(out) == []


def test_what_a_killed_export_left_is_cleared_away(out: Path) -> None:
    partial = out.with_name(".bundle.partial")
    partial.mkdir(parents=True)
    (partial / "half").write_text("")
    export(out)
    assert left(out) == ["bundle"]
    assert not (out / "half").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")
def test_two_exports_to_one_folder_are_kept_apart(out: Path) -> None:
    with atomic_folder(out, force=True) as folder:
        Toy().write(folder)
        with pytest.raises(UsageError, match="another export writes"):
            export(out, force=True)
        export(out.with_name("other"))
    assert Bundle.open(out).manifest.name == "toy"
    export(out, force=True, name="second")
    assert left(out) == ["bundle", "other"]


def test_a_bundle_that_appears_meanwhile_is_kept(out: Path) -> None:
    with pytest.raises(UsageError, match="is there already"), atomic_folder(out, force=False):
        Toy().write(out)
    assert Bundle.open(out).manifest.name == "toy"
    assert left(out) == ["bundle"]


def test_a_bundle_that_a_killed_export_moved_away_comes_back(out: Path) -> None:
    export(out, name="first")
    out.rename(out.with_name(".bundle.old"))
    with pytest.raises(UsageError, match="is there already"):
        export(out)
    assert (out / "first").exists()
    assert left(out) == ["bundle"]


KILLED = """
import os, signal, sys
from pathlib import Path
from kyutai_onnx.conversion.filling.atomic_folder import atomic_folder
with atomic_folder(Path(sys.argv[1]), force=True) as folder:
    (folder / "half").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_export_leaves_the_old_bundle_and_the_way_free(out: Path) -> None:
    export(out, name="first")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, timeout=120)
    assert killed.returncode == -9
    assert left(out) == [".bundle.partial", "bundle"]
    assert (out / "first").exists()
    export(out, name="second", force=True)
    assert (out / "second").exists()
    assert left(out) == ["bundle"]


def test_an_existing_bundle_is_kept_unless_forced(out: Path) -> None:
    export(out, name="first")
    with pytest.raises(UsageError, match="is there already; give '--force'"):
        export(out, name="second")
    assert (out / "first").exists()
    export(out, name="third", force=True)
    assert not (out / "first").exists()
    assert (out / "third").exists()
    assert left(out) == ["bundle"]


def test_an_existing_bundle_outlives_a_failed_export(out: Path) -> None:
    export(out, name="first")
    with pytest.raises(KeyboardInterrupt):
        export(out, force=True, fail=KeyboardInterrupt())
    assert (out / "first").exists()
    assert left(out) == ["bundle"]


def test_an_existing_bundle_outlives_a_failed_replacement(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(out, name="first")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(KyutaiOnnxError, match="no space is left"):
        export(out, force=True)
    assert (out / "first").exists()
    assert left(out) == ["bundle"]


def test_force_does_not_remove_what_is_no_bundle(out: Path) -> None:
    out.mkdir(parents=True)
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="other things"):
        export(out, force=True)
    assert (out / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_may_be_replaced_and_a_file_may_not(out: Path) -> None:
    out.mkdir(parents=True)
    export(out, force=True)
    assert Bundle.open(out).manifest.name == "toy"
    shutil.rmtree(out)
    out.write_text("")
    with pytest.raises(UsageError, match="is a file"):
        export(out, force=True)


@pytest.mark.parametrize(
    ("number", "reported"),
    [
        (errno.ENOSPC, "no space is left "),
        (errno.EROFS, "the disk is read-only"),
        (errno.EPERM, "writing "),
        (errno.ENOTDIR, "a part of it "),
        (errno.EACCES, "writing "),
    ],
)
@pytest.mark.parametrize("method", ["write_bytes", "mkdir"])
def test_a_disk_that_takes_nothing_is_reported_in_one_line(
    method: str, number: int, reported: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(KyutaiOnnxError) as refused:
        export(out)
    monkeypatch.undo()
    assert refused.value.exit_code == 1
    assert str(refused.value).startswith(f"{out}: {reported}")
    assert "\n" not in str(refused.value)
    assert left(out) == []


def test_other_errors_of_the_system_are_not_explained_away(out: Path) -> None:
    with pytest.raises(FileNotFoundError):
        export(out, fail=FileNotFoundError(errno.ENOENT, "no such file"))
    assert left(out) == []
