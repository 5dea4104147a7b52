"""The demos that speak and translate, heard by the demo that listens."""

from pathlib import Path

import jiwer
import pytest
from support.speech import say_aloud, whole

from kyutai_onnx.models import Hibiki, SpeechToText, TextToSpeech

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
