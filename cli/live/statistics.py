"""How live listening and speaking went, in a line."""

from ...runtime.audio.live import LiveSound, Meter
from ...runtime.audio.live.meter import RunningStats

Figures = dict[str, float]


def figures(meter: Meter, sound: LiveSound | None, said: float | None) -> Figures:
    """Seconds, but for the real-time factor and for what is counted; `said` is how much a model
    that reads has made, None of one that hears."""
    found: Figures = {}
    if said is not None:
        found["said"] = said
    else:
        found |= {
            "heard": meter.audio,
            "real_time_factor": meter.real_time_factor,
            "lag": meter.lag.median,
            "greatest_lag": meter.lag.greatest,
        }
    if sound is not None and sound.microphone is not None:
        found |= {
            "dropped": sound.capture_buffer.dropped,
            "overflows": sound.capture_buffer.overflows,
            "microphone_away": sound.microphone.away,
            "muted": sound.muted,
        }
    if sound is not None and sound.output_device is not None:
        found |= {
            "played": sound.playback_buffer.played,
            "not_played": sound.playback_buffer.dropped,
            "underruns": sound.playback_buffer.underruns,
            "speaker_away": sound.output_device.away,
        }
    for name, spread in _delays(meter):
        found |= {name: spread.median, f"greatest_{name}": spread.greatest}
    return found


def in_a_line(found: Figures) -> str:
    """For a person; what did not happen is left out, but for drops, which are always told."""
    parts = []
    if found.get("heard"):
        parts += [
            f"heard {found['heard']:.1f} s",
            f"real-time factor {found['real_time_factor']:.2f}",
            f"lag {found['lag']:.2f} s (at most {found['greatest_lag']:.2f})",
        ]
    elif "said" in found:
        parts.append(f"said {found['said']:.1f} s")
    if "dropped" in found:
        parts.append(f"dropped {found['dropped']:.1f} s")
    if found.get("overflows"):
        parts.append(f"{found['overflows']} overflows of the device")
    if found.get("muted"):
        parts.append(f"muted {found['muted']:.1f} s")
    if "played" in found:
        parts.append(f"played {found['played']:.1f} s")
        if found["not_played"]:
            parts.append(f"not played {found['not_played']:.1f} s")
        parts.append(f"{found['underruns']} underruns")
    for name in ("microphone", "speaker"):
        if found.get(f"{name}_away"):
            parts.append(f"without the {name} {found[f'{name}_away']:.1f} s")
    return ", ".join(parts) or "nothing was heard"


def latencies(meter: Meter) -> str:
    """From a word's end to its being told, from a sound to the one that answers it, and from a text
    to its being said."""
    parts = [
        f"{name.replace('_', ' ')} {spread.median:.2f} s (at most {spread.greatest:.2f})"
        for name, spread in _delays(meter)
    ]
    return "latency: " + (", ".join(parts) or "nothing was told")


def _delays(meter: Meter) -> list[tuple[str, RunningStats]]:
    """Those that were measured."""
    delays = (
        ("sound_to_word", meter.to_word),
        ("sound_to_sound", meter.to_sound),
        ("text_to_sound", meter.text_to_sound),
    )
    return [(name, spread) for name, spread in delays if spread.count]


def rounded(found: Figures) -> dict[str, object]:
    """To a thousandth."""
    return {name: round(value, 3) for name, value in found.items()}
