"""An event loop whose clock jumps to what happens next: minutes pass at once, and always in the same order."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: it moves the clock to the end of the wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits, and nothing will ever happen"
        self.now += max(0.0, timeout)
        return super().select(0)


class Travelling(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def travel(main: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    """What it returns, and the seconds that it took. Fails where a task is left when it ends, or an error goes
    unheard."""
    unheard: list[dict[str, Any]] = []
    loop = Travelling()
    loop.set_exception_handler(lambda loop, told: unheard.append(told))

    async def alone() -> T:
        result = await main()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left behind: {left}"
        return result

    try:
        return loop.run_until_complete(alone()), loop.time()
    finally:
        loop.close()
        assert not unheard, unheard
