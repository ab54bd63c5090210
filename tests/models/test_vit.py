import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import Shape, build, count_parameters
from models.vit import Attention, Block, VisionTransformer


def reference_layer(block: Block, width: int, heads: int) -> nn.TransformerEncoderLayer:
    """torch's own pre-norm encoder layer, with the parameters of ours."""
    layer = nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    names = {
        "norm1": "attention.0",
        "self_attn.in_proj": "attention.1.query_key_value",
        "self_attn.out_proj": "attention.1.out",
        "norm2": "perceptron.0",
        "linear1": "perceptron.1",
        "linear2": "perceptron.3",
    }
    state = block.state_dict()
    own = {
        f"{theirs}{'_' if theirs.endswith('in_proj') else '.'}{part}": state[f"{mine}.{part}"]
        for theirs, mine in names.items()
        for part in ("weight", "bias")
    }
    layer.load_state_dict(own)
    return layer


def randomise(network: nn.Module) -> None:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)


def test_attention_agrees_with_torchs_multi_head_attention() -> None:
    mine = Attention(12, 3).double()
    randomise(mine)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(
        {
            "in_proj_weight": mine.query_key_value.weight,
            "in_proj_bias": mine.query_key_value.bias,
            "out_proj.weight": mine.out.weight,
            "out_proj.bias": mine.out.bias,
        }
    )
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(mine(x), theirs(x, x, x, need_weights=False)[0])


def test_a_block_agrees_with_torchs_encoder_layer() -> None:
    block = Block(12, 3, dropout=0.0).double()
    randomise(block)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(block(x), reference_layer(block, 12, 3)(x))


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize(("side", "patch"), [(28, 4), (28, 7), (32, 4)])
def test_the_whole_network_agrees_with_one_put_together_from_torchs_layers(pool: str, side: int, patch: int) -> None:
    network = VisionTransformer(Shape(3, side, {"class": 5}), 8, 2, 2, dropout=0.0, pool=pool, patch=patch).double()
    randomise(network)
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    state, grid = network.state_dict(), side // patch

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    squares = images.reshape(2, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).reshape(2, grid * grid, -1)
    x = squares @ state["patches.weight"].reshape(8, -1).T + state["patches.bias"] + state["position"]
    if pool == "cls":
        x = torch.cat([state["token"].reshape(1, 1, 8).repeat(2, 1, 1), x], dim=1)
    for block in network.blocks:
        assert isinstance(block, Block)
        x = reference_layer(block, 8, 2)(x)
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    x = x * state["norm.weight"] + state["norm.bias"]
    features = torch.tanh(linear(x[:, 0], "pooler.0")) if pool == "cls" else x.mean(dim=1)
    torch.testing.assert_close(network(images), linear(features, "heads.by_name.class"))


def test_its_options_change_the_count_by_what_they_add(mnist: Shape) -> None:
    width, grid_of_4, grid_of_7 = 64, 7 * 7, 4 * 4
    usual = count_parameters(build("vit", "small", mnist))
    mean = count_parameters(build("vit", "small", mnist, {"pool": "mean"}))
    assert usual - mean == width + width * width + width  # the token and the layer before the heads
    patch = count_parameters(build("vit", "small", mnist, {"patch": 7}))
    assert patch - usual == width * (7 * 7 - 4 * 4) + width * (grid_of_7 - grid_of_4)


def test_dropout_stands_before_and_twice_in_every_block(mnist: Shape) -> None:
    rates = [layer.p for layer in build("vit", "small", mnist).modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.1] * (1 + 2 * 6)


def test_it_starts_narrow_and_without_biases_if_that_is_wanted(mnist: Shape) -> None:
    network = build("vit", "base", mnist, {"init": "trunc_normal_002"})
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" not in name and ".0.weight" not in name:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.25), name


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_positions_start_half_as_large_as_the_patches_they_are_added_to(size: str, mnist: Shape) -> None:
    network = build("vit", size, mnist)
    state = network.state_dict()
    images = torch.randn(64, 1, 28, 28)
    patches = torch.nn.functional.conv2d(images, state["patches.weight"], state["patches.bias"], stride=4)
    assert state["position"].std().item() == pytest.approx(patches.std().item() / 2, rel=0.3)


def test_it_says_that_the_patch_does_not_divide_the_side(cifar10: Shape) -> None:
    with pytest.raises(ValueError, match=r"the image size \(32\) must be a multiple of vit's patch size \(7\)"):
        build("vit", "tiny", cifar10, {"patch": 7})
