"""Groups a traced network into the blocks of a diagram: stem, stages of equal blocks, heads, and the shapes between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from torch import nn

import models
from app.contract.preview import Block
from app.inspection.layer_names import attention_heads, describe_part, dimensions, kernel
from app.inspection.trace import Part, Trace

# Pure containers are not drawn; their children take their place.
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, models.Heads)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass
class _Node:
    part: Part
    children: list[_Node]

    @property
    def order(self) -> float:
        """When it was first called; nodes that never were come last."""
        times = [child.order for child in self.children]
        return min([*times, float("inf") if self.part.entered is None else self.part.entered])

    @property
    def params(self) -> int:
        return self.part.params + sum(child.params for child in self.children)

    @property
    def attribute(self) -> str:
        """The attribute name in its parent; "" for numbered children."""
        name = self.part.path.rpartition(".")[2]
        return "" if name.isdigit() else name.replace("_", " ")

    @property
    def title(self) -> str:
        """ "head digit" for a head, otherwise its attribute name if it has one, otherwise its class."""
        parent = self.part.path.rpartition(".")[0]
        if parent.endswith("by_name"):
            return f"head {self.attribute or self.part.path.rpartition('.')[2]}"
        return self.attribute or self.part.kind

    @property
    def composite(self) -> bool:
        return any(node.part.module is not None for node in self.children)

    @property
    def weighted(self) -> bool:
        """Whether it is a weight layer that starts a new block, such as a convolution, but not a normalization."""
        if self.part.module is None or "Norm" in self.part.kind:
            return False
        return any(node.ndim > 1 for node in self.part.module.parameters(recurse=False))


@dataclass
class _Group:
    """Nodes drawn as one block; ``name``: the name that the author gave to the group."""

    nodes: list[_Node]
    name: str = ""

    @property
    def alone(self) -> bool:
        """Whether nothing may be merged into this group."""
        return bool(self.name) or any(map(_is_alone, self.nodes))

    @property
    def composite(self) -> bool:
        return self.nodes[0].composite

    @property
    def weighted(self) -> bool:
        return any(node.weighted for node in self.nodes)

    @property
    def main(self) -> _Node:
        """The weight layer, or the first node if there is none."""
        return next((node for node in self.nodes if node.weighted), self.nodes[0])


def draw(trace: Trace) -> list[Block]:
    """The blocks of a network in forward order; their parameters add up to the network's."""
    root = _tree(trace.parts)
    groups: list[_Group] = []
    for child in _drawn(root.children, transparent=False):
        inside = _expanded(child)
        if groups and len(inside) > 1 and child.attribute and not any(map(_is_alone, inside)):
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
    """The nodes to draw, in order; identities and nodes never called are left out, unless they have parameters."""
    drawn: list[_Node] = []
    for node in sorted(nodes, key=lambda child: child.order):
        idle = isinstance(node.part.module, nn.Identity) or node.order == float("inf")
        if idle and not node.params:
            continue
        drawn += _expanded(node) if transparent else [node]
    return drawn


# Groups --------------------------------------------------------------------------------------------------------------


def _is_alone(node: _Node) -> bool:
    return node.composite or node.title.startswith("head ")


def _grouped(nodes: list[_Node]) -> list[_Group]:
    """Group each weight layer with the layers that follow it; composite modules and heads stay alone."""
    groups: list[_Group] = []
    for node in nodes:
        last = groups[-1] if groups else None
        if last is None or last.alone or _is_alone(node) or (node.weighted and last.weighted):
            groups.append(_Group([node]))
        else:
            last.nodes.append(node)
    return groups


def _together(groups: list[_Group]) -> list[_Group]:
    """Merge a lone positional embedding or dropout into the layer before it."""
    merged: list[_Group] = []
    for group in groups:
        little = not group.alone and not group.weighted and not any("Norm" in node.part.kind for node in group.nodes)
        if little and merged and not merged[-1].alone:
            merged[-1].nodes.extend(group.nodes)
        else:
            merged.append(group)
    return merged


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
    """Stage of each composite group: a new stage starts where class or shape changes, or after any other group."""
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
        about=describe_part(group.main.part),
        shape=parts[-1].shape,
        params=sum(node.params for node in group.nodes),
        parts=parts,
    )


def _block(node: _Node, name: str, before: list[int]) -> Block:
    inside = _drawn(node.children)
    return Block(
        name=name or node.title,
        kind=node.part.kind,
        about=_describe_inside(node) if inside else describe_part(node.part),
        shape=node.part.shape or before,
        params=node.params,
        parts=_parts(inside, node.part.before or before),
    )


def _parts(nodes: list[_Node], before: list[int]) -> list[Block]:
    """Each node as a block; adjacent parameters form one block whose output is the next node's input."""
    blocks: list[Block] = []
    runs = [(alone, list(run)) for alone, run in groupby(nodes, key=lambda node: node.part.module is None)]
    for i, (alone, run) in enumerate(runs):
        if alone:
            after = runs[i + 1][1][0].part.before if i + 1 < len(runs) else before
            blocks.append(
                Block(
                    name=", ".join(node.title for node in run),
                    kind="Parameter",
                    about=", ".join(describe_part(node.part) for node in run),
                    shape=after or before,
                    params=sum(node.params for node in run),
                )
            )
        else:
            for node in run:
                blocks.append(_block(node, "", blocks[-1].shape if blocks else before))
    return _collapsed(blocks)


def _describe_inside(node: _Node) -> str:
    """Summarize a composite module: its largest convolution, its attention heads, and its change of channels."""
    below = [module.part.module for module in _descendants(node)]
    labels = []
    convolutions = [module for module in below if isinstance(module, _CONVOLUTIONS)]
    if convolutions:
        labels.append(kernel(max(convolutions, key=lambda module: module.kernel_size[0])))
    heads = next((found for module in below if module is not None and (found := attention_heads(module))), None)
    if heads:
        labels.append(f"{heads} heads")
    before, after = node.part.before, node.part.shape
    if len(before) == len(after) == 3 and before[0] != after[0]:
        labels.append(f"{before[0]} → {after[0]}")
    elif len(before) == len(after) < 3 and before != after:
        labels.append(f"{dimensions(before)} → {dimensions(after)}")
    return ", ".join(labels)


def _descendants(node: _Node) -> list[_Node]:
    return [node, *(below for child in node.children for below in _descendants(child))]


# Runs ----------------------------------------------------------------------------------------------------------------


def _collapsed(blocks: list[Block]) -> list[Block]:
    """Merge equal consecutive blocks into one with ``repeat``; descriptions that differ are dropped."""
    collapsed: list[Block] = []
    for block in blocks:
        if collapsed and block.params and _signature(collapsed[-1]) == _signature(block):
            collapsed[-1] = _common(collapsed[-1], block).model_copy(
                update={"repeat": collapsed[-1].repeat + block.repeat}
            )
        else:
            collapsed.append(block)
    return collapsed


def _signature(block: Block) -> tuple[object, ...]:
    inside = tuple((_signature(part), part.repeat) for part in block.parts)
    return block.name, block.kind, tuple(block.shape), block.params, inside


def _common(one: Block, other: Block) -> Block:
    parts = [_common(mine, theirs) for mine, theirs in zip(one.parts, other.parts, strict=True)]
    return one.model_copy(update={"about": one.about if one.about == other.about else "", "parts": parts})
