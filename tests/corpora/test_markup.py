"""Markup in every text that somebody can store: no page of any route has an element or an attribute from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page
from starlette.testclient import TestClient

from tests.corpora.addresses import addresses, answers
from tests.filled_yard import FilledYard, fill
from tests.people import NAMES, bearer
from tests.served import serving

CORPUS: Final = (
    *("<xss-a>a</xss-a>", '"><xss-b data-xss=1>', "'><xss-c data-xss=1>", '" data-xss="1', "' data-xss='1"),
    *(" data-xss=1 ", "<img src=x data-xss=1 onerror=xss()>", "<script>xss()</script>", "</script><xss-d>"),
    *("</title><xss-e>", "</textarea><xss-f>", "</style><xss-g>", "<!--", "--><xss-h>", "--!><xss-i>"),
    *("<svg/onload=xss()>", "<svg><xss-j>", "javascript:xss()", "java\tscript:xss()", "&lt;xss-k&gt;"),
    *("data:text/html,<script>xss()</script>", "&#60;xss-l&#62;", "`${xss()}`", "{{ 7*7 }}", "{% raw %}<xss-m>"),
    *('<a href="javascript:xss()">a</a>', "\\u003cxss-n\\u003e", "]]><xss-o>", "%3Cxss-q%3E", "\u202e<xss-r>"),
    *("<xss-p\n/onfocus=xss() autofocus tabindex=1>", "<math><mi//xlink:href='data:x,xss'>", "\uff1cxss-u\uff1e"),
    *("<form action=//evil.example><xss-s>", "<base href=//evil.example><xss-t>", '"/><script>xss()</script>'),
    *("<meta http-equiv=refresh content=0;url=//evil.example>", "[a](javascript:xss())"),
    "<iframe srcdoc='<script>xss()</script>'>",
)
TURNS: Final = 2
"""Yards, in which each field has other payloads."""
ARISEN: Final = """([text, kind]) => {
  const page = new DOMParser().parseFromString(text, kind);
  const found = [];
  for (const element of page.querySelectorAll("*")) {
    const name = element.localName;
    if (name.startsWith("xss") || ["base", "iframe", "math", "mi", "object", "embed"].includes(name)) found.push(name);
    if (name === "script" && !element.hasAttribute("src") && element.type !== "application/json") found.push("script");
    if (name === "meta" && element.outerHTML.includes("evil")) found.push("meta");
    for (const { name: attribute, value } of element.attributes) {
      if (attribute.startsWith("on") || attribute === "style" || attribute.includes("xss")) found.push(attribute);
      const leads = ["href", "src", "action", "formaction", "xlink:href", "poster", "srcset"].includes(attribute);
      if (leads && /^[\\s\\u0000-\\u001f]*(java\\s*script|vbscript|data:text)/i.test(value)) found.push(value);
      if (leads && /^(\\/\\/|\\/\\\\|https?:)/.test(value) && value.includes("evil")) found.push(value);
    }
  }
  return found;
}"""
"""What of a page arose from a payload, as the browser itself parses it."""


def rotated(turn: int) -> Callable[[str], str]:
    """Texts for a yard: one payload after the other, beginning elsewhere in each turn."""
    payloads = itertools.cycle(CORPUS[turn * 7 :] + CORPUS[: turn * 7])
    return lambda field: next(payloads)


@pytest.fixture
def blank(browser: Browser) -> Any:
    """A page on which others are parsed."""
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<p>a</p><script type='application/json'>{}</script><script src='/static/a.js'></script>", []),
        ("<p title='&quot;><xss-a>'>&lt;xss-a></p>", []),
        ("<p title=''><xss-a>'>", ["xss-a"]),
        ("<p title='' data-xss=1>", ["data-xss"]),
        ("<script>xss()</script>", ["script"]),
        ("<svg onload=a>", ["onload"]),
        ("<a href=' javascript:xss()'>", [" javascript:xss()"]),
        ("<a href='//evil.example'>", ["//evil.example"]),
    ],
)
def test_what_arises_is_found(blank: Page, text: str, found: list[str]) -> None:
    assert blank.evaluate(ARISEN, [text, "text/html"]) == found


@pytest.mark.parametrize("turn", range(TURNS))
def test_no_page_has_an_element_or_an_attribute_from_a_text(
    server: FastAPI, client: TestClient, blank: Page, turn: int
) -> None:
    yard = fill(server, client, rotated(turn))
    shown, looked, routes = 0, 0, set()
    for headers in ({}, {"hx-request": "true"}):
        credential = bearer(yard.parts, NAMES["administrator"]) | headers
        for route, address, answer in answers(server, client, yard, credential):
            kind = answer.headers.get("content-type", "").partition(";")[0]
            assert answer.headers["x-content-type-options"] == "nosniff", address
            assert answer.status_code < 500 or answer.status_code == 501, address
            if kind not in ("text/html", "image/svg+xml"):
                continue
            assert blank.evaluate(ARISEN, [answer.text, kind]) == [], (address, headers)
            looked += 1
            shown += "xss" in answer.text
            routes.add(route)
    # Payloads have arrived on the pages.
    assert looked > 150
    assert shown > 100
    assert len(routes) > 60


def pages_of(server: FastAPI, client: TestClient, yard: FilledYard, folder: Path) -> list[str]:
    """An address of each complete page that shows something of the yard; of a report, the file that it is saved as."""
    found: dict[str, str] = {}
    for route, address in addresses(server, yard):
        answer = client.get(address)
        if answer.status_code == 200 and "<html" in answer.text and "xss" in answer.text:
            found[route] = address
            if answer.headers.get("content-disposition", "").startswith("attachment"):
                saved = folder / f"{len(found)}.html"
                saved.write_bytes(answer.content)
                found[route] = saved.as_uri()
    assert any(address.startswith("file:") for address in found.values())
    return list(found.values())


def test_no_script_from_a_text_runs_and_the_policy_has_nothing_to_refuse(
    server: FastAPI, client: TestClient, browser: Browser, tmp_path: Path
) -> None:
    yard = fill(server, client, rotated(0), with_people=False)
    pages = pages_of(server, client, yard, tmp_path)
    assert len(pages) > 15
    with serving(server) as address:
        context = browser.new_context()
        context.add_init_script(
            "window.refused = []; window.xss = () => window.refused.push('ran');"
            "addEventListener('securitypolicyviolation', (event) => refused.push(event.blockedURI + event.sourceFile));"
        )
        page = context.new_page()
        for path in pages:
            page.goto(path if path.startswith("file:") else address + path, wait_until="load")
            page.locator("body").wait_for()
            assert page.evaluate("window.refused") == [], path
            # Also what scripts have made of the data: charts, legends, lists; they may set styles.
            arisen = page.evaluate(ARISEN, [page.content(), "text/html"])
            assert [each for each in arisen if each != "style"] == [], path
        context.close()
