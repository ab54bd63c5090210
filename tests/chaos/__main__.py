"""``make chaos ARGS="--seed 7 --faults 200"``: faults strike a real Runyard, which may lose or double nothing."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Campaign, carry_out
from tests.chaos.report import merge
from tests.postgresql import why_not


def main(words: list[str]) -> int:
    """Carry out a campaign on each database; 1 if anything was found, or no fault fired."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="which faults strike, when and where (default: 7)")
    parser.add_argument("--faults", type=int, default=200, help="how many are to fire on each database (default: 200)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="how long faults strike at most")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only one database (default: both)")
    parser.add_argument("--save", action="store_true", help="add the results to bench/results/chaos.json")
    chosen = parser.parse_args(words)
    if chosen.faults < 1:
        parser.error("--faults must be at least 1")
    databases = [chosen.database] if chosen.database else ["sqlite", "postgresql"]
    if "postgresql" in databases and why_not():
        print(f"runyard: {why_not()}; or choose --database sqlite", file=sys.stderr)
        return 2
    results = []
    for database in databases:
        folder = Path(tempfile.mkdtemp(prefix="rych", dir="/tmp"))
        result = carry_out(Campaign(chosen.seed, chosen.faults, database, folder, seconds=60 * chosen.minutes))
        results.append(result)
        fired = f"{result.faults} of {result.tried} faults fired in {result.seconds:.0f} s"
        print(f"seed {result.seed} on {database}: {fired}")
        for name, count in result.fired.items():
            print(f"  {count:4} {name}")
        for kind, reason in result.missing.items():
            print(f"  none {kind}: {reason}")
        print(f"  {result.runs} runs, {result.attempts} attempts, {result.points:,} points: {result.statuses}")
        print("  " + ", ".join(f"{count} {act}" for act, count in result.acts.items()))
        print(*(f"  {finding}" for finding in result.findings or ["nothing lost, double or hanging"]), sep="\n")
        if result.passed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"  history and logs: {folder}")
    if chosen.save:
        report = merge(results)
        print(f"{report['faults']:,} faults in the report, {report['findings']} findings")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
