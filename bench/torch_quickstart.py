"""The quick start in PyTorch: VICReg on Fashion-MNIST, ResNet-18 of width 16, five epochs, CPU.
Called by bench/compare.

usage: torch_quickstart.py SEED [DATA_FOLDER]

Batches of 256, AdamW 3e-3 with warm-up and cosine, expander 512-512-512, random crops, flips,
brightness, contrast and erasing computed for a whole batch at a time, channels-last. Prints the
training time and the accuracy of a linear probe on the features afterwards.
"""
import gzip
import json
import math
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

seed = int(sys.argv[1])
data = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "/usr/share/datasets/fashion-mnist")
WIDTH, EPOCHS, BATCH, LR, D, MIN_SCALE = 16, 5, 256, 3e-3, 512, 0.3
MEAN, STD = 0.286, 0.353
torch.manual_seed(seed)


def read(name: str, header: int) -> torch.Tensor:
    with gzip.open(data / name) as file:
        return torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=header).copy())


train_x = read("train-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28).float() / 255
train_y = read("train-labels-idx1-ubyte.gz", 8).long()
test_x = read("t10k-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28).float() / 255
test_y = read("t10k-labels-idx1-ubyte.gz", 8).long()


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                          nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


layers: list[nn.Module] = [nn.Conv2d(1, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
inputs = WIDTH
for stage in range(4):
    outputs = WIDTH << stage
    layers += [Block(inputs, outputs, 1 if stage == 0 else 2), Block(outputs, outputs, 1)]
    inputs = outputs
encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1),
                        nn.Flatten()).to(memory_format=torch.channels_last)
expander = nn.Sequential(nn.Linear(inputs, D, bias=False), nn.BatchNorm1d(D), nn.ReLU(),
                         nn.Linear(D, D, bias=False), nn.BatchNorm1d(D), nn.ReLU(),
                         nn.Linear(D, D, bias=False))


def view_of(x: torch.Tensor) -> torch.Tensor:
    """A random view of every image of a batch."""
    n = len(x)
    scale = torch.empty(n).uniform_(MIN_SCALE, 1)
    ratio = torch.exp(torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3)))
    width, height = (scale * ratio).sqrt().clamp(max=1), (scale / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = width * ((torch.rand(n) < 0.5).float() * 2 - 1)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (torch.rand(n) * 2 - 1) * (1 - width)
    theta[:, 1, 2] = (torch.rand(n) * 2 - 1) * (1 - height)
    y = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False),
                      align_corners=False)
    jittered = (torch.rand(n, 1, 1, 1) < 0.8).float()
    brightness = 1 + jittered * torch.empty(n, 1, 1, 1).uniform_(-0.4, 0.4)
    contrast = 1 + jittered * torch.empty(n, 1, 1, 1).uniform_(-0.4, 0.4)
    y = (y * brightness).clamp(0, 1)
    mean = y.mean((1, 2, 3), keepdim=True)
    y = ((y - mean) * contrast + mean).clamp(0, 1)
    heights, widths = torch.randint(6, 13, (n,)), torch.randint(6, 13, (n,))
    top, left = (torch.rand(n) * (29 - heights)).long(), (torch.rand(n) * (29 - widths)).long()
    i = torch.arange(28)
    rows = (i >= top[:, None]) & (i < (top + heights)[:, None])
    columns = (i >= left[:, None]) & (i < (left + widths)[:, None])
    erased = rows[:, :, None] & columns[:, None, :] & (torch.rand(n) < 0.5)[:, None, None]
    y = y * (~erased).float().unsqueeze(1)
    return ((y - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def off_diagonal(m: torch.Tensor) -> torch.Tensor:
    n = m.shape[0]
    return m.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


def vicreg(views: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    loss = 25 * F.mse_loss(*views)
    for z in views:
        z = z - z.mean(0)
        loss = loss + 25 * F.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean() / 2
        loss = loss + off_diagonal(z.T @ z / (BATCH - 1)).pow(2).sum() / D
    return loss


def features(x: torch.Tensor) -> torch.Tensor:
    encoder.eval()
    with torch.no_grad():
        parts = [encoder(((part - MEAN) / STD).to(memory_format=torch.channels_last))
                 for part in x.split(1000)]
    encoder.train()
    return torch.cat(parts)


def linear_accuracy() -> float:
    train, test = features(train_x), features(test_x)
    mean, std = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / std, (test - mean) / std
    probe = nn.Linear(train.shape[1], 10)
    optimizer = torch.optim.AdamW(probe.parameters(), 1e-2, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30 * (len(train) // 1000))
    for _ in range(30):
        for batch in torch.randperm(len(train)).split(1000):
            optimizer.zero_grad()
            F.cross_entropy(probe(train[batch]), train_y[batch]).backward()
            optimizer.step()
            schedule.step()
    return 100 * (probe(test).argmax(1) == test_y).float().mean().item()


optimizer = torch.optim.AdamW([*encoder.parameters(), *expander.parameters()], LR, weight_decay=1e-4)
steps = len(train_x) // BATCH * EPOCHS
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda i: min(1, (i + 1) / 200) * 0.5 * (1 + math.cos(math.pi * i / steps)))
start = time.perf_counter()
for _ in range(EPOCHS):
    order = torch.randperm(len(train_x))
    for i in range(0, len(order) - BATCH + 1, BATCH):
        x = train_x[order[i:i + BATCH]]
        optimizer.zero_grad(set_to_none=True)
        za, zb = expander(encoder(torch.cat([view_of(x), view_of(x)]))).chunk(2)
        loss = vicreg((za, zb))
        loss.backward()
        optimizer.step()
        schedule.step()
train_seconds = time.perf_counter() - start
print(json.dumps({"train_seconds": train_seconds, "linear": linear_accuracy(), "loss": loss.item()}))
