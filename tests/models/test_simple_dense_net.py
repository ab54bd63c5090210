import pytest
import torch
from torch.nn import functional as F

from models import Shape, build
from models.simple_dense_net import SimpleDenseNet


def test_it_is_linear_batch_norm_relu_repeated() -> None:
    network = SimpleDenseNet(Shape(2, 5, {"digit": 3}), hidden=(7, 4)).double()
    images = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    x = images.reshape(6, 50)
    state = network.state_dict()
    for linear, norm in (("body.1", "body.2"), ("body.4", "body.5")):
        x = x @ state[f"{linear}.weight"].T + state[f"{linear}.bias"]
        x = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
        x = (x * state[f"{norm}.weight"] + state[f"{norm}.bias"]).clamp(min=0)
    expected = F.linear(x, state["heads.by_name.digit.weight"], state["heads.by_name.digit.bias"])
    torch.testing.assert_close(network(images), expected)


def test_it_refuses_to_train_on_a_batch_of_one_but_judges_one(mnist: Shape) -> None:
    network = build("simple_dense_net", "tiny", mnist)
    with pytest.raises(ValueError, match=r"SimpleDenseNet .* cannot train with batch size 1"):
        network(torch.randn(1, 1, 28, 28))
    assert network.eval()(torch.randn(1, 1, 28, 28)).shape == (1, 10)
