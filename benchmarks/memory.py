"""How much memory a process holds."""

from pathlib import Path


def resident_mb(process: int | str = "self") -> float:
    """Memory of a process, this one unless given, that is no file's, in megabytes."""
    return _status_mb(process, "RssAnon")


def held_mb(process: int | str = "self") -> float:
    """Memory that a process holds, the pages of mapped files that it has read included, in
    megabytes."""
    return _status_mb(process, "VmRSS")


def peak_mb(process: int | str = "self") -> float:
    """The most memory that it held, mapped files included, in megabytes."""
    return _status_mb(process, "VmHWM")


def _status_mb(process: int | str, name: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith(name))
    return int(line.split()[1]) / 1e3
