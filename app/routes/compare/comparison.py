"""What is compared: runs, or groups of them, with the choices in the address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from app.analysis.groups import Group
from app.charts.svg import Controls, read_controls
from app.routes.compare.baseline import baseline_index
from app.routes.compare.parallel import SweptMetric
from app.store.search.query import RunRow
from app.web.run_selection import ComparisonQuery
from app.web.run_summary import RunSummary


@dataclass(frozen=True)
class Comparison:
    """The runs of a comparison, and their groups if they are shown as groups.

    ``swept``: the metric of the sweep that all of them belong to, if they execute a command.
    """

    rows: list[RunRow]
    summaries: list[RunSummary]
    by: str
    groups: list[Group] | None
    problem: str
    baseline: str = ""
    settings: str = ""
    swept: SweptMetric | None = None

    @property
    def baseline_position(self) -> int | None:
        """Index of the baseline among the runs or groups."""
        return baseline_index(self.baseline, self.summaries, self.groups)

    @property
    def address(self) -> str:
        """The address of this comparison."""
        return self.address_with()

    def address_with(self, **changes: str) -> str:
        """Return the address with a changed ``by``, ``baseline`` or ``settings``."""
        defaults = {
            "by": self.by,
            "baseline": self.baseline if self.baseline_position is not None else "",
            "settings": self.settings,
        }
        parameters = [f"&{name}={quote(value, safe=',')}" for name, value in (defaults | changes).items() if value]
        return f"/compare?runs={','.join(row.run.id for row in self.rows)}{''.join(parameters)}"

    def controls(self, query: ComparisonQuery) -> Controls:
        """Return the chart controls; the x axis defaults to epochs, or to steps if a run has no known epoch length."""
        default = "step" if any(row.run.logged for row in self.rows) else "epoch"
        # The mean of several runs has no wall-clock time.
        x = default if query.x == "clock" and self.groups is not None else query.x
        return read_controls(x, query.smoothing, query.log, default, 0.8)

    @property
    def live(self) -> bool:
        """Whether a run can still change."""
        return any(row.run.live for row in self.rows)
