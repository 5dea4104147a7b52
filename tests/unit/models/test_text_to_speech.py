"""Text to speech as a person uses it from Python, on a toy that speaks."""

import random
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support.speaking import CODEBOOKS, TEXT, WORDS, speaking_bundle
from support.speech import Array

from kyutai_onnx.models import Audio, Event, TextToSpeech, Word
from kyutai_onnx.models.batch import TokenTrace
from kyutai_onnx.models.tts.synthesis import SpeechRequest
from kyutai_onnx.runtime.errors import ModelError, UsageError
from kyutai_onnx.runtime.state_file import read_state, write_state


@pytest.fixture(scope="module", params=["embedded", "cloning"])
def model(request: pytest.FixtureRequest) -> TextToSpeech:
    found: TextToSpeech = request.getfixturevalue(request.param)
    return found


def sound(events: list[Event]) -> Array:
    return np.concatenate([np.empty(0), *(e.pcm for e in events if isinstance(e, Audio))])


def words(events: list[Event]) -> list[Word]:
    return [event for event in events if isinstance(event, Word)]


def test_a_seed_makes_speech_repeat(model: TextToSpeech) -> None:
    first, again, other = (model.speak(TEXT, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pcm, again.pcm)
    assert first.words == again.words
    assert len(first.pcm) != len(other.pcm) or (first.pcm != other.pcm).any()


def test_speech_is_sound_with_words_in_their_order(model: TextToSpeech) -> None:
    speech = model.speak(TEXT, seed=1)
    assert speech.pcm.dtype == np.float32
    assert np.abs(speech.pcm).max() <= 1
    assert len(speech.pcm) % model.frame_size == 0
    assert [word.text for word in speech.words] == WORDS
    times = [time for word in speech.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 2 / 12.5  # the initial padding
    assert times[-1] <= speech.duration
    assert speech.duration == pytest.approx(times[-1] + (4 - 1) / 12.5)  # final padding, delay


def test_a_break_ends_the_word_before_it(model: TextToSpeech) -> None:
    found = {word.text: word for word in model.speak(TEXT, seed=1).words}
    assert found["for"].start - found["alarm"].end > 0.39


def test_tokens_have_their_lead_in(model: TextToSpeech) -> None:
    speech = model.speak(TEXT, seed=1)
    frames = len(speech.pcm) // model.frame_size
    assert speech.audio_tokens.shape == (CODEBOOKS, frames + model.delay_steps)
    assert speech.text_tokens.shape == (frames + model.delay_steps,)
    assert (speech.audio_tokens[:, : model.delay_steps] == -1).all()
    assert (speech.audio_tokens[:, model.delay_steps :] >= 0).all()
    decoded = model.mimi.decode(speech.audio_tokens[:, model.delay_steps :])
    np.testing.assert_allclose(speech.pcm, decoded.clip(-1, 1), atol=1e-5)


def test_text_in_pieces_is_spoken_the_same(model: TextToSpeech) -> None:
    whole, draw = model.speak(TEXT, seed=3), random.Random(0)
    for most in (1, 3, 20):
        stream, events, at = model.stream(seed=3), [], 0
        while at < len(TEXT):
            size = draw.randint(1, most)
            events += stream.feed(TEXT[at : at + size])
            at += size
        early = len(sound(events))
        events += stream.flush()
        assert 0 < early < len(whole.pcm)
        np.testing.assert_array_equal(sound(events), whole.pcm)
        assert words(events) == whole.words


def test_one_word_at_a_time_waits_for_those_ahead(embedded: TextToSpeech) -> None:
    trace = TokenTrace()
    stream = embedded.stream(seed=1, trace=trace)
    assert stream.feed("one two ") == []
    begun = len(trace.text)
    stream.feed("three ")
    assert len(trace.text) > begun


def test_texts_side_by_side_are_spoken_as_alone(model: TextToSpeech) -> None:
    texts = ["seven", TEXT, "no <break time='1s'/> yes no"]
    requests = [SpeechRequest((text,)) for text in texts]
    for text, found in zip(texts, model.speak_many(requests, rows=2, seed=5), strict=True):
        alone = model.speak(text, seed=5)
        assert found.words == alone.words
        np.testing.assert_array_equal(found.audio_tokens, alone.audio_tokens)
        np.testing.assert_allclose(found.pcm, alone.pcm, atol=1e-5)


def test_rows_are_filled_in_the_order_of_the_texts(cloning: TextToSpeech) -> None:
    texts = ["one", "two three four", "five", "six", "seven"]
    requests = [SpeechRequest((text,)) for text in texts]
    found = list(cloning.speak_many(requests, rows=2, temperature=0.0))
    assert [" ".join(word.text for word in speech.words) for speech in found] == texts


def test_turns_begin_with_their_speakers(embedded: TextToSpeech, cloning: TextToSpeech) -> None:
    one = embedded.speak(["one two", "three"], temperature=0.0)
    other = embedded.speak(["one two three"], temperature=0.0)
    assert (one.text_tokens % 385 == 2).any()
    assert not (other.text_tokens % 385 == 2).any()
    assert not (cloning.speak(["one two", "three"], temperature=0.0).text_tokens == 2).any()


def test_reset_starts_over(model: TextToSpeech) -> None:
    stream = model.stream(seed=1)
    first = [*stream.feed(TEXT), *stream.flush()]
    stream.reset()
    again = [*stream.feed(TEXT), *stream.flush()]
    np.testing.assert_array_equal(sound(first), sound(again))


def test_a_saved_stream_goes_on_from_a_file(model: TextToSpeech, tmp_path: Path) -> None:
    whole = model.speak(TEXT, seed=1)
    stream, path = model.stream(seed=1), tmp_path / "stream.npz"
    events = stream.feed(TEXT[:21])
    write_state(path, stream.save())
    other = model.stream(seed=9)
    other.load(read_state(path))
    events += [*other.feed(TEXT[21:]), *other.flush()]
    np.testing.assert_array_equal(sound(events), whole.pcm)
    assert words(events) == whole.words


def test_a_fork_goes_its_own_way(model: TextToSpeech) -> None:
    stream = model.stream(temperature=0.0)
    begun = stream.feed("one two three four ")
    fork = stream.fork()
    left, right = [*begun, *stream.flush()], [*begun, *fork.feed("five "), *fork.flush()]
    np.testing.assert_array_equal(sound(left), model.speak("one two three four", temperature=0).pcm)
    np.testing.assert_array_equal(
        sound(right), model.speak("one two three four five", temperature=0).pcm
    )


def test_another_seed_may_go_on(model: TextToSpeech) -> None:
    stream = model.stream(seed=1)
    stream.feed("one two three ")
    made = []
    for seed in (None, 1, 7, 7):
        other = model.stream()
        other.load(stream.save(), seed=seed)
        made.append(sound([*other.feed(TEXT), *other.flush()]).tobytes())
    assert made[2] == made[3]
    assert len(set(made)) == 3


def test_what_was_saved_elsewhere_is_refused(embedded: TextToSpeech, cloning: TextToSpeech) -> None:
    with pytest.raises(UsageError, match="not from the weights"):
        embedded.stream().load({**cloning.stream().save(), "weights": "another"})
    few = TextToSpeech(embedded.bundle, codebooks=2)
    with pytest.raises(UsageError, match="4 codebooks, not with 2"):
        few.stream().load(embedded.stream().save())


def test_fewer_codebooks_are_the_first_ones(embedded: TextToSpeech) -> None:
    few = TextToSpeech(embedded.bundle, codebooks=2).speak(TEXT, temperature=0.0)
    assert few.audio_tokens.shape[0] == 2
    assert np.abs(few.pcm).max() > 0
    with pytest.raises(UsageError, match="1 to 4"):
        TextToSpeech(embedded.bundle, codebooks=5)


@pytest.mark.parametrize("text", ["", "  \n\t", "()"])
def test_nothing_to_say_is_refused(model: TextToSpeech, text: str) -> None:
    with pytest.raises(UsageError, match="nothing to say"):
        model.speak(text)
    stream = model.stream()
    assert [*stream.feed(text), *stream.flush()] == []


def test_text_after_the_end_is_refused(model: TextToSpeech) -> None:
    stream = model.stream(seed=1)
    stream.feed("one two three four")
    stream.flush()
    assert stream.flush() == []
    with pytest.raises(UsageError, match="has ended"):
        stream.feed("five")


@pytest.mark.parametrize(
    "text", ["\N{GRINNING FACE} hello", "\x00\x07 a\x1b[0m", "\ud800 half", "x" * 300, "é" * 50]
)
def test_odd_texts_are_spoken_to_their_end(model: TextToSpeech, text: str) -> None:
    assert len(model.speak(text, seed=1).pcm) > 0


def test_what_cannot_be_spelled_is_reported(model: TextToSpeech) -> None:
    assert model.speak("one 漢字", seed=1).unspelled == ["漢字"]
    as_is = model.speak("one \N{GRINNING FACE}", seed=1, text_form="as-is")
    assert as_is.unspelled == ["\N{GRINNING FACE}"]


def test_a_text_as_people_write_it_is_spoken_as_the_words_it_means(model: TextToSpeech) -> None:
    written = model.speak("**The train** leaves at 9:50. \N{GRINNING FACE}", temperature=0.0)
    words = model.speak("the train leaves at nine fifty", temperature=0.0, text_form="as-is")
    assert [word.text for word in written.words] == [word.text for word in words.words]
    assert np.array_equal(written.pcm, words.pcm)


def test_tags_that_are_left_out_are_named(model: TextToSpeech) -> None:
    speech = model.speak("<prosody rate='slow'>one</prosody> <break time='200ms'/> two", seed=1)
    assert [word.text for word in speech.words] == ["one", "two"]
    assert speech.dropped_tags == ["prosody"]


@pytest.mark.parametrize("text", ["", " \n", "\N{GRINNING FACE}", "**", "<speak></speak>", "---"])
def test_a_text_without_words_is_one_error(model: TextToSpeech, text: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        model.speak(text)


def test_an_hour_of_rest_costs_no_memory(model: TextToSpeech, tmp_path: Path) -> None:
    stream = model.stream(temperature=0.0)
    stream.add('one<break time="3600s"/>two three four five')
    stream.task.next_turn()
    events = stream.events()
    sizes = []
    for _ in range(4):
        assert sum(isinstance(event, Audio) for event in islice(events, 40)) > 30
        write_state(tmp_path / "stream.npz", stream.save())
        sizes.append((tmp_path / "stream.npz").stat().st_size)
    assert max(sizes[1:]) - min(sizes[1:]) < 50  # numbers that grow by a digit


def test_a_bonus_for_paddings_slows_speech(model: TextToSpeech) -> None:
    slow, plain = (model.speak(TEXT, seed=1, padding_bonus=b).duration for b in (2.0, 0.0))
    assert slow > plain


def test_more_padding_between_slows_speech(model: TextToSpeech) -> None:
    slow, plain = (model.speak(TEXT, seed=1, padding_between=p).duration for p in (6, 0))
    assert slow > plain


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"padding_between": -1},
        {"padding_bonus": float("inf")},
        {"top_k": -3},
    ],
)
def test_settings_out_of_range_are_refused(model: TextToSpeech, wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        model.speak("one", **wrong)


def test_two_voices_in_two_streams_are_refused(tmp_path: Path) -> None:
    bundle = speaking_bundle(tmp_path / "bundle", tts={"multistream": True})
    with pytest.raises(ModelError, match="multistream"):
        TextToSpeech(bundle)


def test_a_model_of_another_family_is_refused() -> None:
    from kyutai_onnx.models.resolve import DEMO

    with pytest.raises(ModelError, match=r"tts .* is needed"):
        TextToSpeech.load(DEMO / "stt")


def test_a_model_may_be_shared_by_threads(model: TextToSpeech) -> None:
    texts = {f"one two {word}": np.empty(0) for word in ("three", "four", "five")}

    def speak(text: str) -> None:
        texts[text] = model.speak(text, seed=1).pcm

    threads = [threading.Thread(target=speak, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text, pcm in texts.items():
        np.testing.assert_array_equal(pcm, model.speak(text, seed=1).pcm)
