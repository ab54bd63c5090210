"""Values that no user means, and that a server must answer with a sentence."""

from __future__ import annotations

import copy
import json
import random
from typing import Any, Final

NUMBERS: Final[tuple[str, ...]] = (
    *("-1", "0", "1.5", "1e999", "-1e999", "NaN", "Infinity", "-0", "00", "0x10", "1_000", "١٢", " 7 ", "+5", "1e3"),
    *(str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63), str(-(2**63) - 1), "1" + "0" * 400, "9" * 5000),
)
TEXTS: Final[tuple[str, ...]] = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\r\nset-cookie: a=b",
        "\n",
        "\t",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\udfff\ud800",
    ),
    *(
        "\u202eabc\u202d",
        "\u0645\u0631\u062d\u0628\u0627",
        "e\u0301" * 20,
        "\U0001f3ca\u200d\u2642",
        "\u00df",
        "\u0130",
        "\uffff",
    ),
    *("../", "../../../../etc/passwd", "..\\..\\", "/etc/passwd", "//evil.example", "/\\evil.example", "C:\\x", "."),
    *("..", "a/../../b", "%2e%2e%2f", "%00", "%", "%zz", "%25", "%ff", "~", "$HOME", "`id`", "$(id)", ";id", "|"),
    *(
        "'",
        '"',
        "' OR 1=1 --",
        "'; DROP TABLE run; --",
        "%' --",
        "_%_",
        "\\",
        "[a-",
        "(" * 200,
        "*",
        "?",
        "{}",
        "{x}",
        "{{7*7}}",
    ),
    *("<script>x</script>", '"><img src=x onerror=x>', "javascript:x", "=1+1", "@x", "null", "true", "undefined", "[]"),
    *(
        "val/acc > 0.5",
        "name:",
        "tag:(",
        'name:"',
        "created:<9999-99-99",
        "after:now",
        "-",
        "--help",
        "a" * 300,
        "é" * 2000,
    ),
    *(
        "x" * 100_000,
        "[" * 5000,
        "0001-01-01",
        "9999-12-31T23:59:59Z",
        "-test/acc",
        "number,number",
        "http://[",
        "http://\ud800/",
    ),
)
OBJECTS: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        [],
        {},
        [[]],
        [None],
        {"": ""},
        {"a": {"b": {"c": []}}},
        1,
        -1,
        1.5,
        2**63,
        -(2**63) - 1,
        10**400,
    ),
    *(
        float("nan"),
        float("inf"),
        ["a"] * 1000,
        {"key": "a", "value": 1},
        [{"key": 1}],
        [1, "a", None],
        "",
        "x",
        "\ud800",
    ),
)
BODIES: Final[tuple[bytes, ...]] = (
    *(
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{",
        b'{"a":',
        b"\xff\xfe",
        b"\x00",
        b'{"a":1,"a":2}',
        b"{}{}",
        b"NaN",
        b"\xef\xbb\xbf{}",
    ),
    *(
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"\\ud800":"\\udfff"}',
        b"\x08\x96\x01\x12\x03abc",
    ),
    *(b"\x1f\x8b\x08\x00" + bytes(50), b"a=1&a=2&%ff=%00&b[]=3", b"&&&===", b"a=%", b"--x\r\n\r\n", b"--x--\r\n"),
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../a.png"\r\n\r\nabc\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: image/png\r\n\r\n\x89PNG',
    b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x\r\nX\r\n--x--",
    b'--x\r\nContent-Disposition: form-data; name="' + b"n" * 70_000 + b'"\r\n\r\na\r\n--x--\r\n',
)
TYPES: Final[tuple[str, ...]] = (
    *("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""),
    *(
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "application/json; charset=utf-16",
        "application/x-protobuf",
    ),
    *(
        "application/octet-stream",
        "text/html; charset=\xff",
        "application/vnd.api+json",
        "*/*",
        "application/json;" * 50,
    ),
)
HEADERS: Final[tuple[tuple[str, str], ...]] = (
    *(
        ("hx-request", "true"),
        ("hx-target", "x"),
        ("hx-current-url", "http://127.0.0.1:8000/runs?q=\xff"),
        ("accept", "*/*"),
    ),
    *(("hx-history-restore-request", "true"), ("range", "bytes=0-"), ("range", "bytes=-0"), ("range", "bytes=5-1,9-")),
    *(
        ("range", "bytes=" + "9" * 40 + "-"),
        ("if-none-match", "*"),
        ("if-none-match", '"x"'),
        ("if-modified-since", "x"),
    ),
    *(("last-event-id", "-1"), ("last-event-id", "9" * 30), ("last-event-id", "\xff"), ("idempotency-key", "k" * 300)),
    *(
        ("idempotency-key", "same"),
        ("idempotency-key", "\xff"),
        ("content-encoding", "gzip"),
        ("transfer-encoding", "chunked"),
    ),
    *(("accept-language", "\xff"), ("cookie", "a=b; =; ;runyard-session-8000=x; \xff"), ("authorization", "Bearer")),
    *(("authorization", "Basic !!!"), ("authorization", "Basic Og=="), ("authorization", "Bearer ry_" + "x" * 3000)),
    *(
        ("authorization", "\xff"),
        ("x-forwarded-for", "1, \xff,"),
        ("x-forwarded-proto", "https"),
        ("user-agent", "\xff" * 500),
    ),
    *(
        ("origin", "null"),
        ("origin", "http://127.0.0.1:8000"),
        ("sec-fetch-site", "cross-site"),
        ("expect", "100-continue"),
    ),
    *(
        ("content-length", "-1"),
        ("content-length", "99999999999999"),
        ("host", "evil.example"),
        ("host", ""),
        ("referer", "//x"),
    ),
    *(
        ("x-http-method-override", "DELETE"),
        ("accept-encoding", "gzip"),
        ("if-range", "x"),
        ("forwarded", "for=_;host=evil"),
    ),
)
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")


def text(chance: random.Random) -> str:
    """A text; rarely one of 100,000 characters."""
    value = chance.choice(NUMBERS if chance.random() < 0.4 else TEXTS)
    return value if len(value) < 5000 or chance.random() < 0.1 else value[:300]


def anything(chance: random.Random) -> Any:
    """A value that JSON can have."""
    if chance.random() < 0.4:
        return text(chance)
    if chance.random() < 0.1:
        value: Any = 1
        for _ in range(chance.choice((3, 60, 800))):
            value = [value]
        return value
    # A copy, since it may be changed further.
    return copy.deepcopy(chance.choice(OBJECTS))


def as_json(value: Any) -> bytes:
    """Write JSON as Python does, which lets NaN, infinities and lone surrogates pass."""
    return json.dumps(value).encode()
