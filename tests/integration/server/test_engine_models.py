"""The demos' sessions side by side in an engine: each transcribes and says what it does alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event as Signal
from typing import Any

import numpy as np
from support.speech import Array

from kyutai_onnx.models import Hibiki, SpeechToText, TextToSpeech
from kyutai_onnx.models.events import Audio, Event, Step, Word, WordStarted
from kyutai_onnx.models.options import SpeechOptions
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.server.engine import (
    Ended,
    Engine,
    Marked,
    Ready,
    Session,
    SessionEvent,
    Statistics,
)
from kyutai_onnx.server.limits import Limits

PATIENCE = 120.0
Begin = Callable[[Any], Any]


class Client:
    def __init__(self, engine: Engine, begin: Begin) -> None:
        self.reported: list[SessionEvent] = []
        self._over = Signal()
        self.session: Session = Session(engine, begin, self._deliver, wait=PATIENCE)

    def _deliver(self, reported: Sequence[SessionEvent]) -> None:
        self.reported += reported
        if any(isinstance(one, Ended) for one in reported):
            self._over.set()

    def recognized(self) -> list[Event]:
        """The events of the model, once the session has ended."""
        assert self._over.wait(PATIENCE)
        first, *events, last = self.reported
        assert (first, last) == (Ready(), Ended("done"))
        return events  # type: ignore[return-value]


@contextmanager
def running(model: Any, slots: int) -> Iterator[Engine]:
    engine = Engine("demo", model, slots, Limits(), Statistics())
    engine.start()
    yield engine
    engine.stop(0.0)
    assert (engine.used, engine.statistics.faults) == (0, 0)


def said(events: Sequence[Event]) -> tuple[Array, list[Event]]:
    """The samples, and everything else."""
    pcm = [event.pcm for event in events if isinstance(event, Audio)]
    rest = [event for event in events if not isinstance(event, Audio)]
    return np.concatenate([np.empty(0, np.float32), *pcm]), rest


def assert_same(found: Sequence[Event], expected: Sequence[Event]) -> None:
    (pcm, events), (expected_pcm, expected_events) = said(found), said(expected)
    assert events == expected_events
    assert pcm.shape == expected_pcm.shape
    assert np.allclose(pcm, expected_pcm, rtol=0, atol=1e-4)


def test_speech_is_transcribed_as_it_is_alone(model: SpeechToText, pcm: Array) -> None:
    cuts = [pcm, pcm[24_000:], pcm[: len(pcm) // 2], pcm[5_000:60_000], pcm[:0], pcm[::-1].copy()]
    pieces = [100_000, 1920, 480, 5000, 1, 1919]
    expected = []
    for cut in cuts:
        stream = model.stream()
        expected.append([*stream.feed(cut), *stream.flush()])
    assert sum(map(len, expected)) > 20
    with running(model, slots=4) as engine:
        clients = [Client(engine, lambda batch: batch.join(model.task())) for _ in cuts]
        for client, cut, size in zip(clients, cuts, pieces, strict=True):
            for start in range(0, len(cut), size):
                client.session.feed(cut[start : start + size])
            client.session.end()
        assert [client.recognized() for client in clients] == expected


def test_live_speech_is_marked_when_its_words_are_reported(model: SpeechToText, pcm: Array) -> None:
    """A mark comes back after the words before it, as many sessions as there are."""
    join = lambda batch: batch.join(model.task(live=True, lead=False))  # noqa: E731
    with running(model, slots=5) as engine:
        clients = [Client(engine, join) for _ in range(5)]
        for number, client in enumerate(clients):
            client.session.feed(pcm)
            client.session.mark(number, flush=True)
            client.session.feed(pcm[: 1000 * number])
            client.session.end()
        alone = Client(engine, join)
        alone.session.feed(np.concatenate([pcm, np.zeros(24_000, np.float32)]))
        alone.session.end()
        expected = [event.text for event in alone.recognized() if isinstance(event, WordStarted)]
        for number, client in enumerate(clients):
            reported = client.recognized()
            assert [one for one in reported if isinstance(one, Marked)] == [Marked(number)]
            before = reported[: reported.index(Marked(number))]  # type: ignore[arg-type]
            assert [event.text for event in before if isinstance(event, WordStarted)] == expected
            steps = [event.index for event in reported if isinstance(event, Step)]
            assert steps == list(range(len(steps)))
            whole = [event.text for event in reported if isinstance(event, Word)]
            assert whole[: len(expected) - 1] == expected[:-1]


def test_a_reset_session_transcribes_what_a_new_one_does(model: SpeechToText, pcm: Array) -> None:
    with running(model, slots=2) as engine:
        twice, once = (Client(engine, lambda batch: batch.join(model.task())) for _ in range(2))
        twice.session.feed(pcm[30_000:])
        twice.session.reset()
        for client in (twice, once):
            client.session.feed(pcm)
            client.session.end()
        reported = twice.recognized()
        assert reported[reported.index(Ready()) + 1 :] == once.recognized()  # type: ignore[arg-type]
        assert len(once.recognized()) > 5


def test_translations_are_what_they_are_alone(pcm: Array) -> None:
    model = Hibiki.load(DEMO / "hibiki")
    cuts = [pcm, pcm[: len(pcm) // 2], pcm[10_000:]]
    expected = []
    for number, cut in enumerate(cuts):
        stream = model.stream(seed=number, max_tail=2.0)
        expected.append([*stream.feed(cut), *stream.flush()])
    with running(model, slots=2) as engine:
        clients = []
        for number, cut in enumerate(cuts):
            client = Client(
                engine, lambda batch, seed=number: batch.join(model.task(seed=seed, max_tail=2.0))
            )
            for start in range(0, len(cut), 3000 + 777 * number):
                client.session.feed(cut[start : start + 3000 + 777 * number])
            client.session.end()
            clients.append(client)
        for client, events in zip(clients, expected, strict=True):
            assert_same(client.recognized(), events)
            assert len(said(events)[0]) > 24_000


def test_texts_are_spoken_as_they_are_alone() -> None:
    model = TextToSpeech.load(DEMO / "tts")
    texts = [
        "Please set an alarm for half past six tomorrow morning.",
        "The train leaves at noon.",
        "Hello.",
        "What is on my shopping list, and how long will it take?",
    ]
    choices = [SpeechOptions(seed=number, temperature=0.6) for number in range(len(texts))]
    expected = []
    for text, speech_options in zip(texts, choices, strict=True):
        stream = model.stream(seed=speech_options.seed, temperature=speech_options.temperature)
        expected.append([*stream.feed(text), *stream.flush()])
    with running(model, slots=3) as engine:
        speaker = model.load_voice(None)
        clients = []
        for text, speech_options in zip(texts, choices, strict=True):
            client = Client(
                engine,
                lambda batch, speech_options=speech_options: batch.join(
                    model.task(speaker, options=speech_options)
                ),
            )
            for word in text.split():
                client.session.feed(word + " ")
            client.session.end()
            clients.append(client)
        for client, events in zip(clients, expected, strict=True):
            assert_same(client.recognized(), events)
            assert len(said(events)[0]) > 5_000
