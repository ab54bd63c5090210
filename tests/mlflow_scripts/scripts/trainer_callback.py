"""In the style of the Trainer of transformers: arguments, a state, and a callback that keeps MLflow's limits."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

import mlflow
import torch
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH


@dataclass
class Arguments:
    output_dir: str = "results"
    run_name: str = "tiny classifier"
    learning_rate: float = 5e-2
    num_train_epochs: int = 2
    per_device_train_batch_size: int = 8
    logging_steps: int = 3
    save_steps: int = 5
    label_names: list[str] = field(default_factory=lambda: ["labels"])
    fsdp_config: dict[str, Any] = field(default_factory=lambda: {"min_num_params": 0, "xla": False})
    report_to: list[str] = field(default_factory=lambda: ["mlflow"])
    deepspeed: str | None = None


@dataclass
class State:
    global_step: int = 0
    epoch: float = 0.0


class LogToMlflow:
    def setup(self, args: Arguments, model: torch.nn.Module) -> None:
        mlflow.set_experiment("trainer_callback")
        if mlflow.active_run() is None:
            mlflow.start_run(run_name=args.run_name, nested=os.environ.get("MLFLOW_NESTED_RUN") == "TRUE")
        configuration = {f"config/{name}": value for name, value in vars(model).items() if not name.startswith("_")}
        combined = asdict(args) | configuration | {f"label2id/{i}": i for i in range(150)} | {"prompt": "long " * 1500}
        items = [(name, value) for name, value in combined.items() if len(str(value)) <= MAX_PARAM_VAL_LENGTH]
        for start in range(0, len(items), MAX_PARAMS_TAGS_PER_BATCH):
            mlflow.log_params(dict(items[start : start + MAX_PARAMS_TAGS_PER_BATCH]))
        mlflow.set_tags({"transformers.version": "none", "dropped": ",".join(combined.keys() - dict(items).keys())})

    def on_log(self, state: State, logs: dict[str, Any]) -> None:
        metrics = {}
        for name, value in logs.items():
            if isinstance(value, int | float):
                metrics[name] = value
            elif isinstance(value, torch.Tensor) and value.numel() == 1:
                metrics[name] = value.item()
        mlflow.log_metrics(metrics, step=state.global_step, synchronous=False)

    def on_save(self, args: Arguments, state: State) -> None:
        name = f"checkpoint-{state.global_step}"
        mlflow.log_artifacts(os.path.join(args.output_dir, name), artifact_path=name)

    def on_train_end(self) -> None:
        mlflow.flush_async_logging()
        mlflow.end_run()


def train(args: Arguments, model: torch.nn.Module, callback: LogToMlflow) -> None:
    state = State()
    inputs, labels = torch.randn(64, 6), torch.arange(64) % 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)
    callback.setup(args, model)
    steps = len(inputs) // args.per_device_train_batch_size
    for epoch in range(args.num_train_epochs):
        for index in range(steps):
            rows = slice(index * args.per_device_train_batch_size, (index + 1) * args.per_device_train_batch_size)
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            state.global_step += 1
            state.epoch = epoch + (index + 1) / steps
            if state.global_step % args.logging_steps == 0:
                logs = {"loss": loss.item(), "grad_norm": norm, "epoch": state.epoch, "note": "not a number"}
                callback.on_log(state, logs)
            if state.global_step % args.save_steps == 0:
                folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
                os.makedirs(folder)
                torch.save(model.state_dict(), os.path.join(folder, "pytorch_model.bin"))
                torch.save(optimizer.state_dict(), os.path.join(folder, "optimizer.pt"))
                callback.on_save(args, state)
        with torch.no_grad():
            accuracy = (model(inputs).argmax(1) == labels).float().mean()
        callback.on_log(state, {"eval_accuracy": accuracy, "epoch": state.epoch})
    callback.on_train_end()


torch.manual_seed(6)
torch.set_num_threads(1)
train(Arguments(), torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.GELU(), torch.nn.Linear(12, 3)), LogToMlflow())
