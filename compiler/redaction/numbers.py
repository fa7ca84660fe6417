"""Numbers that stand for a person or an account: cards, IBANs, phones. By checksum where there is one. Pure."""

import re
from collections.abc import Iterator

_W = r"0-9A-Za-z_\u00c0-\u024f\u0370-\u052f"  # no CJK: there a number follows its word without a space
_FIRST = rf"(?<![{_W}].)(?<![0-9]\..)"  # what may not stand before a number; the last `.` is its own first character

# First digits and lengths that card schemes issue: few other numbers with a right checksum have them.
_ISSUED = re.compile(r"4[0-9]{12,18}|3[0-9]{13,15}|2(?:131|2[2-9]|[3-7])[0-9]{11,13}|[56][0-9]{15,18}")
_CARD = re.compile(rf"[2-6]{_FIRST}(?=([0-9]{{3}}(?:[ -]?[0-9]){{9,15}}+))")
_CARD_FORM = re.compile(
    r"[0-9]{13,19}|[0-9]{4}([ -])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?|[0-9]{6}\1[0-9]{4,5})"
)
_LUHN = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_MORE = re.compile(rf"[{_W}]")

_COUNTRIES = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 "
    "LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 "
    "QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS = {country[:2]: int(country[2:]) for country in _COUNTRIES.split()}
_IBAN = re.compile(rf"[0-9](?<=[A-Za-z]{{2}}.)(?<![{_W}]...)[0-9](?=[ -]?[0-9A-Za-z])")
_IBAN_REST = {n: re.compile(rf"(?:[ -]?[0-9A-Za-z]){{{n - 4}}}(?![{_W}])") for n in set(_IBAN_LENGTHS.values())}

_GAPS = " ./()-"
_GAP = r"(?:\.|[ /)-]{0,3}+)"  # a dot before a space ends a sentence
_OPEN = r"(?:\((?=[0-9]{1,5}\)))"  # not the bracket around the whole
_GAP_OPEN = r"(?:\.|[ /()-]{0,3}+)"  # a bracket opens after the country code, or another number begins
_PHONE_FIRST = re.compile(rf"[+(0-9](?<![{_W}+].)(?<![0-9]\..)")
_PHONE_HEAD = re.compile(r"\+ ?[1-9]|00[1-9]|\(?0[1-9]|\(?[2-9][0-9]{2}[) .-]|1[ .-]?\(?[2-9][0-9]{2}|1[3-9][0-9][ -]")
_PHONE_RUN = re.compile(rf"(?:\+ ?)?\(?[0-9](?:{_GAP_OPEN}[0-9]){{4}}(?:{_GAP}[0-9]){{2,14}}+")
_PHONE = re.compile(
    rf"\+ ?1{_GAP_OPEN}[0-9](?:{_GAP}[0-9]){{9}}|(?:\+ ?[2-9]|00[1-9])(?:{_GAP_OPEN}[0-9]){{3}}(?:{_GAP}[0-9]){{3,11}}"
    rf"|{_OPEN}?0[1-9](?:{_GAP}[0-9]){{7,10}}"
    r"|(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}"
    r"|1[3-9][0-9]([ -])[0-9]{4}\1[0-9]{4}"
)
_COLUMN = re.compile("[0-9\n]")  # so near before a number there is no word
COUNTRY_CODE = re.compile(r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[0-9]{3}")
_LONGEST = {"1": 11, "7": 11, "31": 11, "32": 11, "33": 11, "34": 11, "41": 11, "44": 12, "45": 10, "46": 11, "47": 10}
_LONGEST |= {"48": 11, "61": 11, "81": 12, "86": 13, "91": 12, "351": 12, "353": 12}  # digits, the country's included
_LABELLED = re.compile(rf"{_OPEN}?[0-9](?:{_GAP}[0-9]){{6,14}}")
_LABEL = re.compile(
    r"(?i:\btel|phone|telefon|téléphone|\btél|teléfono|\bmobile?\b|\bmóvil|\bhandy|\bcell|\bfax\b|whatsapp|rufnummer"
    r"|\bcall(?: me| us)?(?: at| on)?\b|电话|電話|手机|手機|携帯|전화)[^0-9\n]{0,12}\Z"
)
_AFTER = re.compile(rf"[{_W}]|[.-][0-9]")


def cards(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    for match in _CARD.finditer(text):
        start = match.start()
        if start >= done and (end := _card_end(text, start, match.end(1))):
            yield start, (done := end)


def _card_end(text: str, start: int, end: int) -> int:
    """The shortest that is right: three digits more are its security code. 0: it is none."""
    found = 0
    while end - start >= 13:
        if _CARD_FORM.fullmatch(text, start, end) and not _MORE.match(text, end):
            digits = text[start:end].replace(" ", "").replace("-", "")
            found = end if _ISSUED.fullmatch(digits) and luhn(digits) == 0 else found
        end = _cut(text, end)
    return found


def luhn(digits: str) -> int:
    """0 where the last digit is the right one."""
    return (sum(map(int, digits[-1::-2])) + sum(_LUHN[int(d)] for d in digits[-2::-2])) % 10


def ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        start = match.start() - 2
        length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
        if length and (rest := _IBAN_REST[length].match(text, match.end())):
            compact = text[start : rest.end()].replace(" ", "").replace("-", "")
            if remainder(compact) == 1:
                yield start, rest.end()


def remainder(iban: str) -> int:
    """ISO 7064, mod 97: 1 where the check digits are right."""
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97


def phones(text: str) -> Iterator[tuple[int, int]]:
    """With a country code, an area code with a zero or as in North America, or a word like `tel` before."""
    done = 0
    for first in _PHONE_FIRST.finditer(text):
        start = first.start()
        if start >= done and (run := _PHONE_RUN.match(text, start)) and (end := _phone_end(text, start, run.end())):
            yield start, (done := end)


def _phone_end(text: str, start: int, end: int) -> int:
    """Where it ends: groups that follow, an hour or an amount, are not of it. 0: it is none."""
    found = _PHONE_HEAD.match(text, start) and _fitting(_PHONE, text, start, end)
    if (
        not found
        and not _COLUMN.search(text, max(0, start - 2), start)
        and _LABEL.search(text, max(0, start - 30), start)
    ):
        found = _fitting(_LABELLED, text, start, end)
    return found or 0


def _fitting(form: re.Pattern[str], text: str, start: int, end: int) -> int:
    """One digit after a space is the next word of the sentence."""
    while end - start >= 7:
        fits = form.fullmatch(text, start, end) and not _AFTER.match(text, end)
        if fits and text[end - 2] != " " and not _is_too_long(text[start:end]):
            return end
        end = _cut(text, end)
    return 0


def _is_too_long(phone: str) -> bool:
    digits = "".join(filter(str.isdigit, phone.replace("(0)", ""))).removeprefix("00")
    code = COUNTRY_CODE.match(digits)
    return (
        phone[0] in "+0"
        and (phone[0] == "+" or phone[1] == "0")
        and len(digits) > _LONGEST.get(code[0] if code else "", 15)
    )


def _cut(text: str, end: int) -> int:
    """Without the last group."""
    while end and text[end - 1].isdigit():
        end -= 1
    while end and text[end - 1] in _GAPS:
        end -= 1
    return end
