"""Presets: named combinations of family, size, dataset and recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_ROWS = """
    mnist_sdn_8k               simple_dense_net tiny        mnist    default
    mnist_sdn_68k              simple_dense_net small       mnist    default
    cifar100_sdn_1m            simple_dense_net large       cifar100 cifar
    simple_mlp                 simple_mlp       base        mnist    default       batch_size=1 lr=0.0002
    simple_mlp_256_128         simple_mlp       base        mnist    default
    mnist_cnn_8k               simple_cnn       tiny        mnist    default
    mnist_cnn_68k              simple_cnn       small       mnist    default
    mnist_cnn_421k             simple_cnn       base        mnist    default
    speedrun_mnist_99          simple_cnn       small       mnist    speedrun
    speedrun_mnist_994         simple_cnn       base        mnist    speedrun      epochs=5 crop_padding=1
    multihead_cnn_mnist        simple_cnn       base        mnist    default       targets=digit,thickness,smoothness
    cifar10_cnn_64k            simple_cnn       large       cifar10  cifar
    cifar100_cnn_64k           simple_cnn       large       cifar100 cifar_sgd
    mnist_convnext_18k         convnext_v2      tiny        mnist    default
    mnist_convnext_68k         convnext_v2      small       mnist    default
    mnist_convnext_73k         convnext_v2      small       mnist    default
    mnist_convnext_288k        convnext_v2      base        mnist    default
    mnist_convnext_725k        convnext_v2      large       mnist    default
    cifar10_convnext_64k       convnext_v2      small_k3    cifar10  cifar
    cifar10_convnext_128k      convnext_v2      base_k3     cifar10  cifar
    cifar10_convnext_210k      convnext_v2      base        cifar10  cifar
    cifar100_convnext_210k     convnext_v2      base        cifar100 cifar
    cifar100_convnext_1m       convnext_v2      xlarge      cifar100 cifar
    cifar100_convnext_10m      convnext_v2      huge        cifar100 cifar
    mnist_vit_38k              vit              tiny        mnist    default
    mnist_vit_210k             vit              small       mnist    default
    mnist_vit_821k             vit              base        mnist    default
    vit_mnist_995              vit              small       mnist    vit_mnist_995
    mnist_vit_995              vit              small       mnist    vit_mnist_995
    cifar10_vit_210k           vit              small       cifar10  cifar
    cifar100_vit_210k          vit              small       cifar100 cifar
    cifar100mh_vit_210k        vit              large       cifar100 cifar         targets=fine,coarse
    mnist_efficientnet_22k     efficientnet     tiny        mnist    default
    mnist_efficientnet_66k     efficientnet     mini        mnist    default
    mnist_efficientnet_210k    efficientnet     small       mnist    default
    mnist_efficientnet_7m      efficientnet     large       mnist    default
    cifar10_efficientnet_210k  efficientnet     small       cifar10  cifar
    cifar100_efficientnet_210k efficientnet     small       cifar100 cifar
"""


def _read(rows: str) -> dict[str, dict[str, Any]]:
    presets: dict[str, dict[str, Any]] = {}
    for row in rows.strip().splitlines():
        name, family, size, dataset, recipe, *rest = row.split()
        preset: dict[str, Any] = {"family": family, "size": size, "dataset": dataset, "recipe": recipe}
        for setting in rest:
            key, value = setting.split("=")
            preset[key] = value.split(",") if key == "targets" else json.loads(value)
        if name in presets:
            raise ValueError(f"two presets are named {name}")
        presets[name] = preset
    return presets


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(_read(_ROWS))
"""Every preset by name, as fields of a RunSpec."""
