"""Short values as apps fill them in: some of few, some of very many."""

import datetime
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import yaml

Value = Callable[[Random], str]

NAMES: Mapping[str, list[str]] = yaml.safe_load((Path(__file__).parent / "names.yaml").read_text())
FIRST, LAST, COMPANIES = NAMES["first"], NAMES["last"], NAMES["company"]


def day(random: Random) -> datetime.date:
    return datetime.date(2024, 1, 1) + datetime.timedelta(days=random.randrange(700))


def name(random: Random) -> str:
    return f"{random.choice(FIRST)} {random.choice(LAST)}"


def email(random: Random) -> str:
    first, last = random.choice(FIRST).lower(), random.choice(LAST).lower()
    local = random.choice(
        (f"{first}.{last}", f"{first}{random.randrange(100)}", f"{first[0]}{last}", f"{last}_{first}")
    )
    return f"{local}@{random.choice(('mail', 'post', 'inbox', random.choice(COMPANIES).lower()))}.example"


def amount(random: Random) -> str:
    return f"{random.choice('€$£')}{random.randrange(2, 1500):,}.{random.choice((0, 50, 90, 95, 99)):02d}"


def amount_de(random: Random) -> str:
    return f"{random.randrange(3, 900)},{random.choice((0, 50, 90, 99)):02d} €"


def order(random: Random) -> str:
    return random.choice(
        (f"NO-{random.randrange(10**6, 10**7)}", f"#{random.randrange(10**5, 10**6)}", _code(random, 9))
    )


def url(random: Random) -> str:
    page = random.choice(("products", "help", "blog", "orders"))
    return f"https://www.{random.choice(COMPANIES).lower()}.example/{page}/{_code(random, 5).lower()}"


def phone(random: Random) -> str:
    return f"+{random.randrange(30, 50)} {random.randrange(100, 1000)} {random.randrange(10**5, 10**7)}"


def _code(random: Random, length: int) -> str:
    return "".join(random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(length))


def _of(values: list[str]) -> Value:
    return lambda random: random.choice(values)


def _number(low: int, high: int) -> Value:
    return lambda random: str(random.randrange(low, high))


VALUES: Mapping[str, Value] = {
    "name": name,
    "first": _of(FIRST),
    "last": _of(LAST),
    "email": email,
    "city": _of(NAMES["city"]),
    "country": _of(NAMES["country"]),
    "product": _of(NAMES["product"]),
    "company": _of(COMPANIES),
    "street": lambda random: f"{random.choice(NAMES['street'])} {random.randrange(1, 160)}",
    "date": lambda random: day(random).isoformat() if random.random() < 0.5 else f"{day(random):%d %B %Y}",
    "iso_date": lambda random: day(random).isoformat(),
    "today": lambda random: f"{datetime.date(2025, 3, 3) + datetime.timedelta(days=random.randrange(12)):%A, %d %B %Y}",
    "date_de": lambda random: f"{day(random):%d.%m.%Y}",
    "clock": lambda random: f"{random.randrange(24)}:{random.randrange(60):02d}",
    "year": _number(1985, 2026),
    "small": _number(2, 31),
    "number": _number(100, 90_000),
    "number2": _number(52, 130),
    "age": _number(18, 91),
    "degrees": _number(15, 250),
    "dose": _of(["2.5", "5", "10", "20", "40", "75", "500", "1000"]),
    "bp": lambda random: f"{random.randrange(95, 185)}/{random.randrange(55, 110)}",
    "temperature": lambda random: f"{random.uniform(35.8, 39.9):.1f}",
    "hb": lambda random: f"{random.uniform(8, 16):.1f}",
    "amount": amount,
    "amount_de": amount_de,
    "order": order,
    "invoice": lambda random: f"INV-{random.randrange(2023, 2026)}-{random.randrange(10_000):04d}",
    "code": lambda random: _code(random, 8),
    "sku": lambda random: f"{_code(random, 3)}-{random.randrange(1000, 10_000)}",
    "ticket_id": lambda random: f"{random.choice(('OPS', 'WEB', 'BUG', 'INC'))}-{random.randrange(100, 9_999)}",
    "uuid": lambda random: str(uuid.UUID(int=random.getrandbits(128), version=4)),
    "version": lambda random: f"{random.randrange(1, 9)}.{random.randrange(20)}.{random.randrange(10)}",
    "url": url,
    "phone": phone,
    "plan": _of(["Free", "Basic", "Plus", "Family", "Business", "Enterprise"]),
    "locale": _of(["en-GB", "en-US", "en-IE", "en-AU", "en-CA"]),
}
