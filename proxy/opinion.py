"""What users said of a task's answers, for people and for programs."""

from collections.abc import Iterator
from typing import Any

from compiler.evidence import ODDS
from compiler.feedback import ARMS, Sum, Tally

WHOSE = {"original": "your model", "compiled": "a card", "fallback": "your model, after a card", "cached": "the cache"}


def opinion_json(tally: Tally | None) -> dict[str, Any] | None:
    """Numbers only."""
    if tally is None:
        return None
    comparison = tally.comparison
    return {
        "routes": {route: _json(one) for route, one in tally.routes.items()},
        "comparison": {
            "version": comparison.version,
            "card": _json(comparison.arms["card"]),
            "current": _json(comparison.arms["control"]),
            "pairs": comparison.pairs,
            "odds": comparison.odds,
        }
        if comparison.version
        else None,
    }


def _json(found: Sum) -> dict[str, Any]:
    return {"noted": found.noted, "scored": found.scored, "mean": found.mean}


def opinion_lines(tally: Tally | None) -> Iterator[str]:
    if tally is None or not any(one.noted for one in tally.routes.values()):
        return
    by_route = ", ".join(f"{WHOSE[route]} {_told(one)}" for route, one in tally.routes.items() if one.noted)
    yield f"feedback, of 1: {by_route}"
    comparison = tally.comparison
    card, control = (comparison.arms[arm] for arm in ARMS)
    if card.noted or control.noted:
        yield (
            f"  where chance chose: card {comparison.version} {_told(card)}, your model {_told(control)}; "
            f"against the card {comparison.odds:,.1f} of {ODDS:.0f}, from {comparison.pairs} pairs"
        )


def _told(found: Sum) -> str:
    mean = "-" if found.mean is None else f"{found.mean:.2f}"
    return f"{mean} ({found.scored:,}{f' of {found.noted:,}' if found.noted > found.scored else ''})"
