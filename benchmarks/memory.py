"""How much memory a process holds."""

import contextlib
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


def family(process: int) -> list[int]:
    """A process and all that descend from it, as far as they still run."""
    found = [process]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def family_mb(process: int) -> float:
    """The memory of a process and its descendants in megabytes; a shared page counts once (PSS)."""
    return sum(_proportional_mb(one) for one in family(process))


def _proportional_mb(process: int) -> float:
    with contextlib.suppress(OSError):
        for row in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if row.startswith("Pss:"):
                return int(row.split()[1]) / 1e3
    return 0.0


def _status_mb(process: int | str, name: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith(name))
    return int(line.split()[1]) / 1e3
