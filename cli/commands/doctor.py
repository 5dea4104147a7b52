"""`doctor`: what is installed here and what works.

A part that is not available says why; the other parts are still checked.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import KyutaiOnnxError, UsageError
from .. import options

if TYPE_CHECKING:
    from ...models.frame_benchmark import FrameBenchmark

app = options.new_app()
PACKAGES = ("kyutai-onnx", "onnxruntime-ep-webgpu", "numpy", "soxr", "soundfile", "sentencepiece",
            "sounddevice", "huggingface-hub", "torch")  # fmt: skip
BENCH_SECONDS = 2.0
READ_BYTES = 1 << 28
READ_TRIES = 5

Found = dict[str, Any]


@app.command()
@options.with_groups
def doctor(
    *, model: options.NamedModelOptions, as_json: options.Json = False, general: options.General
) -> None:
    """Check this installation, and time a bundle.

    Prints versions, the providers that really run, the speed of memory, sound devices, the cache
    and the disk; runs a bundle for two seconds to say whether it keeps up with live audio.
    """
    found = checkup(model, quiet=general.quiet)
    print(json.dumps(found, indent=2) if as_json else "\n".join(report(found)))


def checkup(model: options.ModelOptions, *, quiet: bool) -> Found:
    """Return every part by name; `{"error": cause}` for a part that failed.

    Raises UsageError for an unknown provider.
    """
    from ...runtime.providers.memory_speed import read_bandwidth
    from ...runtime.providers.provider import PROVIDERS, default_threads

    load = load_average()
    speed = read_bandwidth(default_threads(), READ_BYTES, READ_TRIES)
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": packages(),
        "processors": os.cpu_count(),
        "threads": (threads := model.threads or default_threads()),
        "load": load,
        "is_busy": load is not None and load + threads > (os.cpu_count() or 1),
        "memory_read_gb_per_second": round(speed / 1e9, 1),
        "providers": {name: attempt(partial(provider_runs, name)) for name in PROVIDERS},
        "devices": attempt(devices),
        "cache": cache(),
        "bench": attempt(lambda: time_frames(open_benchmark(model, quiet=quiet))),
    }


def load_average() -> float | None:
    """Return how many processors the programs of the last minute kept busy; None if the system does
    not count them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def open_benchmark(model: options.ModelOptions, *, quiet: bool) -> "FrameBenchmark":
    """Open a bundle to be timed."""
    from ...models.frame_benchmark import FrameBenchmark
    from ..load import open_model

    return FrameBenchmark(open_model(model, quiet), **model.loading)


def attempt(part: Callable[[], Any]) -> Any:
    """Return what a part finds, or its error; UsageError passes."""
    try:
        return part()
    except UsageError:
        raise
    except KyutaiOnnxError as error:
        return {"error": str(error)}


def packages() -> dict[str, str]:
    """Return the versions of the installed packages."""
    from ...runtime.providers.provider import WHEELS

    found = {}
    for name in (*PACKAGES[:1], *WHEELS, *PACKAGES[1:]):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def provider_runs(name: str) -> Found:
    """Run a graph on a provider; raises ProviderError if it does not run."""
    from ...runtime.providers.provider import check_provider, choose

    provider = choose(name, name)  # type: ignore[arg-type]
    check_provider(provider)
    return {"runs": True, "name": provider.onnxruntime_name}


def devices() -> list[Found]:
    """Return the audio devices; raises AudioError if they cannot be listed."""
    from ...runtime.audio.live import SoundCard

    return [asdict(device) for device in SoundCard().devices()]


def cache() -> Found:
    """Return the bundles in the cache, their size, and the free space of the disk."""
    from ...models.resolve import exported_names
    from ...runtime.cache_folder import bundles_folder

    folder = bundles_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return {
        "folder": str(folder),
        "bundles": exported_names(),
        "gigabytes": round(size_of(folder) / 1e9, 2),
        "free_gigabytes": round(shutil.disk_usage(there).free / 1e9, 1),
    }


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; 0 if it does not exist."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def time_frames(loop: "FrameBenchmark") -> Found:
    """Step a bundle for two seconds, with full KV caches."""
    frames: list[float] = []
    until = time.perf_counter() + BENCH_SECONDS
    while time.perf_counter() < until or len(frames) < 2:
        frames.append(loop.timed_step()["frame"])
    frames.sort()
    manifest = loop.bundle.manifest
    frame, lasts = frames[len(frames) // 2], 1 / manifest.audio.frame_rate
    return {
        "model": manifest.name,
        "precision": manifest.precision,
        "provider": loop.provider,
        "frames": len(frames),
        "frame_ms": round(1e3 * frame, 2),
        "frame_lasts_ms": round(1e3 * lasts, 2),
        "times_real_time": round(lasts / frame, 2),
        "runs_live": frames[int(0.9 * (len(frames) - 1))] < lasts,
    }


def report(found: Found) -> list[str]:
    """Format what was found, one line or more per part."""
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    lines = [
        f"system     {found['system']}, Python {found['python']}",
        f"installed  {versions}",
        f"machine    {found['processors']} processors, {found['threads']} threads are used; memory "
        f"is read at {found['memory_read_gb_per_second']:.1f} GB/s",
    ]
    lines.append(_load(found))
    for name, state in found["providers"].items():
        lines.append(f"{name:10} {state.get('error') or 'runs'}")
    lines += _sound(found["devices"])
    cached = found["cache"]
    lines.append(
        f"cache      {cached['folder']}: {len(cached['bundles'])} bundles, "
        f"{cached['gigabytes']:.1f} GB; {cached['free_gigabytes']:.0f} GB are free"
    )
    lines += [f"           {name}" for name in cached["bundles"]]
    lines.append(_bench(found["bench"]))
    return lines


def _load(found: Found) -> str:
    if found["load"] is None:
        return "load       not counted by this system; close other programs for true figures"
    said = f"load       {found['load']:.2f} of {found['processors']} processors in the last minute"
    if not found["is_busy"]:
        return f"{said}: free enough"
    return (
        f"{said}: busy, so the speeds below are lower than this machine's; repeat it when other "
        "programs have ended"
    )


def _sound(found: Any) -> list[str]:
    if isinstance(found, dict):
        return [f"sound      {found['error']}"]
    if not found:
        return ["sound      no device"]
    names = ", ".join(device["name"] for device in found)
    return [f"sound      {len(found)} devices: {names}"]


def _bench(found: Found) -> str:
    if "error" in found:
        return f"bench      {found['error']}"
    return (
        f"bench      {found['model']} {found['precision']} on {found['provider']}: "
        f"{found['frame_ms']:.1f} ms a frame of {found['frame_lasts_ms']:.0f} ms, "
        f"{found['times_real_time']:.1f} times real time: "
        f"{'runs live' if found['runs_live'] else 'does not run live'}"
    )
