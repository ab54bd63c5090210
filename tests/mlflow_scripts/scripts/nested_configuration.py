"""In the style of OmegaConf and Hydra: a tree of settings, overridden by words, flattened into parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
from omegaconf import DictConfig, OmegaConf

DEFAULTS = """
model: {name: mlp, layers: [64, 32], dropout: 0.1}
optimizer: {name: sgd, lr: 0.05, momentum: 0.9, nesterov: true}
data: {root: null, batch: 16, augment: {flip: true, crop: 4}}
trainer: {epochs: 3, name: "${model.name}-${optimizer.name}"}
"""


def flattened(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flattened(value, f"{prefix}.{key}" if prefix else key)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from flattened(value, f"{prefix}.{index}")
    else:
        yield prefix, tree


def main(config: DictConfig) -> float:
    mlflow.set_experiment("nested_configuration")
    with mlflow.start_run(run_name=config.trainer.name):
        plain = OmegaConf.to_container(config, resolve=True)
        mlflow.log_params(dict(flattened(plain)))
        mlflow.log_dict(plain, "config.yaml")
        mlflow.log_text(OmegaConf.to_yaml(config), ".hydra/config.yaml")
        loss = 1.0
        for epoch in range(config.trainer.epochs):
            loss *= 1 - config.optimizer.lr * config.optimizer.momentum
            mlflow.log_metrics({"train/loss": loss, "train/lr": config.optimizer.lr}, step=epoch)
        mlflow.log_metric("objective", loss)
    return loss


if __name__ == "__main__":
    words = ["optimizer.lr=0.1", "data.augment.crop=2", "+tag=multirun"]
    for lr in (0.1, 0.2):
        overrides = OmegaConf.from_dotlist([*(word.removeprefix("+") for word in words), f"optimizer.lr={lr}"])
        merged = OmegaConf.merge(OmegaConf.create(DEFAULTS), overrides)
        assert isinstance(merged, DictConfig)
        main(merged)
