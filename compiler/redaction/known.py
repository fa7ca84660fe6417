"""Originals and their surrogates, to be found again where nothing tells their type: a password in a sentence, the bare
digits of a phone number. Linear in the text, however many there are. Pure."""

import re
from collections.abc import Iterator, Sequence

_CHUNK = re.compile(r"[0-9](?:[ ./()-]{0,3}+[0-9]){6,}+")
_TAILS = range(6)  # a phone number without up to so many digits, its country code and zeros, is still the number
_LOCAL = 7  # digits of the shortest phone number
_START = 4  # characters of the shortest secret
_UNMISTAKABLE = 9  # digits, or letters, that are the value even in the middle of others


def other_forms(phones: Sequence[str]) -> set[str]:
    """Those that are, without their own first digits, a longer one without its first."""
    longest: dict[str, str] = {}
    for phone in sorted(phones, key=len, reverse=True):
        for cut in _tails(phone):
            longest.setdefault(phone[cut:], phone)
    return {phone for phone in phones if any(longest[phone[cut:]] != phone for cut in _tails(phone))}


def _tails(phone: str) -> list[int]:
    return [cut for cut in _TAILS if len(phone) - cut >= _LOCAL and (cut == 0 or phone[cut] != "0")]


class Known:
    def __init__(self) -> None:
        self._digits: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._lengths: dict[str, set[int]] = {}  # of the words, by how they begin

    def add(self, kind: str, old: str, new: str) -> None:
        if kind == "card":
            self._digits[old] = new
        elif kind == "phone":
            for cut in _tails(old):
                self._digits.setdefault(old[cut:], new[cut:])
        else:
            self._add_word(old, new)
            if kind == "secret" and len(old) - (colon := old.find(":")) > _LOCAL and colon > 0:  # user:password
                self._add_word(old[colon + 1 :], new[colon + 1 :])

    def _add_word(self, old: str, new: str) -> None:
        self._words.setdefault(old, new)
        self._lengths.setdefault(old[:_START], set()).add(len(old))

    def phone(self, digits: str, kept: int) -> str | None:
        """The surrogate of a number known in another form: with a country code, with a zero, or without."""
        tails = (cut for cut in range(kept + 1) if digits[cut:] in self._digits)
        cut = next(tails, None)
        return None if cut is None else digits[:cut] + self._digits[digits[cut:]]

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and what to write there."""
        if self._digits:
            yield from self._find_digits(text)
        if self._words:
            yield from self._find_words(text)

    def _find_digits(self, text: str) -> Iterator[tuple[int, int, str]]:
        lengths = sorted({len(digits) for digits in self._digits}, reverse=True)
        for chunk in _CHUNK.finditer(text):
            places = [i for i in range(*chunk.span()) if text[i].isdigit()]
            digits = "".join([text[i] for i in places])
            at = 0
            while at <= len(digits) - lengths[-1]:
                new = next(filter(None, (self._digits.get(digits[at : at + length]) for length in lengths)), "")
                start, end = places[at], places[min(at + len(new), len(places)) - 1] + 1
                if new and self._stands(text, start, end):
                    signs = iter(new)
                    yield start, end, "".join(next(signs) if c.isdigit() else c for c in text[start:end])
                    at += len(new) - 1
                at += 1

    def _find_words(self, text: str) -> Iterator[tuple[int, int, str]]:
        firsts = re.compile("[" + "".join(re.escape(c) for c in sorted({word[0] for word in self._words})) + "]")
        lengths = {start: sorted(of_it, reverse=True) for start, of_it in self._lengths.items()}
        done = 0
        for first in firsts.finditer(text):
            start = first.start()
            for length in lengths.get(text[start : start + _START], ()) if start >= done else ():
                new = self._words.get(text[start : start + length])
                if new and self._stands(text, start, start + length):
                    done = start + length
                    yield start, done, new
                    break

    def _stands(self, text: str, start: int, end: int) -> bool:
        """By itself, unless it is too long to be anything else."""
        alone = not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())
        return alone or end - start >= _UNMISTAKABLE
