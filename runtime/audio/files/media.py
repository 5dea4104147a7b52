"""What FFmpeg reads of containers that libsndfile does not know, those of films among them."""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from ...errors import AudioError
from ..pcm import Pcm
from .source import AudioInfo, ByteSource, conversion, cut_short

_SLACK_SECONDS = 0.5  # a last picture has no duration, and writers round theirs
_MICROSECONDS = 1_000_000
_GUESSING = ("aac", "ac3", "amr", "mpeg", "mpegts", "wav")
"""Demuxers that only guess how long it is."""
_DECODERS = (
    *("aac", "aac_latm", "alac", "ac3", "eac3", "amrnb", "amrwb", "flac", "mp1float", "mp2"),
    *("mp2float", "mp3float", "mp3", "opus", "speex", "vorbis", "wavpack", "wmav1", "wmav2"),
    *("wmapro", "nellymoser", "adpcm_ms", "adpcm_ima_wav"),
    *("pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le"),
    *("pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
)
_FAILURES = (av.FFmpegError, OSError, ValueError)


class MediaDecoder:
    """See `Decoder`; the first sound track of a whole source, which it closes.

    FFmpeg may use only the demuxer named and decoders of sound: no file can lead it to another, or
    to what sound does not need. Raises AudioError if there is no sound.
    """

    def __init__(self, source: ByteSource, demuxer: str) -> None:
        self.name, self._source = source.name, source
        source.rewind()
        self._reached, self._given = 0.0, 0
        self._failure: AudioError | None = None
        try:
            self._container = _opened(source, demuxer)
            self._samples = self._decoded()
            self._rest = next(self._samples)
        except StopIteration:
            raise AudioError(f"{self.name} holds no sound: choose another file") from None
        except _FAILURES as error:
            raise AudioError(
                f"{self.name} is not audio that can be read here ({_words(error)}); "
                f"if it plays elsewhere, convert it: {conversion(source.path)}"
            ) from error
        length = None if demuxer in _GUESSING else self._container.duration
        self._declared = None if length is None else length / _MICROSECONDS
        track = self._container.streams.audio[0]
        rate, label = track.codec_context.sample_rate, f"{demuxer} {track.codec_context.name}"
        self.info = AudioInfo(rate, self._rest.shape[1], self._frames(track, rate), label)

    def read(self, frames: int) -> Pcm:
        """See `Decoder.read`."""
        pieces, count = [self._rest], len(self._rest)
        while count < frames and (piece := self._next()) is not None:
            pieces.append(piece)
            count += len(piece)
        block = np.concatenate(pieces)
        block, self._rest = block[:frames], block[frames:]
        self._given += len(block)
        if not len(block):
            self._check_complete()
        return block

    def close(self) -> None:
        """Release the source."""
        self._container.close()
        self._source.close()

    def _frames(self, track: av.AudioStream, rate: int) -> int | None:
        """As long as the track says that it is; else, the whole file."""
        if self._declared is None:
            return None
        if track.duration is None or track.time_base is None:
            return round(self._declared * rate)
        return round(track.duration * track.time_base * rate)

    def _next(self) -> Pcm | None:
        """None at the end, and at damage, which is raised after all samples before it."""
        try:
            return None if self._failure else next(self._samples, None)
        except _FAILURES as error:
            self._failure = AudioError(
                f"{self.name} is damaged at {self._reached:.3f} s ({_words(error)}): "
                "what precedes was read; copy or download it again"
            )
            return None

    def _decoded(self) -> Iterator[Pcm]:
        """Samples `[n, channels]`, all at the rate and with the channels of the first."""
        container = self._container
        if not container.streams.audio:
            return
        track, resampler = container.streams.audio[0], None
        for packet in container.demux():
            self._note(packet)
            if packet.stream is not track:
                continue
            for frame in packet.decode():
                assert isinstance(frame, av.AudioFrame)
                resampler = resampler or av.AudioResampler("flt", frame.layout, frame.sample_rate)
                yield from map(_samples, resampler.resample(frame))

    def _note(self, packet: "av.Packet[Any]") -> None:
        """How far the file goes, be it in sound or pictures."""
        if packet.pts is not None and packet.time_base is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._reached = max(self._reached, end)

    def _check_complete(self) -> None:
        if self._failure:
            raise self._failure
        begin = (self._container.start_time or 0) / _MICROSECONDS
        if self._declared and self._reached - begin + _SLACK_SECONDS < self._declared:
            raise cut_short(self.name, self._given / self.info.sample_rate, self._declared)


def _opened(source: ByteSource, demuxer: str) -> InputContainer:
    allowed = {"format_whitelist": demuxer, "codec_whitelist": ",".join(_DECODERS)}
    container = av.open(source.stream, format=demuxer, options=allowed)
    assert isinstance(container, InputContainer)
    return container


def _samples(frame: av.AudioFrame) -> Pcm:
    """`[n, channels]` of samples that lie beside one another."""
    samples: Any = frame.to_ndarray()
    return samples.reshape(-1, frame.layout.nb_channels)  # type: ignore[no-any-return]


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
