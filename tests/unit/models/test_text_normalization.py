"""Text as people write it, as the words that a model speaks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyutai_onnx.models.families import TEXT_TO_SPEECH
from kyutai_onnx.models.resolve import embedded_demo, open_folder
from kyutai_onnx.models.text.languages import LanguageName
from kyutai_onnx.models.text.normalizer import TextNormalizer
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.runtime.tokenizer import open_tokenizer

ENGLISH = {
    "The train leaves at 9:50, 9:05 and 9:00.": "The train leaves at nine fifty, nine oh five and "
    "nine o'clock.",
    "at 10 am or 10:30pm": "at ten a m or ten thirty p m",
    "On May 3, 2026.": "On May third, twenty twenty-six.",
    "on 3 May 2026": "on May third, twenty twenty-six",
    "on 2026-05-03": "on May third, twenty twenty-six",
    "on 5/3/2026 or 31/12/1999": "on May third, twenty twenty-six or December thirty-first, "
    "nineteen ninety-nine",
    "It costs $5.50 or €20": "It costs five dollars and fifty cents or twenty euros",
    "$5 million and $0.99": "five million dollars and ninety-nine cents",
    "5 km, 1 km, 5kg and 20°C": "five kilometers, one kilometer, five kilograms and twenty degrees "
    "Celsius",
    "50% of 3.14": "fifty percent of three point one four",
    "1,234,567": "one million two hundred thirty-four thousand five hundred sixty-seven",
    "in 1999 with 1999 people": "in nineteen ninety-nine with one thousand nine hundred "
    "ninety-nine people",
    "the 1990s and the 21st": "the nineteen nineties and the twenty-first",
    "an MP3 for 192.168.0.1": "an MP three for one hundred ninety-two point one hundred "
    "sixty-eight point zero point one",
    "call 555-123-4567": "call five five five, one two three, four five six seven",
    "2 + 2 = 4": "two plus two equals four",
    "10-12 or 747-400": "ten to twelve or seven hundred forty-seven-four hundred",
    "3/4 and 2/3": "three quarters and two thirds",
    "-5 and 007": "minus five and zero zero seven",
    "see https://www.example.com/a?b=1.": "see www dot example dot com slash a.",
    "no figures here, (really)": "no figures here, (really)",
}
FRENCH = {
    "Le train part à 9h50, 9:00 ou 21 h.": "Le train part à neuf heures cinquante, neuf heures ou "
    "vingt-et-une heures.",
    "le 1er mai et le 3 mai 2026": "le premier mai et le trois mai deux mille vingt-six",
    "le 03/05/2026": "le trois mai deux mille vingt-six",
    "5,50 € ou 1 €": "cinq euros cinquante ou un euro",
    "5 M€": "cinq millions d'euros",
    "1 234,5 km": "mille deux cent trente-quatre virgule cinq kilomètres",
    "1 heure et 21 pages": "une heure et vingt-et-une pages",
    "71, 80 et 81": "soixante-et-onze, quatre-vingts et quatre-vingt-un",
    "06 12 34 56 78": "zéro six douze trente-quatre cinquante-six soixante-dix-huit",
    "n° 5": "numéro cinq",
}


def read(text: str, language: LanguageName | None = None) -> str:
    normalizer = TextNormalizer(language=language)
    return " ".join((normalizer.feed(text) + normalizer.flush()).split())


@pytest.mark.parametrize(("written", "said"), ENGLISH.items())
def test_english_figures_are_words(written: str, said: str) -> None:
    assert read(written, "en") == said


@pytest.mark.parametrize(("written", "said"), FRENCH.items())
def test_french_figures_are_words(written: str, said: str) -> None:
    assert read(written, "fr") == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("12 pommes rouges et 3 poires.", "douze pommes rouges et trois poires."),
        ("The 3 of us. Nous avons 3 amis.", "The three of us. Nous avons trois amis."),
        ("Il y a 2 ans. There are 2 cats.", "Il y a deux ans. There are two cats."),
        ("12", "twelve"),
    ],
)
def test_the_language_is_found_from_the_text(written: str, said: str) -> None:
    assert read(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("# Title\n\n- **Buy** _milk_ 🍎\n- a [link](https://x.org/a)", "Title Buy milk a link"),
        ("> quoted `code`\n---\n| a | b |\n|---|---|", "quoted code a b"),
        ("👍🏽 👨‍👩‍👧 ok 🇫🇷 ☀️", "ok"),
        ("It's 20°, snake_case and 2*3", "It's twenty degrees, snake_case and two*three"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)  # fmt: skip
def test_markdown_and_emoji_are_left_out(written: str, said: str) -> None:
    assert read(written, "en") == said


def pauses(script: str) -> list[float]:
    return [float(seconds) for seconds in re.findall(r'<break time="([0-9.]+)s"/>', script)]


FRAMES = ["{}", "<speak>{}</speak>", "<?xml version='1.0'?>\n<speak>{}</speak>"]


@pytest.mark.parametrize("frame", FRAMES)
def test_breaks_of_ssml_are_pauses(frame: str) -> None:
    tags = "<break time='500ms'/> b <break time=\"1.5s\"/> c <break strength='strong'/> d <break/>"
    script = read(frame.format(f"a {tags}"))
    assert pauses(script) == [0.5, 1.5, 1.0, 0.75]
    assert re.sub(r"<[^>]*>", "", script).split() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("frame", ["{}", "<speak>{}</speak>"])
@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("characters", "Ab1", "A b one"),
        ("digits", "12 3", "one two three"),
        ("ordinal", "21", "twenty-first"),
        ("cardinal", "21", "twenty-one"),
        ("time", "9:50", "nine fifty"),
    ],
)
def test_say_as_is_honoured(frame: str, kind: str, text: str, said: str) -> None:
    tag = f'<say-as interpret-as="{kind}">{text}</say-as>'
    assert read(frame.format(tag), "en") == said


def test_the_format_of_a_date_is_honoured() -> None:
    tag = '<say-as interpret-as="date" format="{}">03/05/2026</say-as>'
    assert read(tag.format("mdy"), "en").startswith("March fifth")
    assert read(tag.format("dmy"), "en").startswith("May third")


def test_a_document_names_its_language_and_the_tags_that_are_left_out() -> None:
    normalizer = TextNormalizer()
    text = '<speak xml:lang="fr-FR">21 <emphasis>mots</emphasis> &amp; 3</speak>'
    script = normalizer.feed(text) + normalizer.flush()
    assert script.split() == ["vingt-et-un", "mots", "et", "trois"]
    assert normalizer.dropped_tags == ["emphasis"]


@pytest.mark.parametrize(
    "document",
    [
        '<!DOCTYPE a [<!ENTITY b "lol"><!ENTITY c "&b;&b;">]><speak>&c;</speak>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><speak>a</speak>',
        "<speak>a <b></speak>",
        "<speak>never closed",
        "<speak>&unknown;</speak>",
        "<speak><break time='soon'/></speak>",
        "<break strength='huge'/>",
    ],
)
def test_invalid_ssml_is_an_error(document: str) -> None:
    normalizer = TextNormalizer()
    with pytest.raises(UsageError):
        normalizer.feed(document) + normalizer.flush()


def test_deep_ssml_is_read() -> None:
    deep = "<s>" * 5000 + "word" + "</s>" * 5000
    assert read(f"<speak>{deep}</speak>") == "word"


WRITTEN = st.lists(
    st.sampled_from(
        [
            *"abc .,\n\t-*_#|[](){}<>/&'\"$€%°:;!?+=",
            *("12", "2026", "9:50", " km", " mai ", "May ", "the ", "les ", "<break time='1s'/>"),
            *("<speak>", "</speak>", "<say-as interpret-as='digits'>", "</say-as>", "🍎", "1,5"),
        ]
    ),
    max_size=30,
).map("".join)


@given(text=WRITTEN, cuts=st.lists(st.integers(1, 12), min_size=1))
def test_the_script_does_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    def run(pieces: list[str]) -> str | None:
        normalizer = TextNormalizer()
        try:
            return "".join([*map(normalizer.feed, pieces), normalizer.flush()])
        except UsageError:
            return None

    pieces, at = [], 0
    while at < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[at : at + size])
        at += size
    assert run([text]) == run(pieces)


@given(text=WRITTEN, cut=st.integers(0, 30))
def test_a_saved_normalizer_goes_on(text: str, cut: int) -> None:
    try:
        whole = read(text)
        first, second = TextNormalizer(), TextNormalizer()
        script = first.feed(text[:cut])
        second.load(first.save())
        script += second.feed(text[cut:]) + second.flush()
    except UsageError:
        return
    assert " ".join(script.split()) == whole


def test_what_a_model_cannot_spell_is_mapped_or_left_out() -> None:
    bundle = open_folder(embedded_demo(TEXT_TO_SPEECH).path)
    assert bundle.manifest.tokenizer is not None
    tokenizer = open_tokenizer(bundle.file(bundle.manifest.tokenizer))
    normalizer = TextNormalizer(spelling=tokenizer)
    script = normalizer.feed("The Café is open. Call 漢字 at 9:50!") + normalizer.flush()
    assert pauses(script) == [0.4]
    said = re.sub(r"<[^>]*>", "", script).split()
    assert said == ["the", "cafe", "is", "open", "call", "at", "nine", "fifty"]
    assert normalizer.left_out == ["漢字"]
