"""An exported torch.export program predicts what the checkpoint predicts."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.worker.exporting.networks import predictor_of, sample_of
from worker.exporting.program import DESCRIPTION, export_program
from worker.exporting.sample import LARGEST_DIFFERENCE
from worker.exporting.servable import ExportError


@pytest.mark.parametrize("preprocessing", [True, False])
@pytest.mark.parametrize("mirror", [True, False])
def test_a_reloaded_program_predicts_the_same_for_any_number_of_images(preprocessing: bool, mirror: bool) -> None:
    predictor, sample = predictor_of("simple_cnn", "tiny", mirror=mirror), sample_of(64)
    content, difference = export_program(predictor, sample, preprocessing)
    assert difference <= LARGEST_DIFFERENCE
    extra = {DESCRIPTION: ""}
    network = torch.export.load(io.BytesIO(content), extra_files=extra).module()
    assert json.loads(extra[DESCRIPTION])["mirror"] is mirror
    for count in (1, 2, 17):
        fed = tuple(each[:count] for each in sample.fed(predictor, preprocessing))
        torch.testing.assert_close(network(*fed)["digit"], predictor.probabilities(sample.images[:count])["digit"])


class Own(nn.Module):
    """Like an architecture of a user who reads the number of images with len()."""

    def __init__(self, by_value: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(28 * 28, 10)
        self.by_value = by_value

    def forward(self, images: Tensor) -> Tensor:
        if self.by_value and images.sum() > 0:
            images = -images
        logits: Tensor = self.layer(images.reshape(len(images), -1))
        return logits * 1.0


def test_a_network_that_reads_the_number_of_images_with_len_is_exported_for_any_number() -> None:
    predictor = replace(predictor_of("simple_mlp", "tiny"), network=Own(False).eval())
    assert export_program(predictor, sample_of(16), True)[1] <= LARGEST_DIFFERENCE


def test_a_network_that_depends_on_pixel_values_is_refused_in_a_sentence() -> None:
    predictor = replace(predictor_of("simple_mlp", "tiny"), network=Own(True).eval())
    with pytest.raises(ExportError, match="must not depend on the values of its input"):
        export_program(predictor, sample_of(16), True)
