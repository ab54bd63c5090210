"""What a dataset is: its shape, targets, class names and splits, known without opening it."""

from __future__ import annotations

from dataclasses import dataclass


class UnknownTarget(ValueError):
    """The dataset has no target with this name; the message lists its targets."""


@dataclass(frozen=True)
class Target:
    """A property of an image that one head predicts.

    classes: number of values; weight: weight of its loss in the sum over several heads; labels: names of the values,
    in order. measured: whether the values are measured from the pixels rather than stored with the images; the first
    run that needs them spends about a minute on it.
    """

    name: str
    classes: int
    weight: float
    labels: tuple[str, ...]
    measured: bool = False


@dataclass(frozen=True)
class Scalar:
    """A number measured from an image's pixels, available as an extra input of a network.

    about: short description; unit: "px" for pixels of the image, "" for a ratio.
    """

    name: str
    about: str
    unit: str


@dataclass(frozen=True)
class Dataset:
    """Description of a dataset, available without opening it.

    channels, side: an image is [channels, side, side]. targets: the first one is the default and stratifies the
    splits. train, validation, test: number of images in each split. source: origin of the images, in one line.
    offline: whether it is available without a download. mean, std: per channel, of the official training images (for
    digits: of the training split) scaled to 0..1. megabytes: download size in 10⁶ bytes. auxiliary: scalars available
    as extra inputs of a network; none for photographs. version: of the user's own dataset; "" for a built-in one.
    """

    name: str
    title: str
    channels: int
    side: int
    targets: tuple[Target, ...]
    train: int
    validation: int
    test: int
    source: str
    offline: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    megabytes: float
    auxiliary: tuple[Scalar, ...] = ()
    version: str = ""

    @property
    def key(self) -> str:
        """What finds exactly this version."""
        return f"{self.name}@{self.version}" if self.version else self.name

    def target(self, name: str) -> Target:
        """Return the target with this name. Raises UnknownTarget."""
        for target in self.targets:
            if target.name == name:
                return target
        raise UnknownTarget(f"{self.name} has no target {name!r}; targets: {', '.join(t.name for t in self.targets)}")
