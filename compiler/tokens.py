"""Counting tokens where an upstream sent no usage. Takes 75-100 MB: the learner has it, workers ask the learner."""

import gzip
import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tiktoken

# tiktoken looks a vocabulary up under the sha1 of its address; the files are identical to the ones bpe-openai ships.
VOCABULARIES = {
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
}
PER_MESSAGE = 3  # OpenAI's chat format: three tokens frame each message
REPLY_PRIMER = 3  # and three open the reply


def install_vocabularies(folder: Path) -> Path:
    """Unpack the vocabularies where tiktoken finds them offline; idempotent, safe for many processes at once."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cached_as in VOCABULARIES.items():
        target = folder / cached_as
        if target.exists():
            continue
        packed = (_shipped() / f"{name}.tiktoken.gz").read_bytes()
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            part.write(gzip.decompress(packed))
        Path(part.name).replace(target)
    return folder


def _shipped() -> Path:
    """Found without an import: bpe_openai parses every vocabulary when it is imported."""
    spec = importlib.util.find_spec("bpe_openai")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package bpe-openai, which ships the vocabularies, is not installed")
    return Path(spec.origin).parent / "data"


def default_folder() -> Path:
    """TIKTOKEN_CACHE_DIR where it is set (the image does), else the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TIKTOKEN_CACHE_DIR") or Path(base) / "cuecard" / "tiktoken")


class TokenCounter:
    """Counts with o200k (or cl100k for older models); other vendors' tokenisers differ, hence `counted` in reports."""

    def __init__(self, folder: Path | None = None) -> None:
        os.environ["TIKTOKEN_CACHE_DIR"] = str(install_vocabularies(folder or default_folder()))
        self._encodings: dict[str, tiktoken.Encoding] = {}

    def text(self, text: str, model: str = "") -> int:
        return len(self._encoding(model).encode_ordinary(text))

    def messages(self, messages: Sequence[Mapping[str, Any]], model: str = "") -> int:
        """Prompt tokens of a chat: the contents, the roles and the format's own tokens."""
        total = REPLY_PRIMER
        for message in messages:
            total += PER_MESSAGE + self.text(str(message.get("role", "")), model)
            total += sum(self.text(part, model) for part in texts_of(message))
        return total

    def _encoding(self, model: str) -> tiktoken.Encoding:
        name = "cl100k_base" if _older(model) else "o200k_base"
        if name not in self._encodings:
            self._encodings[name] = tiktoken.get_encoding(name)
        return self._encodings[name]


def _older(model: str) -> bool:
    return model.startswith(("gpt-3.5", "gpt-4")) and not model.startswith(("gpt-4o", "gpt-4.1", "gpt-4.5"))


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """The texts of one message: its content, content parts and tool calls."""
    content = message.get("content")
    found = [content] if isinstance(content, str) else []
    if isinstance(content, list):
        found += [p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str)]
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            found += [v for k in ("name", "arguments") if isinstance(v := function.get(k), str)]
    return found
