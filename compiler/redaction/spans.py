"""What in a text is of a known type: one token for whoever looks for templates, and what is hidden before the disk."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from types import MappingProxyType

from compiler.redaction.credentials import credentials
from compiler.redaction.dates import dates
from compiler.redaction.numbers import cards, ibans, phones
from compiler.redaction.reading import Reading

Finder = Callable[[str], Iterator[tuple[int, int]]]


_LATIN = r"0-9A-Za-z\u00c0-\u024f\u0370-\u052f"
_LOCAL = rf"{_LATIN}._%+'-"
_AT = re.compile(rf"@(?<=[{_LOCAL}]@)(?:[{_LATIN}-]{{1,63}}+\.){{1,8}}[A-Za-z]{{2,24}}(?![{_LATIN}_])")
_LOCAL_PART = re.compile(rf"[{_LATIN}_+][{_LOCAL}]{{0,63}}\Z")
_SCHEME = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}\Z")
_URL = re.compile(r"://(?<=[A-Za-z0-9]://)[!#-&(-;=?-Z\[\]_a-z~\u00c0-\u024f]{1,2000}")
_WWW = re.compile(r"www\.(?<![A-Za-z0-9.@/-]www\.)[!#-&(-;=?-Z_a-z~\u00c0-\u024f]{1,2000}")
_USERINFO = re.compile(r"://([^/?#@\s:]{0,100}:[^/?#@\s]{1,200})@")
_UUID = re.compile(r"[0-9a-fA-F](?<![0-9A-Za-z_].)[0-9a-fA-F]{7}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9A-Za-z_])")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(
    rf"[0-9](?<![{_LATIN}_.].)(?<![A-Za-z]/.)(?:(?<=[1-9])[0-9]{{0,2}})\.{_OCTET}\.{_OCTET}\.{_OCTET}(?![{_LATIN}_]|\.[0-9])"
)
_VERSION = re.compile(r"(?i:version|release|build|ver\.?|v) ?\Z")
_IPV6 = re.compile(
    r"[23fF](?<![0-9A-Za-z_:.].)[0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z_:])"
)


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    end: int
    type: str


def emails(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    for at in _AT.finditer(text):
        local = _LOCAL_PART.search(text, max(done, at.start() - 64), at.start())
        if local and local.group() != "git":  # git@host is how a repository is named
            done = at.end()
            yield local.start(), done


def urls(text: str) -> Iterator[tuple[int, int]]:
    """With any scheme, a database's too, or from `www.` on. What ends the sentence is not of it."""
    done = 0
    for match in _URL.finditer(text):
        scheme = _SCHEME.search(text, max(done, match.start() - 16), match.start())
        if scheme:
            done = match.start() + _url_length(match.group())
            yield scheme.start(), done
    for match in _WWW.finditer(text):
        yield match.start(), match.start() + _url_length(match.group())


def _url_length(url: str) -> int:
    """Without the sentence's punctuation, and without brackets that were opened before the URL."""
    opened = {")": url.count("("), "]": url.count("[")}
    closed = {")": url.count(")"), "]": url.count("]")}
    length = len(url)
    while length > 1 and (
        url[length - 1] in ".,;:!?*" or closed.get(url[length - 1], 0) > opened.get(url[length - 1], 0)
    ):
        length -= 1
        if url[length] in closed:
            closed[url[length]] -= 1
    return length


def uuids(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _UUID.finditer(text))


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """IPv4 and IPv6, without those that every machine has: this host, any host, masks."""
    for match in _IPV4.finditer(text):
        first = int(match.group().partition(".")[0])
        if first < 255 and first != 127 and not _VERSION.search(text, max(0, match.start() - 9), match.start()):
            yield match.span()
    for match in _IPV6.finditer(text):
        try:
            IPv6Address(match.group())
        except AddressValueError:
            continue
        yield match.span()


# In this order: what an earlier one took, a later one doesn't see.
TYPES: Mapping[str, Finder] = MappingProxyType(
    {
        "url": urls,
        "secret": credentials,
        "email": emails,
        "uuid": uuids,
        "datetime": dates,
        "ip": addresses,
        "iban": ibans,
        "card": cards,
        "phone": phones,
    }
)
REDACTED = frozenset({"email", "ip", "card", "iban", "secret", "phone"})


def spans(text: str) -> list[Span]:
    """All of a known type, sorted, none overlapping; a URL is one whatever it holds."""
    reading = Reading(text)
    return [Span(reading.place(s.start), reading.place(s.end), s.type) for s in read_spans(reading.text)]


def read_spans(text: str) -> list[Span]:
    """The same of a text that is already decoded."""
    found: list[Span] = []
    for name, finder in TYPES.items():
        taken = _apart(finder(text))
        found += [Span(start, end, name) for start, end in taken]
        text = blanked(text, taken)
    return sorted(found, key=lambda span: span.start)


def sensitive(text: str) -> list[Span]:
    """Those of `read_spans` to be hidden, and what is to be hidden inside the URLs."""
    found = []
    for span in read_spans(text):
        if span.type in REDACTED:
            found.append(span)
        elif span.type == "url":
            found += _inside(text[span.start : span.end], span.start)
    return found


def _inside(url: str, offset: int) -> list[Span]:
    found = []
    for name, finder in (("secret", _userinfo), ("secret", _parameters), ("email", emails)):
        taken = _apart(finder(url))
        found += [Span(offset + start, offset + end, name) for start, end in taken]
        url = blanked(url, taken)
    return sorted(found, key=lambda span: span.start)


def _userinfo(url: str) -> Iterator[tuple[int, int]]:
    return (match.span(1) for match in _USERINFO.finditer(url))


def _parameters(url: str) -> Iterator[tuple[int, int]]:
    return credentials(url.replace("&", " ").replace("#", " "))


def _apart(found: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted; of two that overlap the first, of two that begin together the longer."""
    apart: list[tuple[int, int]] = []
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if not apart or start >= apart[-1][1]:
            apart.append((start, end))
    return apart


def blanked(text: str, taken: list[tuple[int, int]]) -> str:
    if not taken:
        return text
    pieces, done = [], 0
    for start, end in taken:
        pieces += [text[done:start], "\0" * (end - start)]
        done = end
    return "".join([*pieces, text[done:]])
