"""`/metrics`: what the engines count, by moshi-server's names and by our own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ...models.families import Task
from ..engine.statistics import Distribution
from ..registry import ServedModel
from .context import Context
from .status import package_version

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ALL = {"handler": "all"}
STEP = {
    Task.SPEECH_TO_TEXT: (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08),
    Task.TEXT_TO_SPEECH: (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.08),
}
STEPS = {
    Task.SPEECH_TO_TEXT: (2, 25, 125, 250, 500, 750, 1125, 1500, 2250, 3000, 4500),
    Task.TEXT_TO_SPEECH: (2, 25, 62.5, 125, 250, 500, 750),
}
PREFIX = {Task.SPEECH_TO_TEXT: "asr", Task.TEXT_TO_SPEECH: "py"}
LENGTH = {
    Task.SPEECH_TO_TEXT: "connection_num_steps",
    Task.TEXT_TO_SPEECH: "model_connection_num_steps",
}
"""moshi-server's buckets and names."""
COUNTERS: Mapping[str, tuple[str, Callable[[Any], float]]] = {
    "sessions": ("Sessions that were opened", lambda s: s.opened),
    "sessions_refused": ("Sessions for which there was no room", lambda s: s.refused),
    "inputs_refused": (
        "Messages that were no audio or text, or too much",
        lambda s: s.refused_inputs,
    ),
    "faults": ("Errors that were not a client's", lambda s: s.faults),
    "steps": ("Steps of the model", lambda s: s.steps),
    "row_steps": ("Streams stepped, over all steps", lambda s: s.row_steps),
    "starved_row_steps": ("Streams with nothing to do, over all steps", lambda s: s.starved_rows),
    "audio_seconds": ("Audio received or generated", lambda s: s.audio_seconds),
}
DISTRIBUTIONS: Mapping[str, tuple[str, Callable[[Any], Distribution]]] = {
    "step_seconds": ("Time of a step of all streams", lambda s: s.step_seconds),
    "rows": ("Streams in a step", lambda s: s.rows),
    "session_steps": ("Steps of a session", lambda s: s.session_steps),
    "queue_seconds": ("Time until a session had a slot", lambda s: s.queue_seconds),
}
GAUGES: Mapping[str, tuple[str, Callable[[ServedModel], float]]] = {
    "slots": ("Streams that may run at once", lambda served: served.engine.slots),
    "slots_used": ("Streams that run", lambda served: served.engine.used),
    "queued": ("Sessions that wait for a slot", lambda served: served.engine.queued),
    "real_time_factor": (
        "Seconds of audio, all streams together, by seconds of computing, of late",
        lambda served: served.engine.statistics.real_time_factor,
    ),
    "lag_seconds": (
        "The largest backlog: seconds of audio, or words",
        lambda served: served.engine.lag,
    ),
    "stepping_seconds": (
        "How long the step of now takes already",
        lambda served: served.engine.stepping_for,
    ),
}


class Metrics:
    """The server's own Prometheus registry: it has nothing else of the process."""

    def __init__(self, context: Context) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(EngineCollector(context.registry.all))
        self._registry.register(ServerCollector(context))

    async def show(self, _: web.Request) -> web.Response:
        """Return all metrics in Prometheus' text format."""
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE}
        )


class ServerCollector(Collector):
    """Read what belongs to the server as a whole, and what depends on whether it is to stop."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        context = self._context
        named = {"instance_name": context.config.instance_name, "version": package_version()}
        yield InfoMetricFamily("kyutai_server", "Name and version of the server", named)
        yield GaugeMetricFamily(
            "kyutai_ready", "Whether the server takes sessions", int(context.is_ready)
        )
        yield GaugeMetricFamily(
            "kyutai_sessions_running",
            "Sessions of clients, including those that wait for a slot or for their client",
            context.sessions.running,
        )
        free = GaugeMetricFamily(
            "kyutai_slots_free", "Sessions that would be taken now", labels=["model"]
        )
        for served in context.registry.all:
            free.add_metric([served.name], context.free(served))
        yield free


class EngineCollector(Collector):
    """Read the engines' statistics at each scrape."""

    def __init__(self, served: Sequence[ServedModel]) -> None:
        self._served = served

    def collect(self) -> Iterator[Metric]:
        for task in PREFIX:
            if fitting := [served for served in self._served if served.family.task is task]:
                yield from _as_moshi_server(task, fitting)
        yield from self._own()

    def _own(self) -> Iterator[Metric]:
        for name, (text, value) in COUNTERS.items():
            counter = CounterMetricFamily(f"kyutai_{name}", text, labels=["model"])
            for served in self._served:
                counter.add_metric([served.name], value(served.engine.statistics))
            yield counter
        ended = CounterMetricFamily(
            "kyutai_sessions_ended", "Sessions that ended", labels=["model", "reason"]
        )
        for served in self._served:
            for reason, count in list(served.engine.statistics.ended.items()):
                ended.add_metric([served.name, reason], count)
        yield ended
        for name, (text, reading) in GAUGES.items():
            gauge = GaugeMetricFamily(f"kyutai_{name}", text, labels=["model"])
            for served in self._served:
                gauge.add_metric([served.name], reading(served))
            yield gauge
        for name, (text, spread) in DISTRIBUTIONS.items():
            histogram = HistogramMetricFamily(f"kyutai_{name}", text, labels=["model"])
            for served in self._served:
                found = spread(served.engine.statistics)
                histogram.add_metric([served.name], _buckets(found, found.bounds), found.sum)
            yield histogram


def _as_moshi_server(task: Task, served: Sequence[ServedModel]) -> Iterator[Metric]:
    """Yield the metrics of a task by moshi-server's names, its models summed."""
    prefix, engines = PREFIX[task], [one.engine for one in served]
    statistics = [engine.statistics for engine in engines]
    yield _plain(f"{prefix}_connect", "Sessions opened", sum(s.opened for s in statistics))
    if task is Task.TEXT_TO_SPEECH:
        yield _plain("py_total_steps", "Steps", sum(s.steps for s in statistics))
        yield _plain("py_active_steps", "Streams stepped", sum(s.row_steps for s in statistics))
        starved = sum(s.starved_rows for s in statistics)
        yield _plain("py_missing_words_steps", "Streams without words", starved)
        could = starved + sum(s.row_steps for s in statistics)
        yield _plain("py_could_have_run_steps", "Streams with a slot", could)
    channels = GaugeMetricFamily(f"{prefix}_open_channels", "Slots in use", labels=list(ALL))
    channels.add_metric(list(ALL.values()), sum(engine.used for engine in engines))
    yield channels
    seconds = [s.step_seconds for s in statistics]
    yield _histogram(f"{prefix}_model_step_duration", "Seconds of a step", seconds, STEP[task])
    lengths = [s.session_steps for s in statistics]
    yield _histogram(f"{prefix}_{LENGTH[task]}", "Steps of a session", lengths, STEPS[task])


def _plain(name: str, text: str, value: float) -> Metric:
    """Make a counter whose name lacks `_total`, which the library takes as untyped."""
    metric = Metric(name, text, "unknown")
    metric.add_sample(name, ALL, value)
    return metric


def _histogram(
    name: str, text: str, distributions: Iterable[Distribution], bounds: Sequence[float]
) -> Metric:
    all_of_them = list(distributions)
    sums = [0.0] * (len(bounds) + 1)
    for one in all_of_them:
        for index, (_, count) in enumerate(_buckets(one, bounds)):
            sums[index] += count
    named = zip([*map(str, bounds), "+Inf"], sums, strict=True)
    metric = HistogramMetricFamily(name, text)
    metric.add_metric([], list(named), sum(one.sum for one in all_of_them))
    return metric


def _buckets(distribution: Distribution, bounds: Sequence[float]) -> list[tuple[str, float]]:
    """Return how many observations are at most each of some of the distribution's bounds, and
    all."""
    counts = dict(zip((*distribution.bounds, None), distribution.cumulative, strict=True))
    named = [(str(float(bound)), float(counts[bound])) for bound in bounds]
    return [*named, ("+Inf", float(counts[None]))]
