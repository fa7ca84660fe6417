import time
from itertools import pairwise

import pytest

from compiler.redaction.spans import REDACTED, TYPES, Span, spans

KEY = "abcdEF0123456789abcdEF0123456789abcd"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


def typed(text):
    return [(span.type, text[span.start : span.end]) for span in spans(text)]


FOUND = {
    "email": [
        "john.smith@acme.com",
        "John.Smith+news@mail.acme.co.uk",
        "o'neill_7@x-y.org",
        "JÖRG.Müller@firma.de",
        "a@b.co",
    ],
    "url": [
        "https://example.com",
        "http://example.com/a/b?c=d&e=f#g",
        "www.example.com/x",
        "postgres://user:pass@db.internal:5432/shop",
        "https://en.wikipedia.org/wiki/Rust_(fungus)",
        "https://mail.example.com/?to=john@acme.com",
        "wss://h.example/v1/realtime",
        "https:\\/\\/example.com\\/a",
    ],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"],
    "datetime": [
        "2026-11-24",
        "2026-11-24T10:00:00Z",
        "2026-11-24T10:00:00.123456+01:00",
        "2026-11-24 10:00",
        "20261124T100000Z",
        "2026/11/24",
        "24.11.2026",
        "4.1.2026",
        "24.11.26",
        "11/24/2026",
        "24-11-2026",
        "24 November 2026",
        "24th of November 2026",
        "24. November 2026",
        "November 24, 2026",
        "Nov 24 2026",
        "NOV. 24TH, 2026",
        "24-Nov-2026",
        "Monday, November 24, 2026 at 3:15 PM",
        "Mon, 24 Nov 2026 10:42:07 +0000",
        "Montag, 24. März 2026",
        "Dienstag, den 24.11.2026",
        "lundi 24 décembre 2026",
        "le 1er août 2026"[3:],
        "lunes, 24 de noviembre de 2026",
        "10:42",
        "10:42:07",
        "3:15 PM",
        "3:15 p.m.",
        "3 PM",
        "10h42",
    ],
    "ip": ["10.1.2.3", "81.2.69.142", "2001:db8:85a3::8a2e:370:7334", "fe80::1", "2001:db8:0:0:0:0:0:1"],
    "card": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "378282246310005",
        "3782 822463 10005",
        "5500005555555559",
        "2223003122003222",
        "6011111111111117",
        "30569309025904",
        "4222222222222",
        "4000000000000000006",
    ],
    "iban": [
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "de89 3704 0044 0532 0130 00",
        "GB29 NWBK 6016 1331 9268 19",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NO93 8601 1117 947",
    ],
    "secret": [
        f"sk-{KEY}",
        f"sk-proj-{KEY}",
        f"ghp_{KEY}",
        f"github_pat_{KEY}",
        "xoxb-123456789012-abcdefABCDEF",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        f"glpat-{KEY}",
        f"hf_{KEY}",
        JWT,
    ],
    "phone": [
        "+49 170 1234567",
        "+491701234567",
        "+49 (0)170 123-4567",
        "0049 170 1234567",
        "+1 (555) 123-4567",
        "+44 20 7946 0958",
        "(555) 123-4567",
        "555-123-4567",
        "1-800-555-0199",
        "555.123.4567",
        "0170 1234567",
        "0170/1234567",
        "01701234567",
        "06 12 34 56 78",
        "020 7946 0958",
        "(030) 1234567",
        "090-1234-5678",
        "138 1234 5678",
        "０９０－１２３４－５６７８",
        "+٤٩ ١٧٠ ١٢٣٤٥٦٧",
        "+49\u00a0170\u20111234567",
    ],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in FOUND.items() for value in values])
@pytest.mark.parametrize(
    "text", ["{}", "See {}, please.", 'x = "{}";', "({})", "\n{}\n", "请看{}谢谢", "a\t{}\tb", '{{"a":"\\n{}"}}']
)
def test_each_type_is_found_wherever_it_stands(kind, value, text):
    assert typed(text.format(value)) == [(kind, value)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password=hunter2", "hunter2"),
        ("Password: swordfish", "swordfish"),
        ("DB_PASSWORD='s3cr3t word'", "s3cr3t word"),
        ('{"password": "correct1horse", "a": 1}', "correct1horse"),
        ('"{\\"password\\": \\"correct1horse\\"}"', "correct1horse"),
        ("Das Passwort ist Winter2026!", "Winter2026"),
        ("Mot de passe : azerty99", "azerty99"),
        ("pwd=a&b#c%d1", "a&b#c%d1"),
        ("PIN: 4711", "4711"),
        ("passwd=@#_%^&*!x", "@#_%^&*!x"),
        ("api_key: abcd1234efgh", "abcd1234efgh"),
        ("X-API-Key: abcd1234efgh", "abcd1234efgh"),
        ("apiKey = 'abcd1234efgh'", "abcd1234efgh"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("clientSecret: 0a1b2c3d4e", "0a1b2c3d4e"),
        ("Authorization: Bearer abcdef1234567890", "abcdef1234567890"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
        ("your key is now 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"),
        ("heroku api key: 123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----", "\nMIIEow\nIBAAKC\n"),
    ],
)
def test_a_secret_is_found_by_the_word_before_it(text, value):
    assert typed(text) == [("secret", value)]


@pytest.mark.parametrize(
    "text", ["Call me on 123 4567", "Tel.: 1234567", "Phone 12345678", "手机：12345678", "WhatsApp (612) 34 567 89"]
)
def test_a_short_number_is_a_phone_after_a_word_for_it(text):
    assert [span.type for span in spans(text)] == ["phone"]


@pytest.mark.parametrize(
    "text",
    [
        "Order ORD-48213 and order 48213, invoice 2026-000123",
        "$1,234,567.89, 1.234.567,89 EUR, 1 234 567 kg, 12345678",
        "version 1.2.3, v1.2.3.4, version 10.2.3.4, Chrome/120.0.0.0",
        "commit 9fceb02 and 9fceb02d0ae5, sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, EAN 4006381333931",
        "gpt-4o-mini-2024-07 gpt-5 o3-mini claude-haiku-4-5 qwen2.5-coder-0.5b",
        "3.14159265358979, 0.1234567890123, -273.15, 1e-10, 16:9",
        "10-20, 1000-2000, pages 123-1250, 2019-2023, 1984, 2026",
        "4111111111111112 4111 1111 1111 1112",
        "DE88370400440532013000 and AB12CD34",
        "1700000000, 1700000000000, 20260000",
        "@john, @x.y, a@b, me@localhost, john at acme dot com, git@github.com:org/repo.git",
        "std::vector, a::b, add::bad, ::1, 127.0.0.1, 0.0.0.0, 255.255.255.0, 999.1.1.1",
        "The password is incorrect. Password: please choose one. password: string, token: none, max_tokens: 4096",
        "password=${DB_PASSWORD} password=**** password=get_password() api_key=os.environ['KEY1234567']",
        "a pin of 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b at x.pw.uk 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "key: ORD-48213, cache key = user:12345:profile:v2:abcdef, Sort key: created_at_2024_01",
        "sk-learn-something-else-entirely, task-sk-abc, the bearer of news, compass: north, monkey=banana42",
        "May 24 people come in 2026? The 5 may be late, um 10 am Bahnhof",
        "32.13.2026, 2026-13-24, 25:61, 13/13/2026",
        "C4111111111111111X A0170123456789",
    ],
)
def test_look_alikes_are_not_touched(text):
    assert typed(text) == []


def test_an_id_is_a_secret_only_right_behind_the_word_for_one():
    assert typed("token of session 123e4567-e89b-12d3-a456-426614174000") == [
        ("uuid", "123e4567-e89b-12d3-a456-426614174000")
    ]


def test_a_url_is_one_span_whatever_it_holds():
    url = "https://user:pw@10.1.2.3/a?token=abcd12345678&to=john@acme.com&on=2026-11-24"
    assert typed(f"({url}).") == [("url", url)]


def test_what_follows_a_number_is_not_taken_for_a_part_of_it():
    text = "+1 555 123 4567 10:42, 0170 1234567 - 24 hours. 0171 1234567 3 times. "
    text += "0170 7654321 2026-11-24; 4111 1111 1111 1111 123 12/27, "
    text += "+44 20 7946 0958 10-20, +49-170-1234567 (555) 123-4567, +33 1 23 45 67 89 24 fois, "
    text += "ORD-48213 4111 1111 1111 1111"
    assert typed(text) == [
        ("phone", "+1 555 123 4567"),
        ("datetime", "10:42"),
        ("phone", "0170 1234567"),
        ("phone", "0171 1234567"),
        ("phone", "0170 7654321"),
        ("datetime", "2026-11-24"),
        ("card", "4111 1111 1111 1111"),
        ("phone", "+44 20 7946 0958"),
        ("phone", "+49-170-1234567"),
        ("phone", "(555) 123-4567"),
        ("phone", "+33 1 23 45 67 89"),
        ("card", "4111 1111 1111 1111"),
    ]
    assert typed("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF") == [("iban", "DE89 3704 0044 0532 0130 00")]


def test_values_are_found_between_commas():
    assert [span.type for span in spans("7,john@acme.com,4111111111111111,01701234567,10.1.2.3,2026-11-24")] == [
        *("email", "card", "phone", "ip", "datetime")
    ]


def test_spans_are_sorted_apart_and_of_named_types():
    text = " ".join(value for values in FOUND.values() for value in values)
    found = spans(text)
    assert {span.type for span in found} == set(TYPES) > REDACTED
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(0 <= span.start < span.end <= len(text) for span in found)


def test_text_may_hold_anything():
    assert spans("") == []
    assert spans("\ud800 a@b.co \udfff") == [Span(2, 8, "email")]
    assert spans("\0\x1f\u2028İİİ password=hunter2") == [Span(16, 23, "secret")]


HOSTILE = {
    "digits": "4",
    "more digits": "1234567890",
    "groups": "4444 ",
    "zeros": "01 ",
    "single digits": "4 ",
    "at": "a@",
    "one at": "@a.",
    "domains": "a@a.a.",
    "dots": "aaaa.",
    "round brackets": "(",
    "brackets in a URL": "http://a((((]]]]))))",
    "URLs": "a://",
    "www": "www.",
    "colons": "2001:",
    "dashes": "-",
    "backslashes": "\\",
    "escapes": "\\n",
    "percents": "%40",
    "PEM": "-----BEGIN PRIVATE KEY-----",
    "keys": "sk-",
    "tokens": "eyJ" + "a" * 60 + ".",
    "bearers": "Bearer ",
    "words for keys": "key ",
    "assignments": "token=",
    "IBANs": "DE89 ",
    "months": "November ",
    "phones": "+1 ",
    "labels": "tel 1 ",
    "spaces": " ",
    "wide": "４",
    "letters": "x",
    "open brackets with zeros": "(0",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_four_times_the_text_takes_about_four_times_as_long(piece):
    short = (piece * 20_000)[:20_000]
    ratio = min(_seconds(short * 4) / _seconds(short) for _ in range(3))
    assert ratio < 10  # 16 if it were quadratic


def _seconds(text):
    start = time.process_time()
    spans(text)
    return time.process_time() - start
