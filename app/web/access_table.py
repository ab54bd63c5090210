"""What each route needs, and what the audit log calls it: the one place that says who may do what.

A line has methods, a path, what the route needs, and for a change that is written to the audit log the name of the
action; with ``:new``, only if the route notes that something has begun, since a run is logged in many parts. What a run
logs of itself, points and files, is not written. ``{}`` stands for one segment, ``**`` for the rest of a path; the more
specific line counts. Without a line, a route is served to nobody who has to sign in
(docs/decisions/0056-people-and-permissions.md).

``open`` needs nothing, ``read`` is for everyone who signed in, ``log`` is for programs that log runs, ``log-read`` for
what these must read, ``launch`` for all changes by members, ``admin`` for administrators, ``account`` for oneself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from app.contract.people import Permission

Need = Literal[Permission, "open"]
NEEDS: Final = ("open", *get_args(Permission))

PAGES: Final = """
GET      /healthz                                 open
GET      /static/**                               open
GET|POST /sign-in                                 open
GET      /sign-in/oidc                            open
GET      /sign-in/oidc/callback                   open
GET|POST /welcome                                 open

GET      /                                        read
GET      /now/**                                  read
GET      /now                                     read
GET      /docs                                    read
GET      /openapi.json                            read
GET      /architectures                           read
GET      /architectures/**                        read
GET      /architectures/launch                    launch
GET      /architectures/launch/**                 launch
GET      /compare                                 read
GET      /compare/**                              read
GET      /datasets                                read
GET      /datasets/**                             read
GET      /leaderboard                             read
GET      /models                                  read
GET      /notifications                           read
GET      /notifications/list                      read
GET      /playground                              read
GET      /playground/newest                       read
GET      /queue                                   read
GET      /runs                                    read
GET      /runs/**                                 read
GET      /sweeps                                  read
GET      /sweeps/**                               read
GET      /get-artifact                            read
GET      /launch                                  launch
GET      /launch/**                               launch
GET      /metrics                                 read
GET      /programs                                launch
GET      /programs/{}                             launch

POST     /sign-out                                account
GET      /account                                 account
POST     /account/password                        account
POST     /account/sessions/end                    account
POST     /account/tokens                          account
POST     /account/tokens/{}/delete                account

GET      /admin                                   admin
GET      /admin/audit                             admin
GET      /admin/people/{}/remove                  admin
GET      /admin/system                            admin
GET      /admin/system/retention                  admin
GET      /admin/tokens                            admin
POST     /admin/system/retention                  admin
POST     /admin/people                            admin
POST     /admin/people/{}/role                    admin
POST     /admin/people/{}/password                admin
POST     /admin/people/{}/disable                 admin
POST     /admin/people/{}/enable                  admin
POST     /admin/people/{}/delete                  admin
POST     /admin/people/{}/limits                  admin
POST     /admin/people/{}/restore                 admin
POST     /admin/tokens/{}/delete                  admin
POST     /admin/worker-tokens                     admin
POST     /admin/worker-tokens/{}/delete           admin

POST     /architectures/launch                    launch    sweep.launch
POST     /compare/seeds                           launch    run.launch
POST     /datasets/imports                        launch    dataset.import
POST     /datasets/imports/{}/cancel              launch    dataset.import-cancel
POST     /datasets/imports/{}/choices             launch    dataset.import-choose
POST     /datasets/{}/delete                      launch    dataset.delete
POST     /datasets/{}/use                         launch    dataset.use
POST     /launch                                  launch    run.launch
POST     /launch/check                            launch
POST     /launch/fields                           launch
POST     /models                                  launch    alias.move
POST     /models/{}/delete                        launch    alias.delete
POST     /models/{}/undo                          launch    alias.move
POST     /notifications/rules                     launch    rule.add
POST     /notifications/rules/{}/delete           launch    rule.delete
POST     /notifications/webhooks                  admin     webhook.add
POST     /notifications/webhooks/{}/delete        admin     webhook.delete
POST     /notifications/webhooks/{}/test          admin     webhook.test
POST     /playground/look                         read
POST     /programs/{}                             launch    run.launch
POST     /programs/{}/check                       launch
POST     /queue/act                               launch    queue.change
POST     /queue/cancel                            launch    run.cancel
POST     /queue/pause                             launch    queue.pause
POST     /queue/restore                           launch    run.restore
POST     /queue/resume                            launch    queue.resume
POST     /registered-models/delete                launch    registered-model.delete
POST     /runs/compare                            read
POST     /runs/delete                             launch    run.delete
POST     /runs/relaunch                           launch    run.launch
POST     /runs/stop                               launch    run.cancel
POST     /runs/tag                                launch    run.tag
POST     /runs/undo                               launch    run.undo
POST     /runs/untag                              launch    run.untag
POST     /runs/{}/cancel                          launch    run.cancel
POST     /runs/{}/changes                         launch    run.change
POST     /runs/{}/delete                          launch    run.delete
POST     /runs/{}/edit                            launch    run.edit
POST     /runs/{}/export                          launch    run.export
POST     /runs/{}/fork                            launch    run.fork
POST     /runs/{}/predictions/evaluate            launch    run.evaluate
POST     /runs/{}/resume                          launch    run.resume
POST     /runs/{}/retry                           launch    run.retry
POST     /runs/{}/robustness                      launch    run.robustness
POST     /runs/{}/robustness/cancel               launch    job.cancel
POST     /runs/{}/verify                          launch    run.verify
POST     /sweeps/{}/extend                        launch    sweep.extend
POST     /sweeps/{}/restore                       launch    sweep.restore
POST     /sweeps/{}/stop                          launch    sweep.stop
POST     /views                                   launch    view.save
POST     /views/{}/delete                         launch    view.delete
POST     /views/{}/rename                         launch    view.rename
"""

API: Final = """
POST     /sign-in                                 open
POST     /sign-out                                account
GET      /whoami                                  log-read
PUT      /account/password                        account
GET      /account/sessions                        account
DELETE   /account/sessions                        account
DELETE   /account/sessions/{}                     account
GET      /account/tokens                          account
POST     /account/tokens                          account
DELETE   /account/tokens/{}                       account
GET      /users                                   admin
POST     /users                                   admin
PATCH    /users/{}                                admin
DELETE   /users/{}                                admin
POST     /users/{}/restore                        admin
POST     /users/{}/tokens                         admin
GET      /retention                               admin
POST     /retention                               admin
GET      /system                                  admin
GET      /tokens                                  admin
DELETE   /tokens/{}                               admin
GET      /audit                                   admin
GET      /audit.csv                               admin
POST     /welcome                                 admin
GET      /worker-tokens                           admin
POST     /worker-tokens                           admin
DELETE   /worker-tokens/{}                        admin
POST     /join                                    open

GET      /architectures                           read
GET      /commands/key                            launch
GET      /compare                                 read
GET      /dataset-imports/{}                      read
GET      /dataset-imports/{}/report               read
GET      /datasets                                read
GET      /datasets/**                             read
GET      /disk                                    read
GET      /disks                                   read
GET      /events                                  read
GET      /groups                                  read
GET      /jobs/{}                                 read
GET      /leaderboard                             read
GET      /models                                  read
GET      /models/{}                               read
GET      /notices                                 read
GET      /presets                                 read
GET      /programs                                launch
GET      /programs/{}                             launch
GET      /queue                                   read
GET      /recipes                                 read
GET      /rules                                   read
GET      /runs                                    read
GET      /runs/**                                 read
GET      /runs.{}                                 read
GET      /sweeps                                  read
GET      /sweeps/{}                               read
GET      /views                                   read
GET      /webhooks                                admin
GET      /workers                                 read

POST     /commands                                launch    run.command
POST     /commands/sweeps                         launch    sweep.command
DELETE   /dataset-imports/{}                      launch    dataset.import-cancel
POST     /dataset-imports/{}/choices              launch    dataset.import-choose
POST     /datasets                                launch    dataset.import
DELETE   /datasets/{}                             launch    dataset.delete
POST     /datasets/{}/restore                     launch    dataset.restore
POST     /datasets/{}/use                         launch    dataset.use
POST     /import                                  log       run.import:new
DELETE   /jobs/{}                                 launch    job.cancel
POST     /log                                     log       run.log:new
POST     /log/{}                                  log
DELETE   /models/{}                               launch    alias.delete
PUT      /models/{}                               launch    alias.move
POST     /models/{}/predict                       read
POST     /preview                                 read
PUT      /programs/{}                             launch    program.add
DELETE   /programs/{}                             launch    program.delete
POST     /programs/{}/runs                        launch    run.launch
POST     /programs/{}/sweeps                      launch    sweep.launch
POST     /queue/move                              launch    queue.change
POST     /queue/pause                             launch    queue.pause
POST     /queue/resume                            launch    queue.resume
POST     /rules                                   launch    rule.add
DELETE   /rules/{}                                launch    rule.delete
POST     /runs                                    launch    run.launch
POST     /runs/cancel                             launch    run.cancel
POST     /runs/restore-queued                     launch    run.restore
DELETE   /runs/{}                                 launch    run.delete
PATCH    /runs/{}                                 launch    run.edit
POST     /runs/{}/cancel                          launch    run.cancel
POST     /runs/{}/changes                         launch    run.change
POST     /runs/{}/clone                           launch    run.clone
PUT      /runs/{}/files/**                        log
POST     /runs/{}/fork                            launch    run.fork
POST     /runs/{}/jobs                            launch    run.evaluate
POST     /runs/{}/predict                         read
POST     /runs/{}/restore                         launch    run.restore
POST     /runs/{}/resume                          launch    run.resume
POST     /runs/{}/retry                           launch    run.retry
POST     /runs/{}/verify                          launch    run.verify
POST     /sweeps                                  launch    sweep.launch
POST     /sweeps/preview                          read
POST     /sweeps/{}/extend                        launch    sweep.extend
POST     /sweeps/{}/stop                          launch    sweep.stop
POST     /views                                   launch    view.save
DELETE   /views/{}                                launch    view.delete
POST     /webhooks                                admin     webhook.add
DELETE   /webhooks/{}                             admin     webhook.delete
POST     /webhooks/{}/test                        admin     webhook.test
"""
"""Under /api/v1."""

MLFLOW: Final = """
GET      /mlflow/artifacts/list                   read
POST     /mlflow/experiments/create               log       experiment.create
POST     /mlflow/experiments/delete               launch    experiment.delete
POST     /mlflow/experiments/delete-experiment-tag  log  experiment.untag
GET      /mlflow/experiments/get                  log-read
GET      /mlflow/experiments/get-by-name          log-read
POST     /mlflow/experiments/restore              launch    experiment.restore
GET|POST /mlflow/experiments/search               read
POST     /mlflow/experiments/set-experiment-tag   log  experiment.tag
POST     /mlflow/experiments/update               launch    experiment.rename
POST     /mlflow/logged-models                    log       logged-model.create
POST     /mlflow/logged-models/search             read
DELETE   /mlflow/logged-models/{}                 launch    logged-model.delete
GET      /mlflow/logged-models/{}                 log-read
PATCH    /mlflow/logged-models/{}                 log       logged-model.edit
GET      /mlflow/logged-models/{}/artifacts/directories  read
POST     /mlflow/logged-models/{}/params          log
PATCH    /mlflow/logged-models/{}/tags            log       logged-model.tag
DELETE   /mlflow/logged-models/{}/tags/**         log       logged-model.untag
GET      /mlflow/metrics/get-history              read
POST     /mlflow/model-versions/create            launch    model-version.create
DELETE   /mlflow/model-versions/delete            launch    model-version.delete
DELETE   /mlflow/model-versions/delete-tag        launch    model-version.untag
GET      /mlflow/model-versions/get               read
GET      /mlflow/model-versions/get-download-uri  read
GET      /mlflow/model-versions/search            read
POST     /mlflow/model-versions/set-tag           launch    model-version.tag
PATCH    /mlflow/model-versions/update            launch    model-version.edit
GET      /mlflow/registered-models/alias          read
POST     /mlflow/registered-models/alias          launch    registered-model.alias
DELETE   /mlflow/registered-models/alias          launch    registered-model.alias-delete
POST     /mlflow/registered-models/create         launch    registered-model.create
DELETE   /mlflow/registered-models/delete         launch    registered-model.delete
DELETE   /mlflow/registered-models/delete-tag     launch    registered-model.untag
GET      /mlflow/registered-models/get            read
GET|POST /mlflow/registered-models/get-latest-versions  read
POST     /mlflow/registered-models/rename         launch    registered-model.rename
GET      /mlflow/registered-models/search         read
POST     /mlflow/registered-models/set-tag        launch    registered-model.tag
PATCH    /mlflow/registered-models/update         launch    registered-model.edit
POST     /mlflow/runs/create                      log       run.log
POST     /mlflow/runs/delete                      launch    run.delete
POST     /mlflow/runs/delete-tag                  log       run.untag
GET      /mlflow/runs/get                         log-read
POST     /mlflow/runs/log-batch                   log
POST     /mlflow/runs/log-inputs                  log
POST     /mlflow/runs/log-metric                  log
POST     /mlflow/runs/log-model                   log
POST     /mlflow/runs/log-parameter               log
POST     /mlflow/runs/outputs                     log
POST     /mlflow/runs/restore                     launch    run.restore
POST     /mlflow/runs/search                      read
POST     /mlflow/runs/set-tag                     log       run.tag
POST     /mlflow/runs/update                      log       run.edit
GET|POST|PUT|PATCH|DELETE /mlflow/**              log-read
GET      /mlflow-artifacts/artifacts              read
GET      /mlflow-artifacts/artifacts/**           read
PUT      /mlflow-artifacts/artifacts/**           log
DELETE   /mlflow-artifacts/artifacts/**           launch    file.delete
POST     /mlflow-artifacts/mpu/abort/**           log
POST     /mlflow-artifacts/mpu/complete/**        log
POST     /mlflow-artifacts/mpu/create/**          log
PUT      /mlflow-artifacts/mpu/parts/{}/{}/{}     log
GET|POST|PUT|PATCH|DELETE /mlflow-artifacts/**    log-read
"""
"""Under /api/2.0, and once more under /runs/{}/api/2.0. What is left there is answered with "not supported"."""


@dataclass(frozen=True)
class Entry:
    """A line: ``path`` with ``{}`` and ``**``; ``only_new``: the action counts if something has begun with it."""

    method: str
    path: str
    need: Need
    action: str = ""
    only_new: bool = False


def _read(lines: str, prefix: str = "") -> list[Entry]:
    entries = []
    for line in lines.splitlines():
        if line.strip():
            methods, path, need, *action = line.split()
            if need not in NEEDS or len(action) > 1:
                raise ValueError(f"line cannot be read: {line}")
            name, _, mark = "".join(action).partition(":")
            if mark not in ("", "new"):
                raise ValueError(f"line cannot be read: {line}")
            row = (prefix + path, cast(Need, need), name, bool(mark))
            entries += [Entry(method, *row) for method in methods.split("|")]
    return entries


ENTRIES: Final = (
    *_read(PAGES),
    *_read(API, "/api/v1"),
    *_read(MLFLOW, "/api/2.0"),
    *_read(MLFLOW, "/runs/{}/api/2.0"),
    *_read("GET /runs/{}/get-artifact read"),
)


class Table:
    """Finds the entry of a request."""

    def __init__(self, entries: tuple[Entry, ...] = ENTRIES) -> None:
        self._root: _Node = _Node()
        for entry in entries:
            node = self._root
            for segment in entry.path.split("/")[1:]:
                node = node.children.setdefault(segment, _Node())
            if entry.method in node.entries:
                raise ValueError(f"two entries for {entry.method} {entry.path}")
            node.entries[entry.method] = entry

    def find(self, method: str, path: str) -> Entry | None:
        """Find the most specific entry; None if no line is for this request."""
        # A line feed ends a path for the router's regular expressions, but not for this search.
        if not path.startswith("/") or "\n" in path:
            return None
        return _find(self._root, "GET" if method == "HEAD" else method, path.split("/")[1:], 0)


class _Node:
    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.entries: dict[str, Entry] = {}


def _find(node: _Node, method: str, segments: list[str], at: int) -> Entry | None:
    if at == len(segments):
        return node.entries.get(method)
    segment = segments[at]
    if segment not in ("{}", "**") and (child := node.children.get(segment)):
        found = _find(child, method, segments, at + 1)
        if found is not None:
            return found
    for name, child in node.children.items():
        stem, marked, ending = name.partition("{}")
        if marked and len(segment) > len(stem) + len(ending) and segment.startswith(stem) and segment.endswith(ending):
            found = _find(child, method, segments, at + 1)
            if found is not None:
                return found
    rest = node.children.get("**")
    return rest.entries.get(method) if rest is not None else None
