"""PyTorch's counterpart of bench/overhead.cpp; called by bench/compare.

usage: torch_overhead.py [SECONDS]
"""
import json
import sys
import time
from typing import Callable

import torch

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
torch.set_num_threads(1)
x, y = torch.randn(4, 4, requires_grad=True), torch.randn(4, 4, requires_grad=True)


def forward() -> torch.Tensor:
    z = x
    for _ in range(10):
        z = z * y + x
    return z.sum()


result: dict[str, float] = {}


def report(name: str, unit: str, per_second: float, calls: int, f: Callable[[], object]) -> None:
    runs = []
    begin = time.thread_time()
    while time.thread_time() - begin < seconds:
        start = time.thread_time()
        for _ in range(calls):
            f()
        runs.append((time.thread_time() - start) / calls)
    runs.sort()
    result[f"{name}_{unit}"] = runs[len(runs) // 2] * per_second
    result[f"{name}_min_{unit}"] = runs[0] * per_second


report("add", "ns", 1e9, 1000, lambda: x + y)
report("chain20_forward", "us", 1e6, 50, forward)
report("chain20", "us", 1e6, 50, lambda: forward().backward())
print(json.dumps(result))
