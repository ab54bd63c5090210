"""What a family of architectures is, and the one table of them all."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn


class UnknownArchitecture(ValueError):
    """A family, size, option or choice that does not exist; the message names what does."""


@dataclass(frozen=True)
class Shape:
    """What a network needs to know of the data: nothing else about a dataset ever reaches one.

    `channels` and `side` describe square images [channels, side, side], `heads` maps each head's name to its number of
    classes, `auxiliary` is how many scalars come with an image. Anything impossible raises ValueError.
    """

    channels: int
    side: int
    heads: Mapping[str, int]
    auxiliary: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", dict(self.heads))
        if not self.heads:
            raise ValueError("a shape needs at least one head")
        _require_whole("channels", self.channels, at_least=1)
        _require_whole("side", self.side, at_least=1)
        _require_whole("auxiliary", self.auxiliary, at_least=0)
        for name, classes in self.heads.items():
            if not name or "." in name or hasattr(nn.ModuleDict, name):
                raise ValueError(f"{name!r} cannot name a head: torch.nn keeps it for itself")
            _require_whole(f"the number of classes of head {name!r}", classes, at_least=1)


@dataclass(frozen=True)
class Size:
    """One size of a family: what its `build` is given, and the parameter counts that must come out.

    `counts` are the numbers of parameters at MNIST (1x28x28, 10 classes), CIFAR-10 (3x32x32, 10 classes) and CIFAR-100
    (3x32x32, 100 classes), all options at their defaults.
    """

    name: str
    settings: Mapping[str, Any]
    counts: tuple[int, int, int]

    @property
    def definition(self) -> str:
        """The settings in words: "hidden 256,128; dropout 0.1"."""
        return "; ".join(f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in self.settings.items())


@dataclass(frozen=True)
class Option:
    """A choice that a user may make for any size of a family."""

    name: str
    default: Any
    choices: tuple[Any, ...]
    about: str


@dataclass(frozen=True)
class Family:
    """An architecture with all its sizes.

    `build(shape, **settings, **options)` gives the network. `summary` is one sentence on what it is, `when` on when to
    choose it, `reference` the paper. Training needs batches of at least `smallest_batch` images. The catalogue is
    sorted by `order`, then by name.
    """

    name: str
    summary: str
    when: str
    build: Callable[..., nn.Module]
    sizes: tuple[Size, ...]
    default: str
    options: tuple[Option, ...] = ()
    smallest_batch: int = 1
    takes_auxiliary: bool = False
    reference: str = ""
    order: int = 100

    def size(self, name: str) -> Size:
        """The size of that name; raises UnknownArchitecture."""
        for size in self.sizes:
            if size.name == name:
                return size
        raise UnknownArchitecture(f"no size {name!r} for {self.name}; sizes: {_listed(s.name for s in self.sizes)}")

    def choose(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every option with the value asked for, or its default; raises UnknownArchitecture.

        A value may also come as text, as forms send it: "7" chooses 7.
        """
        asked = dict(options or {})
        chosen: dict[str, Any] = {}
        for option in self.options:
            value = asked.pop(option.name, option.default)
            matches = [choice for choice in option.choices if str(choice) == str(value)]
            if not matches:
                raise UnknownArchitecture(
                    f"no choice {value!r} for option {option.name} of {self.name}; choices: {_listed(option.choices)}"
                )
            chosen[option.name] = matches[0]
        if asked:
            names = _listed(option.name for option in self.options)
            raise UnknownArchitecture(f"no option {next(iter(asked))!r} for {self.name}; options: {names}")
        return chosen


_families: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Put a family into the catalogue; raises ValueError, and changes nothing, if it contradicts itself or another."""
    if family.name in _families:
        raise ValueError(f"a family named {family.name!r} is registered already")
    for noun, names in (
        ("size", [size.name for size in family.sizes]),
        ("option", [option.name for option in family.options]),
    ):
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"family {family.name!r} has two {noun}s named {name!r}")
    family.size(family.default)
    family.choose()
    _families[family.name] = family
    return family


def families() -> dict[str, Family]:
    """The catalogue: every registered family by name."""
    return {family.name: family for family in sorted(_families.values(), key=lambda f: (f.order, f.name))}


def get(name: str) -> Family:
    """The family of that name; raises UnknownArchitecture."""
    if name not in _families:
        raise UnknownArchitecture(f"no family {name!r}; families: {_listed(families())}")
    return _families[name]


def build(family: str, size: str, shape: Shape, options: Mapping[str, Any] | None = None) -> nn.Module:
    """A freshly initialised network, drawn from torch's global random state.

    Under `with torch.device("meta")` it costs no memory, which is enough for counting. Raises UnknownArchitecture for a
    family, size, option or choice that does not exist, and ValueError for a shape that this family cannot take.
    """
    found = get(family)
    if shape.auxiliary and not found.takes_auxiliary:
        able = _listed(f.name for f in families().values() if f.takes_auxiliary)
        raise ValueError(f"{family} takes no auxiliary scalars; families that do: {able}")
    return found.build(shape, **{**found.size(size).settings, **found.choose(options)})


def count_parameters(module: nn.Module) -> int:
    """How many numbers the module learns; a shared parameter counts once, running statistics do not."""
    return sum(parameter.numel() for parameter in module.parameters())


def discover(package: str, path: Iterable[str]) -> dict[str, str]:
    """Import every module of the package that has no leading underscore; returns the errors of those that failed."""
    broken: dict[str, str] = {}
    for module in pkgutil.iter_modules(path):
        if module.name.startswith("_"):
            continue
        try:
            importlib.import_module(f"{package}.{module.name}")
        except Exception as error:
            broken[module.name] = f"{type(error).__name__}: {error}"
    return broken


def _require_whole(name: str, value: object, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, not {value!r}")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _in_words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
