import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.contract.datasets import dataset
from worker.data.datasets import PARTS, Data, Split
from worker.data.device_dataset import Augment, BatchSizeError, Resident, evaluation_batches, order
from worker.data.inputs import Inputs

CPU = torch.device("cpu")
FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0, low: int = 1) -> Tensor:
    """Images without black, in which every window looks different."""
    return torch.randint(low, 256, shape, dtype=torch.uint8, generator=seeded(seed))


def small(name: str = "cifar10", n: int = 40) -> Data:
    facts = dataset(name)
    splits = [
        Split(
            noise(n + i, facts.channels, facts.side, facts.side, seed=i),
            {target.name: torch.arange(n + i) % target.classes for target in facts.targets},
        )
        for i in range(3)
    ]
    return Data(facts, *splits)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_batch_is_the_named_images_normalised_and_their_targets(
    name: str, memory_format: torch.memory_format
) -> None:
    data = small(name)
    resident = Resident(data, CPU, memory_format=memory_format)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (data.dataset.mean, data.dataset.std))
    where = torch.tensor([7, 3, 3, 39])
    for part in PARTS:
        images, targets = resident.batch(part, where)
        torch.testing.assert_close(images, (data.split(part).images[where].float() / 255 - mean) / std)
        assert images.is_contiguous(memory_format=memory_format)
        assert list(targets) == [target.name for target in data.dataset.targets]
        for target, values in targets.items():
            assert torch.equal(values, data.split(part).targets[target][where])
            assert values.dtype == torch.int64


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_slice_gives_the_same_batch_as_its_indices_and_leaves_the_images_as_they_were(
    memory_format: torch.memory_format,
) -> None:
    data = small()
    resident = Resident(data, CPU, memory_format=memory_format)
    by_slice, by_index = resident.batch("test", slice(5, 12)), resident.batch("test", torch.arange(5, 12))
    assert torch.equal(by_slice[0], by_index[0])
    assert all(torch.equal(by_slice[1][name], by_index[1][name]) for name in by_index[1])
    assert torch.equal(resident.images("test", slice(0, 42)), data.test.images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wanted", FORMATS)
def test_a_batch_comes_in_the_type_and_memory_format_asked_for(dtype: torch.dtype, wanted: torch.memory_format) -> None:
    resident = Resident(small(), CPU)
    where = torch.arange(8)
    images, _ = resident.batch("train", where, dtype=dtype, memory_format=wanted)
    assert images.dtype == dtype
    assert images.is_contiguous(memory_format=wanted)
    torch.testing.assert_close(images.contiguous(), resident.batch("train", where)[0].to(dtype))


def test_a_recipe_may_bring_its_own_normalization() -> None:
    data = small("mnist")
    images, _ = Resident(data, CPU, inputs=Inputs((0.5,), (0.5,))).batch("train", slice(0, 4))
    torch.testing.assert_close(images, data.train.images[:4].float() / 127.5 - 1)


def test_a_normalisation_that_does_not_fit_the_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit 3 channels"):
        Resident(small(), CPU, inputs=Inputs((0.5,), (0.5,)))


def test_the_resident_knows_its_sizes_and_shape() -> None:
    resident = Resident(small(), CPU)
    assert [resident.size(part) for part in PARTS] == [40, 41, 42]
    assert resident.shape == (3, 32, 32)


def test_training_batches_are_augmented_before_they_are_normalized() -> None:
    data = small()
    resident = Resident(data, CPU)
    augment = Augment(crop_padding=4, flip=True)
    images, targets = resident.batch("train", torch.arange(20), augment=augment, generator=seeded(3))
    expected = resident.normalize(augment(data.train.images[:20], seeded(3)))
    assert torch.equal(images, expected)
    assert torch.equal(targets["class"], data.train.targets["class"][:20])


@pytest.mark.parametrize("part", ["validation", "test"])
def test_only_training_batches_can_be_augmented(part: str) -> None:
    with pytest.raises(ValueError, match=f"only training batches can be augmented, not {part} batches"):
        Resident(small(), CPU).batch(part, slice(0, 4), augment=Augment())  # type: ignore[arg-type]


@given(
    seed=st.integers(-5, 2**40),
    epoch=st.integers(0, 500),
    n=st.integers(1, 300),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_shows_each_image_at_most_once_and_leaves_out_less_than_a_batch(
    seed: int, epoch: int, n: int, data: st.DataObject
) -> None:
    batch_size = data.draw(st.integers(1, n))
    batches = order(seed, epoch, n, batch_size, CPU)
    assert batches.shape == (n // batch_size, batch_size)
    assert batches.dtype == torch.int64
    assert len(set(batches.flatten().tolist())) == batches.numel() > n - batch_size
    assert 0 <= int(batches.min()) <= int(batches.max()) < n


def test_the_order_is_a_function_of_seed_and_epoch_only() -> None:
    first = order(1, 5, 500, 10, CPU)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(order(1, 5, 500, 10, CPU), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_epoch_or_another_seed_is_another_order() -> None:
    seen = {tuple(order(seed, epoch, 500, 10, CPU).flatten().tolist()) for seed in range(10) for epoch in range(10)}
    assert len(seen) == 100


def test_a_batch_size_above_the_training_split_names_the_largest_possible() -> None:
    with pytest.raises(BatchSizeError) as caught:
        order(0, 0, 1_257, 2_000, CPU)
    assert str(caught.value) == "batch size must be at most 1,257, the number of training images, not 2,000"
    assert isinstance(caught.value, ValueError)
    with pytest.raises(BatchSizeError, match="batch size must be at least 1"):
        order(0, 0, 1_257, 0, CPU)


@given(n=st.integers(0, 500), size=st.integers(1, 600))
@settings(max_examples=60, deadline=None)
def test_evaluation_batches_cover_everything_once_in_order(n: int, size: int) -> None:
    batches = evaluation_batches(n, size)
    assert [i for batch in batches for i in range(n)[batch]] == list(range(n))
    assert all(batch.stop - batch.start == size for batch in batches[:-1])


def test_an_evaluation_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="batch size must be at least 1"):
        evaluation_batches(10, 0)


def offsets(before: Tensor, after: Tensor, padding: int, *, flipped: bool = False) -> list[set[tuple[int, int, bool]]]:
    """For each image, the (down, across, mirrored) position in its padded original that gives the result."""
    found: list[set[tuple[int, int, bool]]] = [set() for _ in before]
    height, width = before.shape[2:]
    for mirrored in (False, True)[: 1 + flipped]:
        padded = torch.nn.functional.pad(before.flip(3) if mirrored else before, (padding,) * 4)
        for down in range(2 * padding + 1):
            for across in range(2 * padding + 1):
                window = padded[:, :, down : down + height, across : across + width]
                for i in (window == after).flatten(1).all(1).nonzero().flatten().tolist():
                    found[i].add((down, across, mirrored))
    return found


@given(
    n=st.integers(1, 6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    padding=st.integers(0, 3),
    flip=st.booleans(),
    last=st.booleans(),
    floating=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=120, deadline=None)
def test_every_image_becomes_a_window_of_its_padded_self_mirrored_or_not(
    n: int, channels: int, height: int, width: int, padding: int, flip: bool, last: bool, floating: bool, seed: int
) -> None:
    before = noise(n, channels, height, width, seed=seed)
    if floating:
        before = before.float()
    given_format = torch.channels_last if last else torch.contiguous_format
    before = before.contiguous(memory_format=given_format)
    kept = before.clone()
    after = Augment(crop_padding=padding, flip=flip)(before, seeded(seed))
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    assert after.is_contiguous(memory_format=given_format)
    assert torch.equal(before, kept)
    assert all(offsets(before, after, padding, flipped=flip))


@pytest.mark.parametrize("padding", [1, 2])
def test_each_image_is_cropped_at_a_place_of_its_own_and_every_place_is_as_likely(padding: int) -> None:
    n = 4_000
    before = noise(n, 1, 6, 6)
    counts: dict[tuple[int, int, bool], int] = {}
    for found in offsets(before, Augment(crop_padding=padding)(before, seeded(1)), padding):
        (only,) = found
        counts[only] = counts.get(only, 0) + 1
    places = (2 * padding + 1) ** 2
    expected = n / places
    assert len(counts) == places
    assert max(abs(count - expected) for count in counts.values()) < 5 * math.sqrt(expected)


def test_each_image_is_flipped_or_not_on_its_own_and_half_of_them_are() -> None:
    before = noise(2_000, 3, 5, 5)
    after = Augment(flip=True)(before, seeded(2))
    same = (after == before).flatten(1).all(1)
    mirrored = (after == before.flip(3)).flatten(1).all(1)
    assert torch.equal(same, ~mirrored)
    assert 900 < int(same.sum()) < 1_100


def test_the_crop_fills_with_black() -> None:
    after = Augment(crop_padding=4)(torch.full((200, 1, 8, 8), 255, dtype=torch.uint8), seeded(0))
    assert set(after.flatten().tolist()) == {0, 255}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("degrees", [15.0, 60.0])
def test_each_image_is_turned_about_its_middle_by_an_angle_of_its_own(dtype: torch.dtype, degrees: float) -> None:
    side, n = 33, 200
    before = torch.zeros(n, 1, side, side, dtype=dtype)
    before[:, :, 15:18, 25:28] = 200
    after = Augment(rotation_degrees=degrees)(before, seeded(4))
    assert after.dtype == dtype
    assert after.shape == before.shape
    weight = after.double()[:, 0] / after.double().sum((1, 2, 3))[:, None, None]
    axis = torch.arange(side, dtype=torch.float64) - side // 2
    x, y = (weight * axis[None, None, :]).sum((1, 2)), (weight * axis[None, :, None]).sum((1, 2))
    torch.testing.assert_close(torch.hypot(x, y), torch.full((n,), 10.0, dtype=torch.float64), atol=0.2, rtol=0)
    angles = torch.rad2deg(torch.atan2(y, x))
    assert float(angles.abs().max()) < degrees + 1
    assert float(angles.min()) < -0.8 * degrees
    assert float(angles.max()) > 0.8 * degrees
    assert len(set(angles.mul(100).round().tolist())) > n / 2


def test_an_oblong_image_is_turned_without_being_sheared() -> None:
    before = torch.zeros(50, 1, 41, 21)
    before[:, :, 17:24, 7:14] = 100.0
    after = Augment(rotation_degrees=45.0)(before, seeded(5))
    torch.testing.assert_close(after.sum((1, 2, 3)), before.sum((1, 2, 3)), rtol=0.02, atol=0)
    assert float((after > 90).sum((1, 2, 3)).float().std()) < 4


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_turned_batch_keeps_its_memory_format(memory_format: torch.memory_format) -> None:
    before = noise(4, 3, 8, 8).contiguous(memory_format=memory_format)
    after = Augment(crop_padding=1, flip=True, rotation_degrees=10)(before, seeded(0))
    assert after.is_contiguous(memory_format=memory_format)


def test_with_everything_off_the_images_stay_as_they_are() -> None:
    before = noise(5, 3, 8, 8)
    state = torch.get_rng_state()
    assert Augment()(before, None) is before
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_generator_gives_the_same_images_and_its_next_numbers_give_others() -> None:
    before = noise(32, 3, 12, 12)
    augment = Augment(crop_padding=2, flip=True, rotation_degrees=15)
    generator = seeded(7)
    first, second = augment(before, generator), augment(before, generator)
    assert torch.equal(first, augment(before, seeded(7)))
    assert not torch.equal(first, second)


def test_without_a_generator_the_global_one_is_used() -> None:
    before = noise(16, 1, 8, 8)
    torch.manual_seed(11)
    first = Augment(crop_padding=2)(before)
    torch.manual_seed(11)
    assert torch.equal(first, Augment(crop_padding=2)(before))


@pytest.mark.parametrize("wrong", [{"crop_padding": -1}, {"rotation_degrees": -1.0}, {"rotation_degrees": 181.0}])
def test_an_impossible_augmentation_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_cpu_generator_gives_the_images_that_it_gives_on_the_cpu() -> None:
    before = noise(32, 3, 12, 12)
    augment = Augment(crop_padding=2, flip=True)
    after = augment(before.to("cuda"), seeded(7))
    assert torch.equal(after.cpu(), augment(before, seeded(7)))
