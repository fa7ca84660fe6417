"""The real server under the soak: its configuration, its cards, its processes, and their ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from bench.soak.traffic import CHEAP, LABELS, PRICES, STRONG, SYSTEM, card_messages
from compiler.example import Example
from compiler.program import Prompt

START_SECONDS = 60.0
STOP_SECONDS = 60.0
UPSTREAM_SILENT = 2.0
MODULES = {"worker": "worker", "learner": "learning"}  # of `proxy`, as they stand in the command line
NOT_REQUESTS = ["grep", "--line-buffered", "--text", "-v", r'^{"time"']  # the log without its line for each request


def configuration(folder: Path, upstream: str, workers: int) -> Path:
    tasks: dict[str, Any] = {
        name: {"description": f"The soak's {name}.", "system": SYSTEM[name], "incumbent": STRONG, "trust": "declared"}
        for name in SYSTEM
    }
    tasks["mood"]["output"] = {"kind": "label", "labels": list(LABELS)}
    settings = {
        "listen": {"port": 0, "workers": workers},
        "upstreams": {"soak": {"base_url": upstream, "api_key": "sk-soak"}},
        "models": {"meta": STRONG, "judge": "soak-judge", "production": [CHEAP]},
        "prices": PRICES,
        "tasks": tasks,
        "timeouts": {"upstream": UPSTREAM_SILENT, "candidate": 0.5},
        "store": {"url": f"file:{folder / 'store'}"},
    }
    file = folder / "cuecard.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def compiled(name: str, _description: str) -> tuple[str, Prompt]:
    """The model and the prompt of a task's card."""
    opening = card_messages(name)
    return CHEAP, Prompt(opening[0]["content"], (Example(opening[1]["content"], opening[2]["content"]),))


@contextmanager
def upstream(log: Path, requests: int, seed: int, every: int) -> Iterator[tuple[str, int]]:
    """(address, process id) of the upstream in its own process."""
    command = [sys.executable, "-m", "bench.soak.upstream", str(log), str(requests), str(seed), str(every)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        found = re.search(r"listens on (\S+)", process.stdout.readline().decode())
        if not found:
            raise RuntimeError("the soak's upstream did not start")
        yield found[1], process.pid
    finally:
        process.terminate()
        process.wait()


@dataclass
class Server:
    """`cuecard serve`. Its log goes to `log`: without a line for each request, unless it is wanted whole. `module`: how
    it is started."""

    config: Path
    log: Path
    whole_log: bool = False
    module: Sequence[str] = ("proxy.cli",)
    port: int = 0
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log.open("wb") as log, self.log.with_suffix(".out").open("wb") as out:
            self._spawn(log, out)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"listens on http://\S+?:(\d+)/", self.log.with_suffix(".out").read_text()):
                self.port = int(found[1])
                return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start: {self.log.read_text()[-2_000:]}")

    def _spawn(self, log: BinaryIO, out: BinaryIO) -> None:
        command = [sys.executable, "-m", *self.module, "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
        self._filter = subprocess.Popen(
            ["cat"] if self.whole_log else NOT_REQUESTS, stdin=self.process.stderr, stdout=log
        )
        if self.process.stderr:
            self.process.stderr.close()

    def stop(self) -> tuple[int, float]:
        """(exit code, seconds it took)."""
        begun = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in (*self.children("worker"), *self.children("learner"), self.process.pid):
                os.kill(pid, signal.SIGKILL)
            code = self.process.wait()
        self._filter.wait(10)
        return code, time.monotonic() - begun

    def children(self, role: str) -> list[int]:
        """The oldest first."""
        command = ["pgrep", "-P", str(self.process.pid), "-f", f"proxy.{MODULES[role]}"]
        found = [int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()]
        return sorted(found, key=_born)

    def report(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "proxy.cli", "report", "--json", "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True)


def _born(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


@dataclass
class Kill:
    role: str
    pid: int
    at: float = 0.0  # time.monotonic()
    ports: frozenset[int] = frozenset()  # of the clients that were connected to it
    in_flight: int = 0  # of their requests


def kill(server: Server, role: str) -> Kill | None:
    """kill -9 of the youngest of its role, so that another lives through the whole soak; None if there is none now."""
    found = server.children(role)
    if not found:
        return None
    ports = clients_of(found[-1], server.port) if role == "worker" else frozenset()
    try:
        os.kill(found[-1], signal.SIGKILL)
    except ProcessLookupError:
        return None
    return Kill(role, found[-1], time.monotonic(), ports)


def clients_of(pid: int, port: int) -> frozenset[int]:
    """The clients' ports of the connections that a process holds on `port`: from the kernel's tables."""
    mine = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(handle.readlink())
        except OSError:
            continue
        if name.startswith("socket:["):
            mine.add(name[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = [row for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[9] in mine]
    return frozenset(int(row[2].rpartition(":")[2], 16) for row in here) - {0}


@dataclass(frozen=True)
class Sample:
    role: str
    pid: int
    age: float  # seconds
    at: float
    rss: int  # bytes
    files: int
    threads: int


def samples(server: Server) -> list[Sample]:
    found = []
    for role in ("worker", "learner"):
        for pid in server.children(role):
            try:
                found.append(_sample(role, pid))
            except (OSError, KeyError):  # it ended meanwhile
                continue
    return found


def _sample(role: str, pid: int) -> Sample:
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    age = uptime - _born(pid) / os.sysconf("SC_CLK_TCK")
    rss = int(told["VmRSS"].split()[0]) * 1_024
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(role, pid, age, time.monotonic(), rss, files, int(told["Threads"]))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
