"""PyTorch's VICReg step, the counterpart of bench/step.cpp; called by bench/compare.

usage: torch_step.py MODE BATCH CHANNELS SIZE D STEPS [resnet18|resnet50|narrow16]
MODE joins any of fp32, bf16, cl (channels-last), compile, graphs (with compile: its mode
"reduce-overhead"), tf32 (f32 convolutions may round to TF32, PyTorch's default on a GPU) and cuda with
underscores: bf16_cl_compile.
"""
import json
import pathlib
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet

mode = sys.argv[1].split("_")
batch, channels, size, d, steps = map(int, sys.argv[2:7])
arch = sys.argv[7] if len(sys.argv) > 7 else "resnet18"
torch.manual_seed(0)
torch.backends.cudnn.allow_tf32 = "tf32" in mode


class Narrow(ResNet):
    """ResNet-18 whose stages are 16, 32, 64 and 128 channels wide."""

    def __init__(self, width: int) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.inplanes = width
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._make_layer(BasicBlock, width, 2)
        self.layer2 = self._make_layer(BasicBlock, 2 * width, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 4 * width, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 8 * width, 2, stride=2)
        self.fc = nn.Linear(8 * width, 1)


encoder = Narrow(16) if arch == "narrow16" else getattr(torchvision.models, arch)()
width = encoder.bn1.num_features
encoder.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
encoder.maxpool = nn.Identity()
features = encoder.fc.in_features
encoder.fc = nn.Identity()
expander = nn.Sequential(nn.Linear(features, d, bias=False), nn.BatchNorm1d(d), nn.ReLU(True),
                         nn.Linear(d, d, bias=False), nn.BatchNorm1d(d), nn.ReLU(True),
                         nn.Linear(d, d, bias=False))
device = "cuda" if "cuda" in mode else "cpu"
encoder, expander = encoder.to(device), expander.to(device)
x, y = (torch.randn(batch, channels, size, size, device=device) for _ in range(2))
if "cl" in mode:
    encoder = encoder.to(memory_format=torch.channels_last)
    x, y = (t.to(memory_format=torch.channels_last) for t in (x, y))
optimizer = torch.optim.SGD([*encoder.parameters(), *expander.parameters()], lr=0.1, momentum=0.9,
                            weight_decay=1e-6)


def process_mb(key: str) -> float:
    """VmRSS (resident now) or VmHWM (its peak) in megabytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1.024e-3 * float(line.split()[1])
    raise RuntimeError(f"no {key} in /proc/self/status")


def off_diagonal(m: torch.Tensor) -> torch.Tensor:
    n = m.shape[0]
    return m.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    views = [expander(encoder(v)).float() for v in (x, y)]
    loss = 25 * F.mse_loss(*views)
    for z in views:
        z = z - z.mean(0)
        loss = loss + 25 * F.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean() / 2
        loss = loss + off_diagonal(z.T @ z / (batch - 1)).pow(2).sum() / d
    return loss


built_mb = process_mb("VmRSS")
step_loss = loss_of
if "compile" in mode:
    step_loss = torch.compile(loss_of, mode="reduce-overhead" if "graphs" in mode else "default")
seconds = []
for _ in range(steps + 2):
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, dtype=torch.bfloat16, enabled="bf16" in mode):
        loss = step_loss(x, y)
    loss.backward()
    optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds.append(time.perf_counter() - start)
seconds = sorted(seconds[2:])
print(json.dumps({"arch": arch, "mode": sys.argv[1], "median_s": seconds[len(seconds) // 2],
                  "min_s": seconds[0], "loss": loss.item(), "memory_mb": process_mb("VmHWM") - built_mb}))
