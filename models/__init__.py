"""models/ means networks: one file, one family of architectures (tables are in app/store).

`ls models` is the catalogue, and an underscore marks machinery. Every other module here is imported below and registers
its own family, so adding an architecture is adding a file. A module that cannot be imported takes nothing with it:
its error is kept in `broken`, by module name.

A network is built from a `Shape` and nothing else, and follows one protocol:
`forward(images [N, C, H, W] float, auxiliary [N, n] float or None)` gives logits [N, classes] for one head,
and a dict of them by head name for several.
"""

from models._registry import (
    Family,
    Option,
    Shape,
    Size,
    UnknownArchitecture,
    build,
    count_parameters,
    discover,
    families,
    get,
    register,
)

__all__ = [
    "Family",
    "Option",
    "Shape",
    "Size",
    "UnknownArchitecture",
    "broken",
    "build",
    "count_parameters",
    "families",
    "get",
    "register",
]

broken: dict[str, str] = discover(__name__, __path__)
