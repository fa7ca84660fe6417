"""Which route a chat request takes, and why. Pure: a call and a snapshot in, a decision out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from compiler.card import Card
from compiler.families import Family
from compiler.program import INSTRUCTION_ROLES
from compiler.recognition.catalogue import Named
from compiler.recognition.structure import CHAT, structure_key, texts_of
from compiler.registry import Snapshot, TaskView
from compiler.task import Mode
from proxy.call import Call
from proxy.draw import draw
from proxy.errors import BadRequestError, NotFoundError, UnavailableError

HARMLESS = frozenset(
    {
        *("user", "seed", "store", "metadata", "service_tier", "prompt_cache_key"),
        *("prompt_cache_retention", "n", "stop", "safety_identifier", "stream", "stream_options"),
        *("verbosity", "temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens"),
        *("max_completion_tokens", "reasoning_effort", "response_format", "model", "messages", "modalities"),
        *("parallel_tool_calls", "logprobs"),
    }
)
NOT_ELIGIBLE = {"logit_bias": "logit_bias", "prediction": "prediction", "audio": "audio", "top_logprobs": "logprobs"}
TOOLS = frozenset(("tools", "functions", "tool_choice", "function_call"))
OFFERED = frozenset(("tools", "tool_choice"))  # and not their forms of before

REASONS = (
    *("unrecognised", "busy", "catch_all", "ignored", "bypass", "off", "observe", "unproven", "control"),
    *("unknown_task", "no_card", "compiling", "kept", "paused", "tools", "multi_turn", "not_text", "n", "logprobs"),
    *("logit_bias", "prediction", "audio", "modalities", "json_schema", "unknown_parameter", "no_upstream_key"),
    *("breaker_open", "internal_error", "not_chat"),
)
"""Why a request was left as it was: the values of `cuecard_original_total{reason}`, and of the ledger's rows."""


class Decision(NamedTuple):
    """`card` is set exactly when the compiled route is taken; else `reason` says why not."""

    view: TaskView | None = None
    card: Card | None = None
    reason: str = ""
    wants_compile: bool = False
    found: Named | None = None  # what it was recognised as, where nobody named a task

    @property
    def task(self) -> str | None:
        if self.found and self.found.task:
            return self.found.task.name
        return self.view.task.name if self.view else None

    @property
    def variant(self) -> str | None:
        """The task, and which of its enumerated values."""
        return self.found.variant if self.found and self.found.task else self.task


BYPASS = Decision(reason="bypass")


def decide(
    call: Call, snapshot: Snapshot, families: Mapping[str, Family], mode: Mode = "observe", *, look: bool = True
) -> Decision:
    """Raises NotFoundError and BadRequestError for a `task:` model that can't be run.

    `look`: at what a request that names no task may be; else it goes on unrecognised.

    What no card could ever serve is said first: the other reasons can be done something about.
    """
    if call.named is None:
        return BYPASS if call.bypass else _undeclared(call, snapshot, families, mode, look=look)
    view = _find(call, snapshot)
    if view is None:
        return BYPASS if call.bypass else Decision(reason=ineligible(call.body) or "unknown_task")
    if call.virtual:
        _require_user_text(call)
    not_for_cards = ineligible(call.body, tools=_calls_tools(view))
    if reason := ("bypass" if call.bypass else not_for_cards or _held_back(call, snapshot, view, mode)):
        return Decision(view, reason=reason)
    decision = _by_card(call, view, families)
    vouched = call.virtual or view.task.trust == "declared"  # what is to be proven is compiled when it is worth it
    wants = view.compiled is None and vouched and view.state.stage != "compiling"
    return decision._replace(wants_compile=wants and not view.settled)


def _undeclared(call: Call, snapshot: Snapshot, families: Mapping[str, Family], mode: Mode, *, look: bool) -> Decision:
    """The task that its texts are of, if that is known. Recognised traffic waits for its proof."""
    reason = ineligible(call.body)
    if not look and snapshot.recognition.recogniser:
        return Decision(reason=reason or "busy")
    found = _recognised(call, snapshot)
    if found is None or found.task is None:
        catch_all = found is not None and reason in (None, "multi_turn")
        return Decision(reason="catch_all" if catch_all else reason or "unrecognised", found=found)
    call.template = found.template.id
    if reason == "multi_turn":  # its earlier turns are the same in every request
        reason = None
    if reason is None and found.task.ignored:
        reason = "ignored"
    if reason is None and snapshot.off:
        reason = "off"
    if reason is None and mode == "observe":
        reason = "observe"
    view = snapshot.adopted.get(found.variant)
    if reason or view is None:
        return Decision(reason=reason or "unproven", found=found)
    return _by_card(call, view, families)._replace(found=found)


def _by_card(call: Call, view: TaskView, families: Mapping[str, Family]) -> Decision:
    """As far as it is proven, and by chance: what is not drawn stays with the app's own model, to compare with."""
    card = view.compiled
    if card is None:
        return Decision(view, reason=_without_card(view))
    if view.stage == "paused":
        return Decision(view, reason="paused")
    if reason := _unfit(call.body, Family.of(card.model, families)):
        return Decision(view, reason=reason)
    if view.task.trust == "proven" and not call.virtual:
        share = view.state.traffic
        if draw(call.tenant, card.label, call.body) >= share:
            return Decision(view, reason="control" if share else "unproven")
    return Decision(view, card)


def _recognised(call: Call, snapshot: Snapshot) -> Named | None:
    texts = texts_of(call.body.get("messages")) if snapshot.recognition.recogniser else None
    if texts is None:
        return None
    call.structure = structure_key(call.tenant, CHAT, call.body)
    return snapshot.recognition.name(call.structure, texts)


def _find(call: Call, snapshot: Snapshot) -> TaskView | None:
    view = snapshot.tasks.get(call.named or "")
    if view and view.task.tenant in (None, call.tenant):
        return view
    if call.virtual and snapshot.generation == 0:
        raise UnavailableError("the store has not been read yet, so no task is known; try again", code="not_ready")
    if call.virtual:
        raise NotFoundError(
            f"The model `{call.model}` does not exist: no task of that name is declared. GET /v1/models lists them.",
            param="model",
        )
    return None


def _require_user_text(call: Call) -> None:
    messages = call.body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadRequestError("`messages` must be a list of objects that is not empty.", param="messages")
    if not any(m.get("role") == "user" for m in messages):
        raise BadRequestError(f"`{call.model}` takes its input from a message of role `user`.", param="messages")


def _held_back(call: Call, snapshot: Snapshot, view: TaskView, mode: Mode) -> str | None:
    if snapshot.off:
        return "off"
    if call.virtual:
        return None
    wanted = view.task.mode or (mode if view.task.trust == "proven" else None)
    return "observe" if wanted == "observe" else None


def _without_card(view: TaskView) -> str:
    if view.state.stage == "compiling":
        return "compiling"
    return "kept" if view.settled else "no_card"


def _calls_tools(view: TaskView) -> bool:
    """Whoever declares that a task's answers are calls has its cards called with the app's tools."""
    return view.task.contract is not None and view.task.contract.kind == "tool_call"


def ineligible(body: Mapping[str, Any], *, tools: bool = False) -> str | None:
    """What of the request no card can serve yet; None if one could. `tools`: they may be offered."""
    for name, value in body.items():
        if name in NOT_ELIGIBLE and value not in (None, 0):
            return NOT_ELIGIBLE[name]
        if name in TOOLS and value not in (None, [], "none") and not (tools and name in OFFERED):
            return "tools"
        if name not in HARMLESS and name not in NOT_ELIGIBLE and name not in TOOLS:
            return "unknown_parameter"
    if body.get("n") not in (None, 1):
        return "n"
    if body.get("logprobs"):
        return "logprobs"
    if body.get("modalities") not in (None, ["text"]):
        return "modalities"
    return _conversation(body.get("messages"))


def _conversation(messages: Any) -> str | None:
    """A card takes instructions and one user text. Every request comes here: a long conversation is told by its second
    turn."""
    if not isinstance(messages, list):
        return "not_text"
    turns = []
    for message in messages:
        if not isinstance(message, dict):
            return "not_text"
        if message.get("role") not in INSTRUCTION_ROLES:
            turns.append(message.get("role"))
            if len(turns) > 1:
                return "multi_turn"
    if turns != ["user"]:
        return "multi_turn"
    return None if all(is_text(message.get("content")) for message in messages) else "not_text"


def is_text(content: Any) -> bool:
    if isinstance(content, str):
        return True
    return isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content)


def _unfit(body: Mapping[str, Any], family: Family) -> str | None:
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    return "json_schema" if kind == "json_schema" and not family.json_schema else None
