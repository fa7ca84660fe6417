"""The learner: the real one, but that its looks and rests are as much shorter as the day is, though not so short that
it would do nothing else. What it does itself takes as long as ever, and so does its rest between minings, which goes by
how long a mining took."""

import os

from bench.day.hurried import TIMES
from compiler import patience, prover
from proxy import proving
from proxy.learning import learn
from proxy.process import run

LOOK_AT_LEAST, REST_AT_LEAST = 1.0, 3.0  # seconds: a look reads all tasks, a try what a calibration was answered so far

if __name__ == "__main__":
    times = float(os.environ[TIMES])
    prover.LOOK = max(LOOK_AT_LEAST, prover.LOOK / times)
    patience.LONGEST_REST = max(REST_AT_LEAST, patience.LONGEST_REST / times)
    proving.FRESH = max(LOOK_AT_LEAST, proving.FRESH / times)
    prover.DAY /= times
    run(learn)
