"""The rows of docs/paper/claims.json that come of results, and their verdicts, for scripts/claims.

blank_rows, better, cost_row             a row's claim, source and command, before anything was run
from_analysis, from_cells, from_costs    what a row says, by claim: of analysis.json of analyze, of the cells of
                                         scripts/experiments, of costs.json of scripts/objective_cost

The verdicts:

  differences between groups   yes if every 95 % interval of the row lies above 0, no if every one lies below, else
                               unresolved: no sign is picked out of many
  several objectives           the same with intervals of 1 - .05/m for the m comparisons of the data set
  variants of one figure       the same, and the permutation p times their number at most .05, else unresolved
  a claim of several parts     no, too, if one interval lies below 0 when corrected for their number (of sizes of noise,
                               of terms, of estimates times variants): what is claimed of all of them is refuted by one
  exactly normal               no if the share of rejected units is above a normal's, and above the linear control's
                               where there is one, with 95 % certainty in every group (the control shares the noise,
                               whose error the seeds' intervals do not have); never yes: not to be rejected is no evidence
  overlap, affine, cost        by the thresholds named in the functions
"""

import json
import math
import pathlib
import runpy
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXPERIMENTS = runpy.run_path(str(ROOT / "scripts" / "experiments"))
KEYS = ["claim", "source", "command", "ours", "ci95", "seeds", "n", "published", "published_standing",
        "agrees", "why"]
DATA = {"Fashion-MNIST": "fashion_mnist", "CIFAR-10 (JPEG q75)": "cifar10_q75"}
FORMS = {"raw": "raw", "normalised": "rows of equal length"}
OBJECTIVES = {"vicreg_logdet": "VICReg + LogDet", "vicreg_pairdist": "VICReg + PairDist", "simclr": "SimCLR",
              "barlow_twins": "Barlow Twins", "byol": "BYOL", "swav": "SwAV"}
# The share of units rejected at .01, in %, and the mean p of K^2 under exact normality, by draws: the reference
# distribution is an approximation (Monte Carlo of 3, 2 and .7 million samples).
NULL = {128: (1.64, 0.506), 512: (1.28, 0.504), 2048: (1.11, 0.501)}
# Where the tuning was not equal in foresight.
FORESIGHT = {"vicreg_pairdist": "its first grid (23, 11.5, 46) had collapsed on Fashion-MNIST and was replaced",
             "byol": "its third setting was chosen when two had been seen on Fashion-MNIST",
             "swav, CIFAR-10 (JPEG q75)": "50 and 100 prototypes with eps .05 had collapsed on CIFAR-10 (JPEG q75), 28.7 and "
                                          "29.8 % on held-out images, and were replaced by smaller eps"}
DIGITISED = ("[S23]: VICReg .320 and SimCLR .190 at sigma .01, .086 and .037 at .80; [S22]: .127 and .090 at .1, "
             ".012 and .008 at .79")


def cell(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return "[" + ", ".join(str(v) for v in value) + "]"
    return str(value).replace("|", "\\|").replace("\n", " ")


def analyze(label: str) -> str:
    grid = DATA[label]
    networks = ROOT / "docs" / "paper" / "networks"
    kept = sorted({path.stem.rpartition("-")[0] for path in networks.glob(f"controls_{grid}/*.json")})
    # Until all of them were measured, those that were.
    controls = ("" if len(kept) == 2 or not any(networks.glob(f"*_{grid}/*.json"))
                else f" --controls {kept[0]}" if kept else " --no-controls")
    return (f"build/release/bin/analyze --protocol paper --group 'docs/paper/networks/*_{grid}/*.json' --out analysis/{grid}"
            + controls)


def label_of(data: dict) -> str:
    if data["name"] == "image_folder":
        return "CIFAR-10 (JPEG q75)" if "q75" in data["root"] else pathlib.Path(data["root"]).name
    return {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}.get(data["name"], data["name"])


def row(claim: str, source: str, command: str, published=None, standing="none", agrees="unresolved",
        why="not run") -> dict:
    """A claim that was not tested yet."""
    return dict(zip(KEYS, [claim, source, command, None, None, None, None, published, standing, agrees, why]))


def number(value: float, digits: int = 3) -> str:
    text = f"{value:.{digits}g}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def interval(low: float, high: float) -> list[float]:
    return [float(f"{low:.3g}"), float(f"{high:.3g}")]


def verdict(intervals: list, corrected: list = ()) -> str:
    """Of "above 0 everywhere", which one of the intervals that are corrected for their number refutes, too."""
    if all(low > 0 for low, _ in intervals):
        return "yes"
    refuted = all(high < 0 for _, high in intervals) or any(high < 0 for _, high in corrected)
    return "no" if refuted else "unresolved"


def welch(a: dict, b: dict, comparisons: int) -> list[float]:
    """The interval of the mean of a less that of b as one of so many comparisons; Student's of each, of 95 %, are known."""
    quantile = EXPERIMENTS["t_quantile"]
    variances = [((row["high"] - row["low"]) / 2 / quantile(row["networks"] - 1, 0.975)) ** 2 for row in (a, b)]
    dof = sum(variances) ** 2 / sum(v * v / (row["networks"] - 1) for v, row in zip(variances, (a, b)))
    half = quantile(dof, 1 - 0.025 / comparisons) * math.sqrt(sum(variances))
    return interval(a["mean"] - b["mean"] - half, a["mean"] - b["mean"] + half)


def rows_of(analysis: dict, experiment: str, table: str) -> list[dict]:
    for found in analysis["experiments"]:
        if found["name"] == experiment:
            return next(t["rows"] for t in found["tables"] if t["name"] == table)
    return []


def oriented(rows: list[dict], a: str, b: str) -> list[dict]:
    """The comparisons of a and b, as a less b."""
    found = [row for row in rows if (row["a"], row["b"]) == (a, b)]
    found += [{**row, "difference": -row["difference"], "low": -row["high"], "high": -row["low"],
               "networks": " + ".join(reversed(row["networks"].split(" + ")))}
              for row in rows if (row["a"], row["b"]) == (b, a)]
    return found


def where(rows: list[dict], **values) -> list[dict]:
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def span(values: list[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def blank_rows(label: str) -> list[dict]:
    """What analyze has to say about one data set, before it has."""
    rows = [row("Encoder outputs around an image are normal where the noise is small (sigma .01 of the normalised "
                f"input), VICReg and SimCLR: {label}", "[S22] and [S23], normality figures, as they are read",
                analyze(label))]
    rows += [row(f"{output} outputs around an image are more nearly normal for VICReg than for SimCLR at every noise "
                 f"on the normalised input: {label}",
                 "[S22] and [S23], normality figures (ResNet-50; other data)" if output == "Encoder" else
                 "ours: the same of the projector", analyze(label),
                 DIGITISED if output == "Encoder" else None, "dig" if output == "Encoder" else "none")
             for output in ("Encoder", "Projector")]
    rows.append(row("Small Gaussians around training images hardly overlap: Phi(-D / 2 sigma) at nearest-neighbour "
                    f"quantiles 0, .1, 1, 10, 50 %, sigma .1 of pixels in [0, 1], {label}",
                    "[S22], [S23]: the data hypothesis", analyze(label)))
    rows.append(row("Each small Gaussian lies mostly inside one affine region of a trained ResNet (VICReg), sigma of the "
                    "normalised input: share of rectifiers that flip, linearisation error, share of images that stay: "
                    f"{label}", "[S22], [S23]: the data hypothesis", analyze(label)))
    rows += [row(f"VICReg has a larger entropy than SimCLR at the end of training, by both pairwise estimates: "
                 f"{output} outputs, {form}: {label}", "[S23], entropy figure", analyze(label), standing="mem")
             for output in ("encoder", "projector") for form in FORMS.values()]
    rows.append(row(f"The generalisation bound holds for a least-squares readout of trained features: {label}",
                    "[S23], generalisation bound", analyze(label), agrees="not_testable",
                    why="not run. Its term Q cannot be evaluated"))
    rows.append(row(f"The bound's terms rank encoders by linear accuracy (the smaller the better): {label}",
                    "ours, on the generalisation bound of [S23]", analyze(label)))
    return rows


def of_groups(rows: list[dict], **values) -> dict[str, dict]:
    return {name: found[0] for group, name in (("vicreg", "VICReg"), ("simclr", "SimCLR"), ("linear", "linear"))
            if (found := where(rows, group=group, **values))}


def normal(analysis: dict) -> dict | None:
    draws = analysis["settings"]["normality"]["draws"]
    tables = {name: rows_of(analysis, "normality", name) for name in ("mean p", "rejected", "skewness", "kurtosis")}
    at = {"output": "encoder", "draws": draws[0], "sigma": min((r["sigma"] for r in tables["mean p"]), default=0)}
    rejected = of_groups(tables["rejected"], **at)
    if not {"VICReg", "SimCLR"} <= rejected.keys():
        return None
    names = [name for name in rejected if name != "linear"]

    def line(table: str, scale: float, **values) -> str:
        found = of_groups(tables[table], **{**at, **values})
        control = f" ({number(scale * found['linear']['mean'])})" if "linear" in found else ""
        return "/".join(number(scale * found[name]["mean"]) for name in names) + control

    noisy = max(row["sigma"] for row in tables["mean p"])
    def null(of: int) -> str:
        return f"{number(NULL[of][0])} %" if of in NULL else "an unknown share"

    why = (f"a normal's share below .01 is {null(draws[0])}"
           + (f" and its mean p {number(NULL[draws[0]][1])}" if draws[0] in NULL else "")
           + (", in parentheses a linear network's, whose outputs are normal" if "linear" in rejected else "")
           + f": exact normality fails already here. At sigma {number(noisy)} "
             f"{line('rejected', 100, sigma=noisy)} % are rejected")
    for other in draws[1:]:
        if where(tables["rejected"], **{**at, "draws": other}):
            why += (f"; at sigma {number(at['sigma'])} with {other} draws {line('rejected', 100, draws=other)} %, a "
                    f"normal's {null(other)}")
    intervals = [interval(rejected[name]["low"], rejected[name]["high"]) for name in names]
    limit = max(NULL.get(draws[0], NULL[512])[0] / 100, rejected.get("linear", {"high": 0})["high"])
    return {"ours": f"{', '.join(names)}: mean p {line('mean p', 1)}, {line('rejected', 100)} % of units rejected at .01, "
                    f"median |skewness| {line('skewness', 1)}, |excess kurtosis| {line('kurtosis', 1)}",
            "ci95": intervals, "seeds": " + ".join(str(rejected[name]["networks"]) for name in names),
            "n": rows_of(analysis, "normality", "networks")[0]["images"],
            "agrees": "no" if all(low > limit for low, _ in intervals) else "unresolved",
            "why": why + ". The intervals are those of the shares rejected, over seeds: the noise is the same for all "
                         "networks, so its error is in none of them"}


def normality(analysis: dict, output: str) -> dict | None:
    draws = analysis["settings"]["normality"]["draws"]
    all_rows = oriented(rows_of(analysis, "normality", "comparisons"), "vicreg", "simclr")
    rows = where(all_rows, output=output, draws=draws[0])
    if not rows:
        return None
    means = where(rows_of(analysis, "normality", "mean p"), output=output, draws=draws[0])
    sigmas = [row["sigma"] for row in rows]

    def of(group: str) -> str:
        values = [row["mean"] for sigma in sigmas for row in where(means, group=group, sigma=sigma)]
        return "/".join(number(v) for v in values)

    why = f"mean p of VICReg {of('vicreg')}, SimCLR {of('simclr')}"
    lacking, counts = [], []
    for group, name in (("untrained", "untrained"), ("supcon", "supervised (SupCon)"), ("linear", "linear")):
        if found := where(means, group=group):
            why += f", {name} {of(group)}"
            counts.append(f"{found[0]['networks']} {name}")
        elif (group, output) != ("linear", "expander"):  # it has none
            lacking.append(name)
    if counts:
        why += f"; controls: {', '.join(counts)}"
    if lacking:
        why += f"; controls not run: {', '.join(lacking)}"
    why += "; permutation p " + "/".join(number(row["p"], 2) for row in rows)
    for other in draws[1:]:
        same = sum(row["difference"] * where(rows, sigma=row["sigma"])[0]["difference"] > 0
                   for row in where(all_rows, output=output, draws=other))
        count = len(where(all_rows, output=output, draws=other))
        if count:
            images = where(rows_of(analysis, "normality", "networks"), output=output, draws=other)[0]["images"]
            why += f"; with {other} draws ({images} images) the same sign at {same} of {count}"
    networks = where(rows_of(analysis, "normality", "networks"), output=output, draws=draws[0])
    if networks[0]["images"] < 200:
        why += (f"; {networks[0]['images']} images, where the protocol has 200, the same for all networks: what other images "
                "would give is in no interval")
    dropped = [max(row["dropped"] / (row["dropped"] + row["units"]) for row in where(networks, group=group))
               for group in ("vicreg", "simclr")]
    why += (f"; of units {number(100 * dropped[0], 2)} % (VICReg) and {number(100 * dropped[1], 2)} % (SimCLR) had no "
            "variance at most")
    if output == "encoder":
        why += ". The published figures disagree with each other, so only the direction is compared"
    intervals = [interval(row["low"], row["high"]) for row in rows]
    corrected = [welch(*(where(means, group=group, sigma=sigma)[0] for group in ("vicreg", "simclr")), len(sigmas))
                 for sigma in sigmas]
    below = [number(sigma) for sigma, (_, high) in zip(sigmas, corrected) if high < 0]
    if below and not all(high < 0 for _, high in intervals):
        why += f". Corrected for {len(sigmas)} sizes of noise the interval lies below 0 at sigma {', '.join(below)}"
    return {"ours": f"VICReg less SimCLR, mean p at sigma {'/'.join(number(s) for s in sigmas)}: "
                    + ", ".join(signed(row["difference"]) for row in rows),
            "ci95": intervals, "seeds": rows[0]["networks"], "n": networks[0]["images"],
            "agrees": verdict(intervals, corrected), "why": why}


def overlap(analysis: dict) -> dict | None:
    rows = where(rows_of(analysis, "overlap", "overlap"), sigma=0.1)
    if not rows:
        return None
    settings = analysis["settings"]["overlap"]
    noisy = where(rows_of(analysis, "overlap", "overlap"), sigma=max(settings["sigmas"]))
    # Too small for a double.
    small = lambda row: number(row["overlap"], 2) if row["overlap"] > 0 else "<1e-300"
    return {"ours": ", ".join(map(small, rows)), "ci95": None, "seeds": 1,
            "n": settings["queries"], "agrees": "yes" if rows[-1]["overlap"] < 0.01 else "no",
            "why": f"distances {', '.join(number(row['distance']) for row in rows)} (divided by the root of the "
                   f"dimension: {', '.join(number(row['distance_per_sqrt_dimension'], 2) for row in rows)}) of "
                   f"{settings['queries']:,} images among {settings['images'] or 'all'}; which networks were "
                   f"analysed does not matter. The noise's length is {number(rows[0]['noise_length'], 2)}. At sigma "
                   f"{number(noisy[0]['sigma'])} the overlaps are "
                   f"{', '.join(number(row['overlap'], 2) for row in noisy)}. Of the divided distances they are "
                   f"{', '.join(number(row['overlap_per_sqrt_dimension'], 2) for row in rows)} at sigma .1: a single "
                   "pixel does not tell neighbours apart"}


def affine(analysis: dict) -> dict | None:
    flips, errors, stay = (where(rows_of(analysis, "affine", table), group="vicreg")
                           for table in ("flip rate", "error", "same region"))
    if not flips:
        return None
    least = next((row for row in stay if row["sigma"] >= 0.01), stay[-1])
    return {"ours": "; ".join(f"sigma {number(f['sigma'])}: {number(100 * f['mean'], 2)} % flip, error "
                              f"{number(e['mean'], 2)}, {number(100 * s['mean'], 2)} % stay"
                              for f, e, s in zip(flips, errors, stay)),
            "ci95": [interval(row["low"], row["high"]) for row in errors], "seeds": flips[0]["networks"],
            "n": analysis["settings"]["affine"]["images"], "agrees": "yes" if least["mean"] > 0.5 else "no",
            "why": "the interval is the error's. A share of flips above one rectifier leaves the region"}


def entropy(analysis: dict, output: str, form: str) -> dict | None:
    rows = where(oriented(rows_of(analysis, "entropy", "verdicts"), "vicreg", "simclr"), output=output, form=form)
    if not rows:
        return None
    itself, rows = where(rows, bound="mixture"), [row for row in rows if row["bound"] != "mixture"]
    intervals = [interval(row["low"], row["high"]) for row in rows]
    last = where(rows_of(analysis, "entropy", "last checkpoint"), output=output, form=form)
    means = [f"{name} {number(row['mean'])} ({row['bound']})"
             for group, name in (("vicreg", "VICReg"), ("simclr", "SimCLR")) for row in where(last, group=group)]
    images = analysis["settings"]["entropy"]["images"]
    # One figure of the paper, in four variants: encoder and projector, raw and of equal length.
    resolved = 4 * max(row["p"] for row in rows) <= 0.05
    why = (f"of log n = {number(math.log(images))}: {', '.join(means)}; permutation p "
           + "/".join(number(row["p"], 2) for row in rows)
           + ("" if resolved else ", of which four times the larger, for the four variants of one figure, is above .05"))
    of = lambda group, bound: where(last, group=group, bound=bound)[0]
    refuted = [(row["bound"], ends) for row in rows if 4 * row["p"] <= 0.05
               and (ends := welch(of("vicreg", row["bound"]), of("simclr", row["bound"]), 4 * len(rows)))[1] < 0]
    if not resolved:
        why += "".join(f"; but the {bound} estimate's difference, corrected for {len(rows)} estimates in four variants, is "
                       f"{cell(ends)}: not by both" for bound, ends in refuted)
    if itself:
        low, high = interval(itself[0]["low"], itself[0]["high"])
        why += (f"; of the entropies themselves, by Monte Carlo, VICReg's less SimCLR's is "
                f"{signed(itself[0]['difference'])} [{low}, {high}]")
    else:
        enclosed = {group: sorted(row["mean"] for row in where(last, group=group)) for group in ("vicreg", "simclr")}
        apart = any(enclosed[a][0] > enclosed[b][-1] for a, b in (("vicreg", "simclr"), ("simclr", "vicreg")))
        why += ("; the entropies themselves, which the two bounds enclose, differ as well" if apart else
                "; the bounds overlap, so of the entropies themselves nothing is said")
    if form == "raw":
        why += ". The raw order is one of scales"
    differences = ", ".join(f"{signed(row['difference'])} ({row['bound']})" for row in rows)
    upper = [row["mean"] for row in where(last, bound="upper") if row["group"] in ("vicreg", "simclr")]
    left = math.log(images) - min(upper, default=0)
    if upper and left < 0.05:
        why += f". The upper estimates are within {number(left, 2)} of their ceiling, log n, where they tell little apart"
    return {"ours": f"VICReg less SimCLR in nats: {differences}", "ci95": intervals,
            "seeds": rows[0]["networks"], "n": images,
            "agrees": "no" if refuted else verdict(intervals) if resolved else "unresolved", "why": why}


def bound(analysis: dict) -> dict | None:
    trained = {row["network"] for row in analysis["networks"] if row["seed"] is not None}
    rows = [row for row in rows_of(analysis, "bound", "networks") if row["network"] in trained]
    if not rows:
        return None
    cells = []
    for at in dict.fromkeys(row["at"] for row in rows):
        here = where(rows, at=at)
        count = lambda mark: sum(r[mark] for r in here)
        cells.append(f"n {at}: as quoted violated in {count('quoted_violated')}, vacuous in {count('quoted_vacuous')} of "
                     f"{len(here)}; with |W| I(f) in {count('violated')} and {count('vacuous')} (risk "
                     f"{span([r['risk'] for r in here])}, sums {span([r['quoted_sum'] for r in here])} and "
                     f"{span([r['sum'] for r in here])})")
    unlabelled = span([r["unlabelled_term"] for r in rows])
    return {"ours": "; ".join(cells), "ci95": None, "seeds": len({row["network"] for row in rows}),
            "n": analysis["settings"]["bound"]["test"], "agrees": "not_testable",
            "why": "its term Q cannot be evaluated; violations and vacuous cells are those without Q, over all "
                   f"trained networks that were measured. The unlabelled term alone is {unlabelled}: vacuous at any scale of the features"}


def fisher(rho: float, n: int, confidence: float = 0.95) -> list[float]:
    """The interval of Spearman's rho over n independent pairs (Bonett and Wright 2000)."""
    half = statistics.NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    z = math.atanh(max(-1 + 1e-9, min(1 - 1e-9, rho)))
    return interval(math.tanh(z - half), math.tanh(z + half))


def spearman(pairs: list[tuple[float, float]]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]

    return statistics.correlation(*map(ranks, zip(*pairs)))


def around_images(analysis: dict) -> str:
    """What is measured around an image, at sigma .1 of the normalised input, against linear accuracy."""
    linear = {row["network"]: row["linear"] for row in rows_of(analysis, "correlation", "encoders")
              if row["step"] == "end" and row["group"] != "supcon"}
    affine_rows = where(rows_of(analysis, "affine", "networks"), sigma=0.1)
    normal_rows = where(rows_of(analysis, "normality", "networks"), sigma=0.1, output="encoder")
    if normal_rows:
        normal_rows = where(normal_rows, draws=analysis["settings"]["normality"]["draws"][0])
    told = []
    for what, key, rows in (("flip rate", "flip_rate", affine_rows), ("linearisation error", "error", affine_rows),
                            ("mean p of K^2", "mean_p", normal_rows)):
        pairs = [(row[key], linear[row["network"]]) for row in rows if row["network"] in linear]
        if len(pairs) > 3:
            told.append(f"{what} {signed(spearman(pairs))} ({len(pairs)} networks)")
    return f". Around test images, at sigma .1: {', '.join(told)}" if told else ""


def correlation(analysis: dict) -> dict | None:
    """The verdict is about finished encoders, one per training run: a run's checkpoints are no replicates."""
    where_known = lambda rows: [row for row in rows if row["rho"] is not None]
    rows = where_known(rows_of(analysis, "correlation", "rank correlations"))
    terms = [row for row in rows if row["diagnostic"].startswith("bound_")]
    if not terms or terms[0]["encoders"] < 4:
        return None
    within = {row["diagnostic"]: row for row in where_known(rows_of(analysis, "correlation", "within runs"))}
    methods = [row for row in rows_of(analysis, "correlation", "within methods") if row["encoders"] >= 5]
    others = sorted((row for row in rows if row not in terms and row["diagnostic"] != "knn"),
                    key=lambda row: -abs(row["rho"]))
    intervals = [fisher(row["rho"], row["encoders"]) for row in terms]
    below = verdict(*([[-high, -low] for low, high in some] for some in (
        intervals, [fisher(row["rho"], row["encoders"], 1 - 0.05 / len(terms)) for row in terms])))
    name = lambda row: f"{row['diagnostic'].removeprefix('bound_').replace('_', ' ')} {signed(row['rho'])}"

    def of_fewer(rows: list[dict], most: int) -> str:
        """Diagnostics that some of the networks were measured without: their correlation is of other networks."""
        few = [f"{name(row)} ({row['encoders']})" for row in rows if 5 <= row["encoders"] < most]
        return f"; of fewer (their number in parentheses): {', '.join(few)}" if few else ""

    def with_methods(row: dict) -> str:
        own = [r["rho"] for r in where(methods, diagnostic=row["diagnostic"])]
        return name(row) + (f" ({', '.join(map(signed, own))})" if own else "")

    along = [within[row["diagnostic"]] for row in terms if row["diagnostic"] in within]
    names = list(dict.fromkeys(row["group"] for row in methods))
    groups = {row["group"] for row in rows_of(analysis, "correlation", "encoders")} - {"supcon"}
    why = (f"{terms[0]['encoders']} networks of {len(groups)} methods, none of them supervised"
           + (f", in parentheses those of {', '.join(names)} alone" if names else "")
           + ": what is between methods is not what is within one. The intervals take networks and runs for independent, "
             "which those of one method are not. Labelled and unlabelled term are errors of a linear readout "
             "themselves. Diagnostics, of finished encoders, without correction for their number: "
           + ", ".join(map(with_methods, where(others, encoders=terms[0]["encoders"])))
           + of_fewer(others, terms[0]["encoders"]) + around_images(analysis))
    if pooled := sorted(where_known(rows_of(analysis, "correlation", "all checkpoints")),
                        key=lambda row: -abs(row["rho"])):
        most = max(row["encoders"] for row in pooled)
        why += (f". Over all {most} checkpoints of all runs, time and method mixed: "
                + ", ".join(map(name, where(pooled, encoders=most))) + of_fewer(pooled, most))
    return {"ours": "Spearman's rho with linear accuracy, finished encoders: " + ", ".join(map(with_methods, terms))
                    + ("; checkpoints within a run, where both change with time, mean over runs [95 %]: "
                       + ", ".join(f"{name(r)} {cell(interval(r['low'], r['high']))}" for r in along) if along else ""),
            "ci95": intervals, "seeds": terms[0]["encoders"], "n": terms[0]["encoders"], "agrees": below, "why": why}


def from_analysis(analysis: dict) -> dict[str, dict]:
    """Results by claim."""
    if any(not row["ended"] for row in analysis["networks"]):
        sys.exit("claims: expected runs that have ended, got " +
                 ", ".join(row["network"] for row in analysis["networks"] if not row["ended"]))
    label = label_of(analysis["data"])
    claims = [row["claim"] for row in blank_rows(label)] if label in DATA else []
    if not claims:
        sys.exit(f"claims: expected an analysis of {' or '.join(DATA)}, got {label}")
    results = [normal(analysis), normality(analysis, "encoder"), normality(analysis, "expander"), overlap(analysis), affine(analysis)]
    results += [entropy(analysis, output, form) for output in ("encoder", "expander") for form in FORMS]
    results += [bound(analysis), correlation(analysis)]
    grid = json.loads((ROOT / "examples" / "grids" / f"estimators_{DATA[label]}.json").read_text())
    for claim, result, experiment, table in ((claims[-2], results[-2], "bound", "networks"),
                                             (claims[-1], results[-1], "correlation", "encoders")):
        measured = {row["network"] for row in rows_of(analysis, experiment, table)}
        lacking = [pathlib.Path(row["network"]).name for row in analysis["networks"]
                   if row["seed"] is not None and row["network"] not in measured]
        if result and lacking:
            result["why"] += f". Not measured for it: {', '.join(lacking)}"
    supervised = json.loads((ROOT / "examples" / "grids" / f"supervised_{DATA[label]}.json").read_text())
    planned = {objective["name"]: objective["seeds"] for objective in grid["objectives"] + supervised["objectives"]}
    names = {"vicreg": "VICReg", **OBJECTIVES, "supcon": "SupCon"}
    left = {group: seeds - sum(row["group"] == group for row in analysis["networks"]) for group, seeds in planned.items()}

    def entering(claim: str) -> list[str]:
        """The groups whose networks a row is about."""
        if "hardly overlap" in claim:
            return []
        if claim in claims[-2:]:  # supervised ones do not enter correlations
            return [group for group in planned if claim == claims[-2] or group != "supcon"]
        return ["vicreg", "simclr"] + ["supcon"] * ("more nearly normal" in claim)

    for claim, result in zip(claims, results):
        if result and (words := ", ".join(f"{left[g]} of {names[g]}" for g in entering(claim) if left[g] > 0)):
            result["why"] += f". More seeds are planned, not run: {words}"
    return {claim: result for claim, result in zip(claims, results) if result}


def better(label: str, objective: str) -> dict:
    estimator = objective.startswith("vicreg")
    place = ", in the place of variance and covariance terms," if estimator else ""
    return row(f"{OBJECTIVES[objective]}{place} has a better linear accuracy than VICReg: {label}, width 16, 10 epochs",
               "[S23], estimators table" if estimator else "ours: other objectives by the same recipe",
               f"scripts/experiments examples/grids/estimators_{DATA[label]}.json summary; scripts/claims --fill",
               standing="mem" if estimator else "none")


def from_cells(cells: list[dict]) -> tuple[list[dict], dict[str, dict]]:
    """Rows without and results with numbers, of the grids of scripts/experiments."""
    student = EXPERIMENTS["interval"]
    tuned = {(c["grid"], c["objective"], c["setting"]): c["linear"] for c in cells if c["tuning"]}
    cells = [c for c in cells if not c["tuning"]]
    blanks, results = [], {}
    grids = {label: json.loads((ROOT / "examples" / "grids" / f"estimators_{DATA[label]}.json").read_text())
             for label in DATA}
    for label in DATA:
        here = [cell for cell in cells if cell["grid"] == f"estimators_{DATA[label]}"]
        scores, settings = {}, {}
        for objective in ("vicreg", *OBJECTIVES):
            cells_of = [c for c in here if c["objective"] == objective]
            scores[objective] = {c["seed"]: c for c in cells_of}
            settings[objective] = sorted({c["setting"] for c in cells_of})
            if len(settings[objective]) > 1:
                sys.exit(f"claims: expected one setting of {objective} in estimators_{DATA[label]}, got "
                         f"{', '.join(settings[objective])}: remove the cells that do not count")
        planned = {o["name"]: o for o in grids[label]["objectives"]}
        for objective in OBJECTIVES:
            blank = better(label, objective)
            blanks.append(blank)
            seeds = sorted(scores["vicreg"].keys() & scores[objective].keys())
            if len(seeds) < 2:
                if seeds:
                    results[blank["claim"]] = {"why": f"not run but for one of {planned[objective]['seeds']} seeds"}
                continue
            n = len(seeds)

            def paired(score: str, p: float = 0.975) -> tuple[float, list[float]]:
                mean, low, high = student([scores[objective][seed][score] - scores["vicreg"][seed][score]
                                           for seed in seeds], p)
                return mean, interval(low, high)

            def chosen(o: str) -> str:
                held_out = {s: tuned.get((f"estimators_{DATA[label]}", o, s)) for s in planned[o]["settings"]}
                return f"{settings[o][0]} of " + ", ".join(s + (f" {v:.2f}" if v else "") for s, v in held_out.items())

            (mean, ci95), (knn, knn_ci95) = paired("linear"), paired("knn")
            of_all = paired("linear", 1 - 0.025 / len(OBJECTIVES))[1]
            average = lambda o: f"{sum(scores[o][seed]['linear'] for seed in seeds) / n:.2f}"
            left = planned[objective]["seeds"] - n
            foresight = "".join(f"; {FORESIGHT[key]}" for key in (objective, f"{objective}, {label}") if key in FORESIGHT)
            results[blank["claim"]] = {
                "ours": f"{mean:+.2f} points, paired by seed", "ci95": ci95, "seeds": n, "n": 10000,
                "agrees": verdict([of_all]),
                "why": f"{average(objective)} % against {average('vicreg')} %; one recipe, three settings each (linear "
                       f"accuracy on held-out images: {chosen(objective)}; VICReg {chosen('vicreg')}), the final encoder, "
                       f"10,000 test images{foresight}. By kNN {knn:+.2f} points {cell(knn_ci95)}. The verdict is that of {cell(of_all)}, "
                       f"for {len(OBJECTIVES)} comparisons"
                       + ("; added to VICReg's terms instead: not run" if objective.startswith("vicreg") else "")
                       + (f"; {left} more seed{'s are' if left > 1 else ' is'} planned, not run" if left else "")}
    return blanks, results


def cost_row() -> dict:
    return row("LogDet and PairDist cost at most 10 % of a training step at n 256, d 512 and d 2048", "ours",
               "scripts/objective_cost --out costs.json")


def from_costs(costs: dict) -> dict[str, dict]:
    measured = [(d, name, values) for d, by_name in costs["ratios"].items() for name, values in by_name.items()]

    def percent(ratio: float) -> str:
        return f"{100 * (ratio - 1):+.1f}"

    ours = [f"{OBJECTIVES[name]} {percent(values['ratio'])} % [{percent(min(values['rounds']))}, "
            f"{percent(max(values['rounds']))}] at d {d}" for d, name, values in measured]
    dearest, cheapest = ([of(v["rounds"]) for _, _, v in measured] for of in (max, min))
    return {cost_row()["claim"]: {
        "ours": ", ".join(ours), "ci95": None, "seeds": 1, "n": costs["steps"],
        "agrees": "yes" if max(dearest) <= 1.1 else "no" if max(cheapest) > 1.1 else "unresolved",
        "why": f"median step against VICReg's, in brackets the least and the most of {costs['rounds']} alternating rounds, "
               "which the verdict is of; " + costs["about"]}}
