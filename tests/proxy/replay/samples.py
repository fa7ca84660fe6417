"""A call as each tool would have logged it, in content of our own."""

import json
from typing import Any

from proxy.replay.logged import LoggedCall

MESSAGES = [
    {"role": "system", "content": "Say in one word how the customer feels."},
    {"role": "user", "content": "The parcel never came."},
]
REQUEST = {"model": "gpt-4.1", "messages": MESSAGES, "temperature": 0}
USAGE = {"prompt_tokens": 24, "completion_tokens": 2, "total_tokens": 26}
RESPONSE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_790_000_000,
    "model": "gpt-4.1-2025-04-14",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "upset"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def answer_of(call: LoggedCall) -> str:
    assert call.response is not None
    text = call.response["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text
