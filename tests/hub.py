"""A Runyard of several hosts: server, recorder and the three stores on one, workers on the others.

Redis has a password and TLS. PostgreSQL is real, and so is its client; the object store is moto's, which speaks S3 over
HTTP and keeps everything in memory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import boto3
import psutil

from tests.conftest import until
from tests.hosts import Host, Network, network, why_no_hosts
from tests.postgresql import running as running_postgresql
from tests.postgresql import why_not as why_no_postgresql
from tests.system.running_yard import NOWHERE, ROOT, RunningYard

PASSWORD = "a password of Redis"
PERSON, PERSON_PASSWORD = "ada", "correct horse battery staple"
BUCKET = "yard"
ARCHITECTURE = """
from torch import nn

from models import Family, Heads, Shape, Size, register


class TwoConvs(nn.Module):
    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        first = nn.Conv2d(shape.channels, width, 3, stride=2)
        second = nn.Conv2d(width, 2 * width, 3, stride=2)
        self.body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.heads = Heads(2 * width, shape.heads)

    def forward(self, images, auxiliary=None):
        return self.heads(self.body(images))


sizes = (Size("tiny", {"width": 8}, (1418, 1562, 3092)),)
register(Family("two_convs", "Two convolutions.", "A first example.", TwoConvs, sizes, default="tiny"))
"""
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-central-1"}


@cache
def why_not() -> str:
    """Why there can be no such Runyard here; "" if there can."""
    if why := why_no_hosts() or why_no_postgresql():
        return why
    redis = shutil.which("redis-server")
    if redis is None or shutil.which("openssl") is None:
        return "a redis-server with TLS and openssl are not installed (on Debian: apt install redis-server openssl)"
    # Redis reads its options in order: one without TLS does not get as far as the second.
    tried = subprocess.run([redis, "--tls-port", "0", "--no-such-option", "1"], capture_output=True, text=True)
    return "" if "no-such-option" in tried.stdout + tried.stderr else f"{redis} was built without TLS"


class Worker:
    """`runyard worker` on a host. ``process``: what started it there."""

    def __init__(self, host: Host, process: subprocess.Popen[bytes], output: Path) -> None:
        self.host = host
        self.process = process
        self.output = output

    def words(self) -> str:
        """What it said."""
        return self.output.read_text()

    def stop(self) -> None:
        """Stop it as a service manager does, and wait."""
        for child in psutil.Process(self.process.pid).children():
            child.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Hub(RunningYard):
    """Server, recorder and stores on the host ``hub``; ``call`` acts for its administrator."""

    def __init__(self, net: Network, database: str, known: Path, **settings: str) -> None:
        self.network = net
        self.host = net.hosts["hub"]
        self.folder = self.host.folder
        self.address = f"http://{self.host.address}:8000"
        self.workers: list[Worker] = []
        self._outputs: list[IO[bytes]] = []
        self._token = ""
        direct = f"127.0.0.1,{self.host.address}"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
        self.environment |= {**NOWHERE, "no_proxy": direct, "NO_PROXY": direct, "PYTHONPATH": str(ROOT)}
        # A fast store and short leases would hide nothing: only what a test waits for is shorter than its default.
        self.stores = {
            "RUNYARD_ARTIFACT_URL": f"s3://{BUCKET}/runyard",
            "AWS_ENDPOINT_URL": f"http://{self.host.address}:5000",
            **KEYS,
        }
        architectures = self.folder / "architectures"
        architectures.mkdir()
        (architectures / "two_convs.py").write_text(ARCHITECTURE)
        self.settings = {
            "RUNYARD_DATABASE_URL": database,
            "RUNYARD_HOST": self.host.address,
            "RUNYARD_MODELS_PATH": str(architectures),
            **settings,
        }
        self._start_stores()
        self._know(self.data_dir(self.host), known)
        for part in ("recorder", "server"):
            self._part(part, sys.executable, "-m", "app.cli", part, "--data-dir", str(self.data_dir(self.host)))
        until(lambda: self._answers("/healthz"), 180, "the server has started")
        self._sign_in()

    @staticmethod
    def data_dir(host: Host) -> Path:
        """The data folder of a host."""
        return host.folder / "data"

    def _know(self, folder: Path, known: Path) -> None:
        folder.mkdir()
        for name in ("catalog.json", "families.json"):
            shutil.copy(known / name, folder)
        shutil.copytree(known / "networks", folder / "networks")

    # Processes of the hub ---------------------------------------------------------------------------------------------

    def _start_stores(self) -> None:
        certificate, key = self.folder / "ca.pem", self.folder / "key.pem"
        request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hub"
        names = ["-addext", f"subjectAltName=IP:{self.host.address}"]
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", *request.split(), *names, *files], check=True, capture_output=True)
        self._part(
            "redis",
            *("redis-server", "--port", "0", "--tls-port", "6379", "--bind", self.host.address),
            *("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)),
            *("--tls-auth-clients", "no", "--requirepass", PASSWORD, "--dir", str(self.folder)),
            *("--appendonly", "yes", "--maxmemory-policy", "noeviction"),
        )
        self._part("s3", sys.executable, "-m", "moto.server", "-H", self.host.address, "-p", "5000")
        until(self._has_bucket, 60, "the object store answers")

    def _has_bucket(self) -> bool:
        client = boto3.client("s3", endpoint_url=self.stores["AWS_ENDPOINT_URL"], **_boto_keys())
        try:
            client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        except OSError:
            return False
        except Exception as error:  # botocore makes its classes of errors at run time
            if "EndpointConnection" in type(error).__name__:
                return False
            raise
        return True

    def objects(self, prefix: str = "") -> list[str]:
        """Paths of all files in the artifact store that begin so."""
        client = boto3.client("s3", endpoint_url=self.stores["AWS_ENDPOINT_URL"], **_boto_keys())
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"runyard/{prefix}")
        return [each["Key"].removeprefix("runyard/") for page in pages for each in page.get("Contents", ())]

    def redis_url(self, host: Host) -> str:
        """The URL of Redis on a host that has the certificate in its folder."""
        password = PASSWORD.replace(" ", "%20")
        return f"rediss://:{password}@{self.host.address}:6379/0?ssl_ca_certs={host.folder / 'ca.pem'}"

    def _part(self, name: str, *words: str) -> None:
        output = open(self.folder / f"{name}.out", "wb")
        self._outputs.append(output)
        self.host.start(*words, output=output, env=self._hub_environment(), cwd=self.folder)

    @staticmethod
    def cli(*words: str) -> list[str]:
        """The command line of a `runyard` command."""
        return [sys.executable, "-m", "app.cli", *words]

    def _hub_environment(self) -> dict[str, str]:
        redis = {"RUNYARD_REDIS_URL": self.redis_url(self.host)}
        return self.environment | self.stores | self.settings | redis

    def command(self, *words: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """A `runyard` command of the owner of the hub, on the hub."""
        address = {"RUNYARD_DATA_DIR": str(self.data_dir(self.host)), "RUNYARD_URL": self.address}
        env = self._hub_environment() | address | environment
        return self.host.run(sys.executable, "-m", "app.cli", *words, env=env, text=text, seconds=240)

    # Workers ----------------------------------------------------------------------------------------------------------

    def start_worker(self, host: Host, *words: str, **settings: str) -> Worker:
        """Start a worker on a host, with what its user sets by hand; or another command, by ``words``."""
        if host is not self.host and not words:
            shutil.copy(self.folder / "ca.pem", host.folder)
        by_hand = {"RUNYARD_REDIS_URL": self.redis_url(host), **self.stores}
        ours = {"RUNYARD_DATA_DIR": str(self.data_dir(host)), **({} if words else by_hand), **settings}
        path = host.folder / f"worker{len(self.workers)}.out"
        output = open(path, "wb")
        self._outputs.append(output)
        process = host.start(
            *self.cli(*(words or ("worker",))), output=output, env=self.environment | ours, cwd=host.folder
        )
        self.workers.append(Worker(host, process, path))
        return self.workers[-1]

    def wait_for_workers(self, *hosts: Host, seconds: float = 240.0) -> None:
        """Until each of these hosts has a worker, and no other has."""
        wanted = sorted(host.name for host in hosts)

        def connected() -> bool:
            found = self.try_call("/workers")
            return bool(found) and sorted(each["host"] for each in found["workers"]) == wanted

        self.until(connected, seconds)

    # What a test asks -------------------------------------------------------------------------------------------------

    def _sign_in(self) -> None:
        added = self.command("user", "add", PERSON, "--role", "administrator", text=f"{PERSON_PASSWORD}\n")
        assert added.returncode == 0, added.stderr + self.words()
        self._token = self.call("/sign-in", {"name": PERSON, "password": PERSON_PASSWORD})["token"]

    def _answers(self, path: str) -> bool:
        try:
            return bool(self._open(self.address + path))
        except OSError:
            return False

    def _open(self, url: str, data: bytes | None = None, method: str | None = None) -> bytes:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(url, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=70) as answer:
            content: bytes = answer.read()
        return content

    def call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """An answer of the API as JSON."""
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self._open(f"{self.address}/api/v1{path}", data, method) or b"null")

    def words(self) -> str:
        """The end of what every process said."""
        outputs = [self.folder / f"{name}.out" for name in ("redis", "s3", "recorder", "server")]
        outputs += [worker.output for worker in self.workers]
        return "".join(f"\n== {each.parent.name}/{each.name}\n{each.read_text()[-2500:]}" for each in outputs)

    def stop(self) -> None:
        """Close its files; its processes end with their hosts."""
        for output in self._outputs:
            output.close()


def _boto_keys() -> dict[str, str]:
    return {
        "aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"],
        "region_name": KEYS["AWS_DEFAULT_REGION"],
    }


def losses(hub: Hub, run: str) -> list[tuple[int, float]]:
    """Every point of the training loss, after the run has succeeded."""
    hub.wait_for(run, "succeeded", seconds=120)
    return points(hub, run)


def points(hub: Hub, run: str) -> list[tuple[int, float]]:
    """Every point of the training loss so far."""
    curve = hub.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]
    return list(zip(curve["step"], curve["value"], strict=True))


@contextmanager
def running(known: Path, **settings: str) -> Iterator[Hub]:
    """A hub without workers, and the hosts ``east`` and ``west``."""
    with running_postgresql() as postgresql, network("hub", "east", "west") as net:
        hub = Hub(net, postgresql.url(postgresql.create()), known, **settings)
        try:
            yield hub
        finally:
            hub.stop()
