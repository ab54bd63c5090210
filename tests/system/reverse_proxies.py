"""nginx and Caddy with the configurations of docs/deployment.md, and clients of theirs at an address of their own."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.client
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import until

DOCS: Final = (Path(__file__).resolve().parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
NAME: Final = "yard.localhost"
"""In place of yard.example.org: Chromium takes every such name for this machine."""
CLIENT: Final = "127.0.0.2"
"""Address of the clients: the proxy alone sends from 127.0.0.1, and is trusted."""


def blocks(language: str) -> list[str]:
    """The blocks of a language in the documentation, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


def documented_settings() -> dict[str, str]:
    """The settings with which the documentation starts Runyard behind a proxy."""
    (line,) = [
        line for line in DOCS.splitlines() if line.startswith("RUNYARD_SIGN_IN=") and line.endswith(" runyard up")
    ]
    found = dict(word.split("=", 1) for word in line.split() if "=" in word)
    return found | {"RUNYARD_ALLOWED_HOSTS": found["RUNYARD_ALLOWED_HOSTS"].replace("yard.example.org", NAME)}


def documented_header() -> dict[str, str]:
    """The setting with which a proxy names people."""
    return {"RUNYARD_PROXY_USER_HEADER": re.findall(r"^export RUNYARD_PROXY_USER_HEADER=(\S+)$", DOCS, re.MULTILINE)[0]}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of NAME that it has signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "yard.pem", folder / "yard.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text with other words, each of which must be there."""
    for before, after in pairs:
        assert before in text, f"{before!r} is not in the documentation any more"
        text = text.replace(before, after)
    return text


# Proxies --------------------------------------------------------------------------------------------------------------


def nginx_configuration(folder: Path, port: int, yard: int, person: tuple[str, str] | None) -> str:
    """The documented server; where a person with a password is given, with the lines that let nginx sign people in."""
    server, *more = blocks("nginx")
    server = replaced(
        server,
        ("listen 443 ssl", f"listen {port} ssl"),
        ("yard.example.org", NAME),
        ("/etc/ssl", str(folder)),
        ("127.0.0.1:8000", f"127.0.0.1:{yard}"),
    )
    if person is not None:
        digest = base64.b64encode(hashlib.sha1(person[1].encode()).digest()).decode()
        (folder / "yard.htpasswd").write_text(f"{person[0]}:{{SHA}}{digest}\n")
        lines = replaced(more[0], ("/etc/nginx", str(folder)))
        server = replaced(server, ("    location / {\n", f"    location / {{\n{lines}"))
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.getuid() == 0 else ""
    return (
        f"daemon off;\nworker_processes 1;\n{user}pid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{server}}}\n"
    )


def caddy_configuration(folder: Path, port: int, yard: int, person: tuple[str, str] | None) -> str:
    """The documented site, with a certificate in place of one that Caddy would order."""
    site = blocks("caddy")[0 if person is None else 1]
    certificate = f"    tls {folder}/yard.pem {folder}/yard.key\n"
    site = replaced(
        site,
        ("yard.example.org {\n", f"{NAME}:{port} {{\n{certificate}"),
        ("127.0.0.1:8000", f"127.0.0.1:{yard}"),
    )
    if person is not None:
        command = ["caddy", "hash-password", "--plaintext", person[1]]
        hashed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        site = replaced(site, ("ada HASH", f"{person[0]} {hashed}"))
    return f"{{\n    admin off\n    auto_https disable_redirects\n    http_port {free_port()}\n}}\n{site}"


CONFIGURATIONS: Final = {"nginx": nginx_configuration, "caddy": caddy_configuration}


def find_proxy(kind: str) -> str | None:
    """The program; on some systems outside the path of users."""
    return shutil.which(kind) or shutil.which(kind, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def proxying(kind: str, folder: Path, yard: str, person: tuple[str, str] | None = None) -> Iterator[int]:
    """A proxy in front of a Runyard; its port. ``person``: a name and a password with which it signs people in."""
    program = find_proxy(kind)
    assert program is not None
    folder.mkdir()
    make_certificate(folder)
    port = free_port()
    file = folder / "configuration"
    file.write_text(CONFIGURATIONS[kind](folder, port, urlsplit(yard).port or 0, person))
    commands = {
        "nginx": [program, "-p", str(folder), "-c", str(file), "-e", "stderr"],
        "caddy": [program, "run", "--config", str(file), "--adapter", "caddyfile"],
    }
    with open(folder / "output", "wb") as output:
        homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))
        process = subprocess.Popen(commands[kind], stdout=output, stderr=output, env=os.environ | homes)
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "output").read_text()
            with socket.socket() as trying:
                return trying.connect_ex(("127.0.0.1", port)) == 0

        until(answers, 30, f"{kind} listens")
        yield port
    finally:
        process.terminate()
        process.wait(20)


# Clients --------------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Visitor:
    """A client at CLIENT, which checks the certificate, keeps cookies, and says the name of the server."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.port = port
        self.context = ssl.create_default_context(cafile=str(certificate))
        self.cookies: dict[str, str] = {}
        self.name = f"{NAME}:{port}"

    def connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(NAME, self.port, timeout=60)
        plain = socket.create_connection(("127.0.0.1", self.port), 60, (CLIENT, 0))
        connection.sock = self.context.wrap_socket(plain, server_hostname=NAME)
        return connection

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        connection: http.client.HTTPSConnection | None = None,
        **headers: str,
    ) -> http.client.HTTPResponse:
        """Send a request; dicts as JSON, header names with _ for -."""
        sent = {"host": self.name, "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = connection or self.connect()
        connection.request(method, path, body, {name: value for name, value in sent.items() if value})
        return connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request and read the answer; keep its cookies."""
        connection = self.connect()
        try:
            found = self.send(method, path, body, connection, **headers)
            cookies = found.headers.get_all("set-cookie") or []
            answer = Answer(found.status, {k.lower(): v for k, v in found.headers.items()}, cookies, found.read())
        finally:
            connection.close()
        for each in cookies:
            name, _, value = each.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer
