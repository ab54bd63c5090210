"""Makes requests from those that work: nothing of them is safe from being exchanged, left out, doubled or broken."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from tests.fuzz import values
from tests.fuzz.callers import Sender
from tests.fuzz.exchange import Sent
from tests.fuzz.seeds import RouteSeeds, Seed, fill, fill_json

RARE: Final[Mapping[str, float]] = {
    "/predict": 0.02,
    "/playground/look": 0.02,
    "/launch/augmented": 0.02,
    "samples.png": 0.02,
    "image.png": 0.02,
    "sheet.png": 0.02,
    "/events": 0.1,
}
"""Routes that start a process, draw or wait, and how often they are chosen compared with others."""
MLFLOW_SHARE: Final = 0.3
"""Most of MLflow's routes exist twice, at the root and within a run; only this share of them is asked there."""
_SAFE_IN_PATHS: Final = "/%!$&'()*+,;=:@-._~"


class Generator:
    """The requests of a round. The same seed and routes make the same requests, but for the IDs of objects."""

    def __init__(self, routes: Sequence[RouteSeeds], ids: Mapping[str, list[str]], chance: random.Random) -> None:
        self._routes = routes
        self._ids = ids
        self._chance = chance
        self._weights = [self._weight(each.path) for each in routes]

    @staticmethod
    def _weight(path: str) -> float:
        if path.startswith("/runs/{within}"):
            return MLFLOW_SHARE
        return next((weight for part, weight in RARE.items() if part in path), 1.0)

    def request(self, senders: Sequence[Sender]) -> tuple[Sender, Sent]:
        """Make a request of a sender."""
        chance = self._chance
        [route] = chance.choices(self._routes, self._weights)
        # Half of the requests from those who may do most: others are refused before a route sees anything.
        strong = [each for each in senders if "launch" in each.permissions]
        sender = chance.choice(strong if chance.random() < 0.5 else senders)
        seed = copy.deepcopy(chance.choice(route.seeds))
        method = seed.method if chance.random() < 0.97 else chance.choice(values.METHODS)
        self._change_query(seed, route)
        headers: list[tuple[str, str]] = []
        body = self._body(seed, route, headers)
        target = self._target(seed)
        if chance.random() < 0.25:
            headers += [self._header(headers) for _ in range(chance.choice((1, 1, 2)))]
        headers = [each for i, each in enumerate(headers) if each[0] not in {name for name, _ in headers[:i]}]
        body, headers = self._encoded(body, headers)
        # A request that says itself who sends it has no other credential.
        signs = any(name in ("authorization", "cookie") for name, _ in headers)
        credential = () if signs else sender.sign(method, target)
        return sender, Sent(method, target, tuple(headers), body, credential)

    # Address ----------------------------------------------------------------------------------------------------------

    def _target(self, seed: Seed) -> str:
        chance = self._chance
        segments = seed.path.split("/")
        if chance.random() < 0.12:
            places = [i for i, each in enumerate(segments) if "{" in each] or [len(segments) - 1]
            at = chance.choice(places)
            segments[at] = self._segment()
        path = fill("/".join(segments), self._ids)
        if chance.random() < 0.04:
            way = chance.choice(
                ("{}/", "{}//", "/{}", "{}%2f..", "{}/../..", "{};x=1", "{}%00", "{}\u00e9", "{}?", "{}%")
            )
            path = way.format(path)
        encoded = quote(path, safe=_SAFE_IN_PATHS, errors="surrogatepass") or "/"
        if not encoded.startswith("/"):
            encoded = f"/{encoded}"
        pairs = [(name, fill(value, self._ids)) for name, value in seed.query]
        query = urlencode(pairs, errors="surrogatepass")
        if chance.random() < 0.02:
            query += chance.choice(("&", "&=", "&%", "&%ff=%fe", "&a[]=1&a[b]=2", ";", "&" * 2000, "&a" * 3000))
        return f"{encoded}?{query}" if query else encoded

    def _segment(self) -> str:
        chance = self._chance
        if chance.random() < 0.4:
            kind = chance.choice([*self._ids])
            return f"{{{kind}.{chance.randrange(4)}}}"
        return values.text(chance).replace("?", "%3f").replace("#", "%23")[:3000]

    def _change_query(self, seed: Seed, route: RouteSeeds) -> None:
        chance = self._chance
        names = [name for place, name in route.fields if place == "query"] + [name for name, _ in seed.query]
        for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
            if names or chance.random() < 0.1:
                self._change_pairs(seed.query, names)

    def _change_pairs(self, pairs: list[tuple[str, str]], names: Sequence[str]) -> None:
        chance = self._chance
        action = chance.random()
        if pairs and action < 0.15:
            pairs.pop(chance.randrange(len(pairs)))
        elif pairs and action < 0.3:
            pairs.append(chance.choice(pairs))
        elif pairs and action < 0.65:
            at = chance.randrange(len(pairs))
            pairs[at] = (pairs[at][0], self._value())
        elif names:
            pairs.append((chance.choice(names), self._value()))
        else:
            pairs.append((values.text(chance)[:200], self._value()))

    def _value(self) -> str:
        chance = self._chance
        if chance.random() < 0.15:
            kind = chance.choice([*self._ids])
            return f"{{{kind}.{chance.randrange(4)}}}"
        return values.text(chance)

    # Body -------------------------------------------------------------------------------------------------------------

    def _body(self, seed: Seed, route: RouteSeeds, headers: list[tuple[str, str]]) -> bytes:
        chance = self._chance
        if chance.random() < 0.05:
            headers.append(("content-type", chance.choice(values.TYPES)))
            return chance.choice(values.BODIES)
        if seed.form is not None:
            return self._form(seed.form, route, headers)
        if seed.json is not None:
            value = fill_json(seed.json, self._ids)
            for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
                value = self._changed(value)
            headers.append(
                ("content-type", "application/json" if chance.random() < 0.95 else chance.choice(values.TYPES))
            )
            return values.as_json(value)
        if seed.method in ("PUT", "POST") and chance.random() < 0.5:
            return chance.choice(values.BODIES)
        return b""

    def _form(self, pairs: list[tuple[str, str]], route: RouteSeeds, headers: list[tuple[str, str]]) -> bytes:
        chance = self._chance
        names = [name for place, name in route.fields if place == "body"] + [name for name, _ in pairs]
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
            self._change_pairs(pairs, names)
        filled = [(name, fill(value, self._ids)) for name, value in pairs]
        if chance.random() < 0.1:
            headers.append(("content-type", "multipart/form-data; boundary=x"))
            return _multipart(filled, chance.random() < 0.3)
        headers.append(("content-type", "application/x-www-form-urlencoded"))
        return urlencode(filled, errors="surrogatepass").encode()

    def _changed(self, value: Any) -> Any:
        """A body in which one value, at any depth, is another or missing."""
        chance = self._chance
        if isinstance(value, dict) and value and chance.random() < 0.95:
            name = chance.choice(list(value))
            action = chance.random()
            if action < 0.12:
                value.pop(name)
            elif action < 0.2:
                value[values.text(chance)[:300]] = values.anything(chance)
            elif action < 0.3:
                kind = chance.choice([*self._ids])
                value[name] = fill(f"{{{kind}.{chance.randrange(4)}}}", self._ids)
            else:
                value[name] = self._changed(value[name])
            return value
        if isinstance(value, list) and value and chance.random() < 0.8:
            at = chance.randrange(len(value))
            action = chance.random()
            if action < 0.1:
                value.pop(at)
            elif action < 0.2:
                value.extend(value[at : at + 1] * chance.choice((1, 1000)))
            else:
                value[at] = self._changed(value[at])
            return value
        return values.anything(chance)

    # Headers ----------------------------------------------------------------------------------------------------------

    def _header(self, headers: Sequence[tuple[str, str]]) -> tuple[str, str]:
        chance = self._chance
        if chance.random() < 0.1:
            return ("content-type", chance.choice(values.TYPES))
        return chance.choice(values.HEADERS)

    def _encoded(self, body: bytes, headers: list[tuple[str, str]]) -> tuple[bytes, list[tuple[str, str]]]:
        """Rarely a body that is compressed, to a thousandth of its size."""
        if body and self._chance.random() < 0.01:
            return gzip.compress(bytes(2**22), mtime=0), [*headers, ("content-encoding", "gzip")]
        return body, headers


def _multipart(pairs: Sequence[tuple[str, str]], as_files: bool) -> bytes:
    """A form in parts; all of them as files, if it shall be so."""
    lines = []
    for name, value in pairs:
        shown = json.dumps(name, ensure_ascii=False)
        file = '; filename="../a.png"\r\nContent-Type: image/png' if as_files else ""
        lines.append(f"--x\r\nContent-Disposition: form-data; name={shown}{file}\r\n\r\n{value}\r\n")
    return ("".join(lines) + "--x--\r\n").encode("utf-8", "surrogatepass")
