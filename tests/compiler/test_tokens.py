import os
import subprocess
import sys

import pytest
import tiktoken

from compiler.tokens import VOCABULARIES, TokenCounter, default_folder, install_vocabularies, texts_of


def test_vocabularies_are_unpacked_once_where_tiktoken_looks(tmp_path):
    folder = install_vocabularies(tmp_path / "new" / "folder")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(before) == set(VOCABULARIES.values())
    install_vocabularies(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_both_vocabularies_load_without_a_network(tmp_path):
    """In a process of its own, where nothing is loaded yet and every proxy leads nowhere."""
    script = (
        "from pathlib import Path; from compiler.tokens import TokenCounter;"
        f"c = TokenCounter(Path({str(tmp_path)!r}));"
        "print(c.text('hello world', 'gpt-4o'), c.text('hello world', 'gpt-4'))"
    )
    nowhere = {"https_proxy": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert done.stdout == "2 2\n", done.stderr


def test_the_folder_is_the_configured_one_or_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "cuecard" / "tiktoken"


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("qwen", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_a_text_is_counted_in_its_models_vocabulary(model, encoding):
    text = "Grüße aus 東京, antidisestablishmentarianism 🎉 " * 3
    counter = TokenCounter()
    assert counter.text(text, model) == len(tiktoken.get_encoding(encoding).encode_ordinary(text))


def test_special_tokens_in_a_text_are_only_text():
    assert TokenCounter().text("<|endoftext|>") > 1


def test_a_chat_is_counted_as_the_server_counts_it(fake):
    messages = [
        {"role": "system", "content": "You are kind."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": '{"a": 1}'}}]},
    ]
    assert TokenCounter().messages(messages) == fake.prompt_tokens({"messages": messages})
    assert TokenCounter().messages([]) == 3


def test_the_texts_of_a_message_are_its_content_its_parts_and_its_tool_calls():
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"function": None}, "?"]
    assert texts_of({"content": "a", "tool_calls": calls}) == ["a", "f", "{}"]
    assert texts_of({"content": [{"text": "a"}, {"text": 1}, "b", {}]}) == ["a"]
    assert texts_of({}) == []
