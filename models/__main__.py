"""`python -m models`: the catalog as JSON, each size with the parameter counts that its registration gives.

    --check          also count every size on its network
    --shape NAME CHANNELS SIDE CLASSES   count at this shape, instead of the three that registrations give
    --folder FOLDER  with the architectures of this folder

{"columns": [NAME, …], "rows": [{family, size, default, definition, source, said: [n, …], counted: [n, …]}, …],
"broken": {file: error}}; `said` is empty for a shape of one's own, `counted` where nothing was counted.
"""

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import models
from models._check import count, in_words


def main(said: list[str] | None = None) -> None:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m models")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--shape", nargs=4, metavar=("NAME", "CHANNELS", "SIDE", "CLASSES"))
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args(said)
    shapes = dict(models.REFERENCES)
    if asked.shape:
        name, channels, side, classes = asked.shape
        shapes = {name: models.Shape(int(channels), int(side), {"class": int(classes)})}
    with redirect_stdout(sys.stderr):
        found = catalog(asked.folder, shapes, counting=asked.check or bool(asked.shape), given=not asked.shape)
    print(json.dumps(found))


def catalog(folder: Path | None, shapes: dict[str, models.Shape], counting: bool, given: bool) -> dict[str, Any]:
    """Every size, with what is `given` by its registration and what `counting` at the shapes finds.

    A size that cannot be built at one of them is an entry of `broken`, as is a file that could not be loaded.
    """
    broken = models.broken | (models.load_path(folder) if folder is not None else {})
    rows = []
    for family in models.families().values():
        for size in family.sizes:
            counted = []
            try:
                counted = [count(family, size, shape) for shape in shapes.values()] if counting else []
            except Exception as error:
                broken[f"{family.name}/{size.name}"] = in_words(error)
            rows.append(
                {
                    "family": family.name,
                    "size": size.name,
                    "default": size.name == family.default,
                    "definition": size.definition,
                    "source": family.source,
                    "said": list(size.counts) if given else [],
                    "counted": counted,
                }
            )
    return {"columns": list(shapes), "rows": rows, "broken": broken}


if __name__ == "__main__":
    main()
