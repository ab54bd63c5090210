"""The launch page as a browser and a shell take it: the form that is sent, the command that is typed."""

from __future__ import annotations

import json
import shlex
from html import unescape
from html.parser import HTMLParser
from typing import Any


def command_of(page: Any) -> tuple[str, dict[str, Any]]:
    """Address and body of the curl command, as a shell would read it."""
    words = shlex.split(unescape(page.words["command-curl"]).replace("\\\n", ""))
    return words[1], json.loads(words[words.index("-d") + 1])


def filled_in(page: Any) -> dict[str, list[str]]:
    """The form of a page as a browser would send it."""
    parser = Sent()
    parser.feed(page.html)
    return parser.form


class Sent(HTMLParser):
    """Reads the successful controls of the form `launch`."""

    def __init__(self) -> None:
        super().__init__()
        self.form: dict[str, list[str]] = {}
        self._inside = False
        self._name = ""
        self._first: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = found.get("id") == "launch"
        if not self._inside or "form" in found:
            return
        if tag == "input" and (found.get("type") not in ("radio", "checkbox") or "checked" in found):
            self._put(found["name"], found.get("value", ""))
        elif tag in ("select", "textarea"):
            self._name, self._first = found["name"], None
            self._area = tag == "textarea"
            self._words = ""
        elif tag == "option":
            self._first = found["value"] if self._first is None or "selected" in found else self._first

    def handle_data(self, data: str) -> None:
        if self._name and self._area:
            self._words += data

    def handle_endtag(self, tag: str) -> None:
        if self._name and tag == "select":
            self._put(self._name, self._first or "")
        elif self._name and tag == "textarea":
            # A browser drops the first line end, and sends the others as CRLF.
            self._put(self._name, self._words.removeprefix("\n").replace("\n", "\r\n"))
        if tag in ("select", "textarea"):
            self._name = ""

    def _put(self, name: str, value: str) -> None:
        self.form.setdefault(name, []).append(value)
