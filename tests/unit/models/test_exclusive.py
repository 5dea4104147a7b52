"""Streams belong to one thread at a time, and say so where two use one at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.scripted_models import hibiki, moshi, ramp, tokens
from support.speaking import speaking_bundle
from support.speech import Array

from kyutai_onnx.models import Mimi, SpeechToText, TextToSpeech
from kyutai_onnx.runtime.errors import UsageError
from kyutai_onnx.runtime.exclusive import Exclusive, exclusive
from kyutai_onnx.runtime.graph.graph import Graph


class Blocking:
    """Graphs that wait in a run until they are let go on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        run = Graph.run

        def blocking(graph: Graph, binding: Any, options: Any) -> None:
            self.entered.set()
            self.let_go.wait()
            run(graph, binding, options)

        patch.setattr(Graph, "run", blocking)

    def check(self, use: Callable[[], object], others: list[Callable[[], object]]) -> None:
        """Each of the others is refused while the first is in a run; it goes on all the same."""
        with ThreadPoolExecutor(1) as pool:
            used = pool.submit(use)
            self.entered.wait()
            try:
                for other in others:
                    with pytest.raises(UsageError, match="two threads at once"):
                        other()
            finally:
                self.let_go.set()
            used.result()


@pytest.fixture
def blocking(monkeypatch: pytest.MonkeyPatch) -> Blocking:
    return Blocking(monkeypatch)


def test_a_stream_of_speech_to_text(blocking: Blocking, model: SpeechToText, pcm: Array) -> None:
    stream, frame = model.stream(), pcm[:4000]
    others = [lambda: stream.feed(frame), stream.flush, stream.reset, stream.save]
    blocking.check(lambda: stream.feed(frame), [*others, stream.task.restart, stream.task.catch_up])
    stream.reset()
    expected = model.stream()
    assert [*stream.feed(pcm), *stream.flush()] == [*expected.feed(pcm), *expected.flush()]


def test_a_batch_and_its_rows(blocking: Blocking, model: SpeechToText, pcm: Array) -> None:
    batch = model.batch(2)
    row = batch.join(model.task())
    row.feed(pcm[:4000])
    others = [
        batch.step,
        lambda: batch.join(model.task()),
        lambda: batch.leave(row),
        row.events,
        row.reset,
        row.end,
    ]
    blocking.check(batch.step, others)


def test_streams_of_the_codec(blocking: Blocking, mimi: Mimi, pcm: Array) -> None:
    encoder, decoder = mimi.stream("encode"), mimi.stream("decode")
    feed = lambda: encoder.feed(pcm[:4000])  # noqa: E731
    blocking.check(feed, [feed, encoder.flush, encoder.reset, encoder.save])
    blocking.entered.clear()
    blocking.let_go.clear()
    codes = np.zeros((mimi.codebooks, 2), np.int64)
    decode = lambda: decoder.feed(codes)  # noqa: E731
    blocking.check(decode, [decode, decoder.reset, decoder.save])


def test_a_stream_that_speaks(blocking: Blocking, tmp_path: Path) -> None:
    stream = TextToSpeech(speaking_bundle(tmp_path / "bundle", embeddings=False)).stream()
    others = [lambda: stream.feed("two "), stream.flush, stream.reset, stream.save]
    blocking.check(lambda: stream.feed("one two three "), others)


@pytest.mark.parametrize("family", [hibiki, moshi])
def test_four_threads_get_nothing_but_that_error(family: Any) -> None:
    stream = family(tokens()).stream(text_temperature=0.5, seed=1)
    start = threading.Barrier(4)

    def use() -> set[str]:
        start.wait()
        reported = set()
        for _ in range(50):
            try:
                stream.feed(ramp(3))
            except UsageError as error:
                reported.add(str(error))
        return reported

    with ThreadPoolExecutor(4) as pool:
        reported = set().union(*(use.result() for use in [pool.submit(use) for _ in range(4)]))
    assert all("two threads at once" in one for one in reported)


def test_one_thread_may_follow_another_and_enter_again() -> None:
    class Once:
        def __init__(self) -> None:
            self._exclusive = Exclusive()

        @exclusive
        def double(self, number: int, *, again: bool = True) -> int:
            return self.double(number, again=False) if again else 2 * number

        @exclusive
        def fail(self) -> None:
            raise ValueError("no")

    one = Once()
    with pytest.raises(ValueError, match="no"):
        one.fail()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(one.double, 2).result() == 4
    assert one.double(3) == 6
