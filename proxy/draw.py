"""Whether a request is one of the share that a card may serve: by chance, and the same for a whole conversation."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from compiler.json_text import json_bytes

RANGE = 2.0**64


def draw(tenant: str, card: str, body: Mapping[str, Any]) -> float:
    """In [0, 1), another one for each card, from the messages up to the first of the user's: they stay the same as a
    conversation goes on.

    Not from `user` or `prompt_cache_key`: an app that sends one value for all its traffic would have all of it served,
    or none, whatever the share.
    """
    digest = blake2b(digest_size=8)
    for part in (tenant.encode(), card.encode(), *map(json_bytes, _opening(body.get("messages")))):
        digest.update(len(part).to_bytes(8, "big") + part)
    return int.from_bytes(digest.digest(), "big") / RANGE


def _opening(messages: Any) -> list[Any]:
    found = []
    for message in messages if isinstance(messages, list) else ():
        found.append(message)
        if isinstance(message, Mapping) and message.get("role") == "user":
            break
    return found
