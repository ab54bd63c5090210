import pytest
import torch
from torch import nn

from models._batch_norm import require_two_images


def test_a_training_batch_of_one_is_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match=r"Linear .* batch size 1; use a batch size of at least 2, or .*simple_mlp"):
        require_two_images(nn.Linear(1, 1), torch.zeros(1, 1))


def test_two_images_or_no_training_are_fine() -> None:
    require_two_images(nn.Linear(1, 1), torch.zeros(2, 1))
    require_two_images(nn.Linear(1, 1).eval(), torch.zeros(1, 1))
