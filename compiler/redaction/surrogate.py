"""Made-up values of the same shape: digits for digits, letters for letters of the same case, signs kept; valid where
there is a checksum. Drawn at random: nothing of the original is in them but what says its kind."""

import re
import string
from collections.abc import Callable
from random import Random

from compiler.redaction.credentials import PREFIX
from compiler.redaction.numbers import COUNTRY_CODE, luhn, remainder

COMPACT = frozenset({"card", "iban", "phone"})  # known by their digits and letters, whatever stands between them
_SIGNS = "!@#%^*_+=?~"
_HEX = re.compile(r"[0-9a-f-]{16,}|[0-9A-F-]{16,}")
_PRIVATE = re.compile(r"10\.|192\.168\.")
_TRUNK = re.compile(r"0*")


def canonical(kind: str, value: str) -> str:
    """What two ways to write one value have in common. Of the same length but for `COMPACT` types."""
    if kind in COMPACT:
        return "".join(filter(str.isalnum, value)).upper()
    return "".join(map(_lower, value)) if kind in ("email", "ip") else value


def dressed(kind: str, new: str, value: str) -> str:
    """The canonical `new` written as `value` is: with its case, and its spaces and dashes."""
    if kind in COMPACT:
        letters = iter(new)
        return "".join(_cased(next(letters), c) if c.isalnum() else c for c in value)
    return "".join(map(_cased, new, value))


def kept_of_phone(value: str) -> int:
    """How many of its digits are not the subscriber's: country code and the zeros or the one that are dialled first."""
    digits = canonical("phone", value)
    international = value.lstrip("( ").startswith("+")
    start = 0 if international else 2 if digits.startswith("00") else None
    if start is None:
        return 1 if digits[0] == "0" or (digits[0] == "1" and len(digits) == 11 and digits[1] in "23456789") else 0
    code = COUNTRY_CODE.match(digits, start)
    trunk = _TRUNK.match(digits, code.end() if code else start)
    return trunk.end() if trunk else start


def surrogate(kind: str, value: str, random: Random) -> str:
    """A canonical value of the type; that it differs from the original is for the caller to see."""
    return _MAKERS[kind](value, random)


def _shaped(value: str, random: Random, letters: str = string.ascii_lowercase) -> str:
    return "".join([_drawn(c, random, letters, i == 0) for i, c in enumerate(value)])


def _drawn(old: str, random: Random, letters: str, first: bool) -> str:
    if old in "0123456789":
        return old if first and old == "0" else str(random.randrange(first, 10))  # a number keeps its length
    if old.isupper():
        return random.choice(letters).upper()
    return random.choice(letters) if old.islower() else old


def _email(value: str, random: Random) -> str:
    """The top-level domain stays."""
    name, dot, top = canonical("email", value).rpartition(".")
    return _shaped(name, random) + dot + top


def _ip(value: str, random: Random) -> str:
    if ":" in value:
        first, colon, rest = canonical("ip", value).partition(":")
        return first + colon + "".join(_drawn(c, random, "abcdef", False) for c in rest)
    private = _PRIVATE.match(value)
    kept = private.group() if private else ""
    return kept + ".".join(_octet(part, random) for part in value[len(kept) :].split("."))


def _octet(old: str, random: Random) -> str:
    return str(random.randrange(*((0, 10), (10, 100), (100, 224))[len(old) - 1]))


def _card(value: str, random: Random) -> str:
    digits = canonical("card", value)
    body = digits[0] + "".join(str(random.randrange(10)) for _ in digits[2:])
    return body + str(-luhn(body + "0") % 10)


def _iban(value: str, random: Random) -> str:
    old = canonical("iban", value)
    body = "".join(_drawn(c, random, string.ascii_lowercase, False) for c in old[4:])
    return f"{old[:2]}{98 - remainder(f'{old[:2]}00{body}'):02}{body}"


def _phone(value: str, random: Random) -> str:
    digits, kept = canonical("phone", value), kept_of_phone(value)
    rest = [str(random.randrange(c != "0", 10)) for c in digits[kept:]]  # from any of them on it is a number in JSON
    return digits[:kept] + "".join(rest)


def _secret(value: str, random: Random) -> str:
    prefix = PREFIX.match(value)
    kept = prefix.group() if prefix else ""
    rest = value[len(kept) :]
    if sum(map(str.isalnum, rest)) < 4:
        rest = "".join(random.choice(_SIGNS) if c in _SIGNS else c for c in rest)
    return kept + _shaped(rest, random, "abcdef" if _HEX.fullmatch(rest) else string.ascii_lowercase)


_MAKERS: dict[str, Callable[[str, Random], str]] = {
    "email": _email,
    "ip": _ip,
    "card": _card,
    "iban": _iban,
    "phone": _phone,
    "secret": _secret,
}


def _lower(c: str) -> str:
    lower = c.lower()
    return lower if len(lower) == 1 else c


def _cased(new: str, like: str) -> str:
    return new.upper() if like.isupper() else new.lower()
