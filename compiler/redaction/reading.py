"""A text as a person reads it: escapes of JSON and URLs decoded, digits and signs of other scripts folded to ASCII,
with the way back to where they stand. So one pattern finds a value however deep it is quoted. Pure."""

import re
from bisect import bisect_right

# Any number of backslashes before it: a JSON string inside a JSON string inside ... reads the same.
_ESCAPE = re.compile(r"""\\(?<!\\\\)\\{0,15}+(?:u([0-9a-fA-F]{4})|([nrtbf"'/]))|%(40|2[Bb])""")
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "b": " ", "f": " "}
_FOREIGN = re.compile(
    "[\u00a0\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u2000-\u200a\u2010-\u2015\u202f\u2212\u3000\uff01-\uff5e]"
)
_ZEROS = (0x0660, 0x06F0, 0x0966)  # Arabic-Indic, Persian, Devanagari
_WIDE = 0xFF01 - 0x21  # full-width forms of ASCII
_FOLD = (
    {zero + digit: 0x30 + digit for zero in _ZEROS for digit in range(10)}
    | {code: code - _WIDE for code in range(0xFF01, 0xFF5F)}
    | dict.fromkeys([0xA0, 0x202F, 0x3000, *range(0x2000, 0x200B)], 0x20)
    | dict.fromkeys([0x2212, *range(0x2010, 0x2016)], 0x2D)
)


class Reading:
    """`text` is what is read, character by character; `raw` is what stands there."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.text = raw
        self._reads: list[int] = []  # positions in `text` after an escape
        self._raws: list[int] = []  # and the same in `raw`
        if "\\" in raw or "%" in raw:
            self._decode()
        if not raw.isascii() or self.text is not raw:
            self.text = self.text.translate(_FOLD) if _FOREIGN.search(self.text) else self.text

    def _decode(self) -> None:
        pieces, done, length = [], 0, 0
        for match in _ESCAPE.finditer(self.raw):
            code, letter, percent = match.groups()
            sign = chr(int(code or percent, 16)) if code or percent else _PLAIN.get(letter, letter)
            pieces += [self.raw[done : match.start()], sign]
            length += match.start() - done + 1
            done = match.end()
            self._reads.append(length)
            self._raws.append(done)
        if pieces:
            self.text = "".join([*pieces, self.raw[done:]])

    def place(self, read: int) -> int:
        """Where in `raw` the character begins that is at `read` in `text`."""
        before = bisect_right(self._reads, read) - 1
        return read if before < 0 else self._raws[before] + read - self._reads[before]

    def written(self, start: int, new: str) -> str:
        """`new` in place of what is read from `start` on, each character in the script and escape of the old one."""
        old = self.text[start : start + len(new)]
        first, last = self.place(start), self.place(start + len(new))
        if last - first == len(new):
            return "".join(map(_like, self.raw[first:last], old, new))
        places = [self.place(start + i) for i in range(len(new) + 1)]
        return "".join(
            self.raw[places[i] : places[i + 1]] if old[i] == sign else _like(self.raw[places[i]], old[i], sign)
            for i, sign in enumerate(new)
        )


def _like(raw: str, old: str, new: str) -> str:
    """`new` in the script in which `raw` is `old`."""
    if old == new:
        return raw
    return chr(ord(raw) - ord(old) + ord(new)) if raw != old and raw != "\\" else new
