"""`runyard launch`: queue runs on a running server, one or every size of every family, and wait for them if asked."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from app.cli.api import Api, ApiError, server_address
from app.cli.flags import parameters, read_flags
from app.cli.plan import Plan, Planned, make_plan, read_catalogue
from app.cli.settings import read_settings
from app.cli.wait import Run, wait_for
from app.contract.spec import SpecError

# What /compare draws at once.
MOST_COMPARED = 32
INTERRUPTED = 130

MostParams = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Leave out networks with more parameters, and say which.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until all have ended; status 1 where one did not succeed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None, typer.Option(envvar="RUNYARD_URL", help="The server; left out: that of RUNYARD_HOST and RUNYARD_PORT.")
]


def command() -> Callable[..., None]:
    """The command, with a flag for every field of a run beside its own."""

    def launch(most_params: int | None, wait: bool, as_json: bool, url: str | None, **given: Any) -> None:
        """Launch runs on a running server: every combination of the families, sizes and datasets that are named.

        Ends with status 0 when all were launched and, with --wait, have succeeded; 1 when one did not succeed; 2 when
        not all could be launched.
        """
        try:
            status = _launch(url, given, most_params, wait, as_json)
        except (ApiError, SpecError, ValueError) as error:
            sentences = [each.message for each in error.errors] if isinstance(error, SpecError) else [str(error)]
            for sentence in sentences:
                _tell(sentence)
            raise typer.Exit(2) from error
        raise typer.Exit(status)

    own = [
        Parameter("most_params", Parameter.KEYWORD_ONLY, default=None, annotation=MostParams),
        Parameter("wait", Parameter.KEYWORD_ONLY, default=False, annotation=Wait),
        Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=AsJson),
        Parameter("url", Parameter.KEYWORD_ONLY, default=None, annotation=Url),
    ]
    launch.__signature__ = Signature([*parameters(), *own])  # type: ignore[attr-defined]
    launch.__annotations__ = {}
    return launch


def _launch(url: str | None, given: dict[str, Any], most_params: int | None, wait: bool, as_json: bool) -> int:
    said = read_flags(given)
    api = Api(url or server_address(read_settings()))
    plan = make_plan(said, read_catalogue(api.get("/architectures")), most_params)
    _check_networks(api, plan)
    if plan.too_large:
        left_out = ", ".join(f"{each.title} ({each.params:,})" for each in plan.too_large)
        _tell(f"left out, with more than {most_params:,} parameters: {left_out}")
    if not plan.runs:
        raise ValueError("no run is left to launch; a higher --most-params leaves fewer out")
    launched = _post(api, plan)
    if not as_json:
        _show(api, launched)
    if not wait:
        if as_json:
            print(json.dumps(_as_json(api, launched, plan)))
        return 0
    ended: dict[str, Run] = {}
    try:
        for run in wait_for(api, [each["id"] for each in launched]):
            ended[run["id"]] = run
            if not as_json:
                print(_line(run, api.address), flush=True)
    except KeyboardInterrupt:
        _tell("not waiting any longer; the runs go on")
        return INTERRUPTED
    if as_json:
        print(json.dumps(_as_json(api, [ended[each["id"]] for each in launched], plan)))
    return 0 if all(run["status"] == "succeeded" for run in ended.values()) else 1


def _check_networks(api: Api, plan: Plan) -> None:
    """Ask for a preview where an option was chosen: only that makes a network that cannot take its dataset's images."""
    for each in plan.runs:
        if each.spec.options:
            try:
                api.post("/preview", _body(each))
            except ApiError as error:
                # Without a preview the server judges at the launch.
                if error.status not in (404, 405, 503):
                    raise


def _post(api: Api, plan: Plan) -> list[Run]:
    token = secrets.token_urlsafe(16)
    launched: list[Run] = []
    try:
        for number, each in enumerate(plan.runs):
            launched.append(api.post("/runs", _body(each), key=f"{token}-{number}"))
    except ApiError:
        if launched:
            _show(api, launched, sys.stderr)
            _tell(f"only {len(launched)} of {len(plan.runs)} runs were launched")
        raise
    return launched


def _body(planned: Planned) -> dict[str, Any]:
    return planned.spec.model_dump(mode="json", exclude_unset=True)


# What is printed -----------------------------------------------------------------------------------------------------


def _tell(sentence: str) -> None:
    print(f"runyard: {sentence}", file=sys.stderr)


def _show(api: Api, launched: Sequence[Run], file: Any = None) -> None:
    width = max(len(_name(run)) for run in launched)
    for run in launched:
        # Known beforehand of a network with the dataset's first target and no option chosen.
        params = f"{run['params']:>11,} parameters" if run["params"] is not None else " " * 22
        print(f"{_name(run):{width}} {params}  {api.address}{run['url']}", file=file)
    if len(launched) > 1:
        print("".join(f"{word}: {link}\n" for word, link in _links(api, launched).items()), end="", file=file)


def _links(api: Api, runs: Sequence[Run]) -> dict[str, str]:
    """Where the runs stand together: by their tags, and compared."""
    found = {}
    if runs[0].get("tags"):
        found["together"] = f"{api.address}/runs?{urlencode({'tag': runs[0]['tags']}, doseq=True)}"
    if 1 < len(runs) <= MOST_COMPARED:
        found["compared"] = f"{api.address}/compare?runs={','.join(run['id'] for run in runs)}"
    return found


def _as_json(api: Api, runs: Sequence[Run], plan: Plan) -> dict[str, Any]:
    left_out = [
        {"family": each.config.family, "size": each.config.size, "dataset": each.config.dataset, "params": each.params}
        for each in plan.too_large
    ]
    return {"runs": list(runs), "links": _links(api, runs), "left_out": left_out}


def _name(run: Run) -> str:
    spec = run["spec"]
    return f"{spec['family']} {spec['size']} · {spec['dataset']}"


def _line(run: Run, address: str) -> str:
    """An ended run in a line: how it ended, what it reached, how long it took."""
    if run["status"] == "deleted":
        return f"{'deleted':9}  run {run['id']}"
    said = [f"{run['status']:9}", _name(run)]
    if run["status"] == "succeeded":
        reached = [(name, each["last"]) for name, each in run["summary"].items() if name.startswith("test/")]
        said += [f"{name} {value:.4f}" for name, value in reached if name.endswith("/acc") and value is not None]
    elif run["reason"]:
        said.append(run["reason"])
    if run["seconds"] is not None:
        said.append(f"{run['seconds']:.1f} s")
    return "  ".join([*said, f"{address}{run['url']}"])
