"""The supervisor: the real one, but for the learner's module."""

import os
import sys

from bench.noted import FILE, REST
from proxy import serve
from proxy.cli import main

if __name__ == "__main__":
    _, os.environ[FILE], os.environ[REST], *arguments = sys.argv
    serve.MODULES["learner"] = "bench.noted.learning"
    main(arguments)
