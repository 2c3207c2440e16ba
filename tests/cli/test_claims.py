#!/usr/bin/env python3
"""scripts/claims: incomplete rows are reported, results become the right texts and verdicts.

usage: test_claims.py ROOT
"""
import json
import math
import pathlib
import runpy
import sys

SCRIPTS = pathlib.Path(sys.argv[1]) / "scripts"
sys.path.insert(0, str(SCRIPTS))

from claims_results import KEYS, better, correlation, entropy, from_cells, number, signed, spearman, verdict

CLAIMS = runpy.run_path(str(SCRIPTS / "claims"))
problems, fill, to_text = (CLAIMS[name] for name in ("problems", "fill", "to_text"))


def test_file() -> list[str]:
    good = dict(zip(KEYS, ["c", "s", "run", "1", None, 1, 1, None, "mem", "yes", "w"]))
    wrong = [{"agrees": "maybe"}, {"published": ".3"}, {"ours": None}, {"command": ""},
             {"ours": None, "agrees": "unresolved", "seeds": None, "n": None}, {"extra": 1}]
    found = [f"not reported: {change}" for change in wrong if not problems([{**good, **change}])]
    found += problems([good]) + problems(fill([good], []))
    if json.loads(to_text([good])) != [good] or number(-0.0123) != "-.0123" or signed(0.5) != "+.5":
        found.append("to_text, number")
    if verdict([[-1, 1], [-2, -1]], [[-1.5, 1.5], [-3, -0.5]]) != "no":
        found.append("verdict of what one part refutes")
    cases = ([[1, 2], [1, 2]], [[-2, -1], [-2, -1]], [[-2, -1], [1, 2]], [[-1, 1], [1, 2]])
    if [verdict(v) for v in cases] != ["yes", "no", "unresolved", "unresolved"]:
        found.append("verdict")
    return found


def test_entropy() -> list[str]:
    def of(vicreg: tuple, simclr: tuple) -> dict:
        key, bounds = {"output": "encoder", "form": "raw"}, ("upper", "lower", "mixture")
        verdicts = [{**key, "a": "vicreg", "b": "simclr", "bound": bound, "difference": v - s, "low": v - s - 0.1,
                     "high": v - s + 0.1, "p": 0.01, "networks": 5}
                    for bound, v, s in zip(bounds, vicreg, simclr)]
        last = [{**key, "group": group, "bound": bound, "mean": mean, "low": mean - 0.07, "high": mean + 0.07,
                 "networks": 5} for group, means in
                (("vicreg", vicreg), ("simclr", simclr)) for bound, mean in zip(bounds, means)]
        return entropy({"settings": {"entropy": {"images": 100}}, "experiments": [
            {"name": "entropy", "tables": [{"name": "verdicts", "rows": verdicts},
                                           {"name": "last checkpoint", "rows": last}]}]}, "encoder", "raw")

    found = []
    for vicreg, simclr, agrees, says in (((7, 5), (6, 4), "yes", "bounds overlap"),
                                         ((7, 5), (4, 3), "yes", "differ as well"),
                                         ((4, 3), (7, 5), "no", "differ as well"),
                                         ((7, 4.95), (6, 5), "unresolved", "bounds overlap"),
                                         ((7, 4), (6, 5), "no", "bounds overlap"),
                                         ((7, 4.95, 6), (6, 5, 5.5), "unresolved", "Carlo, VICReg's less SimCLR's is +.5 [0.4")):
        result = of(vicreg, simclr)
        if result["agrees"] != agrees or says not in result["why"]:
            found.append(f"entropy of {vicreg} and {simclr}: {result}")
    return found


def test_correlation() -> list[str]:
    def of(between: float, within: float, labelled: float | None = None) -> dict:
        names = ["bound_invariance", "bound_labelled", "rankme"]
        rho = dict.fromkeys(names, between) | ({} if labelled is None else {"bound_labelled": labelled})
        return correlation({"experiments": [{"name": "correlation", "tables": [
            {"name": "rank correlations",
             "rows": [{"diagnostic": n, "encoders": 10, "rho": rho[n], "p": 0} for n in names]
                     + [{"diagnostic": n, "encoders": few, "rho": -0.5, "p": 0} for n, few in (("std", 6), ("lidar", 4))]},
            {"name": "within methods", "rows": []},
            {"name": "encoders", "rows": [{"group": "vicreg", "network": "v", "step": 78, "linear": 80}]},
            {"name": "all checkpoints", "rows": [{"diagnostic": n, "encoders": 60, "rho": within} for n in names]},
            {"name": "within runs", "rows": [{"diagnostic": n, "runs": 5, "rho": within, "low": within - 0.1,
                                              "high": within + 0.1} for n in names]}]}]})

    # What happens along a run does not count. One term that is clearly of the wrong sign refutes all; .7 is not, of
    # two terms: the 95 % interval of one of 10 encoders begins at .04, that of 97.5 % at -.08.
    wanted = {(0.4, -0.9): "unresolved", (-0.8, 0.9): "yes", (0.8, -0.9): "no", (-0.8, 0.9, 0.9): "no",
              (-0.8, 0.9, 0.7): "unresolved"}
    found = [f"correlation {case}" for case, agrees in wanted.items() if of(*case)["agrees"] != agrees]
    # A diagnostic that few networks were measured with says of how many it is, of very few it says nothing.
    if "of fewer (their number in parentheses): std -.5 (6)." not in of(0.4, -0.9)["why"]:
        found.append(f"diagnostics of few networks: {of(0.4, -0.9)['why']}")
    # Ties have the mean of their ranks: 0, 1.5, 1.5, 3 against 3, 2, 1, 0.
    if abs(spearman([(1, 9), (2, 8), (2, 7), (5, 1)]) + 4.5 / math.sqrt(4.5 * 5)) > 1e-12:
        found.append("spearman")
    return found


def test_cells() -> list[str]:
    def cells(settings: tuple) -> list[dict]:
        return [{"grid": "estimators_fashion_mnist", "objective": objective, "setting": setting, "seed": seed,
                 "linear": linear + seed, "knn": 2 * linear, "tuning": False} for seed in range(3) for objective, setting, linear in settings]

    vicreg, simclr = ("vicreg", "cov2", 80.0), ("simclr", "t0.2", 81.0)
    result = from_cells(cells((vicreg, simclr)))[1][better("Fashion-MNIST", "simclr")["claim"]]
    found = [] if (result["agrees"], result["ci95"], result["seeds"]) == ("yes", [1, 1], 3) else [f"cells: {result}"]
    if "2 more seeds" not in result["why"] or "By kNN +2.00 points [2.0, 2.0]" not in result["why"]:
        found.append(f"cells: {result['why']}")
    try:
        from_cells(cells((vicreg, ("vicreg", "cov1", 80.0), simclr)))
        found.append("cells of two settings were accepted")
    except SystemExit:
        pass
    return found


def main() -> int:
    found = test_file() + test_entropy() + test_correlation() + test_cells()
    print("\n".join(found) or "4 tests")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
