"""`runyard launch`: queues a run for every combination of values on a running server, and can wait for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from app.cli.client import INTERRUPTED, Url, connected, warn
from app.cli.flags import parameters, read_flags
from app.cli.launch_plan import Plan, Planned, include_own_datasets, make_plan, read_catalog
from app.cli.output import AsJson, print_json, run_line, run_name
from app.cli.wait import Run, wait_for

if TYPE_CHECKING:
    from runyard import Runyard, Sweep

# The limit of the compare page.
MAX_COMPARED = 50
LINK_LABELS = {"sweep": "sweep", "together": "runs", "compared": "comparison"}

Seeds = Annotated[
    int,
    typer.Option(min=1, max=1000, metavar="N", help="Number of seeds (runs per configuration), starting at --seed."),
]
MostParams = Annotated[int | None, typer.Option(min=1, metavar="N", help="Skip networks with more than N parameters.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until all runs have ended; exit status 1 unless all succeed.")]
Watch = Annotated[bool, typer.Option("--watch", help="Like --wait, but also draw the curves in the terminal.")]


def command() -> Callable[..., None]:
    """Create the command, with a flag for every field of a run in addition to its own flags."""

    def launch(
        seeds: int, most_params: int | None, wait: bool, watch: bool, as_json: bool, url: str | None, **given: Any
    ) -> None:
        """Launch runs: one for every combination of comma-separated values. Several runs form a sweep.

        With --wait or --watch, the exit status is 0 if all runs succeed, else 1.

        If a launch fails, the exit status is 2 and the runs that were already launched are listed.
        """
        with connected(url, status=2) as yard:
            plan = _make_plan(yard, read_flags(given), most_params, seeds)
            sweep, launched = _post(yard, plan)
            if not as_json:
                _show(yard, launched, sweep)
            elif not (wait or watch):
                print_json(_as_json(yard, launched, sweep, plan))
            if not (wait or watch):
                _explain_waiting(yard, [run["id"] for run in launched])
                return
            ended = _follow(yard, launched, watch and not as_json, quiet=as_json)
            if ended is None:
                ids = " ".join(["--sweep", sweep.id] if sweep else [run["id"] for run in launched])
                warn(f"stopped waiting; the runs continue (stop them with `runyard cancel {ids}`)")
                raise typer.Exit(INTERRUPTED)
            if as_json:
                print_json(_as_json(yard, [ended[run["id"]] for run in launched], sweep, plan))
            raise typer.Exit(0 if all(run["status"] == "succeeded" for run in ended.values()) else 1)

    own = {
        "seeds": (Seeds, 1),
        "most_params": (MostParams, None),
        "wait": (Wait, False),
        "watch": (Watch, False),
        "as_json": (AsJson, False),
        "url": (Url, None),
    }
    keywords = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in own.items()
    ]
    launch.__signature__ = Signature([*parameters(), *keywords])  # type: ignore[attr-defined]
    launch.__annotations__ = {}
    return launch


def _make_plan(yard: Runyard, fields: dict[str, Any], most_params: int | None, seeds: int) -> Plan:
    """Plan the runs and check all of them. Raises SpecError, ValueError and RunyardError."""
    include_own_datasets(yard, fields.get("dataset") or [])
    plan = make_plan(fields, read_catalog(yard.ask("GET", "/architectures")), most_params, seeds)
    _check_networks(yard, plan)
    if plan.too_large:
        left_out = dict.fromkeys(f"{planned.title} ({planned.params:,})" for planned in plan.too_large)
        warn(f"skipped networks with more than {most_params:,} parameters: {', '.join(left_out)}")
    if not plan.runs:
        raise ValueError("no runs to launch: all networks exceed --most-params")
    return plan


def _check_networks(yard: Runyard, plan: Plan) -> None:
    """Preview networks with options: only an option can make a network that does not fit the dataset's images."""
    from runyard import RunyardError

    for planned in plan.runs:
        # The network does not depend on the seed.
        if planned.spec.options and planned.spec.seed == plan.runs[0].spec.seed:
            try:
                yard.preview(**_body(planned))
            except RunyardError as error:
                # Without a preview, the server checks at the launch.
                if error.status not in (404, 405, 503):
                    raise


def _post(yard: Runyard, plan: Plan) -> tuple[Sweep | None, list[Run]]:
    """Launch the runs, as a sweep if they are every combination of some values."""
    from runyard import RunyardError

    body = plan.sweep()
    if body is not None:
        sweep = yard.sweep(**body)
        return sweep, _sweep_runs(yard, sweep)
    launched: list[Run] = []
    try:
        for planned in plan.runs:
            launched.append(yard.launch(**_body(planned)).data)
    except RunyardError:
        if launched:
            _show(yard, launched, None, sys.stderr)
            warn(f"launched only {len(launched)} of {len(plan.runs)} runs")
        raise
    return None, launched


def _sweep_runs(yard: Runyard, sweep: Sweep) -> list[Run]:
    """Return the runs of a sweep, in its order."""
    newest = {run.id: run.data for run in yard.runs(limit=len(sweep.runs))}
    return [newest.get(run_id) or yard.run(run_id).data for run_id in sweep.runs]


def _follow(yard: Runyard, launched: Sequence[Run], draw: bool, quiet: bool) -> dict[str, Run] | None:
    """Wait until the runs have ended and return them by id; None after Ctrl-C."""
    ids = [run["id"] for run in launched]
    ended: dict[str, Run] = {}
    try:
        _explain_waiting(yard, ids)
        if draw:
            from app.cli.watch import watch_runs

            return watch_runs(yard, ids)
        for run in wait_for(yard, ids):
            ended[run["id"]] = run
            if not quiet:
                print(run_line(run, yard.url), flush=True)
    except KeyboardInterrupt:  # the caller prints a message, and the runs continue
        return None
    return ended


def _explain_waiting(yard: Runyard, ids: Sequence[str]) -> None:
    """Print why the first run without an expected start waits: a paused queue, or no suitable worker."""
    from runyard import RunyardError

    try:
        queue = yard.queue()
    except RunyardError as error:
        # The runs are launched all the same.
        warn(f"cannot tell when the runs start: {error}")
        return
    blocked = next(
        (entry for entry in queue["runs"] if entry["run"]["id"] in ids and not entry["expected_start"]), None
    )
    if queue["paused"]:
        warn("the queue is paused; resume it with `runyard queue resume`")
    elif blocked is not None:
        warn(f"#{blocked['run']['number']} is waiting: {blocked['why']}")


def _body(planned: Planned) -> dict[str, Any]:
    return planned.spec.model_dump(mode="json", exclude_unset=True)


# Output --------------------------------------------------------------------------------------------------------------


def _show(yard: Runyard, launched: Sequence[Run], sweep: Sweep | None, file: Any = None) -> None:
    width = max(len(run_name(run)) for run in launched)
    for run in launched:
        # Known before training for a network without options and with the dataset's first target.
        params = f"{run['params']:>11,} parameters" if run["params"] is not None else " " * 22
        print(f"{run_name(run):{width}} {params}  {yard.url}{run['url']}", file=file)
    if len(launched) > 1:
        for name, link in _links(yard, launched, sweep).items():
            print(f"{LINK_LABELS[name]}: {link}", file=file)


def _links(yard: Runyard, runs: Sequence[Run], sweep: Sweep | None) -> dict[str, str]:
    """Return the pages that show the runs together: sweep, tags, comparison."""
    links = {"sweep": sweep.url} if sweep else {}
    if runs[0].get("tags"):
        links["together"] = f"{yard.url}/runs?{urlencode({'tag': runs[0]['tags']}, doseq=True)}"
    if 1 < len(runs) <= MAX_COMPARED:
        # Several seeds are shown as means.
        by = "&by=variant" if len({run.get("spec", {}).get("seed") for run in runs}) > 1 else ""
        links["compared"] = f"{yard.url}/compare?runs={','.join(run['id'] for run in runs)}{by}"
    return links


def _as_json(yard: Runyard, runs: Sequence[Run], sweep: Sweep | None, plan: Plan) -> dict[str, Any]:
    left_out = [
        {"family": run.config.family, "size": run.config.size, "dataset": run.config.dataset, "params": run.params}
        for run in plan.too_large
    ]
    return {
        "runs": list(runs),
        "sweep": sweep.data if sweep else None,
        "links": _links(yard, runs, sweep),
        "left_out": left_out,
    }
