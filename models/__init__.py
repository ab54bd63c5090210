"""Neural networks: one file per family of architectures (database tables are in app/store).

`ls models` is the catalog; files with a leading underscore are support code. All other modules here are imported below
and register their own family, so adding an architecture means adding a file. A module that cannot be imported does not
affect the rest: its error is in `broken`, by module name. `load_path` does the same for a folder outside this package.

A network is built from a `Shape` and nothing else, and follows one protocol:
`forward(images [N, C, H, W] float, auxiliary [N, n] float or None)` returns logits [N, classes] for one head, and a
dict of them by head name for several, which is what `Heads` does.
"""

from models._check import REFERENCES
from models._drop_path import DropPath
from models._files import discover, load_path
from models._heads import Heads
from models._initialization import draw_truncated_normal
from models._registry import (
    Family,
    Option,
    Shape,
    Size,
    UnknownArchitecture,
    build,
    count_parameters,
    families,
    get,
    register,
)

__all__ = [
    "REFERENCES",
    "DropPath",
    "Family",
    "Heads",
    "Option",
    "Shape",
    "Size",
    "UnknownArchitecture",
    "broken",
    "build",
    "count_parameters",
    "draw_truncated_normal",
    "families",
    "get",
    "load_path",
    "register",
]

broken: dict[str, str] = discover(__name__, __path__)
