"""Ogg pages and Opus: what Kyutai's own library wrote is read, and any paging."""

import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile

pytest.importorskip("av", reason="the serve extra is not installed")

from kyutai_onnx.server.wire import ProtocolError
from kyutai_onnx.server.wire.ogg_opus import (
    MOST_PACKET,
    MOST_PAGES,
    OggReader,
    OggWriter,
    OpusDecoder,
    OpusEncoder,
    Packet,
    checksum,
)

SPHN = bytes.fromhex(
    "4f676753000200000000000000002a00000000000000aefef3f101134f707573486561640101000f80bb000000"
    "00004f676753000000000000000000002a000000010000004b3c0171011b4f707573546167730b0000004b7975"
    "7461694d6f736869000000004f676753000080070000000000002a00000002000000f6e10cc401a26a5d833f2d"
    "56a3e1d8000006b88d7d9a6cc5d89dce84b492de4b4314368fba45c169f3660ed911d98ad75fc7efb09069b652"
    "08f1d6a54ea7eda6b3aa0cf915b675940745170a21147e75845a3d2b32315f81e11e1d183215c946da563d6319"
    "ac315f57de82122aa5a27883078e356293152d0bd597b2a8239da79e939a047264056e4c15df817588ad9a0e5d"
    "5fdcd003f56e019c2601f003171ab1651c028380596c4f6767530000000f0000000000002a0000000300000067"
    "fa1805018d6a45a142ec1059d26689f05c34d722bf8f078ee548277b5dcf5b0afce987a17fe71d50cf7e25831c"
    "462adeda60cdf18e3e0e4332a00279e78fe2bac0c32ec4ca2b75d29dd74a55a0de16b8488ddb6e889836610fbc"
    "ae1a9731e44c38dfd15a1eb790e61fd288516ffb4984fa4dc326bacc9038b2a8287049dffa4a2e2650d475530a"
    "4eca9969593cfec13d74d9"
)
"""What sphn 0.2.1 writes first for 1920 samples: 0.5 * sin(2 * pi * 440 * t)."""
SECONDS = 1.2
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(SECONDS * 24000)) / 24000)).astype(np.float32)
HEADER_BYTES = 102


def packets(data: bytes, size: int = 2**20) -> list[bytes]:
    reader = OggReader()
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return [packet.data for piece in pieces for packet in reader.push(piece)]


def page(
    body: bytes, sizes: list[int], *, flags: int = 0, serial: int = 0, sequence: int = 0
) -> bytes:
    """A page of any segments."""
    head = b"OggS\0" + bytes([flags]) + bytes(8) + serial.to_bytes(4, "little")
    head += sequence.to_bytes(4, "little")
    tail = bytes([len(sizes), *sizes]) + body
    return head + checksum(head + bytes(4) + tail) + tail


def loudness_at(pcm: np.ndarray[tuple[int], np.dtype[np.float32]], hertz: float) -> float:
    """The amplitude of a tone in samples at 24 kHz."""
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(pcm)) / 24000)
    return float(2 * abs((pcm * turns).mean()))


def test_checksums_are_those_of_sphn() -> None:
    starts = [at for at in range(len(SPHN)) if SPHN[at : at + 4] == b"OggS"]
    assert len(starts) == 4
    for start, end in pairwise([*starts, len(SPHN)]):
        whole = SPHN[start:end]
        assert checksum(whole[:22] + bytes(4) + whole[26:]) == whole[22:26]


def test_the_header_is_that_of_sphn() -> None:
    assert OpusEncoder().header() == SPHN[:HEADER_BYTES]


def test_what_sphn_wrote_is_transcribed() -> None:
    pcm = OpusDecoder().push(SPHN)
    assert (len(pcm), pcm.dtype) == (1920, np.float32)
    assert loudness_at(pcm[960:], 440) == pytest.approx(0.5, abs=0.1)


def test_a_page_holds_one_packet_of_forty_milliseconds() -> None:
    encoder = OpusEncoder()
    assert len(encoder.push(TONE[:480])) == HEADER_BYTES
    assert encoder.push(TONE[480:959]) == b""
    data = encoder.push(TONE[959:]) + encoder.flush()
    assert encoder.flush() == b""
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    assert len(starts) == len(TONE) / 960
    granules = [int.from_bytes(data[at + 6 : at + 14], "little") for at in starts]
    assert granules == [1920 * (i + 1) for i in range(len(starts))]
    sequences = [int.from_bytes(data[at + 18 : at + 22], "little") for at in starts]
    assert sequences == [2 + i for i in range(len(starts))]
    assert len(packets(OpusEncoder().push(TONE))) == 2 + len(starts)


def test_what_was_written_is_transcribed_however_it_is_cut() -> None:
    data = OpusEncoder().push(TONE)
    whole = OpusDecoder().push(data)
    assert len(whole) == len(TONE)
    assert loudness_at(whole[4800:], 440) == pytest.approx(0.5, abs=0.02)
    for size in (1, 26, 27, 28, 1000):
        decoder = OpusDecoder()
        cut = [decoder.push(data[at : at + size]) for at in range(0, len(data), size)]
        assert np.array_equal(np.concatenate(cut), whole)


def test_a_frame_is_there_when_its_last_packet_is() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    for start in range(0, len(TONE) - 1920, 1920):
        assert len(decoder.push(encoder.push(TONE[start : start + 1920]))) == 1920


@pytest.mark.parametrize(("toc", "samples"), [(0x80, 60), (0x68, 480), (0x18, 1440), (0x19, 2880)])
def test_packets_of_any_duration_are_transcribed(toc: int, samples: int) -> None:
    head, tags = packets(SPHN)[:2]
    writer = OggWriter(1)
    data = writer.page(head, 0) + writer.page(tags, 0) + writer.page(bytes([toc]), 0)
    assert len(OpusDecoder().push(data)) == samples


def test_several_packets_share_a_page_and_one_goes_over_several() -> None:
    first, second, long = b"a" * 10, b"b" * 255, b"c" * 700
    data = page(first, [10], flags=2)
    data += page(second + long[:510], [255, 0, 255, 255])
    data += page(long[510:] + first, [190, 10], flags=1)
    for size in (1, 1000):
        assert packets(data, size) == [first, second, long, first]


def test_half_a_packet_is_left_out() -> None:
    start = page(b"a", [1], flags=2)
    begun, ended = page(b"b" * 255, [255]), page(b"cd", [1, 1], flags=1)
    assert packets(start + ended) == [b"a", b"d"]
    assert packets(start + begun + page(b"e", [1]) + ended) == [b"a", b"e", b"d"]
    assert packets(start + begun + page(b"", []) + ended) == [b"a", b"b" * 255 + b"c", b"d"]


def test_another_stream_may_follow() -> None:
    reader = OggReader()
    data = page(b"a", [1], flags=2, serial=1) + page(b"bc", [1, 1], flags=2, serial=2)
    found = list(reader.push(data))
    assert found == [Packet(b"a", True), Packet(b"b", True), Packet(b"c", False)]
    decoder = OpusDecoder()
    assert len(decoder.push(SPHN)) == len(decoder.push(SPHN)) == 1920


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"RIFF", "no page"),
        (b"OggS\1", "no page"),
        (SPHN + b"x", "no page"),
        (SPHN[:60] + b"x" + SPHN[61:], "damaged"),
        (page(b"a", [1]), "not begun"),
        (SPHN + page(b"a", [1], serial=1), "not begun"),
        (page(b"a", [1], flags=2), "not Opus"),
        (page(b"OpusHead", [8], flags=2), "not Opus"),
        (page(SPHN[28:36] + b"\x10" + SPHN[37:47], [19], flags=2), "not Opus"),
        (page(SPHN[28:37] + b"\3" + SPHN[38:47], [19], flags=2), "3 channels"),
        (page(SPHN[28:37] + b"\2" + SPHN[38:46] + b"\1", [19], flags=2), "2 channels"),
        (page(SPHN[28:47] + b"T", [19, 1, 0], flags=2), "an empty packet"),
        (page(SPHN[28:47] + b"T\xff", [19, 1, 1], flags=2), "not Opus"),
    ],
)
def test_what_is_no_opus_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        OpusDecoder().push(data)


def test_more_than_a_minute_at_once_is_refused() -> None:
    head, tags = packets(SPHN)[:2]
    start = page(head, [len(head)], flags=2) + page(tags, [len(tags)])
    longest = page(b"\x19" * 250, [1] * 250)  # of 120 ms each, in a byte
    decoder = OpusDecoder()
    assert len(decoder.push(start + longest * 2)) == 60 * 24000
    assert len(decoder.push(longest * 2)) == 60 * 24000
    with pytest.raises(ProtocolError, match="more than 60 seconds"):
        decoder.push(longest * 2 + page(b"\x19", [1]))


def test_pages_without_end_are_refused() -> None:
    empty = page(b"", [])
    data = page(b"a", [1], flags=2) + empty * (MOST_PAGES - 2)
    assert packets(data) == [b"a"]
    with pytest.raises(ProtocolError, match="more than 32768 pages"):
        packets(data + empty)


def test_a_packet_without_end_is_refused() -> None:
    sizes = [255] * 255
    full = page(bytes(sum(sizes)), sizes, flags=1)
    data = page(bytes(sum(sizes)), sizes, flags=2) + full * (MOST_PACKET // sum(sizes) - 1)
    assert packets(data) == []
    with pytest.raises(ProtocolError, match="more than 1048576 bytes"):
        packets(data + full)


@pytest.mark.parametrize("samples", [0, 1, 804, 805, 960, 24017])
def test_a_player_reads_as_many_samples_as_were_written(samples: int) -> None:
    pcm = TONE[:samples]
    encoder = OpusEncoder(for_players=True)
    pages = b"".join(encoder.push(pcm[start : start + 1000]) for start in range(0, samples, 1000))
    found, rate = soundfile.read(io.BytesIO(pages + encoder.end()), dtype="float32")
    assert (len(found), rate) == (samples, 24000)
    assert found[500:-500] == pytest.approx(pcm[500:-500], abs=0.05)
