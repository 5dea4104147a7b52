"""How much memory a process holds."""

from pathlib import Path


def resident_mb() -> float:
    """Memory of this process that is no file's, in megabytes."""
    return _status_mb("RssAnon")


def peak_mb() -> float:
    """The most memory that this process held, mapped files included, in megabytes."""
    return _status_mb("VmHWM")


def _status_mb(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith(name))
    return int(line.split()[1]) / 1e3
