"""Shapes, targets, class names and splits of the datasets. `worker/data/datasets.py` reads the images."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


class UnknownDataset(ValueError):
    """A dataset was named that does not exist; the message lists those that do."""


class UnknownTarget(ValueError):
    """A target was named that its dataset does not offer; the message lists those it does."""


@dataclass(frozen=True)
class Target:
    """One thing to predict about an image, the job of one head.

    classes: how many values it takes; weight: of its loss in a sum over several heads; labels: the values' names, in
    order. measured: whether its values are measured from the pixels, which takes the first run that asks for it a
    minute or so, rather than stored with the images.
    """

    name: str
    classes: int
    weight: float
    labels: tuple[str, ...]
    measured: bool = False


@dataclass(frozen=True)
class Scalar:
    """One number measured from an image's pixels that a network may be given beside the image.

    about: what it is, in a few words; unit: "px" is a pixel of the image, "" a ratio.
    """

    name: str
    about: str
    unit: str


@dataclass(frozen=True)
class Dataset:
    """What is known about a dataset without opening it.

    channels, side: an image is [channels, side, side]. targets: the first is the default, and the one by which the
    splits are stratified. train, validation, test: images in each split. source: where the images come from, in one
    line. offline: whether it is there without a download. mean, std: per channel, of the official training images (of
    digits: of the training split) scaled to 0..1. megabytes: to download, in 10⁶ bytes. auxiliary: the scalars that a
    network can be given beside the image; none for photographs.
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
        """The target of this name. Raises UnknownTarget, with the names that exist."""
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
    Scalar("area", "how much is ink", "px²"),
    Scalar("stroke_length", "how long the strokes' center lines are", "px"),
    Scalar("thickness", "how thick the strokes are on average", "px"),
    Scalar("slant", "how far the strokes lean to the right of upright", "°"),
    Scalar("height_to_width", "the height of the inked part over its width", ""),
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
"""The value of each of CIFAR-10's extra targets for each of its ten classes, in the classes' order."""

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
        source="UCI handwritten digits, 1,797 gray images of 8x8 that ship with scikit-learn, scaled up to 28x28",
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
        source="MNIST handwritten digits (LeCun, Cortes, Burges), fetched from torchvision's mirrors",
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
        source="Fashion-MNIST articles of clothing (Zalando Research), fetched from torchvision's mirror",
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
        source="CIFAR-10 color photographs (Krizhevsky 2009), fetched from the University of Toronto",
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
        source="CIFAR-100 color photographs (Krizhevsky 2009), fetched from the University of Toronto",
        offline=False,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        megabytes=169.0,
    ),
)

DATASETS: Final[dict[str, Dataset]] = {one.name: one for one in _ALL}
"""Every dataset by name, in the order in which they are offered."""


def dataset(name: str) -> Dataset:
    """The dataset of this name. Raises UnknownDataset, with the names that exist."""
    try:
        return DATASETS[name]
    except KeyError:
        raise UnknownDataset(f"no dataset {name!r}; datasets: {', '.join(DATASETS)}") from None
