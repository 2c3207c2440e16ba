#!/usr/bin/env python3
"""Writes information_golden.json beside itself: what SciPy and NumPy make of samples that both sides
compute from integers, for test_information.cpp. Needs numpy and scipy.

    u(i, j) = floor(((i + 1)^2 * 2654435761 + (j + 3) * (i + 7) * 40503 * 65537) / 2^20) mod 2^20
              / 2^20
    unit 0: u   1: u^2   2: u(i,0) + u(i,1) + u(i,2)   3: 1000 + u   4: (10 u - 5)^3   5: 3
"""

import json
import os

import numpy as np
import scipy.stats


def u(n, j):
    i = np.arange(n, dtype=np.int64)
    v = (i + 1) ** 2 * 2654435761 + (j + 3) * (i + 7) * 40503 * 65537
    return ((v >> 20) % 2**20) / 2**20


def units(n):
    x = [u(n, j) for j in range(6)]
    ten = 10 * x[4] - 5
    return np.stack([x[0], x[1] * x[1], x[0] + x[1] + x[2], 1000 + x[3], ten * ten * ten,
                     np.full(n, 3.0)], axis=1)


def exponential_entropy(values):
    p = values / values.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def normality():
    cases = []
    for n in (8, 20, 128, 512, 2048):
        x = units(n)[:, :5]
        statistic, p = scipy.stats.normaltest(x)
        cases.append({"n": n, "skewness": scipy.stats.skew(x).tolist(),
                      "kurtosis": scipy.stats.kurtosis(x).tolist(),
                      "statistic": statistic.tolist(), "p_value": p.tolist()})
    return cases


def representation():
    cases = []
    for n, d in ((40, 9), (9, 40)):
        z = np.stack([u(n, j) * (1 + j) for j in range(d)], axis=1)
        other = z[::-1]
        spectrum = np.linalg.eigvalsh(np.cov(z.T))[::-1]
        rank = min(n - 1, d)
        k = np.arange(2, rank)
        slope = np.polyfit(np.log(k), np.log(spectrum[1:rank - 1]), 1)
        unit, unit_other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (z, other))
        pairs = np.triu_indices(n, 1)
        distances = ((unit[:, None] - unit[None]) ** 2).sum(-1)[pairs]
        views = np.stack([z, other, z * z / d], axis=1)  # [n, 3, d]
        m = views.mean(1)
        between = np.cov(m.T, bias=True)
        within = views - m[:, None]
        within = np.einsum("nvi,nvj->ij", within, within) / (3 * n) + 1e-4 * np.eye(d)
        values, vectors = np.linalg.eigh(within)
        root = vectors / np.sqrt(values) @ vectors.T
        cases.append({
            "n": n, "d": d,
            "spectrum": spectrum[:rank].tolist(),
            "rankme": exponential_entropy(np.linalg.svd(z, compute_uv=False)),
            "participation_ratio": float(spectrum.sum() ** 2 / (spectrum**2).sum()),
            "alpha": -float(slope[0]),
            "lidar": exponential_entropy(np.linalg.eigvalsh(root @ between @ root)),
            "alignment": float(((unit - unit_other) ** 2).sum(1).mean()),
            "uniformity": float(np.log(np.exp(-2 * distances).mean())),
        })
    return cases


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "information_golden.json")
    with open(path, "w") as file:
        json.dump({"scipy": scipy.__version__, "normality": normality(),
                   "representation": representation()}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
