"""Defines families of architectures, and the catalog that contains all of them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class UnknownArchitecture(ValueError):
    """A family, size, option or choice that does not exist; the message lists those that do."""


class InvalidArchitecture(ValueError):
    """An invalid shape or registration, or one that does not match its network; the message says why."""


@dataclass(frozen=True)
class Shape:
    """Everything a network knows about the data; nothing else about a dataset reaches it.

    `channels` and `side` describe square images [channels, side, side], `heads` maps each head's name to its number of
    classes, `auxiliary` is the number of scalars per image. Invalid values raise ValueError.
    """

    channels: int
    side: int
    heads: Mapping[str, int]
    auxiliary: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", dict(self.heads))
        if not self.heads:
            raise ValueError("a shape needs at least one head")
        _require_integer("channels", self.channels, at_least=1)
        _require_integer("side", self.side, at_least=1)
        _require_integer("auxiliary", self.auxiliary, at_least=0)
        for name, classes in self.heads.items():
            if not name or "." in name or hasattr(nn.ModuleDict, name):
                raise ValueError(
                    f"{name!r} is not a valid head name: it must not be empty, contain a dot,"
                    " or be an attribute of nn.ModuleDict"
                )
            _require_integer(f"the number of classes of head {name!r}", classes, at_least=1)


@dataclass(frozen=True)
class Size:
    """One size of a family: arguments for its `build`, and the parameter counts that result.

    `counts` are the numbers of parameters at MNIST (1x28x28, 10 classes), CIFAR-10 (3x32x32, 10 classes) and CIFAR-100
    (3x32x32, 100 classes), with default options.
    """

    name: str
    settings: Mapping[str, Any]
    counts: tuple[int, int, int]

    @property
    def definition(self) -> str:
        """The settings as text: "hidden 256,128; dropout 0.1"."""
        return "; ".join(f"{name.replace('_', ' ')} {_format_setting(value)}" for name, value in self.settings.items())


@dataclass(frozen=True)
class Option:
    """A choice that users may make for any size of a family.

    `larger` gives what launches choose for larger images: `((65, 8), (129, 16))` is 8 from 65 pixels on, 16 from 129.
    `divides_side`: whether a choice suits only images whose side is a multiple of it.
    """

    name: str
    default: Any
    choices: tuple[Any, ...]
    about: str
    larger: tuple[tuple[int, Any], ...] = ()
    divides_side: bool = False

    def suits(self, choice: Any, side: int) -> bool:
        """Whether a choice suits images of this side."""
        return not self.divides_side or side % choice == 0


@dataclass(frozen=True)
class Family:
    """An architecture with all its sizes.

    `build(shape, **settings, **options)` returns the network. `summary` is one sentence about the architecture, `when`
    about when to choose it, `reference` the paper. Training needs batches of at least `smallest_batch` images. The
    catalog is sorted by `order`, then by name. `source` is the file that registered the family, set while it is
    imported.
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
        """The size with that name; raises UnknownArchitecture."""
        for size in self.sizes:
            if size.name == name:
                return size
        raise UnknownArchitecture(f"no size {name!r} for {self.name}; sizes: {_join(s.name for s in self.sizes)}")

    def choose(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every option with the given value or its default; raises UnknownArchitecture.

        A value may also be text, as forms send it: "7" chooses 7.
        """
        given = dict(options or {})
        chosen: dict[str, Any] = {}
        for option in self.options:
            value = given.pop(option.name, option.default)
            matches = [choice for choice in option.choices if str(choice) == str(value)]
            if not matches:
                raise UnknownArchitecture(
                    f"no choice {value!r} for option {option.name} of {self.name}; choices: {_join(option.choices)}"
                )
            chosen[option.name] = matches[0]
        if given:
            names = _join(option.name for option in self.options)
            raise UnknownArchitecture(f"no option {next(iter(given))!r} for {self.name}; options: {names}")
        return chosen


_families: dict[str, Family] = {}
_unloaded: dict[str, str] = {}
_sources: list[str] = []


def register(family: Family) -> Family:
    """Add a family to the catalog.

    Raises InvalidArchitecture, and changes nothing, if the family contradicts itself or another one.
    """
    _validate(family)
    existing = _families.get(family.name)
    if existing is not None:
        where = f" by {existing.source}" if existing.source else ""
        raise InvalidArchitecture(f"a family named {family.name!r} is already registered{where}")
    family.size(family.default)
    family.choose()
    if _sources:
        family = replace(family, source=_sources[-1])
    _families[family.name] = family
    return family


@contextmanager
def registering(source: str) -> Iterator[None]:
    """Attribute families registered inside to the file `source`; on any error, none of them stays."""
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
    """The families registered by the file `source`."""
    return [family for family in _families.values() if family.source == source]


def record_unloaded(errors: Mapping[str, str]) -> None:
    """Record files (by stem) that could not be loaded, so that a request for their families can say why."""
    _unloaded.update(errors)


def families() -> dict[str, Family]:
    """The catalog: every registered family by name."""
    return {family.name: family for family in sorted(_families.values(), key=lambda f: (f.order, f.name))}


def get(name: str) -> Family:
    """The family with that name; raises UnknownArchitecture."""
    if name in _families:
        return _families[name]
    if name in _unloaded:
        raise UnknownArchitecture(f"could not load family {name!r}: {_unloaded[name]}")
    unloaded = "".join(f"; could not load {file}: {error}" for file, error in _unloaded.items())
    raise UnknownArchitecture(f"no family {name!r}; families: {_join(families())}{unloaded}")


def build(family: str, size: str, shape: Shape, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a freshly initialized network, drawn from torch's global random state.

    Under `with torch.device("meta")` it takes no memory, which is enough for counting. Raises UnknownArchitecture for a
    family, size, option or choice that does not exist, and ValueError for a shape that the family cannot take.
    """
    chosen = get(family)
    if shape.auxiliary and not chosen.takes_auxiliary:
        able = _join(f.name for f in families().values() if f.takes_auxiliary)
        raise ValueError(f"{family} does not support auxiliary scalars; families that do: {able}")
    return chosen.build(shape, **{**chosen.size(size).settings, **chosen.choose(options)})


def count_parameters(module: nn.Module) -> int:
    """The number of trainable parameters; a shared parameter counts once, running statistics do not."""
    return sum(parameter.numel() for parameter in module.parameters())


def _require_integer(name: str, value: object, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise InvalidArchitecture(f"{name} must be a whole number of at least {at_least}, not {value!r}")


def _validate(family: Family) -> None:
    # A family that cannot be displayed, sorted or sent as JSON would break the whole catalog.
    _require_name("family", family.name)
    for field in ("summary", "when", "reference", "default"):
        _require_text(f"{field} of family {family.name!r}", getattr(family, field))
    _require_integer(f"order of family {family.name!r}", family.order, at_least=0)
    _require_integer(f"smallest_batch of family {family.name!r}", family.smallest_batch, at_least=1)
    groups: tuple[tuple[str, type, Any], ...] = (("size", Size, family.sizes), ("option", Option, family.options))
    for noun, kind, group in groups:
        if not isinstance(group, tuple | list) or not all(isinstance(item, kind) for item in group):
            raise InvalidArchitecture(f"{noun}s of family {family.name!r} must be a tuple of {kind.__name__}(…)")
        names = [item.name for item in group]
        for name in names:
            _require_name(noun, name)
            if names.count(name) > 1:
                raise InvalidArchitecture(f"family {family.name!r} has two {noun}s named {name!r}")
    for size in family.sizes:
        if not isinstance(size.settings, Mapping) or not all(isinstance(name, str) for name in size.settings):
            raise InvalidArchitecture(
                f'settings of size {size.name!r} must be a dict by name, e.g. {{"width": 8}}, not {size.settings!r}'
            )
    for option in family.options:
        _require_text(f"'about' of option {option.name!r}", option.about)
        if [least for least, _ in option.larger] != sorted({least for least, _ in option.larger}):
            raise InvalidArchitecture(f"'larger' of option {option.name!r} must give its sides in ascending order")
        if not all(value in option.choices for _, value in option.larger):
            raise InvalidArchitecture(f"'larger' of option {option.name!r} must give choices of it")
        if option.divides_side:
            for choice in option.choices:
                _require_integer(f"a choice of option {option.name!r}", choice, at_least=1)
        for choice in option.choices:
            if not isinstance(choice, str | int | float):
                raise InvalidArchitecture(
                    f"choices of option {option.name!r} must be strings, numbers or booleans, not {choice!r}"
                )


def _require_name(noun: str, name: object) -> None:
    # URLs, filters and comma-separated lists contain these names, and "all" selects all of them there.
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == "all":
        raise InvalidArchitecture(f"{name!r} is not a valid {noun} name: use letters, digits, _ . and -, and not 'all'")


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidArchitecture(f"{name} must be a string, not {value!r}")


def _join(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _format_setting(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
