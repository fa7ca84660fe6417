"""The learner: the real one, but that it notes each mining, and does not rest between them where REST is `none`, which
is the worst that mining can do to what is served. Its rests are as long as they would be: the time for which it is
halted, while others have their turn, is none of them.

A line has CLOCK_MONOTONIC at a mining's beginning and at its end, the latter missing while it is under way.
"""

import os
import threading
import time
from pathlib import Path

from bench.noted import FILE, NONE, REST
from compiler.recognition import discovery
from compiler.recognition.mine import Miner
from proxy.learning import learn
from proxy.process import run


class Awake(threading.Thread):
    """A clock that stands still while its process is halted. Seconds."""

    def __init__(self, tick: float = 0.05) -> None:
        super().__init__(daemon=True)
        self._tick = tick
        self._seconds = 0.0

    def monotonic(self) -> float:
        return self._seconds

    def run(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(self._tick)
            at = time.monotonic()
            self._seconds += min(at - before, 4 * self._tick)
            before = at


class NotedMiner(Miner):
    def mine(self) -> set[str]:
        with Path(os.environ[FILE]).open("a", buffering=1) as file:
            print(time.monotonic(), end=" ", file=file, flush=True)
            try:
                return super().mine()
            finally:
                print(time.monotonic(), file=file)


if __name__ == "__main__":
    vars(discovery)["Miner"] = NotedMiner
    clock = Awake()
    clock.start()
    vars(discovery)["time"] = clock
    if os.environ[REST] == NONE:
        discovery.REST = discovery.PAUSE = 0.0
    run(learn)
