#!/usr/bin/env python3
"""Writes statistics_golden.json beside itself: SciPy's numbers for test_statistics.cpp. Needs numpy and
scipy."""

import json
import os

import numpy as np
import scipy.stats

SAMPLES = {
    "a5": [87.1, 86.4, 88.0, 87.5, 86.9],
    "b5": [86.2, 86.6, 85.9, 86.8, 86.1],
    "c3": [0.25, -1.5, 3.0],
    "d4": [10.0, 10.0, 12.5, 9.0],
    "e7": [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0],
    "f7": [2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0],
    "g7": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.5],
}


def main():
    t = [{"t": x, "dof": dof, "cdf": float(scipy.stats.t.cdf(x, dof))}
         for dof in (1, 2, 4, 7.3, 30, 1000) for x in (-40.0, -2.5, -0.3, 0.0, 0.01, 1.0, 6.0)]
    quantiles = [{"p": p, "dof": dof, "t": float(scipy.stats.t.ppf(p, dof))}
                 for dof in (1, 2, 4, 7.3, 30, 1000) for p in (0.005, 0.1, 0.5, 0.6, 0.975, 0.9999)]
    intervals, pairs, correlations = [], [], []
    for name, values in SAMPLES.items():
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values),
                                           scipy.stats.sem(values))
        intervals.append({"sample": name, "mean": float(np.mean(values)), "low": float(low),
                          "high": float(high)})
    for a, b in (("a5", "b5"), ("c3", "d4"), ("e7", "f7"), ("c3", "c3")):
        x, y = SAMPLES[a], SAMPLES[b]
        interval = scipy.stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
        exact = scipy.stats.permutation_test(
            (x, y), lambda u, v: abs(np.mean(u) - np.mean(v)), n_resamples=np.inf,
            alternative="greater")
        pairs.append({"a": a, "b": b, "low": float(interval.low), "high": float(interval.high),
                      "p": float(exact.pvalue)})
    for x, y in (("a5", "b5"), ("e7", "f7"), ("e7", "g7")):
        result = scipy.stats.spearmanr(SAMPLES[x], SAMPLES[y])
        correlations.append({"x": x, "y": y, "rho": float(result.statistic),
                             "p": float(result.pvalue)})
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "statistics_golden.json")
    with open(path, "w") as file:
        json.dump({"scipy": scipy.__version__, "samples": SAMPLES, "t": t, "quantiles": quantiles,
                   "intervals": intervals, "pairs": pairs, "correlations": correlations}, file,
                  indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
