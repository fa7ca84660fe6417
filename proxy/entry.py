"""What is kept of one upstream call, and of the client's request that ended with it: one flat record, made on the
request path, and read by the worker's thread into ledger, metrics and log. Never what was said, and no key."""

from typing import NamedTuple

from compiler.ledger import Charge, Part
from compiler.pricing import Usage
from proxy.paths import endpoint_of

NAME_CHARS = 100  # of a model's name as the client wrote it


class Entry(NamedTuple):
    """`route` is the charge's: `fallback` also for the attempt that failed. The fields from `id` on say more of a
    client's request, when this call `ends` it; `code` is the status that the client got, or would have got.

    Seconds, US dollars, tokens; `cost` and `baseline` None where they are unknown.
    """

    time: float
    tenant: str
    task: str
    upstream: str
    model: str  # fit for a label
    route: str
    status: int  # of the upstream; 0: no answer came
    failed: str
    booked: bool  # has a charge; one that streamed by without usage has none, but for `unmetered`
    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int
    counted: bool
    cost: float | None
    baseline: float | None
    answered: bool
    incumbent: bool
    ends: bool
    id: str
    path: str
    code: int
    served: str
    reason: str
    card: str | None
    asked: str
    answered_by: str
    upstream_id: str
    stream: bool
    tried: tuple[str, ...]
    seconds: float
    upstream_seconds: float
    overhead: float
    first_byte: float | None
    part: Part  # of the charge; what is said of the request comes with the call, its line in the log last
    unrecorded: str = ""  # why nothing of what was said may be kept; older journals lack it

    @property
    def charge(self) -> Charge:
        return Charge(
            task=self.task,
            model=self.model,
            role="serve",
            route=self.route,
            usage=Usage(self.input, self.output, self.cached_input, self.cache_write, self.reasoning, self.counted),
            cost=self.cost,
            baseline=self.baseline,
            tenant=self.tenant,
            failed=bool(self.failed) or self.status >= 400,
            ends_request=self.answered,
            incumbent=self.incumbent,
            part=self.part,
            reason=self.reason,
            endpoint=endpoint_of(self.path),
            unrecorded=self.ends and bool(self.unrecorded),
        )


def printable(text: str) -> str:
    """aiohttp gives header bytes that are not UTF-8 as lone surrogates, which JSON can't hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
