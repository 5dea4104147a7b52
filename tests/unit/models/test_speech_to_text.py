"""Speech to text as a person uses it: the same words however the audio comes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import copy_demo, without_heads
from support.speech import Array, hiss, say_aloud, write_wav

from kyutai_onnx.models import EndOfTurn, Event, Mimi, Pause, SpeechStarted, SpeechToText, Word
from kyutai_onnx.models.batch import Stream, TokenTrace
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.errors import AudioError, ModelError, UsageError
from kyutai_onnx.runtime.graph.batch_state import BatchState
from kyutai_onnx.runtime.state_file import read_state, write_state

CHUNKS = [1, 80, 777, 1920, 24000]


@pytest.fixture(scope="session")
def talk(pcm: Array) -> Array:
    """Speech, a rest and speech again."""
    return np.concatenate([pcm, hiss(2), pcm[: len(pcm) * 2 // 3]])


@pytest.fixture(scope="session")
def events(model: SpeechToText, talk: Array) -> list[Event]:
    found = listen(model.stream(), talk, len(talk))
    assert {type(event) for event in found} == {Word, SpeechStarted, Pause, EndOfTurn}
    return found


def listen(stream: Stream[Any], samples: Array, size: int) -> list[Event]:
    fed = [stream.feed(samples[start : start + size]) for start in range(0, len(samples), size)]
    return [event for part in [*fed, stream.flush()] for event in part]


def test_words_come_in_order_with_their_times(events: list[Event], talk: Array) -> None:
    words = [event for event in events if isinstance(event, Word)]
    assert all(word.text.strip() == word.text != "" for word in words)
    starts = [word.start for word in words]
    assert starts == sorted(starts)
    assert all(0 <= word.start <= word.end <= len(talk) / 24000 + 1.5 for word in words)


@pytest.mark.parametrize("size", CHUNKS)
def test_chunks_of_any_size_give_the_same_events(
    model: SpeechToText, talk: Array, events: list[Event], size: int
) -> None:
    short = talk[:24_000] if size == 1 else talk
    expected = listen(model.stream(), short, len(short)) if size == 1 else events
    assert listen(model.stream(), short, size) == expected


def test_chunks_of_mixed_sizes_give_the_same_events(
    model: SpeechToText, talk: Array, events: list[Event]
) -> None:
    noise, stream, start = np.random.default_rng(0), model.stream(), 0
    found: list[Event] = []
    while start < len(talk):
        size = int(noise.choice([0, 1, 100, 1919, 1921, 5000]))
        found += stream.feed(talk[start : start + size])
        start += size
    assert [*found, *stream.flush()] == events


def test_words_come_while_there_is_more_audio(model: SpeechToText, talk: Array) -> None:
    stream = model.stream()
    early = [event for event in stream.feed(talk) if isinstance(event, Word)]
    late = [event for event in stream.flush() if isinstance(event, Word)]
    assert early
    assert late


def test_transcribing_takes_files_and_samples(
    model: SpeechToText, speech: Path, pcm: Array, words: list[Word]
) -> None:
    assert list(model.transcribe(speech)) == list(model.transcribe(pcm)) == words


def test_transcribing_takes_one_channel(
    model: SpeechToText, pcm: Array, words: list[Word], tmp_path: Path
) -> None:
    both = write_wav(tmp_path / "both.wav", np.stack([hiss(9)[: len(pcm)], pcm], axis=1))
    assert list(model.transcribe(both, channel=1)) == words


def test_words_before_a_fault_come_before_the_error(
    model: SpeechToText, pcm: Array, words: list[Word], tmp_path: Path
) -> None:
    broken = np.concatenate([pcm, [np.nan], pcm])
    found: list[Word] = []
    with pytest.raises(AudioError, match="NaN"):
        found.extend(model.transcribe(write_wav(tmp_path / "bad.wav", broken, subtype="FLOAT")))
    assert found == words


@pytest.mark.parametrize("cut", [0, 1, 1919, 24_000, 50_001])
def test_a_saved_stream_goes_on(
    model: SpeechToText, talk: Array, events: list[Event], cut: int
) -> None:
    first, second = model.stream(), model.stream()
    second.feed(hiss(1))
    found = first.feed(talk[:cut])
    second.load(first.save())
    assert [*found, *listen(second, talk[cut:], 10_000)] == events


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "seed": 3}, {"prompt": "two"}])
def test_a_stream_goes_on_from_a_file(
    model: SpeechToText, talk: Array, tmp_path: Path, options: dict[str, Any]
) -> None:
    expected = listen(model.stream(**options), talk, 10_000)
    first, second = model.stream(**options), model.stream(**options)
    found = first.feed(talk[:37_777])
    write_state(tmp_path / "state.npz", first.save())
    second.load(read_state(tmp_path / "state.npz"))
    assert [*found, *listen(second, talk[37_777:], 10_000)] == expected


def test_saving_does_not_disturb_a_stream(
    model: SpeechToText, talk: Array, events: list[Event]
) -> None:
    stream = model.stream()
    found = first = stream.feed(talk[:9999])
    kept = stream.save()
    for start in range(9999, len(talk), 9999):
        found = [*found, *stream.feed(talk[start : start + 9999])]
        stream.save()
    assert [*found, *stream.flush()] == events
    again = model.stream()
    again.load(kept)
    assert [*first, *listen(again, talk[9999:], 24_000)] == events


def test_a_stream_that_was_reset_is_a_new_one(
    model: SpeechToText, talk: Array, events: list[Event]
) -> None:
    stream = model.stream()
    stream.feed(talk[:33_333])
    stream.reset()
    assert listen(stream, talk, 24_000) == events
    stream.reset()
    assert listen(stream, talk, 24_000) == events


def test_a_reset_begins_the_prompt_and_the_draws_again(model: SpeechToText, pcm: Array) -> None:
    recognized = TokenTrace()
    stream = model.stream(prompt="two", temperature=2.0, seed=1, trace=recognized)
    listen(stream, pcm, 24_000)
    first, recognized.text = recognized.text, []
    stream.reset()
    listen(stream, pcm, 24_000)
    assert recognized.text == first


def test_a_saved_stream_of_another_model_is_refused(model: SpeechToText, tmp_path: Path) -> None:
    folder = copy_demo(tmp_path / "other", lambda m: m["source"].update(repository="another/one"))
    other = SpeechToText.load(folder)
    with pytest.raises(UsageError, match="not from the weights"):
        other.stream().load(model.stream().save())


def test_two_threads_transcribe_what_one_does(
    model: SpeechToText, talk: Array, events: list[Event]
) -> None:
    reverse = np.ascontiguousarray(talk[::-1])
    expected = [events, listen(model.stream(), reverse, 5000)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(listen, model.stream(), pcm, 5000) for pcm in (talk, reverse)]
        assert [job.result() for job in jobs] == expected
    assert expected[0] != expected[1]


def test_a_model_is_shared_by_many_threads(speech: Path, words: list[Word]) -> None:
    fresh = SpeechToText.load()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: list(fresh.transcribe(speech)), range(8))) == [words] * 8


def test_draws_repeat_with_a_seed(model: SpeechToText, pcm: Array) -> None:
    def tokens(seed: int | None) -> Sequence[int]:
        recognized = TokenTrace()
        listen(model.stream(temperature=2.5, seed=seed, trace=recognized), pcm, 24_000)
        return recognized.text

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)
    assert tokens(None) != tokens(None)


def test_nothing_is_said_before_the_prompt_is(model: SpeechToText, pcm: Array) -> None:
    recognized = TokenTrace()
    stream = model.stream(prompt="two three four", trace=recognized)
    listen(stream, np.concatenate([pcm, pcm]), 24_000)
    padding = model.bundle.manifest.lm.tokens.text_padding
    said = [token for token in recognized.text if token > padding]
    prompt = model.tokenizer.encode("two three four")
    rest = stream.save()["prompt"]
    assert said[: len(prompt)] == prompt[: len(said)] != []
    assert rest == prompt[len(said) :]


def test_what_was_received_is_a_column_and_a_token_a_frame(
    model: SpeechToText, talk: Array, mimi: Mimi
) -> None:
    recognized = TokenTrace()
    listen(model.stream(trace=recognized), talk, 3333)
    lead = int(model.bundle.manifest.stt.audio_silence_prefix_seconds * mimi.sample_rate)
    frames = (lead + len(talk)) // mimi.frame_size
    assert len(recognized.text) == len(recognized.codes) > frames
    expected = mimi.encode(np.pad(talk, (lead, 0)))[:, :frames]
    np.testing.assert_array_equal(np.array(recognized.codes).T[:, :frames], expected)


def test_the_first_frame_is_given_twice(model: SpeechToText, pcm: Array, mimi: Mimi) -> None:
    """The model reads its initial tokens, then each frame with the token that it made before."""
    lm = model.bundle.manifest.lm
    assert not any(lm.delays)
    lead = int(model.bundle.manifest.stt.audio_silence_prefix_seconds * mimi.sample_rate)
    recognized, rows = TokenTrace(), BatchState(model.language_model.temporal)
    stream = model.stream(temperature=0, trace=recognized)
    stream.feed(pcm)
    initial = [lm.tokens.text_initial, *[lm.tokens.audio_initial] * lm.n_q]
    token = int(rows.step({"tokens": np.array([initial])})["text_logits"].argmax())
    made = []
    for codes in mimi.encode(np.pad(pcm, (lead, 0)))[: lm.n_q].T[: len(recognized.text)]:
        token = int(rows.step({"tokens": np.array([[token, *codes]])})["text_logits"].argmax())
        made.append(token)
    assert recognized.text == made
    for name, state in stream.save()["language_model"]["transformer"].items():
        np.testing.assert_array_equal(state, rows.save(0)[name])


def test_a_partial_word_is_shown_before_it_is_reported(
    model: SpeechToText, pcm: Array, words: list[Word]
) -> None:
    stream, seen = model.stream(), set()
    for start in range(0, len(pcm), 1920):
        stream.feed(pcm[start : start + 1920])
        seen.add(stream.task.partial)
    assert all(any(word.text in partial for partial in seen) for word in words[:-1])


def test_a_model_without_heads_reports_words_alone(
    tmp_path: Path, talk: Array, events: list[Event]
) -> None:
    model = SpeechToText.load(without_heads(tmp_path / "bundle"))
    assert not model.has_pauses
    found = listen(model.stream(), talk, 24_000)
    assert found == [event for event in events if isinstance(event, Word)]


def test_silence_of_minutes_leaves_no_trace(model: SpeechToText, pcm: Array) -> None:
    def size(state: dict[str, Any]) -> int:
        return sum(size(v) if isinstance(v, dict) else np.size(v) for v in state.values())

    stream = model.stream()
    stream.feed(pcm)
    silence = np.zeros(24_000 * 12, np.float32)
    stream.feed(silence)
    full = size(stream.save())
    for _ in range(6):
        stream.feed(silence)
    assert abs(size(stream.save()) - full) < 10


def test_another_family_is_refused(tmp_path: Path) -> None:
    folder = copy_demo(tmp_path / "bundle", lambda manifest: manifest.update(family="mimi"))
    with pytest.raises(ModelError, match=r"model of mimi .* stt "):
        SpeechToText.load(folder)
    assert Mimi.load(folder).sample_rate == 24000


@pytest.mark.parametrize("text", ["turn off the kitchen light", "the number is four two seven"])
def test_the_demo_transcribes_what_was_never_recorded(
    text: str, model: SpeechToText, tmp_path: Path
) -> None:
    spoken = say_aloud(tmp_path / "spoken.wav", text)
    assert [word.text for word in model.transcribe(spoken)] == text.split()


@pytest.mark.parametrize("audio", ["alarm.wav", "shopping.flac", "train.flac"])
def test_the_demo_understands_what_its_codec_decodes(
    audio: str, model: SpeechToText, mimi: Mimi
) -> None:
    recording = DEMO / "samples" / audio
    decoded = mimi.decode(mimi.encode(recording))
    recognized, right = ([w.text for w in model.transcribe(a)] for a in (decoded, recording))
    assert recognized == right


def test_a_fork_goes_its_own_way(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream(prompt="two", watchdog=10.0)
    begun = stream.feed(pcm[:30_000])
    fork = stream.fork()
    left, right = stream.feed(pcm[30_000:]) + stream.flush(), fork.feed(pcm[40_000:]) + fork.flush()
    whole, short = (model.stream(prompt="two", watchdog=10.0) for _ in range(2))
    assert begun + left == whole.feed(pcm) + whole.flush()
    spliced = np.concatenate([pcm[:30_000], pcm[40_000:]])
    assert begun + right == short.feed(spliced) + short.flush()
    assert left != right


def test_a_row_forks_into_another_of_its_batch(model: SpeechToText, pcm: Array) -> None:
    batch = model.batch(2)
    row = batch.join(model.task())
    row.feed(pcm)
    for _ in range(10):
        batch.step()
    early = row.events()
    fork = row.fork()
    for one in (row, fork):
        one.end()
    while batch.step():
        pass
    late = row.events()
    assert late == fork.events() != []
    stream = model.stream()
    assert early + late == stream.feed(pcm) + stream.flush()
    with pytest.raises(UsageError, match="all 2 rows are taken"):
        row.fork()


def test_a_closed_stream_finds_the_last_word_alone(model: SpeechToText, pcm: Array) -> None:
    stream = model.stream()
    events = stream.feed(pcm[: len(pcm) // 2])
    partial = stream.task.partial
    assert [word.text for word in stream.close() if isinstance(word, Word)] == partial.split()
    assert list(stream.events()) == stream.flush() == []
    with pytest.raises(UsageError, match="has ended"):
        stream.feed(pcm)
    assert events


def test_confidences_are_probabilities_of_the_scores_that_no_temperature_bends(
    model: SpeechToText, pcm: Array
) -> None:
    """Beside a softmax of all scores of every step, written out plainly."""
    stream, steps = model.stream(trace=(trace := TokenTrace())), []
    step = stream.task.on_step

    def noted(output: Any, index: int) -> Any:
        scores = output.scores[index].astype(np.float64)
        steps.append(np.exp(scores) / np.exp(scores).sum())
        return step(output, index)

    stream.task.on_step = noted  # type: ignore[method-assign]
    words = [event for event in stream.feed(pcm) + stream.flush() if isinstance(event, Word)]
    chances = [
        step[token] for step, token in zip(steps[-len(trace.text) :], trace.text, strict=True)
    ]
    tokens = model.bundle.manifest.lm.tokens
    expected: list[float] = []
    for token, chance in zip(trace.text, chances, strict=True):
        if token > tokens.text_padding:
            begins = model.tokenizer.id_to_piece(token).startswith("\N{LOWER ONE EIGHTH BLOCK}")
            expected += [1.0] if begins else []
            expected[-1] *= chance
    assert [word.confidence for word in words] == pytest.approx(expected, abs=6e-4)
    hot = list(model.transcribe(pcm, temperature=0.2, seed=1))
    assert [word.text for word in hot] == [word.text for word in words]
    assert [word.confidence for word in hot] == pytest.approx(expected, abs=6e-4)
    assert 0 < min(expected) < 0.999
