"""Which device a person means, and the error if there is none or more than one."""

import subprocess
import sys

import pytest

from kyutai_onnx.runtime.audio.live.devices import Device, choose_device
from kyutai_onnx.runtime.audio.live.sound_card import SoundCard
from kyutai_onnx.runtime.errors import AudioError, UsageError

BUILT_IN = Device(0, "MacBook Air Microphone", "Core Audio", 1, 0, 48000, ("input",))
SPEAKERS = Device(1, "MacBook Air Speakers", "Core Audio", 0, 2, 48000, ("output",))
HEADSET = Device(2, "Été Headset", "Core Audio", 1, 2, 44100)
MAC = [BUILT_IN, SPEAKERS, HEADSET]
WINDOWS = [
    Device(0, "Headset (USB)", "MME", 1, 0, 44100, ("input",)),
    Device(1, "Headset (USB)", "Windows DirectSound", 1, 0, 44100, ("input",)),
    Device(2, "Headset (USB)", "Windows WASAPI", 1, 0, 48000),
    Device(3, "Array (Realtek)", "Windows WASAPI", 2, 0, 48000, ("input",)),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("0", BUILT_IN),
        ("2", HEADSET),
        ("macbook", BUILT_IN),
        ("HEADSET", HEADSET),
        ("éTÉ", HEADSET),
        (None, BUILT_IN),
    ],
)
def test_a_microphone_by_number_or_part_of_its_name(wanted: str | None, expected: Device) -> None:
    assert choose_device(MAC, wanted, "input") == expected


def test_a_name_counts_in_its_direction_alone() -> None:
    assert choose_device(MAC, "macbook", "output") == SPEAKERS
    with pytest.raises(AudioError, match="no input device '1'"):
        choose_device(MAC, "1", "input")


def test_several_matches_are_listed() -> None:
    with pytest.raises(UsageError) as caught:
        choose_device(MAC, "e", "input")
    assert "several input devices: 0 MacBook Air Microphone, 2 Été Headset" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_whole_name_is_more_than_a_part() -> None:
    both = [Device(0, "pulse", "ALSA", 2, 2, 44100), Device(1, "pulse 2", "ALSA", 2, 2, 44100)]
    assert choose_device(both, "Pulse", "input") == both[0]


def test_where_none_matches_those_that_are_there_are_listed() -> None:
    with pytest.raises(AudioError) as caught:
        choose_device(MAC, "zoom", "input")
    assert "there are 0 MacBook Air Microphone, 2 Été Headset" in str(caught.value)
    assert "--list-devices" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_machine_without_any_says_so() -> None:
    with pytest.raises(AudioError, match="no output device"):
        choose_device([], None, "output")
    with pytest.raises(AudioError, match=r"no microphone .* 1 MacBook"):
        choose_device([SPEAKERS], "anything", "input")


def test_without_a_default_the_choice_is_left_to_the_user() -> None:
    with pytest.raises(AudioError, match="'--output-device'"):
        choose_device([HEADSET], None, "output")


def test_of_one_device_in_several_host_apis_the_best_is_taken() -> None:
    assert choose_device(WINDOWS, "headset", "input") == WINDOWS[2]
    assert choose_device(WINDOWS, "0", "input") == WINDOWS[0]
    assert choose_device(WINDOWS, None, "input") == WINDOWS[3]


WITHOUT = """
import sys
sys.modules["sounddevice"] = None
from kyutai_onnx.cli.main import run
raise SystemExit(run(["stream", "--list-devices"]))
"""


def test_without_sounddevice_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"kyutai-onnx\[audio\]"):
        SoundCard()


def test_without_sounddevice_the_command_reports_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("error: sounddevice ")
    assert "'pip install \"kyutai-onnx[audio]\"'" in done.stderr
    assert done.stderr.count("\n") == 1
