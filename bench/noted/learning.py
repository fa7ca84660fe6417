"""The learner: the real one, but that it notes each mining, and does not rest between them where REST is `none`, which
is the worst that mining can do to what is served.

A line has CLOCK_MONOTONIC at a mining's beginning and at its end, the latter missing while it is under way.
"""

import os
import time
from pathlib import Path

from bench.noted import FILE, NONE, REST
from compiler.recognition import discovery
from compiler.recognition.mine import Miner
from proxy.learning import learn
from proxy.process import run


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
    if os.environ[REST] == NONE:
        discovery.REST = discovery.PAUSE = 0.0
    run(learn)
