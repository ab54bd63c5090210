"""In the style of a hyperparameter search: a study is a run, each of its trials a run within it, pruned ones too."""

from __future__ import annotations

import mlflow
import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
mlflow.set_experiment("optuna_study")


def objective(trial: optuna.Trial) -> float:
    with mlflow.start_run(run_name=f"trial-{trial.number}", nested=True):
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        layers = trial.suggest_int("layers", 1, 3)
        activation = trial.suggest_categorical("activation", ["relu", "gelu"])
        mlflow.log_params(trial.params)
        loss = 1.0
        for step in range(4):
            loss = loss * 0.8 + abs(lr - 0.01) * layers / 10 + (0.01 if activation == "relu" else 0.0)
            mlflow.log_metric("loss", loss, step=step)
            trial.report(loss, step)
            if trial.should_prune():
                mlflow.set_tag("pruned", "true")
                mlflow.end_run("KILLED")
                raise optuna.TrialPruned
        return loss


with mlflow.start_run(run_name="study") as parent:
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=5), pruner=optuna.pruners.MedianPruner(n_startup_trials=2)
    )
    study.optimize(objective, n_trials=6)
    mlflow.log_params({f"best_{name}": value for name, value in study.best_params.items()})
    mlflow.log_metric("best_loss", study.best_value)
    mlflow.set_tags({"best_trial": study.best_trial.number, "trials": len(study.trials)})
    mlflow.log_dict(study.best_params, "best_params.json")

children = mlflow.search_runs(
    experiment_names=["optuna_study"],
    filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}' AND attributes.status = 'FINISHED'",
    order_by=["metrics.loss ASC"],
    output_format="list",
)
mlflow.MlflowClient().set_tag(parent.info.run_id, "best_by_search", children[0].info.run_name)
