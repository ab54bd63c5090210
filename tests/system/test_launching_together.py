"""The same launch sent by many at the same moment."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

TOGETHER = 100


def test_the_same_key_sent_a_hundred_times_in_parallel_makes_one_run(yard: Any) -> None:
    before = yard.call("/runs?limit=1")["total"]
    body = json.dumps({"family": "simple_mlp", "epochs": 1, "name": "one of a hundred"})
    headers = {"content-type": "application/json", "idempotency-key": "a hundred at once"}
    address = urlsplit(yard.address)
    ready = threading.Barrier(TOGETHER)
    answers: list[tuple[int, str]] = []

    def launch() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        connection.connect()
        ready.wait(60)
        connection.request("POST", "/api/v1/runs", body, headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        answers.append((answer.status, said.get("id", str(said))))
        connection.close()

    threads = [threading.Thread(target=launch) for _ in range(TOGETHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == TOGETHER
    assert {status for status, _ in answers} == {201}, answers[:3]
    [run] = {run for _, run in answers}
    assert yard.call("/runs?limit=1")["total"] == before + 1
    assert yard.wait_for(run, "succeeded")["attempt"] == 1
