"""Rows that no data set has: made from a seed, so that what is right is known. Pure."""

import json
import random
from collections.abc import Callable

from proxy.demo.rows import Row

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
FIRST = ("Ana", "Bruno", "Chloe", "Dmitri", "Elif", "Farah", "Goran", "Hana", "Ivo", "Jonas", "Karin", "Luca", "Mina")
LAST = (
    *("Alvarez", "Brandt", "Castillo", "Dubois", "Eriksen", "Fischer", "Greco", "Horvat", "Iversen", "Jansen"),
    *("Kowalski", "Lindqvist", "Moreau", "Novak", "Okafor", "Petrov", "Quist", "Rossi", "Schmidt", "Tanaka"),
)
CURRENCIES = {"EUR": "euros", "USD": "US dollars", "GBP": "pounds", "CHF": "Swiss francs"}
SIGNS = {"EUR": "€", "USD": "$", "GBP": "£"}
ORDERS = (
    "{name} paid {money} on {date}.",
    "On {date} we received {money} from {name}.",
    "Please note: invoice for {name}, {money}, dated {date}.",
    "{name} still owes us {money}; it was due on {date}.",
    "Refund of {money} sent to {name} on {date}, as agreed by phone.",
    "Hi team, {name} ordered on {date} and the total came to {money}. Thanks!",
)
APPOINTMENTS = (
    "can you put {name} down for {time} on {date}?",
    "{name} would like to come in on {date} at {time}",
    "Moved: {name} is now coming {date}, {time}.",
    "pls book {date} {time} for {name}",
    "Reminder, the visit of {name} is at {time} on {date}.",
    "hi, it's {name}. Does {date} work, {time}?",
)
SENTENCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "English": (
        ("My sister", "The old teacher", "Our neighbour", "A young doctor", "The tall man", "Her brother"),
        (
            *("is waiting at the station.", "bought fresh bread this morning.", "reads the newspaper every day."),
            *("wants to go to the beach.", "lost the keys yesterday.", "is cooking soup for us."),
            *("has never seen snow.", "works in a small office.", "sings in the kitchen.", "forgot the umbrella."),
        ),
    ),
    "French": (
        ("Ma sœur", "Le vieux professeur", "Notre voisin", "Une jeune femme", "Le grand homme", "Son frère"),
        (
            *("attend à la gare.", "a acheté du pain ce matin.", "lit le journal tous les jours."),
            *("veut aller à la plage.", "a perdu les clés hier.", "prépare la soupe pour nous."),
            *("n'a jamais vu la neige.", "travaille dans un petit bureau.", "chante dans la cuisine."),
            "a oublié le parapluie.",
        ),
    ),
    "German": (
        ("Meine Schwester", "Der alte Lehrer", "Unser Nachbar", "Eine junge Frau", "Der große Mann", "Ihr Bruder"),
        (
            *("wartet am Bahnhof.", "hat heute Morgen frisches Brot gekauft.", "liest jeden Tag die Zeitung."),
            *("möchte an den Strand gehen.", "hat gestern die Schlüssel verloren.", "kocht uns eine Suppe."),
            *("hat noch nie Schnee gesehen.", "arbeitet in einem kleinen Büro.", "singt in der Küche."),
            "hat den Regenschirm vergessen.",
        ),
    ),
}


def unique(make: Callable[[random.Random], Row], seed: str, count: int) -> list[Row]:
    """The first `count` different ones that come of a seed."""
    rng, found = random.Random(seed), dict[str, str]()
    while len(found) < count:
        text, gold = make(rng)
        found[text] = gold
    return [*found.items()]


def order(rng: random.Random) -> Row:
    """A sentence about a payment; gold is a JSON object."""
    name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
    year, month, day = rng.choice((2024, 2025, 2026)), rng.randint(1, 12), rng.randint(1, 28)
    currency, amount = rng.choice([*CURRENCIES]), rng.choice((rng.randint(12, 980), rng.randint(1_000, 989_999) / 100))
    shown = f"{amount:,}" if isinstance(amount, int) else f"{amount:,.2f}"
    money = [f"{currency} {shown}", f"{shown} {currency}", f"{shown} {CURRENCIES[currency]}"]
    money += [SIGNS[currency] + shown] if currency in SIGNS else []
    named = MONTHS[month - 1]
    date = rng.choice(
        (f"{day} {named} {year}", f"{named} {day}, {year}", f"{year}-{month:02}-{day:02}", f"{day} {named[:3]} {year}")
    )
    text = rng.choice(ORDERS).format(name=name, money=rng.choice(money), date=date)
    gold = {"customer": name, "date": f"{year}-{month:02}-{day:02}", "amount": amount, "currency": currency}
    return text, json.dumps(gold)


def appointment(rng: random.Random) -> Row:
    """A loose message; gold is `Name, D Month, HH:MM`."""
    name, month, day = rng.choice(LAST), rng.choice(MONTHS), rng.randint(1, 28)
    hour, minute = rng.randint(8, 18), rng.choice((0, 15, 30, 45))
    half = f"{(hour - 1) % 12 + 1}" + (f":{minute:02}" if minute else "")
    time = rng.choice((f"{hour}:{minute:02}", f"{half} {'am' if hour < 12 else 'pm'}"))
    date = rng.choice((f"{month} {_ordinal(day)}", f"{day} {month}", f"the {_ordinal(day)} of {month}"))
    text = rng.choice(APPOINTMENTS).format(name=name, date=date, time=time)
    return text, f"{name}, {day} {month}, {hour:02}:{minute:02}"


def _ordinal(day: int) -> str:
    return f"{day}{'th' if day in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


def sum_of_five(rng: random.Random) -> Row:
    """Four steps in the head; gold is a digit."""
    while True:
        a, b, c, d, e = (rng.randint(low, high) for low, high in ((3, 9), (12, 29), (11, 99), (11, 60), (11, 99)))
        if 0 <= (found := a * b - c + d - e) <= 9:
            return f"{a} x {b} - {c} + {d} - {e}", str(found)


def sentence(rng: random.Random) -> Row:
    language = rng.choice([*SENTENCES])
    who, what = (rng.choice(part) for part in SENTENCES[language])
    return f"{who} {what}", language
