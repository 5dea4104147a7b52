"""Scripts and the machine beside those of `moshi.models.tts`, on made-up texts and tokens."""

import random

import pytest
import sentencepiece
from support.parity.kyutai_tts import kyutai_tts
from support.voices import spell_tokenizer

from kyutai_onnx.models.tts.script_parser import Entry, ScriptParser
from kyutai_onnx.models.tts.state_machine import StateMachineConfig, TextToSpeechStateMachine

RATE, CARD = 12.5, 300
PIECES = (
    *("hello", "I", "it’s", "(well)", "12:30", "a,b", "naïve", "!", "x" * 30, "<break", "<br/>"),
    *('<break time="1s"/>', '<break time="0.32s">', '<break\ttime="2.s" />', "é", "…"),
    *(" ", "  ", "\n", "\t", " ", " ", "\x07", "\N{GRINNING FACE}", "\u00a0"),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> sentencepiece.SentencePieceProcessor:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    spell_tokenizer(path, CARD)
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@pytest.mark.parametrize("speakers", [False, True])
@pytest.mark.parametrize("padding_between", [0, 1, 3])
def test_scripts_are_equal(
    tokenizer: sentencepiece.SentencePieceProcessor, speakers: bool, padding_between: int
) -> None:
    tts, draw, words = kyutai_tts(), random.Random(padding_between), 0
    for _ in range(60):
        turns = ["".join(draw.choices(PIECES, k=draw.randint(0, 15))) for _ in range(3)]
        expected = tts.script_to_entries(
            tokenizer, tts.TokenIds(CARD + 1), RATE, turns, speakers, padding_between
        )
        script = ScriptParser(tokenizer, RATE, speakers=speakers, padding_between=padding_between)
        found = [entry for turn in turns for entry in [*script.feed(turn), *script.next_turn()]]
        assert found == [Entry(tuple(e.tokens), e.text, e.padding) for e in expected]
        words += len(found)
    assert words > 500


@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
def test_machines_are_equal(ahead: int) -> None:
    tts, draw = kyutai_tts(), random.Random(ahead)
    ended = 0
    for _ in range(150):
        entries = [_made_up(draw) for _ in range(draw.randint(0, 15))]
        longest, first = draw.randint(0, 8), draw.randint(0, 4)
        reference = tts.StateMachine(tts.TokenIds(CARD + 1), ahead, longest, first)
        state = reference.new_state([tts.Entry(list(e.tokens), e.text, e.padding) for e in entries])
        machine = TextToSpeechStateMachine(
            StateMachineConfig(3, 0, CARD + 1, ahead, longest, first)
        )
        machine.add(entries)
        begun: list[tuple[str, int]] = []
        consumed: list[int] = []
        for step, token in enumerate(draw.choices([0, 3, 40], [2, 2, 1], k=120)):
            expected, reported = reference.process(step, state, token)
            found, entry = machine.process(step, token)
            assert (found, entry is not None) == (expected, reported)
            assert machine.end_step == state.end_step
            if entry is not None:
                consumed.append(step)
                begun += [(entry.text, step)] if entry.tokens else []
        assert (begun, consumed) == (state.transcript, state.consumption_times)
        ended += state.end_step is not None
    assert ended > 50


def _made_up(draw: random.Random) -> Entry:
    """A pause, or a word, whose tokens may be those of the machine itself."""
    if draw.random() < 0.2:
        return Entry((), "", draw.randint(0, 6))
    tokens = tuple(draw.choices([0, 1, 2, 3, *range(4, CARD)], k=draw.randint(1, 6)))
    return Entry(tokens, f"word {tokens}", draw.randint(0, 5))
