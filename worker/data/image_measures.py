"""Measures a drawn sign from its pixels: how thick its strokes are, how angular its outline, and more.

After Castro et al., "Morpho-MNIST" (2019). The sign is where the image, scaled up smoothly, has at least half of its
maximum brightness; scikit-image finds its skeleton and its contours.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Measured = npt.NDArray[np.float32]

MEASURES: Final = ("area", "stroke_length", "thickness", "slant", "height_to_width", "turning")
"""The values that `measure` returns for an image, in this order.

area: of the sign, px². stroke_length: of its skeleton, px. thickness: twice the distance to the nearest edge, averaged
along the skeleton, px. slant: from the vertical, by the image's moments, degrees; above 0 if the sign leans to the
right. height_to_width: of the upright box around it. turning: how angular the outer contour of the sign's largest piece
is: by how many radians its direction changes, left or right, per unit of its length. The unit is the contour's greatest
extent, so that the value does not depend on the size. It is 2 for a circle, the minimum; 2.2 for a square, almost π for
a long bar, 4 or more for stars and zigzags.
"""

BINNED: Final = {"thickness": ("thickness", 1), "smoothness": ("turning", -1)}
"""The measured targets: from which measure, and whether their classes rise with it (1) or against it (-1)."""

CHUNK: Final = 64

# Castro et al. scale by 4; with edges located between the pixels, 3 is as exact and twice as fast.
_SCALE: Final = 3
# The smallest blur that leaves no ripple between the pixels.
_BLUR_PX: Final = 0.6
# Black border around an image, so that every contour closes.
_MARGIN_PX: Final = 2
# A finer step would follow the staircase of a slanted edge.
_STEP_PX: Final = 2.0
_FEWEST_STEPS: Final = 8


def measure(images: Images) -> Iterator[Measured]:
    """Measure gray images uint8 [N, H, W], bright on black: float32 [n, len(MEASURES)], all finite, CHUNK at a time.

    An empty image measures 0 throughout. A single pixel is a round dot with a stroke of no length. A sign may reach the
    image's edge: beyond it is black.
    """
    down, across = (_interpolation(side) for side in images.shape[1:])
    for start in range(0, len(images), CHUNK):
        gray = images[start : start + CHUNK].astype(np.float64)
        fine = down @ gray @ across.T
        measured = np.zeros((len(gray), len(MEASURES)), dtype=np.float32)
        for i in np.flatnonzero(gray.any(axis=(1, 2))):
            measured[i] = _measure_sign(gray[i], fine[i])
        yield measured


def columns(names: Sequence[str], measured: Measured) -> Measured:
    """The measures with these names, in their order: float32 [N, len(names)]."""
    return np.ascontiguousarray(measured[:, [MEASURES.index(name) for name in names]])


def bin_edges(target: str, classes: int, training: Measured) -> Floats:
    """Boundaries between the classes of a measured target, for equal shares of the training images: [classes-1].

    training: their measures, [N, len(MEASURES)].
    """
    return np.quantile(_ascending(target, training), np.arange(1, classes) / classes)


def bin_values(target: str, measured: Measured, edges: Floats) -> npt.NDArray[np.int64]:
    """The class of each of N images for a measured target, int64 [N]; edges: those of the training images."""
    return np.searchsorted(edges, _ascending(target, measured), side="right")


def _ascending(target: str, measured: Measured) -> Floats:
    name, direction = BINNED[target]
    return direction * measured[:, MEASURES.index(name)].astype(np.float64)


def _interpolation(side: int) -> Floats:
    """The weight of each of `side` pixels in a row at each finer place: float64 [(side + 2·margin)·scale, side]."""
    places = (np.arange((side + 2 * _MARGIN_PX) * _SCALE) + 0.5) / _SCALE - 0.5 - _MARGIN_PX
    # Includes the black pixels beyond the edge, which take their share of the weight.
    pixels = np.arange(-2 * _MARGIN_PX, side + 2 * _MARGIN_PX)
    weights = np.exp(-(((places[:, None] - pixels) / _BLUR_PX) ** 2) / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights[:, 2 * _MARGIN_PX : -2 * _MARGIN_PX]


def _measure_sign(gray: Floats, fine: Floats) -> tuple[float, ...]:
    """The measures of one image that is not black; fine: the same image, scaled up."""
    # Imported here: only the first run that needs measures of a dataset pays for it.
    from scipy.spatial import KDTree
    from skimage.measure import find_contours
    from skimage.morphology import skeletonize

    # Slightly below half: a pixel of exactly half is then inside, whichever way its value was rounded.
    level = fine.max() * (0.5 - 1e-9)
    rows, columns = _extent((fine > level).any(axis=1)), _extent((fine > level).any(axis=0))
    fine = fine[rows, columns]
    sign = fine > level
    contours = find_contours(fine, level)  # type: ignore[no-untyped-call, unused-ignore]
    skeleton = skeletonize(sign)  # type: ignore[no-untyped-call, unused-ignore]
    # Distance to the contours rather than to the nearest dark pixel, whose distances come in steps that are large for a
    # stroke two pixels wide.
    to_edge, _ = KDTree(np.concatenate(contours)).query(np.argwhere(skeleton))
    return (
        np.count_nonzero(sign) / _SCALE**2,
        _length(skeleton) / _SCALE,
        2 * to_edge.mean() / _SCALE,
        _slant(gray),
        (sign.shape[0] - 2) / (sign.shape[1] - 2),
        _turning(max(contours, key=_enclosed) / _SCALE),
    )


def _length(skeleton: npt.NDArray[np.bool_]) -> float:
    """The length of the lines between neighboring pixels; a diagonal counts only if no corner pixel joins the two."""
    straight = np.count_nonzero(skeleton[1:] & skeleton[:-1]) + np.count_nonzero(skeleton[:, 1:] & skeleton[:, :-1])
    a, b, c, d = skeleton[:-1, :-1], skeleton[:-1, 1:], skeleton[1:, :-1], skeleton[1:, 1:]
    diagonal = np.count_nonzero(a & d & ~(b | c)) + np.count_nonzero(b & c & ~(a | d))
    return float(straight + np.sqrt(2) * diagonal)


def _slant(gray: Floats) -> float:
    y, x = (np.arange(side) - (side - 1) / 2 for side in gray.shape)
    total = gray.sum()
    mean_y, mean_x = gray.sum(axis=1) @ y / total, gray.sum(axis=0) @ x / total
    # A pixel is a square, not a point, and 1/12 is its variance; so a single row has a slant too.
    variance = gray.sum(axis=1) @ y**2 / total - mean_y**2 + 1 / 12
    covariance = y @ gray @ x / total - mean_y * mean_x
    return float(np.degrees(np.arctan2(-covariance, variance)))  # y counts downwards


def _extent(filled: npt.NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(filled)
    return slice(where[0] - 1, where[-1] + 2)


def _enclosed(contour: Floats) -> float:
    y, x = contour.T
    return abs(float(y[:-1] @ x[1:] - y[1:] @ x[:-1]))


def _turning(contour: Floats) -> float:
    """The turning of a closed contour [points, (y, x)] in px, whose last point equals its first."""
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(contour, axis=0).T))])
    length = at[-1]
    steps = max(_FEWEST_STEPS, round(length / _STEP_PX))
    places = np.arange(steps) * (length / steps)
    points = np.stack([np.interp(places, at, values) for values in contour.T])
    along = np.roll(points, -1, axis=1) - points
    after = np.roll(along, -1, axis=1)
    turned = np.arctan2(along[0] * after[1] - along[1] * after[0], (along * after).sum(axis=0))
    angles = np.arange(0, np.pi, np.pi / 36)
    shadows = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ contour.T
    return float(np.abs(turned).sum() / length * np.ptp(shadows, axis=1).max())
