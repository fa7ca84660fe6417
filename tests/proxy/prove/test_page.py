"""The report for a browser: whole by itself, and all that a log or a model said is text in it."""

import re
from pathlib import Path
from typing import Any

import pytest

from compiler.redaction.redact import redact
from tests.learned import TOXIC
from tests.proxy.prove.logs import TOXIC_NAME, answer_to, calls, logged, only_toxic

HOSTILE = "<script>alert('x')</script><img src=https://evil.example/x onerror=alert(1)> \" onload=x"


def hostile(call: dict[str, Any]) -> dict[str, Any]:
    """In the data of a request, and in the model's name."""
    (message,) = call["request"]["messages"]
    text = f"{message['content']} {HOSTILE}"
    body = {**call["request"], "messages": [{**message, "content": text}]}
    said = {**call["response"]["choices"][0], "message": {"role": "assistant", "content": answer_to(text)}}
    return {**call, "request": body, "response": {**call["response"], "model": "<b>fake</b>", "choices": [said]}}


@pytest.fixture
def page(tmp_path: Path):
    return lambda: (tmp_path / "cuecard-proof.html").read_text("utf-8")


async def test_what_a_log_or_a_model_says_is_text(prove, tmp_path, fake, page):
    prompt = TOXIC.replace("toxic.", "toxic</pre><script>alert(2)</script>.")
    template = [hostile(call) for call in calls(prompt)]
    logged(tmp_path / "log.jsonl", template)
    fake.answers["fake-strong"] = f"<prompt>{HOSTILE}</prompt>"
    fake.answers["fake-nano"] = lambda body: "yes" if len(body["messages"][-1]["content"]) % 2 else "no"
    done = await prove("log.jsonl", code=1)
    text = page()
    assert not re.search(r"<(script|img|b>fake)", text)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    assert "toxic&lt;/pre&gt;&lt;script&gt;alert(2)&lt;/script&gt;." in text
    assert "&lt;b&gt;fake&lt;/b&gt;" in text
    assert "\x1b" not in done.stdout


async def test_it_asks_nobody_for_anything(prove, log, page):
    await prove("log.jsonl", code=1)
    text = page()
    assert "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in text
    assert not re.search(r"https?:|\bsrc=|\bhref=|url\(|@import|<script|<link", text)


async def test_a_manager_reads_the_verdict_the_tasks_the_money_and_the_prompt(prove, log, page):
    await prove("log.jsonl", code=1)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page()))
    assert "1 of 2 tasks can move to a cheaper model: at most 9.4 % worse (95 % sure)" in text
    for said in (
        f"{TOXIC_NAME} pass",
        "an estimate at the log's own traffic and prices",
        "Where it did worst",
        "Current model: fake-strong",
        "Candidate: fake-nano",
        "The prompt as compiled, its scores and its cost",
        "What was not tried, and why",
        "What this proof cost",
    ):
        assert said.replace("'", "&#39;") in text or said in text
    assert page().count('<svg class="bounds"') == 2
    assert page().count('<svg class="savings"') == 1


async def test_what_stands_for_a_person_goes_to_no_model_and_on_no_page(prove, tmp_path, fake, page):
    """As the store redacts; and the same again, so that nothing is paid twice."""
    log = calls(TOXIC)
    for at, call in enumerate(log):
        (message,) = call["request"]["messages"]
        message["content"] += f", write to jane.roe{at}@corp.example"
        call["request"]["user"] = "jane"
    logged(tmp_path / "log.jsonl", log)
    assert redact(["jane.roe1@corp.example"]) != ["jane.roe1@corp.example"]
    fake.answers["fake-nano"] = lambda body: only_toxic(body) if "@" in body["messages"][-1]["content"] else "no"
    await prove("log.jsonl", code=0)
    sent = b"".join(call.body for call in fake.calls)
    assert b"corp.example" not in sent and b"jane" not in sent
    assert sent.count(b"write to ") > 60
    assert "corp.example" not in page()
    kept = b"".join(path.read_bytes() for path in (tmp_path / ".cuecard" / "prove").iterdir())
    assert b"corp.example" not in kept and b"sk-ours" not in kept
    asked = len(fake.calls)
    await prove("log.jsonl", code=0)
    assert len(fake.calls) == asked


async def test_the_place_of_the_page_can_be_given(prove, log, tmp_path):
    await prove("log.jsonl", "--html", "of-monday.html", code=1)
    assert (tmp_path / "of-monday.html").exists() and not (tmp_path / "cuecard-proof.html").exists()
