"""Autologging of plain PyTorch: what a loop writes to TensorBoard is logged, then the model with its signature."""

from __future__ import annotations

import mlflow
import torch
from mlflow.models import infer_signature
from torch.utils.tensorboard import SummaryWriter

torch.manual_seed(0)
torch.set_num_threads(1)
mlflow.set_experiment("pytorch_autolog")
mlflow.pytorch.autolog()
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
inputs = torch.randn(32, 4)
targets = inputs.sum(1, keepdim=True)
with mlflow.start_run(run_name="loop"), SummaryWriter("tensorboard") as writer:
    for step in range(20):
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        writer.add_scalar("norm", model[0].weight.norm().item(), step)
    writer.add_hparams({"lr": 0.01, "width": 8}, {"final": loss.item()})
    writer.flush()
    signature = infer_signature(inputs.numpy(), model(inputs).detach().numpy())
    mlflow.pytorch.log_model(
        model, name="mlp", signature=signature, step=20, pip_requirements=["torch"], serialization_format="pickle"
    )
    mlflow.pytorch.log_state_dict(model.state_dict(), artifact_path="state")
