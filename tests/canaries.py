"""Keys that are nowhere else, and the search for them in whatever way they may have been written down."""

import base64
import hashlib
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

PIECE = 12  # a key's first or last characters are a find too


def canary(name: str) -> str:
    return "sk-" + hashlib.sha256(f"canary {name}".encode()).hexdigest()[:40]


class Canaries:
    """`canaries[name]` is that key; each has to be asked for before it can be found."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._keys.setdefault(name, canary(name))

    def found(self, data: bytes | str, *, but: Iterable[str] = ()) -> set[str]:
        """The names of those that are in `data`: plain, in hex, base64 or URL-encoded, whole or in part."""
        text = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        folded = text.lower() + b"\0" + unquote_to_bytes(text).lower()
        return {name for name, key in self._keys.items() if name not in but and _is_in(key.encode(), text, folded)}


def _is_in(key: bytes, text: bytes, folded: bytes) -> bool:
    pieces = key[:PIECE], key[-PIECE:]
    return any(
        piece in folded or piece.hex().encode() in folded or any(form in text for form in _base64(piece))
        for piece in pieces
    )


def _base64(piece: bytes) -> list[bytes]:
    """As it looks inside a longer text, which may begin at any of three places."""
    found = []
    for shift, first in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(b"\0" * shift + piece)
        found.append(whole[first : (shift + len(piece)) * 8 // 6])
    return found
