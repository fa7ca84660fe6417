"""The demo: an ordinary OpenAI-SDK app on real models, and what Cuecard makes of its traffic without being told."""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from rich.console import Console

from compiler.store import Store
from compiler.task import of_variant
from proxy.demo.app import App
from proxy.demo.fetch import fetch_weights
from proxy.demo.gold import measure
from proxy.demo.known import SERVING, Known, known
from proxy.demo.llama import llama_server
from proxy.demo.rows import KINDS
from proxy.demo.server import cuecard
from proxy.demo.setting import Pace, Setting, bare
from proxy.demo.show import Result, introduce, show
from proxy.demo.spend import Purse, PurseClosed
from proxy.demo.tale import Tale
from proxy.report import build_report

__all__ = ["Play", "run", "upstreams"]

POLL, BOOKED = 0.5, 1.0  # seconds: between looks at the store; until the ledger is written
ENDED = ("kept", "paused")  # stages
HALF = 0.499  # of the calls: a card serves no more until rare answers have had their pairs, which takes hundreds


async def run(setting: Setting, pace: Pace, cache: Path, say: Console) -> None:
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        models = await upstreams(setting, cache, say, stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cuecard-demo-")))
        config = await asyncio.to_thread(setting.write, folder, models)
        url = await stack.enter_async_context(cuecard(config))
        app = await stack.enter_async_context(App(url, Purse(setting)))
        introduce(say, setting)
        results = await Play(app, folder / "store", setting, pace, cache, say).results()
    show(say, setting, results, time.monotonic() - started)


async def upstreams(setting: Setting, cache: Path, say: Console, stack: AsyncExitStack) -> dict[str, Mapping[str, str]]:
    """Those of the setting, and a llama.cpp server for each of its weights."""
    found = dict(setting.upstreams)
    files = {name: await asyncio.to_thread(fetch_weights, weights, cache) for name, weights in setting.weights.items()}
    models = dict(model.split("/", 1) for model in (setting.current, setting.cheap))
    say.print("starting " + " and ".join([*(f"llama.cpp for {models[name]}" for name in files), "Cuecard"]))
    for name, file in files.items():
        server = llama_server(file, alias=models[name], threads=1, parallel=1, ctx=4096)
        found[name] = {"base_url": await stack.enter_async_context(server), "api_key": "none"}
    return found


class Play:
    """The app asks one thing after the other, each kind in turn; what becomes of them is read in the server's store."""

    def __init__(self, app: App, store: Path, setting: Setting, pace: Pace, cache: Path, say: Console) -> None:
        self._app = app
        self._store = store
        self._setting = setting
        self._pace = pace
        self._cache = cache
        self._say = say
        self.tales = [Tale(kind, say) for kind in KINDS]

    async def results(self) -> list[Result]:
        await self._tell()
        await asyncio.sleep(BOOKED)
        with Store(self._store) as store:
            money = build_report(store).tasks
        say = f"\nmeasuring accuracy on {self._pace.gold} test rows of each kind, which no call was about"
        self._say.print(say, highlight=False)
        found = []
        for tale in self.tales:
            rows = tale.kind.rows("test", self._cache)[: self._pace.gold]
            card = tale.known.card if tale.known and tale.stage in SERVING else None
            gold = await measure(self._app, self._setting, tale.kind, card, rows)
            found.append(Result(tale, money.get(tale.name), gold))
        return found

    async def _tell(self) -> None:
        """Until both kinds have come to an end, or time, texts or money have."""
        for tale in self.tales:
            tale.line("observing", f"asked of {bare(self._setting.current)}, which answers as ever")
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(self._pace.seconds):
                await self._ask_all()
        except TimeoutError:
            self._say.print(f"{self._pace.seconds:.0f} s are over: an app would go on", highlight=False)
        except PurseClosed as closed:
            self._say.print(f"the app stops asking: {closed}", highlight=False)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        await self._look()

    async def _ask_all(self) -> None:
        texts = {tale.kind.name: [text for text, _ in tale.kind.rows("train", self._cache)] for tale in self.tales}
        going = self.tales
        while going := [tale for tale in going if not self._is_over(tale) and tale.calls < len(texts[tale.kind.name])]:
            # what is asked while its prompt is written is no pair of the proof, and texts are few
            ready = [tale for tale in going if tale.known is None or not tale.known.compiles]
            for tale in ready:
                await self._ask(tale, texts[tale.kind.name][tale.calls])
            if not ready:
                await asyncio.sleep(POLL)

    def _is_over(self, tale: Tale) -> bool:
        enough = tale.served >= self._pace.served and tale.traffic >= HALF
        return tale.stage in ENDED or tale.calls >= self._pace.calls or enough

    async def _ask(self, tale: Tale, text: str) -> None:
        said = tale.kind.messages(text)
        answer = await self._app.ask(self._setting.current, said, most=self._setting.most_served(said))
        tale.calls += 1
        tale.served += answer.route == "compiled"
        tale.fallbacks += answer.route == "fallback"
        tale.name = of_variant(answer.task) or tale.name

    async def _watch(self) -> None:
        """Until cancelled; also while a call waits for the model that writes a prompt."""
        while True:
            await self._look()
            await asyncio.sleep(POLL)

    async def _look(self) -> None:
        named = [tale for tale in self.tales if tale.name]

        def look() -> list[tuple[Tale, Known | None]]:
            with Store(self._store) as store:
                return [(tale, known(store, tale.name)) for tale in named]

        if named:
            for tale, found in await asyncio.to_thread(look):
                if found is not None:
                    tale.learned(found)
