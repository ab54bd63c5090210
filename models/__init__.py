"""models/ means networks: one file, one family of architectures (tables are in app/store).

`ls models` is the catalog, and an underscore marks machinery. Every other module here is imported below and registers
its own family, so adding an architecture is adding a file. A module that cannot be imported takes nothing with it:
its error is kept in `broken`, by module name. `load_path` does the same for a folder outside this package.

A network is built from a `Shape` and nothing else, and follows one protocol:
`forward(images [N, C, H, W] float, auxiliary [N, n] float or None)` gives logits [N, classes] for one head,
and a dict of them by head name for several, which is what `Heads` does.
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
