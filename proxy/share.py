"""A share of the requests, as people write it."""

import math


def read_share(text: str) -> float:
    """ "10%" or "0.1". Raises ValueError with what to write instead."""
    number = text.strip().removesuffix("%")
    percent = number != text.strip()
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if not percent and share == 1:
        raise ValueError(f"{text!r} may be a hundredth or all: write 1% or 100%")
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is no share of the requests: write 10% or 0.1, more than 0 and at most 100%")
    return share


def in_percent(share: float) -> str:
    return f"{100 * share:.3g} %"
