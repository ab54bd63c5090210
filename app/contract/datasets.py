"""Shapes, targets, class names and splits of all datasets; `worker/data/datasets.py` reads the images."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


class UnknownDataset(ValueError):
    """There is no dataset with this name; the message lists those that exist."""


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
    as extra inputs of a network; none for photographs.
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

    def target(self, name: str) -> Target:
        """Return the target with this name. Raises UnknownTarget."""
        for target in self.targets:
            if target.name == name:
                return target
        raise UnknownTarget(f"{self.name} has no target {name!r}; targets: {', '.join(t.name for t in self.targets)}")


def _target(name: str, labels: tuple[str, ...], weight: float = 1.0) -> Target:
    return Target(name=name, classes=len(labels), weight=weight, labels=labels)


_DIGIT: Final = tuple("0123456789")

_MEASURED: Final = (
    Target("thickness", 5, 0.5, ("thinnest", "thin", "medium", "thick", "thickest"), measured=True),
    Target("smoothness", 3, 0.5, ("angular", "medium", "smooth"), measured=True),
)

_SCALARS: Final = (
    Scalar("area", "inked area", "px²"),
    Scalar("stroke_length", "total length of the strokes' center lines", "px"),
    Scalar("thickness", "mean thickness of the strokes", "px"),
    Scalar("slant", "slant of the strokes from vertical; positive to the right", "°"),
    Scalar("height_to_width", "height of the inked area divided by its width", ""),
)

_FASHION: Final = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_CIFAR10: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CIFAR10_VALUES: Final = MappingProxyType(
    {  # air aut brd cat der dog frg hrs shp trk
        "domain": (0, 0, 1, 1, 1, 1, 1, 1, 0, 0),
        "mobility": (2, 2, 2, 1, 1, 1, 0, 1, 1, 0),
        "size": (2, 2, 0, 0, 2, 1, 0, 2, 2, 2),
    }
)
"""Values of CIFAR-10's extra targets for each of its ten classes, in the order of the classes."""

_CIFAR100_FINE: Final = (
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
)

_CIFAR100_COARSE: Final = (
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores",
    "medium_mammals",
    "non-insect_invertebrates",
    "people",
    "reptiles",
    "small_mammals",
    "trees",
    "vehicles_1",
    "vehicles_2",
)

_ALL: Final = (
    Dataset(
        name="digits",
        title="Digits",
        channels=1,
        side=28,
        targets=(_target("digit", _DIGIT), *_MEASURED),
        train=1_257,
        validation=180,
        test=360,
        source="UCI handwritten digits, 1,797 grayscale 8×8 images bundled with scikit-learn, upscaled to 28×28",
        offline=True,
        mean=(0.3048,),
        std=(0.3247,),
        megabytes=0.0,
        auxiliary=_SCALARS,
    ),
    Dataset(
        name="mnist",
        title="MNIST",
        channels=1,
        side=28,
        targets=(_target("digit", _DIGIT), *_MEASURED),
        train=55_000,
        validation=5_000,
        test=10_000,
        source="MNIST handwritten digits (LeCun, Cortes, Burges), downloaded from torchvision's mirrors",
        offline=False,
        mean=(0.1307,),
        std=(0.3081,),
        megabytes=11.6,
        auxiliary=_SCALARS,
    ),
    Dataset(
        name="fashion_mnist",
        title="Fashion-MNIST",
        channels=1,
        side=28,
        targets=(_target("class", _FASHION),),
        train=55_000,
        validation=5_000,
        test=10_000,
        source="Fashion-MNIST articles of clothing (Zalando Research), downloaded from torchvision's mirror",
        offline=False,
        mean=(0.2860,),
        std=(0.3530,),
        megabytes=30.9,
        auxiliary=_SCALARS,
    ),
    Dataset(
        name="cifar10",
        title="CIFAR-10",
        channels=3,
        side=32,
        targets=(
            _target("class", _CIFAR10),
            _target("domain", ("object", "living"), 0.3),
            _target("mobility", ("low", "medium", "high"), 0.3),
            _target("size", ("small", "medium", "large"), 0.3),
        ),
        train=45_000,
        validation=5_000,
        test=10_000,
        source="CIFAR-10 color photographs (Krizhevsky 2009), downloaded from the University of Toronto",
        offline=False,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        megabytes=170.5,
    ),
    Dataset(
        name="cifar100",
        title="CIFAR-100",
        channels=3,
        side=32,
        targets=(_target("fine", _CIFAR100_FINE), _target("coarse", _CIFAR100_COARSE)),
        train=45_000,
        validation=5_000,
        test=10_000,
        source="CIFAR-100 color photographs (Krizhevsky 2009), downloaded from the University of Toronto",
        offline=False,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        megabytes=169.0,
    ),
)

DATASETS: Final[dict[str, Dataset]] = {entry.name: entry for entry in _ALL}
"""Every dataset by name, in display order."""


def dataset(name: str) -> Dataset:
    """Return the dataset with this name. Raises UnknownDataset."""
    try:
        return DATASETS[name]
    except KeyError:
        raise UnknownDataset(f"no dataset {name!r}; datasets: {', '.join(DATASETS)}") from None
