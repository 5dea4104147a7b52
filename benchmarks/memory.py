"""How much memory a process holds."""

from pathlib import Path


def resident_mb() -> float:
    """Memory of this process that is no file's, in megabytes."""
    status = Path("/proc/self/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3
