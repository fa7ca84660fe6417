"""`cuecard try` and `cuecard diffs` beside a server that proves the same card: each pair counts exactly once."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.adopt import adopted
from compiler.ledger import Ledger
from compiler.proof import Proof
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.store import Store
from tests.e2e.app import CANDIDATE, INCUMBENT, META, App, good, right, wrong
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_operator import cuecard
from tests.fake_upstream import FakeUpstream
from tests.learned import TOXIC, learn, some
from tests.proven import LABELS, compiled

CALLS = 12


def sometimes_wrong(body: Any) -> str:
    text = body["messages"][-1]["content"]
    return wrong(body) if sum(map(ord, text)) % 11 == 0 else right(body)


def with_card(folder: Path) -> str:
    """Recognised, adopted and compiled, as the learner would have done it; its proof has not begun. The task's name."""
    learn(folder, *some(TOXIC))
    with Store(folder) as store:
        catalogue = Catalogue(store)
        ((name, found),) = catalogue.tasks().items()
        templates = [template for template in catalogue.templates() if template.id in found.templates]
        card = compiled(store, adopted(name, templates))
        Registry(store).publish(replace(card, contract=LABELS), stage="shadowing", traffic=0.0)
    return name


def shadowed(server: Server) -> int:
    """Calls that are in the books."""
    with server.open_store() as store:
        return sum(sums.calls for _, row, sums in Ledger(store).rows() if row.role == "shadow")


async def tried(folder: Path, task: str) -> dict[str, Any]:
    command = (sys.executable, "-c", "from proxy.cli import main; main()", "try", task, "--calls", str(CALLS), "--json")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={"PYTHONPATH": str(Path.cwd()), "PATH": ""},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    found: dict[str, Any] = json.loads(out)
    return found


async def test_two_tries_beside_the_prover_change_nothing_and_every_pair_counts_once(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.answers |= {INCUMBENT: right, CANDIDATE: sometimes_wrong}
    task = with_card(tmp_path / "store")
    settings = settings_for(fake, tmp_path, mode="manual", capture={"per_second": 500}, compile={"min_examples": 20})
    settings["models"] = {"meta": META, "judge": CANDIDATE, "production": [CANDIDATE]}
    async with serving(tmp_path, settings) as server:
        app = App(server, good)

        def proof() -> Proof:
            found = app.state(TOXIC)
            assert found and found[1]
            return found[1]

        async with asyncio.timeout(60):
            while (found := app.state(TOXIC)) is None or found[1] is None or found[1].pairs < 20:
                await app.ask(TOXIC, 10)
        answered, *tries = await asyncio.gather(app.ask(TOXIC, 30), tried(tmp_path, task), tried(tmp_path, task))
        assert all(answered), "the app's own model answers"
        for one in tries:
            assert one["summary"]["tried"] == CALLS
            assert {pair["current"] for pair in one["pairs"]} <= {"yes", "no"}
            assert one["summary"]["same"] == sum(pair["current"] == pair["candidate"] for pair in one["pairs"])
        async with asyncio.timeout(30):
            while (pairs := proof().pairs) + 2 * CALLS != shadowed(server):
                await asyncio.sleep(0.05)

        async with asyncio.timeout(30):  # a last pair may come in between
            while True:
                shown = json.loads(await cuecard(tmp_path, "diffs", task, "--json", "--worst", "50"))
                async with server.http.get(f"{server.url}/admin/tasks/{task}/diffs?worst=50") as answer:
                    if await answer.json() == shown:
                        break
        assert shown["pairs"] == proof().pairs >= pairs
        assert shown["kept"] == len(shown["diffs"]) == shown["outcomes"].get("different", 0) > 0
        for one in shown["diffs"]:
            body = {"messages": [{"content": one["input"]}]}
            assert (one["current"], one["candidate"], one["d"]) == (right(body), sometimes_wrong(body), 1.0)
        assert shown["card"] in await cuecard(tmp_path, "diffs", task)
