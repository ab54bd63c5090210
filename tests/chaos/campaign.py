"""One campaign: a yard, references, a workload and so many faults; then what the checker says."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tests.chaos.checker import check
from tests.chaos.fault import plan
from tests.chaos.history import History, Kind
from tests.chaos.striking import Striker
from tests.chaos.workload import SPECS, Workload
from tests.chaos.yard import DISK_MIB, Yard, wait_until

ACTS: tuple[Kind, ...] = ("launched", "stopped", "continued", "unsure", "swept", "logged", "commanded")
BURST_FAULTS = 10
BREATHER_SECONDS = 60.0
"""After so many faults, the next one waits until another run has ended, at most so long."""
CALM_SECONDS = 240.0
"""How long after the last fault every request may take to be answered, and then every run to end."""
MIB_PER_FAULT = 2
"""About three times what the runs of a campaign leave on its disk."""


@dataclass(frozen=True)
class Campaign:
    """What to do. ``known``: a folder with what an inspector keeps about the networks, to spare its making.

    ``seconds``: after so long, no more faults strike, however many were to.
    """

    seed: int
    faults: int
    database: str
    folder: Path
    known: Path | None = None
    specs: tuple[str, ...] = tuple(SPECS)
    seconds: float = float("inf")


@dataclass
class Result:
    """What happened. ``fired``: faults seen, by kind and target; ``missing``: why kinds had no chance.

    ``acts``: what was acknowledged, by kind, and how many runs were pruned.
    """

    seed: int
    database: str
    tried: int
    fired: dict[str, int]
    missing: dict[str, str]
    runs: int
    points: int
    attempts: int
    statuses: dict[str, int]
    acts: dict[str, int]
    seconds: float
    findings: list[str]

    @property
    def faults(self) -> int:
        """How many faults fired."""
        return sum(self.fired.values())

    @property
    def passed(self) -> bool:
        """Whether faults fired, and nothing was found."""
        return self.faults > 0 and not self.findings

    def row(self) -> dict[str, Any]:
        """The result for a report."""
        return asdict(self) | {"faults": self.faults}


def carry_out(campaign: Campaign) -> Result:
    """Carry a campaign out. Files that explain findings stay in its folder."""
    began = time.monotonic()
    history = History(campaign.folder / "history.jsonl")
    # A queue that pauses because the disk is full would look like one that hangs.
    disk_mib = DISK_MIB + MIB_PER_FAULT * campaign.faults
    yard = Yard(campaign.folder, campaign.database, campaign.known, disk_mib)
    try:
        workload = Workload(yard, history, campaign.seed, campaign.specs)
        workload.make_references()
        striker = Striker(yard, history)
        workload.start()
        try:
            tried = _strike(campaign, yard, striker, workload)
        finally:
            history.calm()
            workload.stop(CALM_SECONDS)
        if yard.is_full():
            workload.errors.append(RuntimeError("the disk is full without a fault: too small for so many runs"))
        wait_until(yard.is_idle, CALM_SECONDS)
        workload.finish(CALM_SECONDS)
        observed = yard.observe()
    except BaseException:
        _keep_words(yard, campaign.folder)
        raise
    finally:
        history.close()
        yard.close()
    findings = [str(each) for each in check(history, observed)]
    (campaign.folder / "findings.txt").write_text("\n".join(findings))
    findings += [f"error: {error}" for error in workload.errors]
    runs = observed.runs.values()
    return Result(
        seed=campaign.seed,
        database=campaign.database,
        tried=tried,
        fired=dict(sorted(striker.fired.items())),
        missing=yard.missing,
        runs=len(runs),
        points=sum(len(points) for run in runs for points in run.curves.values()),
        attempts=sum(run.attempt for run in runs),
        statuses=dict(Counter(run.status for run in runs)),
        acts=_acts(history) | {"pruned": sum(run.reason.startswith("pruned") for run in runs)},
        seconds=round(time.monotonic() - began, 1),
        findings=findings,
    )


def _strike(campaign: Campaign, yard: Yard, striker: Striker, workload: Workload) -> int:
    """Let faults strike until so many fired, at most twice as many; returns how many were tried."""
    tried, until = 0, time.monotonic() + campaign.seconds
    for fault in islice(plan(campaign.seed, campaign.database, tuple(yard.missing)), 2 * campaign.faults):
        if sum(striker.fired.values()) >= campaign.faults or time.monotonic() > until or workload.errors:
            break
        striker.strike(fault)
        tried += 1
        striker.rest(fault.pause)
        if tried >= campaign.faults:
            striker.end_all()
        if tried % BURST_FAULTS == 0:
            # On a busy machine, faults would come faster than trainers start, and soon strike nothing that works.
            striker.end_all()
            wait_until(partial(_more_ended, workload, workload.ended), BREATHER_SECONDS)
    striker.end_all()
    return tried


def _more_ended(workload: Workload, before: int) -> bool:
    return workload.ended > before


def _acts(history: History) -> dict[str, int]:
    return {kind: len(history.of(kind)) for kind in ACTS}


def _keep_words(yard: Yard, folder: Path) -> None:
    (folder / "words.txt").write_text(yard.up.words())
