"""The metrics, by name. Names, labels and `type` values are a contract with dashboards; docs/metrics.md lists them.

Values live in memory-mapped files shared by all processes, so that any worker's /metrics shows the sum over all of
them, and a killed process loses none of its counts: its successor in the same `slot` counts on in the same file.
"""

import logging
import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.values import MultiProcessValue

from compiler.ledger import Charge, Tally
from compiler.pricing import TOKEN_TYPES
from compiler.registry import STAGES, TaskView
from proxy.entry import Entry

log = logging.getLogger("cuecard.metrics")

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1)
FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemin", "gauge_mostrecent")  # one for each mode below
FILE_BYTES = 2**20  # some 5,000 series: more than 100 tasks and 200 models are seen to make; beyond, it grows
BROKEN = frozenset(("unreachable", "broke_off", "timeout"))  # answers that had begun well
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
    """One a process. To share values, `use_folder` and `use_slot` come first."""

    def __init__(self) -> None:
        registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"cuecard_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"cuecard_{name}", text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, mode: str, *labels: str) -> Gauge:
            return Gauge(f"cuecard_{name}", text, labels, multiprocess_mode=mode, registry=registry)  # type: ignore[arg-type]

        self.registry = registry
        self.requests_now = 0  # as a plain number: `show_inflight` puts it on the gauge
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
        self.loss_bound = gauge("task_loss_bound_ratio", "At most so much worse, 95 % sure", "mostrecent", "task")
        self.pairs = counter("task_pairs_total", "Requests answered by both models and compared", "task", "outcome")
        self.feedback = counter("feedback_total", "What users said of answers", "task", "route", "outcome")
        self.upstream_errors = counter("upstream_errors_total", "Upstream answers of 400 and more", "upstream", "code")
        self.inflight = gauge("inflight_requests", "Requests being answered", "livesum")
        self.store_up = gauge("store_up", "1 while every worker can use the store", "livemin")
        self.store_up.set(1)  # a process that knows nothing of it has nothing to complain of
        self.dropped = counter("observations_dropped_total", "Records that could not be kept", "reason")
        self._tasks = Names(MAX_TASKS)
        self._models = Names(MAX_MODELS)
        self._shown: set[str] = set()  # tasks whose stage is on show
        self._timed: dict[tuple[str, str], tuple[Histogram, Histogram, Histogram]] = {}
        self._counters: dict[tuple[Counter, tuple[str, ...]], Counter] = {}

    def task(self, name: str) -> str:
        return self._tasks.bound(name)

    def model(self, name: str) -> str:
        return self._models.bound(name)

    def known_model(self, name: str) -> str:
        """For a name that only a client has spoken for: itself if an upstream ever answered under it."""
        return name if self._models.knows(name) else OTHER

    def enter(self, entries: Iterable[Entry]) -> None:
        """Upstream calls that failed, and requests that ended. Counts are added up first: a batch repeats itself."""
        counts: dict[tuple[Counter, tuple[str, ...]], int] = {}
        times: dict[tuple[str, str], list[Entry]] = {}

        def count(counter: Counter, *labels: str) -> None:
            key = counter, labels
            counts[key] = counts.get(key, 0) + 1

        for entry in entries:
            if entry.part == "tokens":
                continue
            if entry.status >= 400 or not entry.status or entry.failed in BROKEN:
                what = str(entry.status) if entry.status >= 400 else entry.failed or OTHER
                count(self.upstream_errors, entry.upstream, what)
            if not entry.ends:
                count(self.fallbacks, self.task(entry.task), entry.failed)
                continue
            count(self.requests, self.task(entry.task), entry.served, entry.model, str(entry.code))
            if entry.served == "original":
                count(self.original, entry.reason)
            times.setdefault((entry.served, entry.model), []).append(entry)
        for key, timed in times.items():
            self._observe(key, timed)
        for (counter, labels), by in counts.items():
            self.count(counter, *labels, by=by)

    def _observe(self, key: tuple[str, str], entries: list[Entry]) -> None:
        timed = self._timed.get(key)
        if timed is None:
            timed = self._timed[key] = (
                self.duration.labels(*key),
                self.overhead.labels(key[0]),
                self.first_token.labels(*key),
            )
        duration, overhead, first_token = timed
        _observe_all(duration, SLOW, [entry.seconds for entry in entries])
        _observe_all(overhead, FAST, [entry.overhead for entry in entries])
        _observe_all(first_token, SLOW, [entry.first_byte for entry in entries if entry.first_byte is not None])

    def count(self, counter: Counter, *labels: str, by: float = 1) -> None:
        """Count on a series, found by its labels the first time only. Bounded labels only: each is remembered."""
        key = counter, labels
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = counter.labels(*labels)
        found.inc(by)

    def show_inflight(self) -> None:
        self.inflight.set(self.requests_now)

    def charge(self, charge: Charge) -> None:
        """One background call's tokens and dollars."""
        tally = Tally()
        tally.add(charge)
        self.spend(tally)

    def spend(self, tally: Tally) -> None:
        """Tokens and dollars of upstream calls."""
        for (_, name), rows in tally.rows.items():
            task = self.task(name)
            for row, sums in rows.items():
                model = self.model(row.model)
                for kind in TOKEN_TYPES:
                    if tokens := getattr(sums, kind):
                        self.count(self.tokens, model, row.role, kind, by=tokens)
                if sums.unpriced:
                    self.count(self.unpriced, model, by=sums.unpriced)
                if sums.cost:
                    self.count(self.cost, model, row.role, task, by=sums.cost)
                if sums.baseline:
                    self.count(self.baseline, model, task, by=sums.baseline)

    def tasks(self, views: Mapping[str, TaskView], bounds: Mapping[str, float]) -> None:
        """The learner's picture of every task's stage and proof; of all processes only it sets these."""
        for name in self._shown | set(views):
            task, view = self.task(name), views.get(name)
            for stage in STAGES:
                self.stage.labels(task, stage).set(int(view is not None and stage == view.stage))
            self.traffic.labels(task).set(view.served if view else 0)
            if name in bounds:
                self.loss_bound.labels(task).set(bounds[name])
        self._shown = set(views)


def _observe_all(histogram: Histogram, bounds: tuple[float, ...], values: list[float]) -> None:
    """As `observe` for each, with one write for a bucket."""
    if not values:
        return
    counts: dict[int, int] = {}
    for value in values:
        at = bisect_left(bounds, value)
        counts[at] = counts.get(at, 0) + 1
    histogram._sum.inc(sum(values))
    for at, count in counts.items():
        histogram._buckets[at].inc(count)


def exposition() -> bytes:
    """All processes' values in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_slot(slot: str) -> None:
    """The process in a slot ended: its gauges go, its counters stay."""
    mark_process_dead(slot)  # type: ignore[no-untyped-call]


def use_folder(folder: Path) -> None:
    os.environ[FOLDER_VARIABLE] = str(folder)


def use_slot(slot: str) -> None:
    """Count in the files of `slot`, which one live process at a time may have. (By default a file belongs to a process
    id, which is asked for at every count, a system call each, and a dead process' files would pile up.)

    Their room is allocated here: in a file with holes, a count on a full disk kills the process (SIGBUS).
    """
    folder = Path(os.environ[FOLDER_VARIABLE])
    try:
        for kind in FILES:
            _allocate(folder / f"{kind}_{slot}.db", FILE_BYTES)
        values.ValueClass = MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
    except OSError as error:
        log.error("no metrics are kept, there is no room for them in %s: %s", folder, error)
        values.ValueClass = values.MutexValue


def _allocate(file: Path, size: int) -> None:
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)
