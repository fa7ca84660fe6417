"""One task's way, told line by line as it goes."""

import textwrap
import time
from dataclasses import dataclass, field

from rich.console import Console

from compiler.steps import Step
from proxy.demo.known import SERVING, Known
from proxy.demo.rows import Kind
from proxy.share import in_percent

__all__ = ["COLUMNS", "Tale"]

COLUMNS = 80
EVERY_PAIRS = 10  # at least so many more, or so much more traffic, are worth a line
EVERY_SHARE = 0.05
SHOWN = 90  # characters of a template's beginning


@dataclass
class Tale:
    """`name`: what Cuecard calls the kind, once it knows it. `served`: answers that its card gave; `fallbacks`: those
    that the app's model had to give after it."""

    kind: Kind
    say: Console
    name: str = ""
    known: Known | None = None
    calls: int = 0
    served: int = 0
    fallbacks: int = 0
    _began: float = field(default_factory=time.monotonic)
    _told: tuple[str, float, int] = ("", 0.0, 0)  # stage, traffic and pairs
    _steps: tuple[Step, ...] = ()

    @property
    def stage(self) -> str:
        return self.known.stage if self.known else "observing"

    @property
    def traffic(self) -> float:
        return self.known.stand.traffic if self.known and self.known.stand else 0.0

    def line(self, stage: str, text: str) -> None:
        head = f"{time.monotonic() - self._began:4.0f} s  {self.kind.name:<6} {stage:<11}"
        wrapped = textwrap.wrap(head + text, COLUMNS, subsequent_indent=" " * len(head), break_on_hyphens=False)
        self.say.print("\n".join(wrapped), markup=False, highlight=False, soft_wrap=True)

    def learned(self, known: Known) -> None:
        """Tells what is new in it."""
        if self.known is None:
            self.line("recognised", f"at call {self.calls}, as {self.name!r}: {_short(known.template)}")
        if known.compiles and not (self.known and self.known.compiles):
            self.line("compiling", f"worth it, after {self.calls} calls. The app asks no more of these meanwhile")
        self.known = known
        self._tell_steps(known.steps)
        stand = known.stand
        if stand is None or known.compiles or not stand.reason:
            return
        stage, traffic, pairs = self._told
        if (
            stand.stage != stage
            or abs(stand.traffic - traffic) >= EVERY_SHARE
            or (stand.pairs - pairs >= EVERY_PAIRS and stand.stage in SERVING)
        ):
            self._told = stand.stage, stand.traffic, stand.pairs
            share = f"serves {in_percent(stand.traffic)}: " if stand.traffic else ""
            self.line(stand.stage, share + stand.reason)

    def _tell_steps(self, steps: tuple[Step, ...]) -> None:
        done = len(self._steps) if steps[: len(self._steps)] == self._steps else 0  # else another compile began
        for step in steps[done:]:
            cost = f" ({step.calls} calls, ${step.usd:.4f})" if step.calls else ""
            self.line("compiling", f"{step}{cost}")
        self._steps = steps


def _short(template: str) -> str:
    """Its beginning, and the slots with what stands before them."""
    text = " ".join(template.split())
    before, brace, slots = text.partition("{")
    if not brace or len(text) <= 2 * SHOWN:
        return text
    return f"{before[:SHOWN]} … {before[-SHOWN // 3 :]}{brace}{slots}"
