"""Accuracy by the data's own labels, measured apart from the story: on rows that no call of the app was about."""

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.card import Card
from compiler.score import breach
from proxy.demo.app import UNRECORDED, App
from proxy.demo.rows import Kind, Row
from proxy.demo.setting import Setting
from proxy.demo.spend import PurseClosed

__all__ = ["Gold", "measure"]


@dataclass
class Gold:
    """Right answers of the app's model, of the cheap one with the app's own prompt, and of what Cuecard would have
    served (the card, with what falls back; the app's model where there is none), out of `of`."""

    own: int = 0
    cheap: int = 0
    served: int = 0
    of: int = 0


async def measure(app: App, setting: Setting, kind: Kind, card: Card | None, rows: Iterable[Row]) -> Gold:
    """Fewer than all `rows` where the purse is closed before."""
    gold = Gold()
    for text, right in rows:
        try:
            answers = await _answers(app, setting, kind.messages(text), card)
        except PurseClosed:
            break
        own, cheap, served = (answer == right for answer in answers)
        gold = Gold(gold.own + own, gold.cheap + cheap, gold.served + served, gold.of + 1)
    return gold


async def _answers(app: App, setting: Setting, said: list[dict[str, str]], card: Card | None) -> tuple[str, str, str]:
    current, cheap = setting.current, setting.cheap
    own = await app.ask(current, said, most=setting.most(current, said), more=UNRECORDED)
    alone = await app.ask(cheap, said, most=setting.most(cheap, said), more=UNRECORDED)
    if card is None:
        return own.text, alone.text, own.text
    program = card.program.messages(said[0]["content"])
    ours = await app.ask(cheap, program, most=setting.most_with_card(said), more=UNRECORDED)
    return own.text, alone.text, own.text if breach(ours.text, "stop", card.contract) else ours.text
