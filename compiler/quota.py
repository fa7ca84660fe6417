"""How long background calls leave an upstream alone after one of its answers, by the headers that OpenAI sends."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

AFTER_429 = 60.0  # seconds; and the longest wait for a quota that runs low: then one call asks how it stands
LONGEST = 24 * 3_600.0  # that a Retry-After is obeyed
LOW = 0.2  # of the limit: what is left below it is the serving traffic's
KINDS = ("requests", "tokens")
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")


def pause(status: int, told: Mapping[str, str], *, now: float, after_429: float = AFTER_429) -> float:
    """Seconds; 0.0: the next call may be made at once. `told`: the answer's headers; `now`: Unix seconds."""
    if status == 429:
        return min(max(after_429, _retry_after(told, now)), LONGEST)
    return max(_low(told, kind) for kind in KINDS)


def _retry_after(told: Mapping[str, str], now: float) -> float:
    if (milliseconds := _number(told.get("retry-after-ms"))) is not None:
        return milliseconds / 1_000
    given = told.get("retry-after", "")
    if (seconds := _number(given)) is not None:
        return seconds
    try:
        date = parsedate_to_datetime(given)
    except ValueError:
        return 0.0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now


def _low(told: Mapping[str, str], kind: str) -> float:
    """Until the quota of `kind` is whole again, if it runs low. A day's quota takes hours for that: hence the cap."""
    limit = _number(told.get(f"x-ratelimit-limit-{kind}"))
    left = _number(told.get(f"x-ratelimit-remaining-{kind}"))
    if not limit or left is None or left >= LOW * limit:
        return 0.0
    reset = duration(told.get(f"x-ratelimit-reset-{kind}", ""))
    return AFTER_429 if reset is None else min(reset, AFTER_429)


def duration(text: str) -> float | None:
    """Seconds in `6m0s`, `20ms`, `1h2m3.5s`, or a bare number of seconds; None where it is neither."""
    text = text.strip()
    if (seconds := _number(text)) is not None:
        return seconds
    parts = PART.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _number(text: str | None) -> float | None:
    return float(text) if text and NUMBER.fullmatch(text.strip()) else None
