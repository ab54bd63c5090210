"""The Trainer of transformers with its own callback for MLflow, on a network with random weights."""

from __future__ import annotations

import os

os.environ |= {"HF_MLFLOW_LOG_ARTIFACTS": "1", "MLFLOW_EXPERIMENT_NAME": "transformers_trainer", "HF_HUB_OFFLINE": "1"}

import mlflow
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

set_seed(8)
torch.set_num_threads(1)
words = torch.randint(0, 50, (32, 8))
rows = [{"input_ids": each, "labels": int(each[0] > 25)} for each in words]
config = BertConfig(
    vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2
)
arguments = TrainingArguments(
    output_dir="results",
    run_name="tiny bert",
    num_train_epochs=2,
    per_device_train_batch_size=8,
    learning_rate=0.01,
    logging_steps=2,
    eval_strategy="epoch",
    save_strategy="epoch",
    report_to=["mlflow"],
    use_cpu=True,
    disable_tqdm=True,
    seed=8,
)
trainer = Trainer(
    model=BertForSequenceClassification(config), args=arguments, train_dataset=rows, eval_dataset=rows[:16]
)
trainer.train()
trainer.evaluate()
mlflow.flush_async_logging()
mlflow.end_run()
