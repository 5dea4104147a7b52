"""The demos that speak and translate, transcribed by the demo of speech to text."""

from pathlib import Path

import jiwer
import pytest
from support.speech import say_aloud, whole

from kyutai_onnx.models import Hibiki, SpeechToText, TextToSpeech
from kyutai_onnx.models.families import SAMPLES
from kyutai_onnx.models.tts.synthesis import SpeechRequest

SENTENCES = (
    "the train to boston leaves at nine fifty",
    "set an alarm at half past six in the evening",
    "remind me to buy coffee on thursday",
    "six hundred and ninety seven",
    "close the garden window",
)
NUMBERS = {
    "quarante-deux": "forty two",
    "cent vingt-trois": "one hundred twenty three",
    "huit cent quatorze": "eight hundred fourteen",
    "deux mille six cent quatre-vingt-un": "two thousand six hundred eighty one",
}


@pytest.fixture(scope="module")
def listener() -> SpeechToText:
    return SpeechToText.load()


def test_the_demo_reads_aloud_what_the_other_one_understands(listener: SpeechToText) -> None:
    speaker = TextToSpeech.load()
    recognized = []
    for sentence in SENTENCES:
        speech = speaker.speak(sentence, seed=1)
        assert [word.text for word in speech.words] == sentence.split()
        recognized.append(" ".join(word.text for word in listener.transcribe(speech.pcm)))
    assert jiwer.wer(list(SENTENCES), recognized) < 0.3, recognized


def test_the_demo_says_french_numbers_in_english(listener: SpeechToText, tmp_path: Path) -> None:
    translator = Hibiki.load()
    written, recognized = [], []
    for number, french in enumerate(NUMBERS):
        audio = whole(say_aloud(tmp_path / f"{number}.wav", french, "fr"))
        said = translator.translate(audio, seed=1)
        assert said.complete
        written.append(said.text)
        recognized.append(" ".join(word.text for word in listener.transcribe(said.pcm)))
    assert jiwer.wer(list(NUMBERS.values()), written) < 0.3, written
    assert jiwer.wer(list(NUMBERS.values()), recognized) < 0.4, recognized


def test_a_french_sample_is_translated() -> None:
    said = Hibiki.load().translate(SAMPLES / "fr" / "deux-mille-vingt-six.flac", seed=1)
    assert said.text == "two thousand twenty six"


WRITTEN = {
    "The train to Boston leaves at 9:50. Turn on the kitchen light.": "the train to boston leaves "
    "at nine fifty turn on the kitchen light",
    "It costs $12. Call Mary tomorrow!": "it costs twelve dollars call mary tomorrow",
    "**Open** the garage door. Set a timer for 10 min.": "open the garage door set a timer for ten "
    "minutes",
    "Add milk and butter to my list. What is the weather in Paris?": "add milk and butter to my "
    "list what is the weather in paris",
    "Set the office to 20°. Play some jazz.": "set the office to twenty degrees play some jazz",
    "Wake me up at 7:30. Good night, John.": "wake me up at seven thirty good night john",
}


def test_two_sentences_in_one_text_are_understood(listener: SpeechToText) -> None:
    requests = [SpeechRequest((text,)) for text in WRITTEN]
    recognized = [
        " ".join(word.text for word in listener.transcribe(speech.pcm))
        for speech in TextToSpeech.load().speak_many(requests, seed=1)
    ]
    assert jiwer.wer(list(WRITTEN.values()), recognized) < 0.3, recognized
