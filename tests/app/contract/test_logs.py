"""A log record is a line, or a JSON object that says which request, run and worker it concerns."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import logs
from app.contract.logs import concern, concerning, formatter, set_concern, set_process_concern


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "_of_process", {})
    with concerning():
        yield


def record(message: str, *arguments: object, level: int = logging.WARNING, **extra: str) -> logging.LogRecord:
    made = logging.LogRecord("runyard.worker", level, "file.py", 1, message, arguments, None)
    made.created, made.msecs = 1_790_000_000.25, 250.0
    made.__dict__ |= extra
    return made


def as_json(made: logging.LogRecord) -> dict[str, str]:
    line = formatter("json").format(made)
    assert "\n" not in line
    found: dict[str, str] = json.loads(line)
    return found


def test_a_line_has_its_time_level_and_logger() -> None:
    assert formatter("plain").format(record("%d runs", 3)) == "2026-09-21T14:13:20Z WARNING runyard.worker: 3 runs"


def test_an_object_has_the_same_and_what_it_concerns() -> None:
    expected = {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "warning",
        "logger": "runyard.worker",
        "message": "3 runs",
    }
    assert as_json(record("%d runs", 3)) == expected
    set_process_concern(worker="w1")
    with concerning(run="r_1"):
        set_concern(request="abc")
        assert as_json(record("%d runs", 3)) == expected | {"worker": "w1", "run": "r_1", "request": "abc"}
        assert as_json(record("%d runs", 3, run="r_2"))["run"] == "r_2"
    assert as_json(record("%d runs", 3)) == expected | {"worker": "w1"}
    assert concern("run") == ""


def test_what_a_thread_concerns_is_its_own() -> None:
    seen: list[str] = []
    with concerning(run="r_1"):
        thread = threading.Thread(target=lambda: seen.append(concern("run")))
        thread.start()
        thread.join()
    assert seen == [""]


def test_an_exception_is_in_the_same_object() -> None:
    try:
        raise ValueError("half a line\nand more")
    except ValueError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
    exception = as_json(made)["exception"]
    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: half a line\nand more")


@given(st.text(st.characters(codec=None)))
def test_any_message_is_one_object_on_one_line(message: str) -> None:
    assert as_json(record("%s", message))["message"] == message
