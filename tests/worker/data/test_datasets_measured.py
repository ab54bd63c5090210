"""Targets and scalars measured from a dataset's images, once for all runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import worker.data.datasets
from app.contract.datasets import dataset
from tests.worker.official_files import TEST, TRAINING, mnist_files, never, put, same
from worker.data.dataset_readers import digits
from worker.data.datasets import PARTS, Data, DatasetError, Part, load
from worker.data.image_measures import Images, Measured, columns, measure
from worker.data.parallel_measuring import MeasuringError, measure_all
from worker.reporting import progress as progress_module
from worker.reporting.progress import ProgressReporter

Official = Callable[[str, Path], None]

pytestmark = pytest.mark.usefixtures("loopback_only")


def quiet(sentence: str) -> None:
    pass


MEASURED = ["digit", "thickness", "smoothness"]


@pytest.fixture(scope="module")
def measured_folder(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits prepared and measured."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "prepared").mkdir()
    shutil.copy(datasets / "prepared" / "digits.safetensors", folder / "prepared")
    load("digits", ["thickness"], folder, quiet)
    return folder


@pytest.fixture
def measured_data(measured_folder: Path) -> Data:
    return load("digits", MEASURED, measured_folder, never, auxiliary=True)


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images measured by each later call."""
    calls: list[int] = []

    def counted(images: Images, tell: ProgressReporter, what: str, cores: int) -> Measured:
        calls.append(len(images))
        return measure_all(images, tell, what, cores)

    monkeypatch.setattr(worker.data.datasets, "measure_all", counted)
    return calls


def test_measured_targets_have_nearly_equal_shares_of_the_training_images(measured_data: Data) -> None:
    for name in ("thickness", "smoothness"):
        facts = dataset("digits").target(name)
        shares = measured_data.train.targets[name].bincount(minlength=facts.classes).double() / len(measured_data.train)
        assert float((shares - 1 / facts.classes).abs().max()) < 0.005
        for part in PARTS:
            values = measured_data.split(part).targets[name]
            assert values.dtype == torch.int64
            assert set(values.tolist()) == set(range(facts.classes))


def test_thickness_and_smoothness_do_not_follow_from_the_digit(measured_data: Data) -> None:
    digit = measured_data.train.targets["digit"]
    for name in ("thickness", "smoothness"):
        values = measured_data.train.targets[name]
        together = torch.zeros(10, dataset("digits").target(name).classes, dtype=torch.int64)
        together.index_put_((digit, values), torch.ones_like(digit), accumulate=True)
        assert int((together > 0).sum(0).min()) >= 5  # digits in which a class is found
        assert int((together > 0).sum(1).min()) >= 2  # classes that are found in a digit
        # Who knows the digit and nothing else is often wrong.
        assert float(together.amax(1).sum() / together.sum()) < 0.7


def test_the_validation_and_test_images_have_no_say_in_where_the_classes_meet(measured_data: Data) -> None:
    thickness = [scalar.name for scalar in dataset("digits").auxiliary].index("thickness")
    highest = -np.inf
    for value in range(5):
        measures = [
            _auxiliary(measured_data, part)[measured_data.split(part).targets["thickness"] == value, thickness]
            for part in PARTS
        ]
        training = measures[0]
        assert all(float(of.min()) >= highest for of in measures)
        highest = float(training.max())
        if value < 4:
            above = _auxiliary(measured_data, "train")[measured_data.train.targets["thickness"] == value + 1, thickness]
            for of in measures:
                assert float(of.max()) <= float(above.min())


def _auxiliary(data: Data, part: Part) -> torch.Tensor:
    found = data.split(part).auxiliary
    assert found is not None
    return found


def test_auxiliary_scalars_are_the_measures_of_their_own_images_in_the_facts_order(measured_data: Data) -> None:
    names = [scalar.name for scalar in dataset("digits").auxiliary]
    for part in PARTS:
        found = _auxiliary(measured_data, part)
        assert found.dtype == torch.float32
        assert found.shape == (len(measured_data.split(part)), len(names))
        some = measured_data.split(part).images[:20, 0].numpy()
        assert np.array_equal(found[:20].numpy(), columns(names, np.concatenate(list(measure(some)))))


def test_mean_and_deviation_of_the_scalars_are_those_of_the_training_split(measured_data: Data) -> None:
    training = _auxiliary(measured_data, "train").double().numpy()
    assert measured_data.auxiliary_mean == pytest.approx(training.mean(axis=0))
    assert measured_data.auxiliary_std == pytest.approx(training.std(axis=0))
    assert not np.allclose(measured_data.auxiliary_mean, _auxiliary(measured_data, "test").mean(0).numpy(), rtol=1e-4)


def test_a_scalar_that_never_varies_has_a_deviation_to_divide_by(tmp_path: Path) -> None:
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    image[0, 5:20, 9:14] = 201
    put("mnist", tmp_path, mnist_files(np.repeat(image, 24, axis=0), np.repeat(image, 4, axis=0)))
    data = load("mnist", ["digit"], tmp_path, quiet, auxiliary=True)
    assert data.auxiliary_std == (1.0,) * 5


def test_scalars_that_were_not_asked_for_do_not_come_and_are_not_measured(
    datasets: Path, measurements: list[int]
) -> None:
    data = load("digits", ["digit"], datasets, never)
    assert all(data.split(part).auxiliary is None for part in PARTS)
    assert (data.auxiliary_mean, data.auxiliary_std) == ((), ())
    assert measurements == []


def test_scalars_of_photographs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cifar10 has no auxiliary scalars"):
        load("cifar10", ["class"], tmp_path / "data", never, auxiliary=True)
    assert not (tmp_path / "data").exists()


def test_a_dataset_is_measured_once_for_all_its_targets_and_scalars(
    official: Official, said: list[str], measurements: list[int], tmp_path: Path
) -> None:
    official("mnist", tmp_path)
    load("mnist", ["thickness"], tmp_path, said.append)
    load("mnist", ["digit", "smoothness"], tmp_path, never)
    load("mnist", ["digit"], tmp_path, never, auxiliary=True)
    assert measurements == [TRAINING + TEST]
    assert said == ["measuring mnist (280 images)"]


def test_fashion_mnist_has_scalars_though_no_measured_target(
    official: Official, said: list[str], tmp_path: Path
) -> None:
    official("fashion_mnist", tmp_path)
    data = load("fashion_mnist", ["class"], tmp_path, said.append, auxiliary=True)
    assert len(data.auxiliary_mean) == 5
    assert list(data.train.targets) == ["class"]


def without_progress(said: list[str]) -> list[str]:
    """The sentences but those of work that takes seconds, as it does on a busy machine."""
    return [line for line in said if " of " not in line.partition(": ")[2]]


def test_corrupt_measures_are_measured_again_and_said_so(
    official: Official, said: list[str], measurements: list[int], tmp_path: Path
) -> None:
    official("mnist", tmp_path)
    first = load("mnist", MEASURED, tmp_path, said.append)
    kept = tmp_path / "prepared" / "mnist.measured.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1])
    assert same(load("mnist", MEASURED, tmp_path, said.append), first)
    assert without_progress(said)[1:] == [
        "the measurement cache of mnist is damaged; measuring it again",
        "measuring mnist (280 images)",
    ]
    assert len(measurements) == 2
    assert same(load("mnist", MEASURED, tmp_path, never), first)


def test_other_images_are_measured_again(
    official: Official, said: list[str], measurements: list[int], tmp_path: Path
) -> None:
    official("mnist", tmp_path)
    load("mnist", MEASURED, tmp_path, said.append)
    (tmp_path / "prepared" / "mnist.safetensors").unlink()
    drawn = digits().images[:, 0].numpy()
    put("mnist", tmp_path, mnist_files(drawn[500 : 500 + TRAINING], drawn[:TEST]))
    load("mnist", MEASURED, tmp_path, said.append)
    assert without_progress(said)[1:] == [
        "the measurement cache of mnist was made from other files; measuring it again",
        "measuring mnist (280 images)",
    ]
    assert len(measurements) == 2


def test_measures_of_another_version_are_measured_again(
    official: Official, said: list[str], measurements: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official("mnist", tmp_path)
    load("mnist", MEASURED, tmp_path, said.append)
    monkeypatch.setattr(worker.data.datasets, "_MEASURED_VERSION", "0")
    load("mnist", MEASURED, tmp_path, said.append)
    assert (
        without_progress(said)[1]
        == "the measurement cache of mnist was made by another version of Runyard; measuring it again"
    )
    assert len(measurements) == 2


def test_ten_runs_at_once_measure_once(official: Official, measurements: list[int], tmp_path: Path) -> None:
    official("mnist", tmp_path)
    with ThreadPoolExecutor(10) as pool:
        loads = list(pool.map(lambda _: load("mnist", MEASURED, tmp_path, quiet), range(10)))
    assert measurements == [TRAINING + TEST]
    assert all(same(loads[0], other) for other in loads)


def test_measuring_tells_its_share_and_stops_when_told_to(
    official: Official, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    shares: list[float] = []

    def progress(what: str, share: float) -> None:
        assert what == "measuring mnist"
        shares.append(share)
        if share > 0.5:
            raise Stop

    official("mnist", tmp_path)
    load("mnist", ["digit"], tmp_path, never)
    monkeypatch.setattr(progress_module, "SHARE_SECONDS", 0.0)
    with pytest.raises(Stop):
        load("mnist", MEASURED, tmp_path, said.append, progress=progress)
    assert 0 < shares[0] < 0.5 < shares[-1] < 1
    assert not (tmp_path / "prepared" / "mnist.measured.safetensors").exists()
    assert len(load("mnist", MEASURED, tmp_path, said.append).test) == TEST


def test_a_measuring_that_breaks_down_is_one_sentence(
    official: Official, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Measured:
        raise MeasuringError("a measuring process exited with status -9")

    monkeypatch.setattr(worker.data.datasets, "measure_all", broken)
    official("mnist", tmp_path)
    with pytest.raises(
        DatasetError, match=r"^could not measure the images of mnist \(.* with status -9\); retry the run$"
    ):
        load("mnist", MEASURED, tmp_path, said.append)
