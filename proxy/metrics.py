"""The metrics, by name. Names, labels and `type` values are a contract with dashboards; docs/metrics.md lists them.

Values live in memory-mapped files shared by all processes, so that any worker's /metrics shows the sum over all of
them, and a killed process loses none of its counts.
"""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from compiler.ledger import Charge
from compiler.registry import STAGES, TaskView

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1)
MAX_TASKS = 100
MAX_MODELS = 200


class Names:
    """At most so many different values of a label; what comes later is `other`."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._known: set[str] = set()

    def knows(self, name: str) -> bool:
        return name in self._known

    def bound(self, name: str) -> str:
        if name in self._known:
            return name
        if len(self._known) >= self._at_most:
            return OTHER
        self._known.add(name)
        return name


class Metrics:
    """One a process. Needs PROMETHEUS_MULTIPROC_DIR set before prometheus_client is first imported."""

    def __init__(self) -> None:
        registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"cuecard_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"cuecard_{name}", text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, mode: str, *labels: str) -> Gauge:
            return Gauge(f"cuecard_{name}", text, labels, multiprocess_mode=mode, registry=registry)  # type: ignore[arg-type]

        self.registry = registry
        self.requests = counter("requests_total", "Client requests answered", "task", "route", "model", "code")
        self.duration = histogram("request_duration_seconds", "Whole requests", SLOW, "route", "model")
        self.overhead = histogram("overhead_seconds", "Time a request spent inside Cuecard", FAST, "route")
        self.first_token = histogram(
            "time_to_first_token_seconds", "To the first streamed byte", SLOW, "route", "model"
        )
        self.tokens = counter("tokens_total", "Tokens of all upstream calls", "model", "role", "type")
        self.cost = counter("cost_usd_total", "Cost of all upstream calls", "model", "role", "task")
        self.baseline = counter("baseline_cost_usd_total", "Estimate: the same on the current model", "model", "task")
        self.unpriced = counter("unpriced_requests_total", "Upstream calls without a known price", "model")
        self.original = counter("original_total", "Requests left as they were", "reason")
        self.fallbacks = counter(
            "fallbacks_total", "Compiled attempts that the current model answered", "task", "reason"
        )
        self.compiles = counter("compiles_total", "Compiles by outcome", "task", "outcome")
        self.compile_duration = histogram("compile_duration_seconds", "Whole compiles", SLOW)
        self.stage = gauge("task_stage", "1 for the stage a task is in", "mostrecent", "task", "stage")
        self.traffic = gauge("task_traffic_ratio", "Share that the card may serve", "mostrecent", "task")
        self.upstream_errors = counter("upstream_errors_total", "Upstream answers of 400 and more", "upstream", "code")
        self.inflight = gauge("inflight_requests", "Requests being answered", "livesum")
        self.dropped = counter("observations_dropped_total", "Records that could not be kept", "reason")
        self._tasks = Names(MAX_TASKS)
        self._models = Names(MAX_MODELS)

    def task(self, name: str) -> str:
        return self._tasks.bound(name)

    def model(self, name: str) -> str:
        return self._models.bound(name)

    def known_model(self, name: str) -> str:
        """For a name that only a client has spoken for: itself if an upstream ever answered under it."""
        return name if self._models.knows(name) else OTHER

    def charge(self, charge: Charge) -> None:
        """One upstream call's tokens and dollars."""
        model, task = self.model(charge.model), self.task(charge.task)
        for kind, count in charge.usage.by_type().items():
            if count:
                self.tokens.labels(model, charge.role, kind).inc(count)
        if charge.cost is None:
            self.unpriced.labels(model).inc()
        elif charge.cost:
            self.cost.labels(model, charge.role, task).inc(charge.cost)

    def tasks(self, views: dict[str, TaskView]) -> None:
        """The learner's picture of every task's stage; of the prefork family only it sets these."""
        for name, view in views.items():
            task = self.task(name)
            for stage in STAGES:
                self.stage.labels(task, stage).set(int(stage == view.state.stage))
            self.traffic.labels(task).set(int(view.compiled is not None))


def exposition() -> bytes:
    """All processes' values in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_process(pid: int) -> None:
    """A process ended: its gauges go, its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def use_folder(folder: Path) -> None:
    os.environ[FOLDER_VARIABLE] = str(folder)
