"""What a process and its children used of the machine, from /proc (Linux)."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # a second
PAGE = os.sysconf("SC_PAGE_SIZE")
ROLES = {
    "proxy.worker": "worker",
    "proxy.learning": "learner",
    "bench.noted.learning": "learner",
    "proxy.cli": "supervisor",
    "bench.noted": "supervisor",
}


@dataclass(frozen=True)
class Usage:
    pid: int
    parent: int
    cpu_seconds: float
    rss_bytes: int


def usage_of(stat: str) -> Usage:
    """One line of /proc/PID/stat. The name, in brackets, may hold spaces and brackets of its own."""
    pid = int(stat.partition(" ")[0])
    fields = stat.rpartition(")")[2].split()
    return Usage(pid, int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE)


def tree(root: int) -> list[Usage]:
    """The process and all that descend from it."""
    return descendants(root, _all())


def descendants(root: int, processes: Iterable[Usage]) -> list[Usage]:
    children: dict[int, list[Usage]] = {}
    found: list[Usage] = []
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.pid == root:
            found.append(process)
    for process in found:  # grows while it is walked
        found += children.get(process.pid, [])
    return found


def cpu_seconds(root: int) -> float:
    return sum(process.cpu_seconds for process in tree(root))


def others_cpu_seconds(root: int) -> float:
    """What the machine has used since its start, but for `root` and its children: only differences say a thing."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS - cpu_seconds(root)


def learners(root: int) -> list[int]:
    return [process.pid for process in tree(root) if _role(process.pid) == "learner"]


@dataclass(frozen=True)
class Footprint:
    """Memory of a server's processes: what each is, and its MiB."""

    server: str
    mib: list[tuple[str, float]]


def footprint(server: str, root: int) -> Footprint:
    return Footprint(server, [(_role(p.pid), p.rss_bytes / 2**20) for p in tree(root)])


def _role(pid: int) -> str:
    """`worker` and `learner` where Cuecard says so, else the program."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except OSError:
        return "ended"
    for module, role in ROLES.items():
        if module in words:
            return role
    return words[0].partition(" ")[0].rpartition("/")[2].rstrip(":")


def _all() -> Iterable[Usage]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield usage_of((folder / "stat").read_text())
            except OSError:  # it has ended meanwhile
                continue
