# mypy: disable-error-code="no-untyped-call"
import torch
from torch import nn
from torch.nn import functional as F

from models import Shape, build
from models.simple_mlp import SimpleMLP


def test_it_is_linear_relu_dropout_repeated() -> None:
    network = SimpleMLP(Shape(2, 5, {"digit": 3}), hidden=(7, 4), dropout=0.0).double()
    images = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    x = images.reshape(6, 50)
    state = network.state_dict()
    for linear in ("body.1", "body.4"):
        x = (x @ state[f"{linear}.weight"].T + state[f"{linear}.bias"]).clamp(min=0)
    expected = F.linear(x, state["heads.by_name.digit.weight"], state["heads.by_name.digit.bias"])
    torch.testing.assert_close(network(images), expected)


def test_it_trains_on_a_batch_of_one(mnist: Shape) -> None:
    network = build("simple_mlp", "base", mnist).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    image, digit = torch.randn(1, 1, 28, 28), torch.tensor([3])
    for _ in range(20):
        loss = F.cross_entropy(network(image), digit)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network.eval()(image).argmax().item() == 3


def test_an_image_is_judged_alone_whatever_stands_beside_it(mnist: Shape) -> None:
    network = build("simple_mlp", "small", mnist).eval()
    images = torch.randn(5, 1, 28, 28)
    together, alone = network(images), torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone)


def test_its_dropout_is_a_tenth(mnist: Shape) -> None:
    rates = {layer.p for layer in build("simple_mlp", "base", mnist).modules() if isinstance(layer, nn.Dropout)}
    assert rates == {0.1}
