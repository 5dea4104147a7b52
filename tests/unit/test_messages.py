"""All messages stand in one snapshot, and no other test asserts a whole sentence."""

from support.paths import TESTS
from support.sentences import SNAPSHOT, asserted, in_messages, is_sentence, rendered


def test_help_and_messages_are_those_of_the_snapshot() -> None:
    """After a change on purpose: `python tests/renew_messages.py`."""
    assert rendered().splitlines() == SNAPSHOT.read_text("utf-8").splitlines()


def test_no_other_test_asserts_a_sentence() -> None:
    messages = SNAPSHOT.read_text("utf-8")
    found = [
        f"{file.relative_to(TESTS)}:{line}: {text}"
        for file in sorted(TESTS.rglob("test_*.py"))
        for line, text in asserted(file)
        if in_messages(text, messages)
    ]
    assert found == []


def test_a_sentence_is_more_than_a_key_word() -> None:
    assert is_sentence("the file cannot be read here")
    assert is_sentence("alarm.wav: this is no (real) audio!")
    assert not is_sentence("kyutai-onnx export --repo kyutai/stt-1b-en_fr --target cpu")
    assert not is_sentence("cannot be read")
