"""The two networks whose updates are measured: MobileNetV2 (2.2 M parameters) and ResNet-18 (11.2 M), for pictures of 32 pixels.

Sources: Sandler et al. 2018; He et al. 2016. Strides are those that leave 32 pixels something to look at.
"""

from __future__ import annotations

import torch
from torch import nn

INVERTED = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride of the first block."""


def _unit(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, *, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class _Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        wide = [_unit(inputs, hidden, 1)] if expansion > 1 else []
        self.path = nn.Sequential(*wide, _unit(hidden, hidden, 3, stride, hidden), _unit(hidden, outputs, 1, relu=False))
        self.skip = stride == 1 and inputs == outputs

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.path(features)
        return features + found if self.skip else found


class MobileNet(nn.Module):
    """MobileNetV2 at width 1."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(3, 32, 3, 2)]
        width = 32
        for expansion, outputs, blocks, stride in INVERTED:
            for index in range(blocks):
                layers.append(_Inverted(width, outputs, expansion, stride if index == 0 else 1))
                width = outputs
        self.features = nn.Sequential(*layers, _unit(width, 1280, 1))
        self.head = nn.Linear(1280, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.features(pictures).mean(dim=(2, 3)))
        return found


class _Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(_unit(inputs, outputs, 3, stride), _unit(outputs, outputs, 3, relu=False))
        self.short = nn.Identity() if stride == 1 and inputs == outputs else _unit(inputs, outputs, 1, stride, relu=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.path(features) + self.short(features))


class ResNet(nn.Module):
    """ResNet-18 with a stem of stride 2."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(3, 64, 3, 2)]
        width = 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [_Basic(width, outputs, stride), _Basic(outputs, outputs, 1)]
            width = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(512, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.features(pictures).mean(dim=(2, 3)))
        return found


NETWORKS = {"mobilenet-2m": MobileNet, "resnet-11m": ResNet}
