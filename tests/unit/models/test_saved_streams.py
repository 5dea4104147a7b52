"""Saved streams: what this version saves, what it loads of every version, and what it refuses."""

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.saved_streams import (
    CASES,
    FOLDER,
    Array,
    Case,
    assert_same,
    made_file,
    read_made,
    state_file,
)

from kyutai_onnx.models import Pause, SpeechToText, TextToSpeech, Word
from kyutai_onnx.models.mimi.batched import FrameQueue
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.models.stream_state import FORMAT, VERSION, Integer, List, Nullable, Record, Since
from kyutai_onnx.models.stt.watchdog import Watchdog
from kyutai_onnx.runtime.errors import KyutaiOnnxError, ModelError, UsageError
from kyutai_onnx.runtime.state_file import read_state, write_state

TOLERANCE = 1e-2
FRAMES = 10
"""Generated tokens that are the same on every processor. Kernels add in different orders: of later
ones, a near tie may be decided otherwise, and all that follow."""

VERSIONS = [(case, version) for case in CASES for version in range(1, case.version + 1)]
FAMILIES = {case.name.rpartition("-")[0]: case for case in CASES}
"""One case of each."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session", params=FAMILIES.values(), ids=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="session")
def stream(case: Case, folder: Path) -> Any:
    return case.before(case.load(folder))


@pytest.mark.parametrize(
    ("kept", "version"), VERSIONS, ids=[f"{case.name}-{version}" for case, version in VERSIONS]
)
def test_a_stream_of_every_version_goes_on(kept: Case, version: int, folder: Path) -> None:
    saved = read_state(state_file(kept, version))
    assert (saved["format"], saved["version"]) == (FORMAT, version)
    expected, made = read_made(made_file(kept)), kept.after(kept.load(folder), saved)
    events, recorded = made.pop("events", []), expected.pop("events")
    assert len(events) == len(recorded)
    for event, values in zip(events, recorded, strict=True):
        kept_of_it = [event[name] for name in values]
        assert kept_of_it == pytest.approx([*values.values()], abs=TOLERANCE)
    assert made.keys() == expected.keys()
    for name, values in expected.items():
        found, tolerance = made[name], TOLERANCE if values.dtype.kind == "f" else 0
        assert found.shape == values.shape
        generated = "text" in expected and name in ("text", "codes")
        frames = FRAMES if generated else len(values)
        np.testing.assert_allclose(found[:frames], values[:frames], rtol=0, atol=tolerance)


def test_the_confidence_of_an_open_word_is_saved_since_version_2(
    model: SpeechToText, pcm: Array
) -> None:
    stream, fed = model.stream(), 0
    while not stream.save()["words"]["word_tokens"]:
        stream.feed(pcm[fed : fed + 1920])
        fed += 1920
    saved = stream.save()
    older = {**saved, "version": 1, "words": {**saved["words"]}}
    del older["words"]["word_log_probabilities"]

    def rest(state: dict[str, Any]) -> list[Word]:
        other = model.stream()
        other.load(state)
        events = other.feed(pcm[fed:]) + other.flush()
        return [event for event in events if isinstance(event, Word)]

    expected = [e for e in stream.feed(pcm[fed:]) + stream.flush() if isinstance(e, Word)]
    confidences = [word.confidence for word in expected]
    assert None not in confidences
    assert rest(saved) == rest(older) == expected
    assert [word.confidence for word in rest(saved)] == confidences
    assert [word.confidence for word in rest(older)] == [None, *confidences[1:]]


def test_every_family_has_two() -> None:
    names = [case.name.rpartition("-")[0] for case in CASES]
    assert all(names.count(name) == 2 for name in names)
    assert {"stt", "tts", "hibiki", "moshi", "mimi-encoder", "mimi-decoder"} == set(names)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_200_000


def test_what_is_saved_is_plain(case: Case, stream: Any, tmp_path: Path) -> None:
    """JSON and arrays in a zip archive: nothing that needs Python."""
    saved = stream.save()
    write_state(tmp_path / "stream.npz", saved)
    assert_same(saved, read_state(tmp_path / "stream.npz"))
    with zipfile.ZipFile(tmp_path / "stream.npz") as archive:
        for name in archive.namelist():
            array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            assert array.dtype.kind in "fiub", name


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value in what is saved stands."""
    if path:
        yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value[:3])
        for key, item in items:
            yield from places(item, (*path, key))


def held_by(saved: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        saved = saved[key]
    return saved


MISSING = object()


def changed(saved: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a place, or none."""
    made, (key, *rest) = copy.copy(saved), path
    if not rest and value is MISSING:
        del made[key]
    else:
        made[key] = changed(made[key], tuple(rest), value) if rest else value
    return made


@pytest.fixture
def refuse(stream: Any) -> Iterator[Callable[[Any, object], None]]:
    """Sees that something is refused in one line; and that the stream is as it was, at last."""
    before = copy.deepcopy(stream.save())

    def check(saved: Any, what: object) -> None:
        with pytest.raises((UsageError, ModelError)) as refused:
            stream.load(saved)
        assert "\n" not in str(refused.value), what
        assert len(str(refused.value)) < 400, what

    yield check
    assert_same(before, stream.save())


Refuse = Callable[[Any, object], None]


OPTIONAL = [("normalizer",)]


def test_a_field_that_is_missing_or_unknown_is_refused(stream: Any, refuse: Refuse) -> None:
    whole, count = stream.save(), 0
    for path in places(whole):
        if isinstance(path[-1], str):
            if path not in OPTIONAL:
                refuse(changed(whole, path, MISSING), path)
            refuse(changed(whole, (*path[:-1], "_policy"), None), path)
            count += 1
    assert count > 10


WRONG: list[Any] = [
    [1],
    {"a": 1},
    "text",
    -(2**70),
    2**140,
    float("nan"),
    np.zeros((2, 3, 4, 5)),
    np.full((1, 1), "text"),
]


@pytest.mark.parametrize("index", range(len(WRONG)))
def test_a_value_of_another_type_or_out_of_range_is_refused(
    stream: Any, refuse: Refuse, index: int
) -> None:
    whole, wrong = stream.save(), WRONG[index]
    for path in places(whole):
        alike = type(held_by(whole, path)) is type(wrong) and type(wrong) in (str, list)
        if not alike or path == ("weights",):
            refuse(changed(whole, path, wrong), path)


def test_damaged_numbers_of_an_array_are_refused(stream: Any, refuse: Refuse) -> None:
    """Codes and tokens index tables: none of another size gets there."""
    whole = stream.save()
    for path in places(whole):
        value = held_by(whole, path)
        in_graph = {"transformer", "encoder", "decoder"} & set(path)
        if isinstance(value, np.ndarray) and value.size and not in_graph:
            bad = value.copy()
            bad.flat[0] = np.nan if value.dtype.kind == "f" else 2**40
            refuse(changed(whole, path, bad), path)


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", 1.5, True, [], None])
def test_an_unknown_version_is_refused_by_name(stream: Any, version: object) -> None:
    with pytest.raises(ModelError, match=r"version.*(later|again)"):
        stream.load(stream.save() | {"version": version})


def test_a_stream_saved_before_there_were_versions_is_refused(stream: Any) -> None:
    saved = {"model": "a", "identity": "b", "kind": "speech-to-text", "ear": {}}
    with pytest.raises(ModelError, match="without a version"):
        stream.load(saved)


@pytest.mark.parametrize("saved", [None, [], "text", {"format": "another"}, {"format": 3}])
def test_what_is_no_saved_stream_is_refused(stream: Any, saved: Any) -> None:
    with pytest.raises(KyutaiOnnxError):
        stream.load(saved)


def frames(count: int) -> list[Array]:
    noise = np.random.default_rng(0)
    loud = [0.001, 0.3, 0.3, 0.3, 0.3]
    return [
        (loud[index % 5] * noise.standard_normal(1920)).astype(np.float32) for index in range(count)
    ]


@pytest.mark.parametrize("cut", [0, 7, 30, 61])
def test_a_saved_watchdog_goes_on(cut: int) -> None:
    whole, first, second = (Watchdog(1.0, 12.5) for _ in range(3))
    said = frames(150)
    expected = [whole.stalled(frame, wrote=False) for frame in said]
    found = [first.stalled(frame, wrote=False) for frame in said[:cut]]
    second.load(json.loads(json.dumps(first.save())))
    assert found + [second.stalled(frame, wrote=False) for frame in said[cut:]] == expected
    assert expected.count(True) > 2
    second.reset()
    assert [second.stalled(frame, wrote=False) for frame in said] == expected


def test_frames_whose_codes_wait_keep_their_samples() -> None:
    first, second = FrameQueue(4, 2), FrameQueue(4, 2)
    first.push(np.arange(14, dtype=np.float32))
    first.put_codes(np.array([[1, 2], [3, 4]]))
    saved = first.save()
    FrameQueue.fields(4, 2, 5).check(saved)
    second.load(saved)
    for _ in range(3):
        assert first.next().tolist() == second.next().tolist()
        assert first.pcm.tolist() == second.pcm.tolist() != []
    assert first.clear().tolist() == second.clear().tolist()


def test_a_text_that_was_broken_off_says_no_more() -> None:
    model = TextToSpeech.load(DEMO / "tts")
    first, second = model.stream(seed=1), model.stream()
    first.feed("one two three ")
    first.close()
    second.load(first.save())
    assert second.flush() == []


def test_audio_that_has_ended_ends_where_it_did(model: SpeechToText, pcm: Array) -> None:
    batch, cut = model.batch(2), pcm[: round(0.8 * model.sample_rate)]
    first = batch.join(model.task())
    first.feed(cut)
    first.end()
    while first.waiting > 5:
        batch.step()
    early, second = first.events(), batch.join(model.task())
    second.load(first.save())
    batch.leave(first)
    late = list(batch.run(second))
    times = [event.time for event in [*early, *late] if isinstance(event, Pause)]
    assert times
    assert max(times) <= len(cut) / model.sample_rate


def test_a_field_that_came_later_has_its_default() -> None:
    inner = Record({"old": Integer(), "new": Since(2, List(Integer()), [])})
    record = Record({"inner": inner, "maybe": Nullable(inner), "nothing": Nullable(inner)})
    saved = {"inner": {"old": 1}, "maybe": {"old": 2}, "nothing": None}
    upgraded = record.upgraded(saved, 1)
    record.check(upgraded)
    assert upgraded == {
        "inner": {"old": 1, "new": []},
        "maybe": {"old": 2, "new": []},
        "nothing": None,
    }
    assert saved["inner"] == {"old": 1}
    for version in (2, 3):
        with pytest.raises(ModelError, match=" is missing"):
            record.check(record.upgraded(saved, version))


@pytest.mark.parametrize("value", [None, 3, [], "text"])
def test_what_is_no_object_is_damaged_in_every_version(value: object) -> None:
    record = Record({"inner": Record({"new": Since(2, Integer(), 0)})})
    for saved in (value, {"inner": value}):
        with pytest.raises(ModelError, match="damaged"):
            record.check(record.upgraded(saved, 1))
