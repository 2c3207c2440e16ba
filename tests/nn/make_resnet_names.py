#!/usr/bin/env python3
"""Writes data/resnet18.txt and data/resnet50.txt: what torchvision's models consist of.

One line per parameter, then per buffer, in PyTorch's order: kind, name, shape. Needs torchvision.
"""

import pathlib

import torchvision

for name in ("resnet18", "resnet50"):
    net = getattr(torchvision.models, name)()
    lines = [f"parameter {n} {list(p.shape)}" for n, p in net.named_parameters()]
    lines += [f"buffer {n} {list(b.shape)}" for n, b in net.named_buffers()]
    path = pathlib.Path(__file__).parent / "data" / f"{name}.txt"
    path.write_text("\n".join(lines) + "\n")
    print(path.name, len(lines), sum(p.numel() for p in net.parameters()))
