"""Print the catalog as JSON (`python -m models`), each size with its registered parameter counts.

    --check          also count the parameters of every size on its network
    --shape NAME CHANNELS SIDE CLASSES   count at this shape, instead of the three reference shapes
    --folder FOLDER  include the architectures in this folder

{"columns": [NAME, …], "rows": [{family, size, default, definition, source, registered: [n, …], actual: [n, …]}, …],
"broken": {file: error}}; `registered` is empty with --shape; `actual` is empty if nothing was counted.
"""

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import models
from models._check import count, describe_error


def main(arguments: list[str] | None = None) -> None:
    """Print the catalog."""
    parser = argparse.ArgumentParser(prog="python -m models")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--shape", nargs=4, metavar=("NAME", "CHANNELS", "SIDE", "CLASSES"))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    shapes = dict(models.REFERENCES)
    if options.shape:
        name, channels, side, classes = options.shape
        shapes = {name: models.Shape(int(channels), int(side), {"class": int(classes)})}
    with redirect_stdout(sys.stderr):
        result = catalog(options.folder, shapes, counting=options.check or bool(options.shape), given=not options.shape)
    print(json.dumps(result))


def catalog(folder: Path | None, shapes: dict[str, models.Shape], counting: bool, given: bool) -> dict[str, Any]:
    """Every size, with its registered counts if `given`, and with counts at the shapes if `counting`.

    A size that cannot be built at one of the shapes is an entry of `broken`, as is a file that could not be loaded.
    """
    broken = models.broken | (models.load_path(folder) if folder is not None else {})
    rows = []
    for family in models.families().values():
        for size in family.sizes:
            actual = []
            try:
                actual = [count(family, size, shape) for shape in shapes.values()] if counting else []
            except Exception as error:
                broken[f"{family.name}/{size.name}"] = describe_error(error)
            rows.append(
                {
                    "family": family.name,
                    "size": size.name,
                    "default": size.name == family.default,
                    "definition": size.definition,
                    "source": family.source,
                    "registered": list(size.counts) if given else [],
                    "actual": actual,
                }
            )
    return {"columns": list(shapes), "rows": rows, "broken": broken}


if __name__ == "__main__":
    main()
