"""`transcribe`: several files, standard input, channels, prompts, pauses, sampling and dumps."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.bundles import without_heads
from support.commands import Command
from support.npz import arrays
from support.speech import Array, hiss, wav_bytes, write_wav

from kyutai_onnx.models import SpeechToText, Word


@pytest.fixture
def pair(speech: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The speech, and a file in which nothing is said."""
    return speech, write_wav(tmp_path / "quiet.wav", hiss(1) * 0)


def test_several_texts_are_named(command: Command, pair: tuple[Path, Path], text: str) -> None:
    done = command("transcribe", *pair)
    assert (done.code, done.out) == (0, f"{pair[0]}: {text}\n{pair[1]}:\n")


def test_several_as_json_are_one_document(
    command: Command, pair: tuple[Path, Path], text: str
) -> None:
    first, second = json.loads(command("transcribe", *pair, "-f", "json").out)
    assert [first["file"], second["file"]] == list(map(str, pair))
    assert [first["text"], second["text"]] == [text, ""]


def test_several_as_jsonl_are_a_line_each(
    command: Command, pair: tuple[Path, Path], text: str
) -> None:
    lines = command("transcribe", *pair, "-f", "jsonl").out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [text, ""]


def test_several_as_tsv_are_one_table(
    command: Command, speech: Path, pair: tuple[Path, Path], text: str
) -> None:
    head, *rows = command("transcribe", speech, speech, pair[1], "-f", "tsv").out.splitlines()
    assert head == "file\tstart\tend\ttext"
    assert [row.split("\t")[::3] for row in rows] == [[str(speech), text]] * 2


@pytest.mark.parametrize("kind", ["srt", "vtt", "html"])
def test_several_subtitles_need_a_folder(
    command: Command, pair: tuple[Path, Path], kind: str
) -> None:
    done = command("transcribe", *pair, "-f", kind)
    assert (done.code, done.out) == (2, "")
    assert "-o FOLDER" in done.error


def test_several_go_to_a_folder_that_is_made_if_its_name_says_so(
    command: Command, pair: tuple[Path, Path], tmp_path: Path, text: str
) -> None:
    done = command("transcribe", *pair, "-o", f"{tmp_path / 'new' / 'folder'}/", "-f", "vtt")
    assert (done.code, done.out) == (0, "")
    made = sorted((tmp_path / "new" / "folder").iterdir())
    assert [path.name for path in made] == ["quiet.vtt", "speech.vtt"]
    assert text.split()[0] in made[1].read_text("utf-8")


@pytest.mark.parametrize("name", ["taken", "missing", "words.srt"])
def test_several_do_not_go_to_a_file_or_a_missing_folder(
    command: Command, pair: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    (tmp_path / "taken").touch()
    before = sorted(tmp_path.iterdir())
    done = command("transcribe", *pair, "-o", tmp_path / name)
    assert done.code == 2
    assert "folder" in done.error
    assert sorted(tmp_path.iterdir()) == before


def test_two_files_of_one_name_do_not_overwrite_each_other(
    command: Command, speech: Path, tmp_path: Path
) -> None:
    done = command("transcribe", speech, tmp_path / "speech.mp3", "-o", tmp_path)
    assert done.code == 2
    assert "speech.txt" in done.error


def test_a_file_that_fails_does_not_keep_the_others(
    command: Command, pair: tuple[Path, Path], tmp_path: Path, text: str
) -> None:
    missing = tmp_path / "missing.wav"
    done = command("transcribe", missing, pair[0], pair[1], "-q")
    assert done.code == 4
    assert done.out == f"{pair[0]}: {text}\n{pair[1]}:\n"
    assert "missing.wav" in done.error


def test_a_dash_is_standard_input(
    command: Command, pcm: Array, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(wav_bytes(pcm))))
    assert command("transcribe", "-").out == text + "\n"


def test_standard_input_in_a_folder_is_called_stdin(
    command: Command, pcm: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(wav_bytes(pcm))))
    assert command("transcribe", "-", "-o", tmp_path, "-f", "json").code == 0
    assert json.loads((tmp_path / "stdin.json").read_text())["file"] == "-"


def test_a_channel_is_picked(command: Command, pcm: Array, tmp_path: Path, text: str) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, len(pcm))
    both = write_wav(tmp_path / "both.wav", np.stack([noise, pcm], axis=1))
    assert command("transcribe", both, "--channel", 1).out == text + "\n"
    assert command("transcribe", both).out != text + "\n"


def test_a_channel_that_is_not_there_is_refused(command: Command, speech: Path) -> None:
    done = command("transcribe", speech, "--channel", 1, "-q")
    assert (done.code, done.out) == (2, "")
    assert "no channel 1" in done.error


def test_a_text_prompt_is_said_first(
    command: Command, speech: Path, model: SpeechToText, tmp_path: Path, words: list[Word]
) -> None:
    dump = tmp_path / "dump.npz"
    prompt = next(word.text for word in words if word.text != words[0].text)
    done = command("transcribe", speech, "--prompt-text", prompt, "--dump-tokens", dump)
    assert done.code == 0
    padding = model.bundle.manifest.lm.tokens.text_padding
    said = [int(token) for token in arrays(dump)["text"] if token > padding]
    expected = model.tokenizer.encode(prompt)
    assert said[: len(expected)] == expected[: len(said)] != []


def test_a_text_prompt_that_cannot_be_spelled_is_refused(command: Command, speech: Path) -> None:
    done = command("transcribe", speech, "--prompt-text", "漢字", "-q")
    assert done.code == 2
    assert "漢字" in done.error


def test_an_audio_prompt_is_transcribed_before_the_file(
    command: Command, speech: Path, pcm: Array, model: SpeechToText
) -> None:
    asked = ("transcribe", speech, "--prompt-audio", speech, "-f", "json")
    whole, cut = (json.loads(command(*asked, *more).out) for more in ((), ("--cut-prompt",)))
    prompted = len(whole["words"]) - len(cut["words"])
    assert prompted > 0
    assert len(cut["words"]) > 0
    assert [w["text"] for w in whole["words"]][prompted:] == [w["text"] for w in cut["words"]]
    shift = (-(-len(pcm) // model.frame_size) + 10) / model.frame_rate
    expected = [max(0.0, word["start"] - shift) for word in whole["words"][prompted:]]
    assert [word["start"] for word in cut["words"]] == pytest.approx(expected, abs=0.002)
    pauses = [pause["time"] - shift for pause in whole["pauses"] if pause["time"] >= shift]
    assert [pause["time"] for pause in cut["pauses"]] == pytest.approx(pauses, abs=0.002)
    assert whole["duration"] == cut["duration"] == pytest.approx(len(pcm) / 24000, abs=0.001)


def test_an_audio_prompt_is_cut_only_if_there_is_one(command: Command, speech: Path) -> None:
    done = command("transcribe", speech, "--cut-prompt")
    assert done.code == 2
    assert "--prompt-audio" in done.error


def test_an_audio_prompt_that_is_missing_is_an_audio_error(command: Command, speech: Path) -> None:
    done = command("transcribe", speech, "--prompt-audio", "nowhere.wav", "-q")
    assert (done.code, done.out) == (4, "")
    assert "nowhere.wav" in done.error


@pytest.fixture
def paused(pcm: Array, tmp_path: Path) -> Path:
    """The speech, two seconds of rest, and the speech again."""
    return write_wav(tmp_path / "paused.wav", np.concatenate([pcm, hiss(2), pcm]))


def test_vad_shows_pauses_among_the_words(command: Command, paused: Path, tmp_path: Path) -> None:
    content = json.loads(command("transcribe", paused, "-f", "json").out)
    assert content["pauses"]
    shown = command("transcribe", paused, "--vad", "--timestamps").out.splitlines()
    events = [(word["start"], word["text"]) for word in content["words"]]
    events += [(pause["time"], f"[pause at {pause['time']:.2f} s]") for pause in content["pauses"]]
    expected = [text for _, text in sorted(events)]
    assert [line if "pause" in line else line.split()[-1] for line in shown] == expected
    assert command("transcribe", paused, "--vad").out.count("[pause at") == len(content["pauses"])
    written = tmp_path / "out.txt"
    command("transcribe", paused, "--vad", "--timestamps", "-o", written)
    assert written.read_text().splitlines() == shown


def test_vad_needs_extra_heads(command: Command, speech: Path, tmp_path: Path) -> None:
    bundle = without_heads(tmp_path / "bundle")
    done = command("transcribe", speech, "--vad", "--model", bundle)
    assert (done.code, done.out) == (2, "")
    assert "--extra-heads" in done.error


def test_a_model_without_heads_finds_the_words_and_no_pauses(
    command: Command, paused: Path, tmp_path: Path
) -> None:
    bundle = without_heads(tmp_path / "bundle")
    without, with_heads = (
        json.loads(command("transcribe", paused, "-f", "json", *more).out)
        for more in (("--model", bundle), ())
    )
    assert without["words"] == with_heads["words"]
    assert without["pauses"] == []


def test_dumped_tokens_are_those_of_the_frames(
    command: Command, speech: Path, pcm: Array, model: SpeechToText, tmp_path: Path
) -> None:
    assert command("transcribe", speech, "--dump-tokens", tmp_path / "dump.npz").code == 0
    dump = arrays(tmp_path / "dump.npz")
    assert set(dump) == {"text", "codes", "audio"}
    assert {dump[name].dtype for name in dump} == {np.dtype(np.int64)}
    assert dump["audio"].size == 0
    assert dump["text"].shape == (dump["codes"].shape[1],)
    settings = model.bundle.manifest.stt
    lead = int(settings.audio_silence_prefix_seconds * model.sample_rate)
    tail = int((settings.audio_delay_seconds + 1) * model.sample_rate)
    padded = np.pad(pcm, (lead, tail))
    frames = len(padded) // model.frame_size
    np.testing.assert_array_equal(dump["codes"], model.mimi.encode(padded)[:, :frames])


def test_tokens_of_several_files_are_not_dumped(
    command: Command, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    done = command("transcribe", *pair, "--dump-tokens", tmp_path / "dump.npz")
    assert done.code == 2
    assert "one file" in done.error


def test_a_seed_makes_draws_repeat(command: Command, speech: Path, tmp_path: Path) -> None:
    def tokens(seed: int) -> list[int]:
        dump = tmp_path / "dump.npz"
        hot = ("--temp", 2.5, "--seed", seed)
        assert command("transcribe", speech, *hot, "--dump-tokens", dump).code == 0
        return [int(token) for token in arrays(dump)["text"]]

    first = tokens(1)
    assert first == tokens(1)
    assert first != tokens(2)


def test_a_temperature_of_zero_takes_the_best(command: Command, speech: Path, text: str) -> None:
    assert command("transcribe", speech, "--temp", 0, "--seed", 5).out == text + "\n"


def test_hotwords_are_given_or_read_from_a_file(
    command: Command, speech: Path, text: str, tmp_path: Path
) -> None:
    file = tmp_path / "names.txt"
    file.write_text("# numbers\nsixty:10\n", "utf-8-sig")
    expected = text.replace("six", "sixty")
    for given in ("sixty:10", f"@{file}"):
        assert command("transcribe", speech, "--hotwords", given).out.strip() == expected
    done = command("transcribe", speech, "-q", "--hotwords", f"@{file}", "-o", file)
    assert (done.code, str(file) in done.error) == (2, True)
    assert "sixty" in file.read_text("utf-8")


@pytest.mark.parametrize("given", ["@nowhere.txt", "Kyutai:loud", "Kyutai:99"])
def test_hotwords_that_are_none_are_refused(command: Command, speech: Path, given: str) -> None:
    done = command("transcribe", speech, "-q", "--hotwords", given)
    assert (done.code, done.out) == (2, "")
    assert given.partition(":")[0].removeprefix("@") in done.error
