"""`runyard launch`: queue runs on a running server, every combination of what is named, and follow them if asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from app.cli.client import INTERRUPTED, Url, tell, told
from app.cli.flags import parameters, read_flags
from app.cli.launch_plan import Plan, Planned, make_plan, read_catalog
from app.cli.output import AsJson, print_json, run_line, run_name
from app.cli.wait import Run, wait_for

if TYPE_CHECKING:
    from runyard import Runyard, Sweep

# What /compare draws at once.
MOST_COMPARED = 50

Seeds = Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="So many runs of each, from --seed on.")]
MostParams = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Leave out networks with more parameters, and say which.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until all have ended; status 1 where one did not succeed.")]
Watch = Annotated[bool, typer.Option("--watch", help="The same, and in a terminal draw their curves meanwhile.")]


def command() -> Callable[..., None]:
    """The command, with a flag for every field of a run beside its own."""

    def launch(
        seeds: int, most_params: int | None, wait: bool, watch: bool, as_json: bool, url: str | None, **given: Any
    ) -> None:
        """Launch runs on a running server: every combination of the values that are named, by comma.

        Several runs are one sweep. With --wait or --watch the status is 0 if all succeeded, else 1.

        It is 2 when not all could be launched, and then those that were are named.
        """
        with told(url, status=2) as yard:
            plan = _planned(yard, read_flags(given), most_params, seeds)
            sweep, launched = _post(yard, plan)
            if not as_json:
                _show(yard, launched, sweep)
            elif not (wait or watch):
                print_json(_as_json(yard, launched, sweep, plan))
            if not (wait or watch):
                return
            ended = _follow(yard, launched, watch and not as_json, quiet=as_json)
            if ended is None:
                ids = " ".join(["--sweep", sweep.id] if sweep else [run["id"] for run in launched])
                tell(f"not waiting any longer; the runs go on (`runyard cancel {ids}` stops them)")
                raise typer.Exit(INTERRUPTED)
            if as_json:
                print_json(_as_json(yard, [ended[each["id"]] for each in launched], sweep, plan))
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


def _planned(yard: Runyard, said: dict[str, Any], most_params: int | None, seeds: int) -> Plan:
    """What is launched, every run of it checked. Raises SpecError, ValueError and RunyardError."""
    plan = make_plan(said, read_catalog(yard.ask("GET", "/architectures")), most_params, seeds)
    _check_networks(yard, plan)
    if plan.too_large:
        left_out = dict.fromkeys(f"{each.title} ({each.params:,})" for each in plan.too_large)
        tell(f"left out, with more than {most_params:,} parameters: {', '.join(left_out)}")
    if not plan.runs:
        raise ValueError("no run is left to launch; a higher --most-params leaves fewer out")
    return plan


def _check_networks(yard: Runyard, plan: Plan) -> None:
    """Ask for a preview where an option was chosen: only that makes a network that cannot take its dataset's images."""
    from runyard import RunyardError

    for each in plan.runs:
        # The seed makes no other network.
        if each.spec.options and each.spec.seed == plan.runs[0].spec.seed:
            try:
                yard.preview(**_body(each))
            except RunyardError as error:
                # Without a preview the server judges at the launch.
                if error.status not in (404, 405, 503):
                    raise


def _post(yard: Runyard, plan: Plan) -> tuple[Sweep | None, list[Run]]:
    """The runs, as one sweep where they are every combination of some values."""
    from runyard import RunyardError

    body = plan.sweep()
    if body is not None:
        sweep = yard.sweep(**body)
        return sweep, _runs_of(yard, sweep)
    launched: list[Run] = []
    try:
        for each in plan.runs:
            launched.append(yard.launch(**_body(each)).data)
    except RunyardError:
        if launched:
            _show(yard, launched, None, sys.stderr)
            tell(f"only {len(launched)} of {len(plan.runs)} runs were launched")
        raise
    return None, launched


def _runs_of(yard: Runyard, sweep: Sweep) -> list[Run]:
    """The runs that a sweep has launched, in its order."""
    newest = {run.id: run.data for run in yard.runs(limit=len(sweep.runs))}
    return [newest.get(run_id) or yard.run(run_id).data for run_id in sweep.runs]


def _follow(yard: Runyard, launched: Sequence[Run], drawn: bool, quiet: bool) -> dict[str, Run] | None:
    """The runs once they have ended, by id; None after Ctrl-C."""
    ids = [each["id"] for each in launched]
    ended: dict[str, Run] = {}
    try:
        _tell_what_holds(yard, ids)
        if drawn:
            from app.cli.watch import watch_runs

            return watch_runs(yard, ids)
        for run in wait_for(yard, ids):
            ended[run["id"]] = run
            if not quiet:
                print(run_line(run, yard.url), flush=True)
    except KeyboardInterrupt:  # who waits goes away, and the runs go on: the caller says so
        return None
    return ended


def _tell_what_holds(yard: Runyard, ids: Sequence[str]) -> None:
    """Say why the first of the runs waits where nobody knows until when: a pause, or no worker that would take it."""
    said = yard.queue()
    first = next((each for each in said["runs"] if each["run"]["id"] in ids and not each["expected_start"]), None)
    if said["paused"]:
        tell("the queue is paused: no run starts (`runyard queue resume`)")
    elif first is not None:
        tell(f"#{first['run']['number']} waits: {first['why']}")


def _body(planned: Planned) -> dict[str, Any]:
    return planned.spec.model_dump(mode="json", exclude_unset=True)


# What is printed -----------------------------------------------------------------------------------------------------


def _show(yard: Runyard, launched: Sequence[Run], sweep: Sweep | None, file: Any = None) -> None:
    width = max(len(run_name(run)) for run in launched)
    for run in launched:
        # Known beforehand of a network with the dataset's first target and no option chosen.
        params = f"{run['params']:>11,} parameters" if run["params"] is not None else " " * 22
        print(f"{run_name(run):{width}} {params}  {yard.url}{run['url']}", file=file)
    if len(launched) > 1:
        print("".join(f"{word}: {link}\n" for word, link in _links(yard, launched, sweep).items()), end="", file=file)


def _links(yard: Runyard, runs: Sequence[Run], sweep: Sweep | None) -> dict[str, str]:
    """Where the runs stand together: as a sweep, by their tags, and compared."""
    found = {"sweep": sweep.url} if sweep else {}
    if runs[0].get("tags"):
        found["together"] = f"{yard.url}/runs?{urlencode({'tag': runs[0]['tags']}, doseq=True)}"
    if 1 < len(runs) <= MOST_COMPARED:
        # Means over the seeds, where there are several.
        by = "&by=variant" if len({run.get("spec", {}).get("seed") for run in runs}) > 1 else ""
        found["compared"] = f"{yard.url}/compare?runs={','.join(run['id'] for run in runs)}{by}"
    return found


def _as_json(yard: Runyard, runs: Sequence[Run], sweep: Sweep | None, plan: Plan) -> dict[str, Any]:
    left_out = [
        {"family": each.config.family, "size": each.config.size, "dataset": each.config.dataset, "params": each.params}
        for each in plan.too_large
    ]
    return {
        "runs": list(runs),
        "sweep": sweep.data if sweep else None,
        "links": _links(yard, runs, sweep),
        "left_out": left_out,
    }
