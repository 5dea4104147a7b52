"""One training loop for all the models: scheduled by steps, resumable, logged as JSON lines."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training import ranks


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; the learning rate falls to 2 % along a cosine."""

    name: str
    steps: int
    rate: float
    warmup: int = 60
    betas: tuple[float, float] = (0.9, 0.98)
    decay: float = 1e-3
    clip: float = 1.0
    seed: int = 0
    save_every: int = 200

    def rate_at(self, step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * cosine)


class Task(Protocol):
    """What is trained: `model` holds all that is learned, heads thrown away later included."""

    model: nn.Module

    def begin(self) -> None:
        """Initialise the parameters, when there is nothing to resume."""

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """The loss to minimise, under "loss", and others to log."""

    def validate(self, step: int) -> dict[str, float]:
        """Figures to log now, or nothing."""


def train(task: Task, plan: Plan, work: Path) -> None:
    """Train to the end of the plan, from the last save in `work` if there is one."""
    save = work / f"{plan.name}.pt"
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(_groups(parameters, plan.decay), plan.rate, plan.betas)
    start = _resume(save, task.model, optimiser)
    if start == 0:
        task.begin()
    ranks.share(parameters)
    averages: dict[str, float] = {}
    began = time.monotonic()
    for step in range(start, plan.steps):
        rng = np.random.default_rng([plan.seed, ranks.rank(), step])
        torch.manual_seed(int(rng.integers(2**31)))
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        losses = task.losses(step, rng)
        optimiser.zero_grad()
        losses["loss"].backward()
        norm = ranks.average_gradients(parameters, plan.clip)
        optimiser.step()
        _average(averages, {**{k: float(v) for k, v in losses.items()}, "norm": norm})
        done = step + 1
        if ranks.rank() == 0 and (done % plan.save_every == 0 or done == plan.steps):
            figures = {**averages, **task.validate(done)}
            _save(save, task.model, optimiser, done)
            _log(work / f"{plan.name}.jsonl", done, time.monotonic() - began, figures)


def finished(plan: Plan, work: Path) -> bool:
    save = work / f"{plan.name}.pt"
    return save.exists() and torch.load(save, mmap=True)["step"] >= plan.steps


def _groups(parameters: list[nn.Parameter], decay: float) -> list[dict]:
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _average(averages: dict[str, float], values: dict[str, float]) -> None:
    for name, value in values.items():
        averages[name] = 0.98 * averages.get(name, value) + 0.02 * value


def _resume(save: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    if not save.exists():
        return 0
    state = torch.load(save)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"]


def _save(save: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    part = save.with_suffix(".part")
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    torch.save(state, part)
    part.replace(save)


def _log(log: Path, step: int, seconds: float, figures: dict[str, float]) -> None:
    line = {"step": step, "seconds": round(seconds)}
    line |= {name: round(value, 4) for name, value in figures.items()}
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(*(f"{k} {v}" for k, v in line.items()), flush=True)
