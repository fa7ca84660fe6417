"""The one door to models for background work: priced, capped, with a deadline; answers kept until a compile ends."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import tenacity

from compiler import quota
from compiler.budget import Budget
from compiler.endpoint import Endpoint
from compiler.errors import ModelBusy, ModelFailed
from compiler.families import Family, translate
from compiler.lazy import lazy
from compiler.ledger import Charge, Role
from compiler.models import Models
from compiler.pauses import Pauses
from compiler.pricing import PriceBook, Usage
from compiler.score import Answer
from compiler.store import Store
from compiler.tokens import TokenCounter

if TYPE_CHECKING:
    import openai
else:
    openai = lazy("openai")

TRIES = 3
PATIENCE = 120.0  # seconds that a call waits for its upstream's rest to end; a longer one ends the compile
SENT = frozenset(
    {
        *("host", "connection", "user-agent", "accept", "accept-encoding"),
        *("content-type", "content-length", "transfer-encoding"),
    }
)
DESCRIBED = ("tools", "functions", "response_format")
NEVER_LEFT = ("ConnectError", "ConnectTimeout")  # httpx: there was no connection, so there is no bill
FLEX_PRICE = 0.5  # of the ordinary one: OpenAI's flex tier costs what a batch does
FLEX_TIMEOUT = 900.0  # seconds, as OpenAI advises
MARGIN = 1.3  # a reservation allows for a tokeniser that finds more tokens than ours


@dataclass(frozen=True)
class Reply:
    text: str
    model: str
    usage: Usage
    finish_reason: str
    seconds: float
    tool_calls: Sequence[Mapping[str, Any]] = ()
    refused: bool = False
    cost: float | None = None  # USD
    flex: bool = False  # answered at the slow and cheap tier: its time says nothing

    def as_answer(self) -> Answer:
        return Answer(self.text, tuple(self.tool_calls), self.finish_reason or None, self.refused)

    @property
    def usual_cost(self) -> float | None:
        """What the same answer costs where somebody waits for it."""
        return self.cost / FLEX_PRICE if self.cost is not None and self.flex else self.cost


@dataclass(frozen=True)
class Purpose:
    """What a call is for: booked under `task` and `role`, paid from `account` (else from `scope`) up to `cap_usd`, and
    from `shared` accounts, up to what each may hold; its answer is kept under `scope`. `patient`: it may be slow, and
    nobody times it."""

    task: str
    role: Role
    scope: str
    cap_usd: float
    timeout: float = 120.0
    patient: bool = False
    account: str = ""
    shared: Mapping[str, float] = field(default_factory=dict)


class Llm:
    def __init__(
        self,
        models: Models,
        store: Store,
        *,
        usd_per_day: float,
        observe: Callable[[Charge], None] = lambda charge: None,
        pauses: Pauses | None = None,
        shared: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """`shared`: accounts that every call is paid from too, whatever it is for, and what each may hold."""
        self.models = models
        self.prices = PriceBook(models.prices)
        self.budget = Budget(store, usd_per_day)
        self.answered: Counter[str] = Counter()  # by each model, anew: whether it works at all
        self._store = store
        self._observe = observe
        self._pauses = pauses or Pauses(store)
        self._shared = shared
        self._tokens = TokenCounter()
        self._clients: dict[str, openai.AsyncOpenAI] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for client in self._clients.values():
            await client.close()

    @property
    def store(self) -> Store:
        return self._store

    def unusable(self, model: str) -> str | None:
        """Why no background call can be made with `model`, in words for the operator; None if it can."""
        endpoint, bare = self.models.endpoints.resolve(model)
        if not endpoint.ours:
            return f"upstream {endpoint.name!r} has no api_key of its own, so nothing may be compiled with {model}"
        if self.prices.rates(model, bare) is None:
            return f"{model} has no known price; add it under `prices`"
        return None

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, Any]], purpose: Purpose, *, max_tokens: int
    ) -> Reply:
        """One answer at temperature 0; as `complete`."""
        body = {"messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        return await self.complete(model, translate(body, Family.of(model, self.models.families)), purpose)

    async def complete(self, model: str, body: Mapping[str, Any], purpose: Purpose) -> Reply:
        """What `model` answers to a request of its own form, with a cap on its tokens and not streamed. A repeated
        question of the same scope is answered from the store, unpaid.

        Raises BudgetExceeded before anything is sent; ModelBusy after a 429 or where a long rest is asked for,
        ModelFailed when no answer came.
        """
        if problem := self.unusable(model):
            raise ModelFailed(problem)
        memo = _memo_key(purpose.scope, model, body)
        if kept := self._store.get(memo):
            return Reply(**{**kept, "usage": Usage(**kept["usage"])})
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(TRIES),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
            retry=tenacity.retry_if_exception(_passing),
            reraise=True,
        )
        try:
            return await retrying(self._send, model, body, purpose, memo)
        except ModelFailed as error:
            error.model = model
            raise
        except openai.RateLimitError:
            left = self._pauses.left(self.models.endpoints.resolve(model)[0].name)
            raise ModelBusy(f"{model}: 429 from its upstream", retry_after=left) from None
        except openai.APIError as error:
            raise ModelFailed(f"{model}: {_describe(error)}", model=model) from None
        except ValueError:  # the SDK lets a broken body's error through
            raise ModelFailed(f"{model}: the answer is not JSON", model=model) from None

    async def _send(self, model: str, body: Mapping[str, Any], purpose: Purpose, memo: str) -> Reply:
        endpoint, bare = self.models.endpoints.resolve(model)
        await self._rest(endpoint, model)
        rates = self.prices.rates(model, bare)
        prompt = self._tokens.messages(body["messages"], bare) + self._described(body, bare)
        cap = int(body.get("max_completion_tokens", body.get("max_tokens", 0)))
        most = rates.cost(Usage(input=int(prompt * MARGIN) + 50, output=cap)) if rates else 0.0
        self._client(endpoint)  # to load it is no part of the time that a call takes
        caps = {purpose.account or purpose.scope: purpose.cap_usd, **purpose.shared, **self._shared}
        reservation = self.budget.reserve(most, caps)
        charge: Charge | None = None
        kept: dict[str, Any] | None = None
        booked = Charge(purpose.task, bare, purpose.role, "-", Usage(), 0.0)
        started = time.monotonic()
        try:
            door = self._client(endpoint).chat.completions.with_raw_response
            raw = await door.create(**{**body, "model": bare, **self._tier(model, purpose)})
            self._heed(endpoint, raw.status_code, raw.headers)
            answer = self._read(raw.parse(), time.monotonic() - started, prompt)
            paid = self.prices.rates(answer.model, model, bare)
            share = FLEX_PRICE if answer.flex else 1.0
            answer = replace(answer, cost=share * paid.cost(answer.usage) if paid else None)
            charge = booked._replace(model=answer.model, usage=answer.usage, cost=answer.cost)
            kept = {**answer.__dict__, "usage": answer.usage._asdict()}
            self.answered[model] += 1
            return answer
        except openai.APIStatusError as error:
            charge = booked._replace(failed=True)  # refused calls are not billed
            self._heed(endpoint, error.status_code, error.response.headers)
            raise
        except openai.APIConnectionError as error:
            reached = type(error.__cause__).__name__ not in NEVER_LEFT
            unread = Usage(input=prompt, counted=True) if reached else Usage()
            charge = booked._replace(usage=unread, cost=rates.cost(unread) if rates else None, failed=True)
            raise
        except (openai.APIError, ModelFailed, ValueError):
            unread = Usage(input=prompt, counted=True)  # sent, and perhaps billed: its input is booked
            charge = booked._replace(usage=unread, cost=rates.cost(unread) if rates else None, failed=True)
            raise
        finally:
            if charge:  # none when we were cancelled: the reservation stays counted
                self.budget.settle(reservation, charge, memo=(memo, kept) if kept else None)
                self._observe(charge)

    def _described(self, body: Mapping[str, Any], model: str) -> int:
        """Tokens of the tools and of the answer's form, which are part of the prompt."""
        described = [body[name] for name in DESCRIBED if body.get(name)]
        return self._tokens.text(json.dumps(described), model) if described else 0

    def _tier(self, model: str, purpose: Purpose) -> dict[str, Any]:
        if purpose.patient and model in self.models.flex:
            return {"service_tier": "flex", "timeout": FLEX_TIMEOUT}
        return {"timeout": purpose.timeout}

    async def _rest(self, endpoint: Endpoint, model: str) -> None:
        if (left := self._pauses.left(endpoint.name)) > PATIENCE:
            raise ModelBusy(f"{model}: its upstream wants no calls for {left:.0f} s", retry_after=left)
        await self._pauses.wait(endpoint.name)

    def _heed(self, endpoint: Endpoint, status: int, told: Mapping[str, str]) -> None:
        self._pauses.pause(endpoint.name, quota.pause(status, told, now=self._pauses.clock()))

    def _client(self, endpoint: Endpoint) -> "openai.AsyncOpenAI":
        if endpoint.name not in self._clients:
            key = endpoint.api_key or "none"
            bare = openai.DefaultAsyncHttpxClient(
                follow_redirects=False,  # to a host that nobody configured
                event_hooks={"request": [partial(_strip, key)]},
            )
            self._clients[endpoint.name] = openai.AsyncOpenAI(
                base_url=endpoint.base_url, api_key=key, max_retries=0, http_client=bare
            )
        return self._clients[endpoint.name]

    def _read(self, reply: Any, seconds: float, prompt_tokens: int) -> Reply:
        choice = next(iter(getattr(reply, "choices", None) or ()), None)
        message = getattr(choice, "message", None)
        if choice is None or message is None:
            raise ModelFailed("the upstream answered without any choice")
        text = message.content or ""
        usage = (
            Usage.from_openai(reply.usage.model_dump())
            if reply.usage
            else Usage(input=prompt_tokens, output=self._tokens.text(text, reply.model or ""), counted=True)
        )
        calls = [call.model_dump(exclude_none=True) for call in message.tool_calls or ()]
        refused, finish = bool(message.refusal), choice.finish_reason or ""
        return Reply(
            "" if refused else text,
            reply.model or "",
            usage,
            finish,
            seconds,
            calls,
            refused,
            flex=getattr(reply, "service_tier", None) == "flex",
        )

    def forget(self, scope: str) -> None:
        """Drop the kept answers of a finished compile."""
        for key in self._store.keys(f"memo:{scope}:"):
            self._store.delete(key)

    def end(self, scope: str) -> None:
        """A compile that came to its end without a card: the next one asks anew, with all the money it may have."""
        self.forget(scope)
        self.budget.close(scope)


async def _strip(key: str, request: Any) -> None:
    """The SDK adds what OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and the like hold, keys too, whatever the host."""
    for name in [*request.headers]:
        if name not in SENT and not name.startswith("x-stainless-"):
            del request.headers[name]
    request.headers["authorization"] = f"Bearer {key}"


def _memo_key(scope: str, model: str, body: Mapping[str, Any]) -> str:
    text = json.dumps([model, body], sort_keys=True, ensure_ascii=False)
    return f"memo:{scope}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _passing(error: BaseException) -> bool:
    """Worth another try at once: a broken connection or a 5xx. A 429 stops background work instead."""
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError)


def _describe(error: "openai.APIError") -> str:
    """Never the body: it may quote the request."""
    status = getattr(error, "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__
