"""Dates and times as people and programs write them, in English, German, French and Spanish. Pure."""

import re
from collections.abc import Iterator

_MONTHS = (
    "january february march april may june july august september october november december "
    "jan feb mar apr jun jul aug sep sept oct nov dec "
    "januar jänner februar märz mai juni juli oktober dezember mär okt dez "
    "janvier février fevrier mars avril juin juillet août aout septembre octobre novembre décembre decembre "
    "janv févr avr juil déc "
    "enero febrero marzo abril mayo junio julio agosto septiembre setiembre octubre noviembre diciembre ene abr ago dic"
)
_WEEKDAYS = (
    "monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thurs fri sat sun "
    "montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag mo di mi do fr sa so "
    "lundi mardi mercredi jeudi vendredi samedi dimanche lun mar mer jeu ven sam dim "
    "lunes martes miércoles miercoles jueves viernes sábado sabado domingo mié jue vie sáb"
)
_LOOK_BACK = 30  # the longest weekday and month before a day


def _any(words: str) -> str:
    return "(?i:" + "|".join(sorted(words.split(), key=len, reverse=True)) + ")"


_W = r"0-9A-Za-z_\u00c0-\u024f"
_MONTH = rf"{_any(_MONTHS)}\.?"
_END = rf"(?![{_W}]|[-/.:][0-9])"
_CLOCK = (
    r"(?:[01]?[0-9]|2[0-3])(?:"
    r":[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9}+)?)?(?: ?(?:[AaPp][Mm](?![A-Za-z])|[AaPp]\.[Mm]\.))?"
    r"|h[0-5][0-9]| ?[AP]M(?![A-Za-z])|[ap]m(?![A-Za-z])| ?[AaPp]\.[Mm]\.)"
    r"(?:Z| ?(?:UTC|GMT|[+-][0-9]{2}:?[0-9]{2})(?![0-9A-Za-z]))?"
)
_THEN = rf"(?:(?:T|,? (?:at |um |à |a las )?){_CLOCK})?"
_MM, _DD, _YEAR = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12][0-9]|3[01])", r"(?:1[5-9]|2[01])[0-9]{2}"
_M, _D = r"(?:1[0-2]|0?[1-9])", r"(?:[12][0-9]|3[01]|0?[1-9])"

# A plain digit first, for which the engine scans fast; what is around it afterwards.
_NUMBER = re.compile(rf"[0-9](?<![{_W}].)(?<![0-9][./:-].)")
_DATE = re.compile(
    "(?:"
    rf"[12][0-9]{{3}}-{_MM}-{_DD}{_THEN}"
    rf"|[12][0-9]{{3}}{_MM}{_DD}T[0-9]{{4}}(?:[0-9]{{2}})?Z?"
    rf"|{_YEAR}[/.]{_MM}[/.]{_DD}{_THEN}"
    rf"|(?:{_D}(?P<sep>[./-]){_M}|{_M}(?P<us>[/-]){_D})(?:(?P=sep)|(?P=us)){_YEAR}{_THEN}"
    rf"|(?:{_DD}(?P<dot>[./-]){_MM}(?P=dot)|{_MM}(?P<dash>[/-]){_DD}(?P=dash))[0-9]{{2}}{_THEN}"
    rf"|{_D}(?:\.|º|(?i:st|nd|rd|th|er))?[ -](?:de |of )?{_MONTH},?[ -](?:de |del )?{_YEAR}{_THEN}"
    rf"|{_CLOCK}"
    rf"){_END}"
)
_DAY_YEAR = re.compile(rf"{_D}(?i:st|nd|rd|th)?,? {_YEAR}{_THEN}{_END}")
_MONTH_BEFORE = re.compile(rf"(?<![{_W}])(?:{_any(_WEEKDAYS)}[.,]{{0,2}} )?{_MONTH} \Z")
_WEEKDAY_BEFORE = re.compile(rf"(?<![{_W}]){_any(_WEEKDAYS)}[.,]{{0,2}} (?:the |den |le |el )?\Z")


def dates(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each. The longest reading: weekday, date and time are one."""
    done = 0
    for number in _NUMBER.finditer(text):
        start = number.start()
        if start < done:
            continue
        back = max(done, start - _LOOK_BACK)
        lettered = start > back and text[start - 1] == " "
        if lettered and (day := _DAY_YEAR.match(text, start)) and (month := _MONTH_BEFORE.search(text, back, start)):
            start, done = month.start(), day.end()
        elif date := _DATE.match(text, start):
            weekday = _WEEKDAY_BEFORE.search(text, back, start) if lettered else None
            start, done = weekday.start() if weekday else start, date.end()
        else:
            continue
        yield start, done
