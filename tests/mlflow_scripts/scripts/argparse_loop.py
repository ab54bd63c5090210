"""In the style of PyTorch's first example: options of the command line, a loop over batches, an epoch of testing."""

from __future__ import annotations

import argparse

import mlflow
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.dropout = nn.Dropout(0.25)
        self.fc = nn.Linear(4 * 7 * 7, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.max_pool2d(F.relu(self.conv(images)), 2)
        return F.log_softmax(self.fc(torch.flatten(self.dropout(hidden), 1)), dim=1)


def batches(count: int, size: int, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    classes = torch.arange(count) % 10
    images = torch.randn(count, 1, 16, 16) + classes[:, None, None, None] / 5
    return DataLoader(TensorDataset(images, classes), size, shuffle=shuffle)


def train(args: argparse.Namespace, model: Net, loader: DataLoader[tuple[Tensor, ...]], epoch: int) -> None:
    model.train()
    for index, (images, classes) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.nll_loss(model(images), classes)
        loss.backward()
        optimizer.step()
        if index % args.log_interval == 0:
            mlflow.log_metric("train_loss", loss.item(), step=(epoch - 1) * len(loader) + index)


def test(model: Net, loader: DataLoader[tuple[Tensor, ...]], epoch: int) -> None:
    model.eval()
    loss, correct, total = 0.0, 0, 0
    with torch.no_grad():
        for images, classes in loader:
            output = model(images)
            loss += F.nll_loss(output, classes, reduction="sum").item()
            correct += int((output.argmax(1) == classes).sum())
            total += len(classes)
    mlflow.log_metrics({"test_loss": loss / total, "test_accuracy": 100.0 * correct / total}, step=epoch)


parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--lr", type=float, default=1.0)
parser.add_argument("--gamma", type=float, default=0.7)
parser.add_argument("--no-cuda", action="store_true")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--log-interval", type=int, default=2)
args = parser.parse_args()
torch.manual_seed(args.seed)
torch.set_num_threads(1)
model = Net()
optimizer = torch.optim.Adadelta(model.parameters(), lr=args.lr)
scheduler = StepLR(optimizer, step_size=1, gamma=args.gamma)
training, testing = batches(160, args.batch_size, True), batches(80, 40, False)
mlflow.set_experiment("argparse_loop")
mlflow.start_run()
mlflow.log_params(vars(args))
for epoch in range(1, args.epochs + 1):
    train(args, model, training, epoch)
    test(model, testing, epoch)
    scheduler.step()
    mlflow.log_metric("lr", scheduler.get_last_lr()[0], epoch)
torch.save(model.state_dict(), "mnist_cnn.pt")
mlflow.log_artifact("mnist_cnn.pt", artifact_path="weights")
mlflow.pytorch.log_model(model, name="cnn", pip_requirements=["torch"], serialization_format="pickle")
# The run is ended by MLflow itself as the program exits.
