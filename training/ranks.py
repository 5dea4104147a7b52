"""Training on a few single-threaded processes that average their gradients."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing import spawn

# A paused machine must not look like a dead one.
PATIENCE = timedelta(days=7)


def run(work: Callable[..., None], *arguments: object, ranks: int = 2) -> None:
    """Call `work(*arguments)` in each of `ranks` fresh processes."""
    meeting = Path(str(arguments[0])) / f"ranks-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    spawn(_join, (work, ranks, meeting, arguments), nprocs=ranks)
    meeting.unlink(missing_ok=True)


def _join(rank: int, work: Callable[..., None], ranks: int, meeting: Path, arguments: tuple):
    # Linux shares processors out by session: on a busy machine, ranks in one would get one share.
    os.setsid()
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks, timeout=PATIENCE
    )
    work(*arguments)
    dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def share(parameters: list[torch.nn.Parameter]) -> None:
    """Give every process the first one's parameters."""
    if dist.is_initialized():
        for parameter in parameters:
            dist.broadcast(parameter.data, 0)


def average_gradients(parameters: list[torch.nn.Parameter], clip: float) -> float:
    """Average over the processes, clip to a total norm, and return the norm before."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.view(-1) for p in parameters])
    if dist.is_initialized():
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    norm = float(flat.norm())
    flat *= min(1.0, clip / (norm + 1e-6))
    at = 0
    for parameter in parameters:
        parameter.grad = flat[at : at + parameter.numel()].view_as(parameter)
        at += parameter.numel()
    return norm
