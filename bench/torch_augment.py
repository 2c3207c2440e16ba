"""torchvision's counterpart of bench/augment.cpp's first figure: VICReg's views of 32x32 images on
one core. Called by bench/compare.

usage: torch_augment.py [SECONDS]

Prints views per second of processor time: PIL transforms, which is what self-supervised training
uses, and v2 transforms of uint8 tensors.
"""
import json
import sys
import time
from typing import Callable

import numpy as np
import torch
import torchvision.transforms as T
import torchvision.transforms.v2 as V
from PIL import Image

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
torch.set_num_threads(1)
JITTER, MEAN, STD = (0.4, 0.4, 0.2, 0.1), (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
BICUBIC = T.InterpolationMode.BICUBIC

pil = T.Compose([
    T.RandomResizedCrop(32, (0.2, 1), interpolation=BICUBIC), T.RandomHorizontalFlip(),
    T.RandomApply([T.ColorJitter(*JITTER)], 0.8), T.RandomGrayscale(0.2), T.RandomSolarize(128, 0.1),
    T.ToTensor(), T.Normalize(MEAN, STD)])
tensor = V.Compose([
    V.RandomResizedCrop(32, (0.2, 1), interpolation=BICUBIC, antialias=True), V.RandomHorizontalFlip(),
    V.RandomApply([V.ColorJitter(*JITTER)], 0.8), V.RandomGrayscale(0.2), V.RandomSolarize(128, 0.1),
    V.ToDtype(torch.float32, scale=True), V.Normalize(MEAN, STD)])
pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def rate(transform: Callable[[object], object], image: object) -> float:
    for _ in range(50):
        transform(image)
    count, begin = 0, time.thread_time()
    while time.thread_time() - begin < seconds:
        for _ in range(50):
            transform(image)
        count += 50
    return count / (time.thread_time() - begin)


print(json.dumps({"PIL": rate(pil, Image.fromarray(pixels)),
                  "v2 tensor": rate(tensor, torch.from_numpy(pixels).permute(2, 0, 1).contiguous())}))
