"""Bodies that strangers post: what they may cost the server, and what else it does meanwhile."""

import asyncio
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.serving import (
    LISTEN,
    SECONDS,
    STT,
    Running,
    ask,
    connected,
    get,
    running,
    silence,
    tight,
    words_of,
)
from support.siege import everything
from support.speech import Array, wav_bytes

from kyutai_onnx.server.engine.events import Busy
from kyutai_onnx.server.openai.messages import InvalidRequestError
from kyutai_onnx.server.web.uploads import (
    MOST_FIELD,
    MOST_PARTS,
    SMALL,
    Form,
    FormParser,
    NoSpaceError,
    Spool,
)

WORDS = "/v1/audio/transcriptions"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(STT, limits=tight(uploads=2)) as found:
        yield found


@pytest.fixture(scope="module")
def hasty() -> Iterator[Running]:
    """A server that cuts off bodies which come slowly."""
    with running(STT, limits=tight(request=2.0, uploads=2)) as found:
        yield found


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    found = Spool(str(tmp_path), 1 << 20)
    yield found
    found.close()
    assert list(tmp_path.iterdir()) == []


def part(name: str, content: bytes, more: str = "") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def parsed(spool: Spool, data: bytes, step: int = 1 << 16) -> tuple[Form, bytes]:
    with spool.body() as body:
        parser = FormParser(FORM["Content-Type"], body)
        for start in range(0, len(data), step):
            parser.push(data[start : start + step])
        form = parser.finish()
        return form, form.file.read() if form.file is not None else b""


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
def test_a_form_comes_in_pieces_of_any_size(spool: Spool, step: int) -> None:
    content = bytes(range(256)) * 8 + b"\r\n--w\r\n--" + b"\r" * 100
    data = b"preamble\r\n" + part("model", b"a") + part("file", content) + part("model", b"b")
    form, file = parsed(spool, data + b"--x--\r\nepilogue", step)
    assert form.fields == {"model": ["a", "b"]}
    assert file == content


MALFORMED = {
    "lines before any boundary": b"a\n" * MOST_FIELD,
    "a preamble without a newline": b"a" * (2 * MOST_FIELD),
    "a preamble in front of the boundary": b"a" + part("file", b"") + b"--x--",
    "a file name of 100 KB": part("file", b"", f'; filename="{"a" * 100_000}"') + b"--x--",
    "a header without an end": b"--x\r\n" + b"a" * 100_000,
    "many headers": b"--x\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
    "many parts": part("model", b"a") * (MOST_PARTS + 1) + b"--x--",
    "two files": part("file", b"a") * 2 + b"--x--",
    "no name": b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
    "no disposition": b"--x\r\nA: b\r\n\r\na\r\n--x--",
    "a header that is no text": b"--x\r\n\xff: \xff\r\n\r\na\r\n--x--",
    "no end": part("file", b"a"),
    "nothing": b"",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_form_that_is_malformed_is_refused(server: Running, spool: Spool, body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        parsed(spool, body)
    assert asyncio.run(ask(server, "POST", WORDS, data=body, headers=FORM))[0] == 400


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'x' * 1000}"])
def test_a_boundary_that_is_none_is_refused(server: Running, boundary: str) -> None:
    headers = {"Content-Type": f"multipart/form-data{boundary}"}
    assert asyncio.run(ask(server, "POST", WORDS, data=b"--x", headers=headers))[0] == 400


def test_a_body_is_kept_on_disk_unless_it_is_small(spool: Spool, tmp_path: Path) -> None:
    with spool.body() as body:
        body.write(bytes(SMALL))
        assert list(tmp_path.iterdir()) == []
        body.write(b"more")
        file = body.finish()
        assert Path(file.name).parent == tmp_path
        assert Path(file.name).read_bytes() == file.read() == bytes(SMALL) + b"more"
    with spool.body() as body:
        body.write(b"small")
        assert isinstance(body.finish(), io.BytesIO)


def test_what_all_bodies_take_is_bounded(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 3 * SMALL)
    with spool.body() as one, spool.body() as other:
        one.write(bytes(2 * SMALL))
        with pytest.raises(Busy):
            other.write(bytes(2 * SMALL))
    asyncio.run(spool.work(lambda: None))
    with spool.body() as one:
        one.write(bytes(3 * SMALL))
    spool.close()


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets 507 and a line; other uploads and sessions go on."""
    monkeypatch.setattr(Spool, "new_file", lambda _: io.FileIO("/dev/full", "w"))
    if not Path("/dev/full").exists():
        pytest.skip("a disk that is full is /dev/full")
    with running(STT) as server:
        body = wav_bytes(silence(5.0))
        status, answer, _ = asyncio.run(ask(server, "POST", LISTEN, data=body))
        assert (status, answer.count(b"\n")) == (507, 1)
        assert b"space" in answer
        small = wav_bytes(silence(0.5))
        assert asyncio.run(ask(server, "POST", LISTEN, data=small))[0] == 200
    spool = Spool(str(tmp_path / "gone"), 1 << 20)
    with spool.body() as body_, pytest.raises(NoSpaceError):
        body_.write(bytes(2 * SMALL))
    spool.close()


def post(server: Running, head: str, body: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.server.port), SECONDS)
    head = f"POST {LISTEN} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def test_bodies_that_come_too_slowly_hold_no_room(hasty: Running, pcm: Array, text: str) -> None:
    """Eight send a byte now and then. An upload beside them is transcribed at once; they get 408,
    however many bytes they say will follow."""

    def dribble(client: socket.socket, ends: threading.Event) -> None:
        while not ends.wait(0.05):
            try:
                client.sendall(b"a")
            except OSError:
                return

    clients = [post(hasty, "Content-Length: 60000000") for _ in range(8)]
    ends = threading.Event()
    dribbling = [threading.Thread(target=dribble, args=(client, ends)) for client in clients]
    for thread in dribbling:
        thread.start()
    try:
        status, answer, _ = asyncio.run(ask(hasty, "POST", LISTEN, data=wav_bytes(pcm)))
        assert (status, text.split()[0].encode() in answer) == (200, True)
        for client in clients:
            assert everything(client).startswith(b"HTTP/1.1 408 ")
    finally:
        ends.set()
        for thread, client in zip(dribbling, clients, strict=True):
            thread.join()
            client.close()


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("Transfer-Encoding: chunked", b"5\r\nab", b" 408 "),
        ("Transfer-Encoding: chunked", b"zz\r\n", b" 400 "),
        ("Content-Length: 10\r\nContent-Encoding: gzip", b"0123456789", b" 415 "),
        ("Content-Length: 99999999999", b"", b" 413 "),
    ],
)
def test_a_body_that_is_not_what_its_head_says(
    hasty: Running, caplog: pytest.LogCaptureFixture, head: str, body: bytes, status: bytes
) -> None:
    with post(hasty, head, body) as client:
        assert status in everything(client)
    assert not any(record.exc_info for record in caplog.records if record.name != "aiohttp.server")


def test_a_chunk_that_is_malformed_after_its_head_is_refused(hasty: Running) -> None:
    """aiohttp's parser says nothing to a handler that reads already: the deadline ends it."""
    with post(hasty, "Transfer-Encoding: chunked", b"1\r\na\r\n") as client:
        assert asyncio.run(get(hasty, "/health"))[0] == 200
        client.sendall(b"zz\r\n")
        assert everything(client).split()[1] in (b"400", b"408")


def test_no_upload_keeps_the_event_loop(server: Running, pcm: Array) -> None:
    """20 MB of short lines, with and without a boundary before them: another client's session is
    transcribed meanwhile, and its words are right."""

    async def talk() -> tuple[str, list[int]]:
        lines = b"a\n" * 10_000_000
        file = part("file", lines) + b"--x--\r\n"
        async with connected(server, LISTEN) as client:
            await client.until("Ready")
            files = io.BytesIO(lines), io.BytesIO(file)
            posts = [ask(server, "POST", WORDS, data=data, headers=FORM) for data in files]
            posting = asyncio.gather(*posts)
            await client.speak(pcm)
            await client.speak(silence(3.0))
            await client.send(type="Marker", id=1)
            await client.speak(silence(1.0))
            found = words_of(await client.until("Marker"))
            statuses = [status for status, _, _ in await posting]
        assert (await get(server, "/health"))[0] == 200
        return found, statuses

    found, statuses = asyncio.run(talk())
    assert statuses == [400, 400]
    assert len(found.split()) > 3
