import torch
from torch import Tensor

from models._heads import Heads


def test_one_head_answers_with_a_tensor() -> None:
    logits = Heads(4, {"digit": 10})(torch.randn(3, 4))
    assert isinstance(logits, Tensor)
    assert logits.shape == (3, 10)


def test_several_heads_answer_in_their_order_each_with_its_own_layer() -> None:
    heads = Heads(4, {"digit": 10, "thickness": 5, "class": 3})
    features = torch.randn(2, 4)
    logits = heads(features)
    assert list(logits) == ["digit", "thickness", "class"]
    state = heads.state_dict()
    for name, values in logits.items():
        expected = features @ state[f"by_name.{name}.weight"].T + state[f"by_name.{name}.bias"]
        torch.testing.assert_close(values, expected)
