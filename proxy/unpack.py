"""Read a copy of a body: its encoding undone, its JSON parsed. The other side gets the bytes as they came."""

import json
import zlib
from typing import Any

import brotli
import orjson

AT_MOST = 16 * 2**20  # bytes


def unpacked(data: bytes, encoding: str) -> bytes:
    """As much of `data` as can be read, broken-off streams included; nothing for an encoding we don't know."""
    if encoding in ("", "identity"):
        return data
    try:
        if encoding == "gzip" or encoding == "deflate":
            return zlib.decompressobj(wbits=47 if encoding == "gzip" else 15).decompress(data, AT_MOST)
        if encoding == "br":
            return bytes(brotli.Decompressor().process(data, output_buffer_limit=AT_MOST))
    except (zlib.error, brotli.error):
        return b""
    return b""


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, whatever else is in it, or instead of it."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def json_object(data: bytes) -> dict[str, Any]:
    """{} for what is no JSON object."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def last_value(end: bytes, name: str) -> Any:
    """The value under `name` where it stands last in the end of a JSON text; None if it can't be read."""
    at = end.rfind(b'"%s":' % name.encode())
    try:
        return json.JSONDecoder().raw_decode(end[at:].partition(b":")[2].lstrip().decode())[0] if at >= 0 else None
    except ValueError:
        return None
