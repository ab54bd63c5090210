"""Lightning's own MLFlowLogger, which logs checkpoints too: the best one at the end, or each as it is saved."""

from __future__ import annotations

import os
import warnings
from typing import Literal

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from torch import Tensor
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")


class Line(lightning.LightningModule):
    def __init__(self, lr: float = 0.1, layers: tuple[int, ...] = (4, 1)) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.layer = torch.nn.Linear(*layers)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)


def fit(name: str, log_model: Literal[True, False, "all"], prefix: str) -> None:
    lightning.seed_everything(4, verbose=False)
    logger = MLFlowLogger(
        "lightning_logger",
        run_name=name,
        tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
        tags={"logger": "lightning"},
        log_model=log_model,
        prefix=prefix,
    )
    saved = ModelCheckpoint("checkpoints/" + name, monitor="val/loss", save_top_k=1, auto_insert_metric_name=False)
    trainer = lightning.Trainer(
        max_epochs=3,
        logger=logger,
        log_every_n_steps=1,
        accelerator="cpu",
        callbacks=[saved],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(torch.randn(16, 4), batch_size=4)
    trainer.fit(Line(), data, data)


torch.set_num_threads(1)
fit("best", True, "")
fit("all", "all", "line")
