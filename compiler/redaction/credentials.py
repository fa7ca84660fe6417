"""Keys, tokens and passwords: by their own form, or by the word before them. Pure."""

import re
from collections.abc import Iterator

_START = r"(?<![0-9A-Za-z_])"
_KNOWN = re.compile(
    rf"""{_START}(?:
    sk-[A-Za-z0-9_-]{{16,}}
    | [sr]k_(?:live|test)_[A-Za-z0-9]{{10,}} | whsec_[A-Za-z0-9]{{16,}} | gsk_[A-Za-z0-9]{{20,}}
    | gh[pousr]_[A-Za-z0-9]{{20,}} | github_pat_[A-Za-z0-9_]{{20,}} | glpat-[A-Za-z0-9_-]{{16,}}
    | xox[abeoprs]-[A-Za-z0-9-]{{10,}} | xapp-[A-Za-z0-9-]{{10,}}
    | A[KS]IA[A-Z0-9]{{16}} | AIza[A-Za-z0-9_-]{{30,}} | ya29\.[A-Za-z0-9_-]{{20,}}
    | hf_[A-Za-z0-9]{{20,}} | npm_[A-Za-z0-9]{{30,}} | pypi-[A-Za-z0-9_-]{{30,}}
    | SG\.[A-Za-z0-9_-]{{16,}}\.[A-Za-z0-9_-]{{16,}}
    | eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]{{8,}}(?:\.[A-Za-z0-9_-]*)?
    )""",
    re.VERBOSE,
)
_MARKS = (
    *("sk-", "k_live_", "k_test_", "whsec_", "gsk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "xapp-", "AKIA", "ASIA", "AIza", "ya29.", "hf_", "npm_", "pypi-", "SG.", "eyJ"),
)
# What is kept of a secret: with it alone nobody gets in, and it tells what kind of secret this is.
PREFIX = re.compile(
    r"(?:sk-(?:proj-|ant-|svcacct-|admin-|or-)?|[sr]k_(?:live|test)_|whsec_|gsk_|gh[pousr]_|github_pat_|glpat-"
    r"|xox[abeoprs]-|xapp-|A[KS]IA|AIza|ya29\.|hf_|npm_|pypi-|SG\.|eyJ)"
)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?P<value>(?:[^-]|-(?!----))++)")
_SCHEME = re.compile(
    r"(?:[Bb]earer|BEARER|[Bb]asic|BASIC) +(?P<value>(?=[A-Za-z._~+/-]*[0-9=])[A-Za-z0-9._~+/-]{12,}+=*)"
)

# Letters first in each: the engine scans for them. What is around the short ones is looked at afterwards.
_WORD = re.compile(
    "pass(?:word|wd|phrase|code|wort)?|pwd|pw|pin|kennwort|contraseña|mot de passe"
    "|secret(?:[ _-]?access)?(?:[ _-]?key)?|token|credentials?|authorization|session[ _-]?id"
    "|key(?:[ _-]?id)?|sig(?:nature)?|auth|cookie"
)
_PASS = frozenset(("pwd", "pw", "pin", "kennwort", "contraseña", "mot de passe"))
_SHORT = frozenset(
    ("pass", "pwd", "pw", "pin", "key", "sig", "signature", "auth", "cookie")
)  # also parts of other words
_WEAK = _SHORT - {"key"}  # say nothing of what follows later
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OF_KEY = re.compile(r"(?:api|access|private|account|auth|signing|encryption)[ _-]?\Z")
_VALUE = r"""[^\s"'`<>,;{}\[\]\\\x00]{4,256}"""
_ASSIGNED = re.compile(
    rf"""["']?\ {{0,3}}(?:(?P<sign>:=|=>|[=:])\s{{0,3}}|(?P<is>\ (?:is|ist|est|es|lautet)\ {{1,2}}(?::\ ?)?))
    (?:(?P<quote>["'`])(?P<quoted>[^"'`\n\\\x00]{{4,256}})(?P=quote) | ["'`]?(?P<value>{_VALUE}))""",
    re.VERBOSE,
)
_LONG = re.compile(r"[^\n]{0,40}?(?<![A-Za-z0-9+/_-])(?P<value>[A-Za-z0-9+/_-]{32,512}+={0,2})")
_PARAMETER = re.compile(r"&(?=[\w.-]{1,40}=)")  # elsewhere `&` is of the value
_ONE_WORD = re.compile(r"[A-Za-z0-9+/_=-]+")
_PROSE = re.compile(r"[,.]? [a-z]", re.IGNORECASE)
_NO_VALUES = (
    "string str text required optional none null true false undefined hidden redacted password number integer boolean "
    "object array example reset forgotten incorrect invalid expired wrong correct missing empty"
)
_NOT_VALUES = frozenset(_NO_VALUES.split())
_PLACEHOLDER = re.compile(r"(.)\1+\Z|\$\(?\w+\)?\Z|%\w+%?\Z|[\w.]+\(|process\.env|os\.environ|https?:", re.IGNORECASE)


def credentials(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each value, without the word that names it; some may overlap."""
    if any(mark in text for mark in _MARKS):
        yield from (
            match.span() for match in _KNOWN.finditer(text) if match[0][:3] != "sk-" or _is_random(match[0], 16)
        )
    if "PRIVATE KEY" in text:
        yield from (match.span("value") for match in _PEM.finditer(text))
    if "ear" in text or "EAR" in text or "asic" in text or "ASIC" in text:
        yield from (match.span("value") for match in _SCHEME.finditer(text))
    yield from _named(text)


def _named(text: str) -> Iterator[tuple[int, int]]:
    lower = text.lower()
    if len(lower) != len(text):  # a few letters grow
        lower = "".join(c.lower() if c.isascii() else c for c in text)
    long = max(map(len, text.split()), default=0) >= 32
    for word in _WORD.finditer(lower):
        kind = _kind(lower, word)
        if not kind:
            continue
        if (match := _ASSIGNED.match(text, word.end())) and (span := _value(text, match, kind)):
            yield span
        elif long and word[0] not in _WEAK and (match := _LONG.match(text, word.end())) and _is_key(match["value"]):
            yield match.span("value")


def _kind(text: str, word: re.Match[str]) -> str:
    name = word.group()
    if name.startswith("key") and _OF_KEY.search(text, max(0, word.start() - 12), word.start()):
        return "token"
    if name in _SHORT and (
        text[word.start() - 1 : word.start()].isalpha() or text[word.end() : word.end() + 1].isalpha()
    ):
        return ""
    if name in _PASS or name.startswith("pass"):
        return "pass"
    return "bare" if name in _SHORT or name.startswith("key") else "token"


def _value(text: str, match: re.Match[str], kind: str) -> tuple[int, int] | None:
    start, end = match.span("quoted" if match["quoted"] is not None else "value")
    if match["quoted"] is None:
        end = start + len(_PARAMETER.split(match["value"], maxsplit=1)[0].rstrip(".:!?)"))
    value = text[start:end]
    if len(value) < 4 or value.lower() in _NOT_VALUES or _PLACEHOLDER.match(value):
        return None
    if kind == "bare":  # of a cache, a table, an issue: only what looks like nothing else
        return (start, end) if _is_random(value, 20) and _ONE_WORD.fullmatch(value) else None
    if kind == "token":
        return (start, end) if _is_random(value, 8) and " " not in value else None
    plain = value.replace(" ", "").isalpha()
    loose = match["is"] or (match["sign"] == ":" and match["quoted"] is None and _PROSE.match(text, end))
    return None if plain and (loose or " " in value) else (start, end)


def _is_key(value: str) -> bool:
    return _is_random(value, 32) and not _UUID.fullmatch(value)


def _is_random(value: str, at_least: int) -> bool:
    return len(value) >= at_least and any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
