"""What a family of architectures is, and the one table of them all."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class UnknownArchitecture(ValueError):
    """A family, size, option or choice that does not exist; the message names what does."""


class Refused(ValueError):
    """A shape or a registration that cannot be, or that is not what its network is; the message says why."""


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
    choose it, `reference` the paper. Training needs batches of at least `smallest_batch` images. The catalog is
    sorted by `order`, then by name. `source` is the file that registered it, filled in while that is imported.
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
    source: str = ""

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
_unloaded: dict[str, str] = {}
_sources: list[str] = []


def register(family: Family) -> Family:
    """Put a family into the catalog; raises Refused, and changes nothing, if it contradicts itself or another."""
    _require_sound(family)
    there = _families.get(family.name)
    if there is not None:
        where = f", by {there.source}" if there.source else ""
        raise Refused(f"a family named {family.name!r} is registered already{where}")
    family.size(family.default)
    family.choose()
    if _sources:
        family = replace(family, source=_sources[-1])
    _families[family.name] = family
    return family


@contextmanager
def registering(source: str) -> Iterator[None]:
    """Families registered inside come from the file `source`; when anything is raised, none of them stays."""
    _sources.append(source)
    try:
        yield
    except BaseException:
        for family in registered_by(source):
            del _families[family.name]
        raise
    finally:
        _sources.pop()


def registered_by(source: str) -> list[Family]:
    """The families that the file `source` has registered."""
    return [family for family in _families.values() if family.source == source]


def note_unloaded(errors: Mapping[str, str]) -> None:
    """Remember files (by stem) that could not be loaded, so that who asks for their families is told why."""
    _unloaded.update(errors)


def families() -> dict[str, Family]:
    """The catalog: every registered family by name."""
    return {family.name: family for family in sorted(_families.values(), key=lambda f: (f.order, f.name))}


def get(name: str) -> Family:
    """The family of that name; raises UnknownArchitecture."""
    if name in _families:
        return _families[name]
    if name in _unloaded:
        raise UnknownArchitecture(f"the family {name!r} could not be loaded: {_unloaded[name]}")
    others = "".join(f"; {file} could not be loaded: {error}" for file, error in _unloaded.items())
    raise UnknownArchitecture(f"no family {name!r}; families: {_listed(families())}{others}")


def build(family: str, size: str, shape: Shape, options: Mapping[str, Any] | None = None) -> nn.Module:
    """A freshly initialized network, drawn from torch's global random state.

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


def _require_whole(name: str, value: object, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise Refused(f"{name} must be a whole number of at least {at_least}, not {value!r}")


def _require_sound(family: Family) -> None:
    # One family that cannot be shown, sorted or sent as JSON would take the whole catalog with it.
    _require_name("family", family.name)
    for field in ("summary", "when", "reference", "default"):
        _require_text(f"{field} of family {family.name!r}", getattr(family, field))
    _require_whole(f"order of family {family.name!r}", family.order, at_least=0)
    _require_whole(f"smallest_batch of family {family.name!r}", family.smallest_batch, at_least=1)
    groups: tuple[tuple[str, type, Any], ...] = (("size", Size, family.sizes), ("option", Option, family.options))
    for noun, kind, group in groups:
        if not isinstance(group, tuple | list) or not all(isinstance(each, kind) for each in group):
            raise Refused(f"{noun}s of family {family.name!r} must be a tuple, ({kind.__name__}(…), …)")
        names = [each.name for each in group]
        for name in names:
            _require_name(noun, name)
            if names.count(name) > 1:
                raise Refused(f"family {family.name!r} has two {noun}s named {name!r}")
    for size in family.sizes:
        if not isinstance(size.settings, Mapping) or not all(isinstance(name, str) for name in size.settings):
            raise Refused(f'settings of size {size.name!r} must be by name, {{"width": 8}}, not {size.settings!r}')
    for option in family.options:
        _require_text(f"about of option {option.name!r}", option.about)
        for choice in option.choices:
            if not isinstance(choice, str | int | float):
                raise Refused(f"choices of option {option.name!r} must be text, numbers or booleans, not {choice!r}")


def _require_name(noun: str, name: object) -> None:
    # Addresses, filters and lists by comma carry these names, and "all" stands for all of them there.
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == "all":
        raise Refused(f"{name!r} cannot name a {noun}: only letters, digits and _ . - can, and not 'all'")


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise Refused(f"{name} must be text, not {value!r}")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _in_words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
