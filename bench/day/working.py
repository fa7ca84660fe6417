"""A worker: the real one, but that it may look at every request, as one that is asked once in a second does."""

from proxy import attention
from proxy.process import run
from proxy.worker import serve

if __name__ == "__main__":
    attention.SAVED = attention.SHARE = 1e6
    run(serve)
