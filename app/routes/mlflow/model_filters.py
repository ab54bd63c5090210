"""Filters and orders of models that scripts log and of registered models, as SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.contract.errors import Invalid
from app.routes.mlflow.filters import Column, Sql, Term, attribute_condition, order_entry, terms_of, text_entry

PROMPT = "mlflow.prompt.is_prompt"
"""Tag of prompts, which Runyard does not have. Clients search models without it, also those without any tag."""
_COMPARISONS = ("<", "<=", ">", ">=", "=", "!=")


@dataclass(frozen=True)
class Searchable:
    """What can be searched. ``entries``: by kind, SQL that gives the keys and values of each.

    ``order``: SQL that comes after the requested orders. ``metrics``: SQL of the metrics of each, if it has any.
    """

    noun: str
    columns: Mapping[str, Column]
    entries: Mapping[str, str]
    order: str
    metrics: str = ""

    def kinds(self) -> str:
        """Prefixes of names that can be searched."""
        return ", ".join([*self.entries, *(["metrics"] if self.metrics else []), "attributes"])


LOGGED_MODELS = Searchable(
    "logged models",
    {
        "name": Column("name"),
        "model_id": Column("id"),
        "model_type": Column("kind"),
        "status": Column("status"),
        "source_run_id": Column("run"),
        "experiment_id": Column("CAST(experiment AS TEXT)"),
        "creation_timestamp": Column("created_at * 1000", True),
        "creation_time": Column("created_at * 1000", True),
        "creation_timestamp_ms": Column("created_at * 1000", True),
        "last_updated_timestamp": Column("updated_at * 1000", True),
        "last_updated_timestamp_ms": Column("updated_at * 1000", True),
    },
    {"tags": "json_each(logged_model.tags)", "params": "json_each(logged_model.parameters)"},
    "created_at DESC, id",
    "FROM model_metric t WHERE t.model = logged_model.id",
)
REGISTERED_MODELS = Searchable(
    "registered models",
    {
        "name": Column("name"),
        "creation_timestamp": Column("created_at * 1000", True),
        "last_updated_timestamp": Column("updated_at * 1000", True),
    },
    {"tags": "json_each(r.tags)"},
    "name",
)
VERSIONS = Searchable(
    "versions",
    {
        "name": Column("r.name"),
        "version_number": Column("v.version", True),
        "run_id": Column("v.run"),
        "source_path": Column("v.source"),
        "creation_timestamp": Column("v.created_at * 1000", True),
        "last_updated_timestamp": Column("v.updated_at * 1000", True),
    },
    {"tags": "json_each(v.tags)"},
    "v.updated_at DESC, r.name, v.version DESC",
)


@dataclass(frozen=True)
class OfDataset:
    """Metrics on datasets with this name and digest; blank ones match all."""

    name: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Order:
    """An order such as "metrics.acc DESC", on the metrics of a dataset."""

    entry: str
    dataset: OfDataset = field(default_factory=OfDataset)


def condition(what: Searchable, filter_text: str, sql: Sql, datasets: Sequence[OfDataset] = ()) -> str:
    """Return the SQL condition of a filter; metrics count if they are on one of the datasets, if there are any."""
    conditions = []
    for term in terms_of(filter_text, what.columns):
        if term.kind == "attributes":
            conditions.append(attribute_condition(term, sql, what.columns[term.key]))
        elif term.kind == "metrics" and what.metrics:
            conditions.append(_metric(term, sql, what.metrics, datasets))
        elif term.kind == "tags" and term.key == PROMPT:
            conditions.append("FALSE" if (term.how, term.value) == ("=", "true") else "TRUE")
        elif term.kind in what.entries:
            conditions.append(text_entry(term, sql, what.entries[term.kind]))
        else:
            raise Invalid(f"{what.noun} have no {term.kind}; search: {what.kinds()}")
    return " AND ".join(conditions) or "TRUE"


def _metric(term: Term, sql: Sql, source: str, datasets: Sequence[OfDataset]) -> str:
    if term.how not in _COMPARISONS or not isinstance(term.value, float):
        raise Invalid(f"metric '{term.key[:60]}' can only be compared with a number, using = != < <= > >=")
    query = f"SELECT 1 {source} AND t.name = {sql.bind(term.key)} AND t.value {term.how} {sql.bind(term.value)}"
    if datasets:
        query += f" AND ({' OR '.join(_dataset(each, sql) for each in datasets)})"
    return f"EXISTS ({query})"


def _dataset(dataset: OfDataset, sql: Sql) -> str:
    conditions = ["TRUE"]
    if dataset.name:
        conditions.append(f"t.dataset_name = {sql.bind(dataset.name)}")
    if dataset.digest:
        conditions.append(f"t.dataset_digest = {sql.bind(dataset.digest)}")
    return " AND ".join(conditions)


def order(what: Searchable, orders: Sequence[Order], sql: Sql) -> str:
    """Return the SQL of orders; what has no value comes last."""
    result = []
    for each in orders:
        kind, key, direction = order_entry(each.entry, what.columns)
        if kind == "attributes":
            value = f"({what.columns[key].expression})"
        elif kind == "metrics" and what.metrics:
            newest = f"{what.metrics} AND t.name = {sql.bind(key)} AND {_dataset(each.dataset, sql)}"
            value = f"(SELECT t.value {newest} ORDER BY t.at DESC, t.step DESC LIMIT 1)"
        elif kind in what.entries:
            value = f"(SELECT t.value FROM {what.entries[kind]} t WHERE t.key = {sql.bind(key)})"
        else:
            raise Invalid(f"{what.noun} have no {kind}; order by: {what.kinds()}")
        result.append(f"{value} IS NULL, {value} {direction}")
    return ", ".join([*result, what.order])
