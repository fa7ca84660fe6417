"""JSON values as bytes, also those that orjson refuses."""

import json
from typing import Any

import orjson


def json_bytes(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # what only json could read, only json can write
        return json.dumps(value).encode()
