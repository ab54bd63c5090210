"""Autologging of Lightning: a fit with early stopping and checkpoints, then a test, without a logger of its own."""

from __future__ import annotations

import warnings

import lightning
import mlflow
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")


class Line(lightning.LightningModule):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.layer = torch.nn.Linear(4, 1)

    def loss(self, batch: list[Tensor]) -> Tensor:
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layer(inputs), targets)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: list[Tensor], index: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)


lightning.seed_everything(2, verbose=False)
torch.set_num_threads(1)
mlflow.set_experiment("lightning_autolog")
mlflow.pytorch.autolog(log_every_n_epoch=1, log_every_n_step=2, checkpoint_monitor="val_loss")
inputs = torch.randn(48, 4)
data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
trainer = lightning.Trainer(
    max_epochs=4,
    accelerator="cpu",
    logger=False,
    callbacks=[EarlyStopping("val_loss", patience=3)],
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=True,
    log_every_n_steps=1,
)
with mlflow.start_run(run_name="fit"):
    model = Line()
    trainer.fit(model, DataLoader(data, 8), DataLoader(data, 24))
    trainer.test(model, DataLoader(data, 24), verbose=False)
