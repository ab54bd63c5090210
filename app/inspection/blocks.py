"""A traced network as a reader would draw it: stem, stages of equal blocks, heads, with the shapes between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from torch import nn

import models
from app.contract.preview import Block
from app.inspection.layer_names import about, attention_heads, by, kernel
from app.inspection.trace import Part, Trace

# What only holds others is not drawn: its children stand in its place.
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, models.Heads)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass
class _Node:
    part: Part
    children: list[_Node]

    @property
    def order(self) -> float:
        """When it came first; never is last."""
        times = [each.order for each in self.children]
        return min([*times, float("inf") if self.part.entered is None else self.part.entered])

    @property
    def params(self) -> int:
        return self.part.params + sum(each.params for each in self.children)

    @property
    def attribute(self) -> str:
        """What its parent calls it; "" for one that is numbered."""
        name = self.part.path.rpartition(".")[2]
        return "" if name.isdigit() else name.replace("_", " ")

    @property
    def title(self) -> str:
        """ "head digit" for a head, its attribute where that is a word, else its class."""
        parent = self.part.path.rpartition(".")[0]
        if parent.endswith("by_name"):
            return f"head {self.attribute or self.part.path.rpartition('.')[2]}"
        return self.attribute or self.part.kind

    @property
    def composite(self) -> bool:
        return any(each.part.module is not None for each in self.children)

    @property
    def weighted(self) -> bool:
        """Whether it is a layer of weights, such as begins a new block, and no normalization."""
        if self.part.module is None or "Norm" in self.part.kind:
            return False
        return any(each.ndim > 1 for each in self.part.module.parameters(recurse=False))


@dataclass
class _Group:
    """Nodes that are drawn as one block; ``name`` is one that its author gave to all of them together."""

    nodes: list[_Node]
    name: str = ""

    @property
    def alone(self) -> bool:
        """Whether nothing can be drawn together with it."""
        return bool(self.name) or any(map(_stands_alone, self.nodes))

    @property
    def composite(self) -> bool:
        return self.nodes[0].composite

    @property
    def weighted(self) -> bool:
        return any(each.weighted for each in self.nodes)

    @property
    def main(self) -> _Node:
        """The layer of weights, where there is one."""
        return next((each for each in self.nodes if each.weighted), self.nodes[0])


def draw(trace: Trace) -> list[Block]:
    """The blocks of a network, in the order in which an image meets them; their parameters add up to its own."""
    root = _tree(trace.parts)
    groups: list[_Group] = []
    for child in _drawn(root.children, transparent=False):
        inside = _expanded(child)
        if groups and len(inside) > 1 and child.attribute and not any(map(_stands_alone, inside)):
            groups.append(_Group(inside, child.attribute))  # a "pooler", a "classifier"
        else:
            groups += _grouped(inside)
    if not groups:
        return [_block(root, "", [])] if root.params else []
    return _collapsed(_named(_together(groups)))


# The tree ------------------------------------------------------------------------------------------------------------


def _tree(parts: Iterable[Part]) -> _Node:
    nodes: dict[str, _Node] = {}
    for part in parts:
        nodes[part.path] = node = _Node(part, [])
        if part.path:
            nodes[part.path.rpartition(".")[0]].children.append(node)
    return nodes[""]


def _expanded(node: _Node) -> list[_Node]:
    return _drawn(node.children) if type(node.part.module) in _CONTAINERS else [node]


def _drawn(nodes: list[_Node], transparent: bool = True) -> list[_Node]:
    """The nodes to draw, in order; what does nothing or was never called is left out, unless it has parameters."""
    found: list[_Node] = []
    for node in sorted(nodes, key=lambda each: each.order):
        idle = isinstance(node.part.module, nn.Identity) or node.order == float("inf")
        if idle and not node.params:
            continue
        found += _expanded(node) if transparent else [node]
    return found


# Groups --------------------------------------------------------------------------------------------------------------


def _stands_alone(node: _Node) -> bool:
    return node.composite or node.title.startswith("head ")


def _grouped(nodes: list[_Node]) -> list[_Group]:
    """A layer of weights with what follows it; composite modules and heads alone."""
    groups: list[_Group] = []
    for node in nodes:
        last = groups[-1] if groups else None
        if last is None or last.alone or _stands_alone(node) or (node.weighted and last.weighted):
            groups.append(_Group([node]))
        else:
            last.nodes.append(node)
    return groups


def _together(groups: list[_Group]) -> list[_Group]:
    """A position or a dropout that stands by itself belongs to the layer before it."""
    found: list[_Group] = []
    for group in groups:
        little = not group.alone and not group.weighted and not any("Norm" in each.part.kind for each in group.nodes)
        if little and found and not found[-1].alone:
            found[-1].nodes.extend(group.nodes)
        else:
            found.append(group)
    return found


# Names ---------------------------------------------------------------------------------------------------------------


def _named(groups: list[_Group]) -> list[Block]:
    stages = _stages(groups)
    several = len(set(stages.values())) > 1
    first, last = min(stages, default=-1), max(stages, default=-1)
    blocks: list[Block] = []
    before: list[int] = []
    for i, group in enumerate(groups):
        name = group.name or group.main.title
        if not group.name and not group.main.attribute:
            if i in stages:
                name = f"stage {stages[i]}" if several else name
            elif i < first:
                name = "stem"
            elif i < last:
                name = "downsample" if _side(group.nodes[-1].part.shape) < _side(before) else "transition"
        blocks.append(_joined(group, name, before) if len(group.nodes) > 1 else _block(group.nodes[0], name, before))
        before = blocks[-1].shape
    return blocks


def _stages(groups: list[_Group]) -> dict[int, int]:
    """Group -> stage, for composite ones: a new one begins where class or shape change, or something lies between."""
    stages: dict[int, int] = {}
    stage, last = 0, None
    for i, group in enumerate(groups):
        if not group.composite:
            last = None
            continue
        kind = (group.main.part.kind, tuple(group.main.part.shape))
        stage += kind != last
        stages[i], last = stage, kind
    return stages


def _side(shape: list[int]) -> int:
    return shape[-1] if len(shape) == 3 else 0


# Blocks --------------------------------------------------------------------------------------------------------------


def _joined(group: _Group, name: str, before: list[int]) -> Block:
    parts = _parts(group.nodes, before)
    return Block(
        name=name,
        kind=group.main.part.kind,
        about=about(group.main.part),
        shape=parts[-1].shape,
        params=sum(each.params for each in group.nodes),
        parts=parts,
    )


def _block(node: _Node, name: str, before: list[int]) -> Block:
    inside = _drawn(node.children)
    return Block(
        name=name or node.title,
        kind=node.part.kind,
        about=_about_inside(node) if inside else about(node.part),
        shape=node.part.shape or before,
        params=node.params,
        parts=_parts(inside, node.part.before or before),
    )


def _parts(nodes: list[_Node], before: list[int]) -> list[Block]:
    """Each node as a block; parameters side by side as one, from which flows what the next one is given."""
    found: list[Block] = []
    runs = [(alone, list(run)) for alone, run in groupby(nodes, key=lambda each: each.part.module is None)]
    for i, (alone, run) in enumerate(runs):
        if alone:
            after = runs[i + 1][1][0].part.before if i + 1 < len(runs) else before
            found.append(
                Block(
                    name=", ".join(each.title for each in run),
                    kind="Parameter",
                    about=", ".join(about(each.part) for each in run),
                    shape=after or before,
                    params=sum(each.params for each in run),
                )
            )
        else:
            for each in run:
                found.append(_block(each, "", found[-1].shape if found else before))
    return _collapsed(found)


def _about_inside(node: _Node) -> str:
    """What marks a composite module: its largest convolution, its attention, and how it changes the channels."""
    below = [each.part.module for each in _all_below(node)]
    words = []
    convolutions = [each for each in below if isinstance(each, _CONVOLUTIONS)]
    if convolutions:
        words.append(kernel(max(convolutions, key=lambda each: each.kernel_size[0])))
    heads = next((found for each in below if each is not None and (found := attention_heads(each))), None)
    if heads:
        words.append(f"{heads} heads")
    before, after = node.part.before, node.part.shape
    if len(before) == len(after) == 3 and before[0] != after[0]:
        words.append(f"{before[0]} → {after[0]}")
    elif len(before) == len(after) < 3 and before != after:
        words.append(f"{by(before)} → {by(after)}")
    return ", ".join(words)


def _all_below(node: _Node) -> list[_Node]:
    return [node, *(each for child in node.children for each in _all_below(child))]


# Runs ----------------------------------------------------------------------------------------------------------------


def _collapsed(blocks: list[Block]) -> list[Block]:
    """Equal blocks in a row as one with ``repeat``; words that differ between them are left out."""
    found: list[Block] = []
    for block in blocks:
        if found and block.params and _signature(found[-1]) == _signature(block):
            found[-1] = _common(found[-1], block).model_copy(update={"repeat": found[-1].repeat + block.repeat})
        else:
            found.append(block)
    return found


def _signature(block: Block) -> tuple[object, ...]:
    inside = tuple((_signature(part), part.repeat) for part in block.parts)
    return block.name, block.kind, tuple(block.shape), block.params, inside


def _common(one: Block, other: Block) -> Block:
    parts = [_common(mine, theirs) for mine, theirs in zip(one.parts, other.parts, strict=True)]
    return one.model_copy(update={"about": one.about if one.about == other.about else "", "parts": parts})
