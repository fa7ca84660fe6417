"""One llama.cpp server in a process of its own: `python -m proxy.demo.llama --model X.gguf --alias NAME`."""

import argparse
import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from proxy.demo.child import Output

__all__ = ["LlamaError", "llama_server"]

LISTENING = "listening on "
POLL_S = 0.05
STOP_S = 5.0
PROMPT_CACHE_MIB = 512


class LlamaError(Exception):
    """The server did not start; the message ends with the last that it printed."""


@asynccontextmanager
async def llama_server(
    model: Path, *, alias: str, threads: int = 1, parallel: int = 1, ctx: int = 4096, ready_within: float = 120.0
) -> AsyncIterator[str]:
    """Yields the base URL, with /v1. `ctx` is the context of each of the `parallel` requests."""
    command = [sys.executable, "-m", "proxy.demo.llama", "--child", "--model", str(model), "--alias", alias]
    command += ["--threads", str(threads), "--parallel", str(parallel), "--ctx", str(ctx)]
    process = await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    output = Output(rf"{LISTENING}(\S+)")
    reader = asyncio.create_task(output.read(process))
    try:
        yield await _ready(process, output, ready_within)
    finally:
        try:
            await _stop(process)
        finally:
            reader.cancel()


async def _ready(process: Process, output: Output, within: float) -> str:
    try:
        async with asyncio.timeout(within):
            address = await output.address
            while address and not await _healthy(address):
                await asyncio.sleep(POLL_S)
                address = address if process.returncode is None else None
            if address:
                return f"{address}/v1"
            raise LlamaError(output.ended(f"llama.cpp ended at its start, code {await process.wait()}:"))
    except TimeoutError as error:
        raise LlamaError(output.ended(f"llama.cpp was not ready within {within:g} s:")) from error


async def _healthy(address: str) -> bool:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with aiohttp.request("GET", f"{address}/health", timeout=aiohttp.ClientTimeout(total=2)) as response:
            return response.status == 200
    return False


async def _stop(process: Process) -> None:
    """A second Ctrl-C while waiting kills at once."""
    try:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


def main(argv: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    if options.child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = _start(options)
    print(f"{LISTENING}{server.listening_address}", flush=True)
    if options.child:
        # The parent holds the other end of the pipe: end of file means that it is gone, kill -9 included.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os._exit(0)
    with suppress(KeyboardInterrupt):
        signal.pause()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proxy.demo.llama", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="a .gguf file")
    parser.add_argument("--alias", required=True, help="the model name that answers carry")
    parser.add_argument("--port", type=int, default=0, help="0: any free port, printed when ready")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=1, help="requests answered at a time")
    parser.add_argument("--ctx", type=int, default=4096, help="tokens of context for each of them")
    parser.add_argument("--child", action="store_true", help="ignore Ctrl-C, end when stdin is closed")
    return parser


def _start(options: argparse.Namespace) -> Any:
    """Returns once the model is loaded and the port answers."""
    if not options.model.is_file():
        sys.exit(f"no such file: {options.model}")
    try:
        import xllamacpp  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        sys.exit(f"{error}: install the demo's extra, pip install 'cuecard[demo]'")
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias}
    params.port = options.port
    params.n_ctx = options.ctx * options.parallel
    params.n_parallel = options.parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.cache_ram_mib = PROMPT_CACHE_MIB  # its default, 8 GiB, is most of a laptop's memory
    params.verbosity = 1
    params.ui = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
