"""Whose voice a text is spoken in: embeddings, recordings, and voices kept ready, on a toy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.speaking import CFG, CODEBOOKS, SUFFIX, TEXT, WORDS, write_voice
from support.speech import Array, hiss, write_wav

from kyutai_onnx.models import Audio, Event, SpeechRequest, TextToSpeech, Word
from kyutai_onnx.models.batch import Batch, Row
from kyutai_onnx.models.lm.depth import DepthTransformer
from kyutai_onnx.models.options import SpeechOptions
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.runtime.state_file import write_state


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "me.wav", 20 * hiss(0.5))


def sound(events: list[Event]) -> Array:
    return np.concatenate([np.empty(0), *(e.pcm for e in events if isinstance(e, Audio))])


def test_voices_are_transcribed(embedded: TextToSpeech, tmp_path: Path) -> None:
    one = write_voice(tmp_path / f"one.wav{SUFFIX}", 3.0)
    two = write_voice(tmp_path / f"two.wav{SUFFIX}", 5.0)
    choices = [[one], [two], [one, two], [two, one], []]
    made = [embedded.speak(TEXT, voice, temperature=0.0).audio_tokens for voice in choices]
    assert len({codes.tobytes() for codes in made}) == 4  # the toy adds the two voices up
    with pytest.raises(UsageError, match="2 at most"):
        embedded.speak(TEXT, [one, one, one])


def test_the_table_of_coefficients_is_listed(embedded: TextToSpeech) -> None:
    low, high, default = (
        embedded.speak(TEXT, cfg_coef=c, temperature=0.0).audio_tokens.tobytes()
        for c in (1, 2.0, None)
    )
    assert low != high == default
    with pytest.raises(UsageError, match=", ".join(CFG)):
        embedded.speak(TEXT, cfg_coef=1.7)


def test_a_recording_is_a_voice_and_is_cut_away(cloning: TextToSpeech, recording: Path) -> None:
    speech = cloning.speak(TEXT, recording, temperature=0.0)
    plain = cloning.speak(TEXT, temperature=0.0)
    prefix = cloning.mimi.encode(recording, CODEBOOKS)[:, :-2]
    start = cloning.delay_steps
    np.testing.assert_array_equal(speech.audio_tokens[:, start : start + prefix.shape[1]], prefix)
    assert (speech.text_tokens[: prefix.shape[1]] == -1).all()
    assert [word.text for word in speech.words] == WORDS
    assert speech.words[0].start >= 2 / 12.5
    assert speech.duration == pytest.approx(speech.words[-1].end + (4 - 1) / 12.5)
    assert speech.audio_tokens.tobytes() != plain.audio_tokens.tobytes()


def test_guidance_is_true_for_a_recording(cloning: TextToSpeech, recording: Path) -> None:
    made = [
        cloning.speak(TEXT, recording, cfg_coef=c, temperature=0.0).audio_tokens
        for c in (None, 2.0, 1.0)
    ]
    np.testing.assert_array_equal(made[0], made[1])
    assert made[0].shape != made[2].shape or (made[0] != made[2]).any()


def test_a_voice_is_kept_ready(
    embedded: TextToSpeech, cloning: TextToSpeech, recording: Path, tmp_path: Path
) -> None:
    voice = write_voice(tmp_path / f"one.wav{SUFFIX}")
    for model, given in ((embedded, voice), (cloning, recording)):
        stream, path = model.stream(given, temperature=0.0), tmp_path / "kept.npz"
        assert list(stream.events()) == []
        write_state(path, stream.save())
        expected = model.speak(TEXT, given, temperature=0.0)
        kept = model.speak(TEXT, path, temperature=0.0)
        np.testing.assert_array_equal(kept.pcm, expected.pcm)
        assert kept.words == expected.words
        again = model.stream(path, temperature=0.0)
        for _ in range(2):
            np.testing.assert_array_equal(sound([*again.feed(TEXT), *again.flush()]), expected.pcm)
            again.reset()
        with pytest.raises(UsageError, match="its own cfg_coef"):
            model.speak(TEXT, path, cfg_coef=1.0)


def test_a_voice_that_streams_go_on_from_says_the_same(
    cloning: TextToSpeech, recording: Path
) -> None:
    speaker = cloning.load_voice(recording)
    primed = cloning.prime(speaker)
    speech_options = SpeechOptions(seed=4, padding_between=2, initial_padding=5)
    assert cloning.prime(primed) is primed
    batch = cloning.batch(2, guided=speaker.is_guided)
    rows = [batch.join(cloning.task(one, options=speech_options)) for one in (speaker, primed)]
    for _ in range(2):
        (pcm, words), (same_pcm, same_words) = (text_said(batch, row) for row in rows)
        assert words == same_words
        np.testing.assert_array_equal(pcm, same_pcm)
        for row in rows:
            row.reset()
    assert rows[1].task.hooks.step == speaker.prompt.shape[1]
    assert primed.nbytes > speaker.nbytes == speaker.prompt.nbytes


def text_said(batch: Batch[Any], row: Row[Any]) -> tuple[Array, list[Word]]:
    """What a row says of the text, and its words."""
    row.feed(TEXT)
    row.end()
    events = list(batch.run(row))
    return sound(events), [event for event in events if isinstance(event, Word)]


def test_no_code_is_drawn_while_the_voice_is_given(
    cloning: TextToSpeech, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    step = DepthTransformer.step

    def noted(depth: DepthTransformer, *given: Any, **named: Any) -> Array:
        drawn.append(stream.task.hooks.step)
        return step(depth, *given, **named)

    monkeypatch.setattr(DepthTransformer, "step", noted)
    stream = cloning.stream(recording, seed=1)
    stream.feed(TEXT)
    stream.flush()
    prefix = cloning.load_voice(recording).prompt
    assert prefix is not None
    assert min(drawn) == prefix.shape[1] + cloning.delay_steps


def test_a_kept_voice_draws_by_the_seed_that_is_given(
    cloning: TextToSpeech, recording: Path, tmp_path: Path
) -> None:
    stream, path = cloning.stream(recording, seed=1), tmp_path / "kept.npz"
    list(stream.events())
    write_state(path, stream.save())
    made = [cloning.speak(TEXT, path, seed=seed).audio_tokens.tobytes() for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_voices_of_all_kinds_side_by_side(
    cloning: TextToSpeech, recording: Path, tmp_path: Path
) -> None:
    stream, path = cloning.stream(recording), tmp_path / "kept.npz"
    list(stream.events())
    write_state(path, stream.save())
    voices: list[tuple[str, ...]] = [(), (str(recording),), (str(path),)]
    requests = [SpeechRequest((TEXT,), voice) for voice in voices]
    for voice, found in zip(voices, cloning.speak_many(requests, temperature=0.0), strict=True):
        alone = cloning.speak(TEXT, voice, temperature=0.0)
        np.testing.assert_allclose(found.pcm[: len(alone.pcm)], alone.pcm, atol=1e-5)


def test_a_recording_too_short_is_refused(cloning: TextToSpeech, tmp_path: Path) -> None:
    short = write_wav(tmp_path / "short.wav", hiss(0.15))
    with pytest.raises(UsageError, match="too short"):
        cloning.speak(TEXT, short)
    with pytest.raises(UsageError, match="in one alone"):
        cloning.speak(TEXT, [short, short])
