#!/usr/bin/env python3
"""Runs analyze and scripts/experiments as a user would, on tiny networks trained here.

usage: test_analyze.py BIN_FOLDER [unittest arguments]
"""
import json
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import xml.etree.ElementTree

from small_runs import BIN, ROOT, configuration, make_images, metrics

SMALL = ["--set", 'normality={"images": 2, "draws": [64, 32], "sigmas": [0.01, 0.3], "expander": true, '
         '"second_images": 1}',
         "--set", "overlap.images=90", "--set", "overlap.queries=20", "--set", "affine.images=4",
         "--set", "affine.sigmas=[0.01, 0.1]", "--set", "entropy.images=30",
         "--set", 'bound={"labelled": [20, 0, 1000], "unlabelled": 60, "test": 40}',
         "--set", 'correlation={"images": 30, "train": 0, "test": 0, "checkpoints": true}',
         "--control-seeds", "2"]


class Analyze(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="invar-analyze-"))
        cls.config = configuration(make_images(cls.folder))
        cls.config["training"]["epochs"] = 2
        cls.config["checkpoints"] = {"every_steps": 6, "keep": 9}
        del cls.config["diagnostics"]
        cls.config_path = cls.folder / "tiny.json"
        cls.config_path.write_text(json.dumps(cls.config))
        for objective in ("vicreg", "simclr"):
            for seed in (0, 1):
                done = cls.run_program("pretrain", cls.config_path, "--seed", seed, "--out",
                                       cls.folder / f"{objective}{seed}", "--set", f"objective.name={objective}")
                if done.returncode != 0:
                    raise AssertionError(done.stderr)
        cls.groups = ["--group", f"{cls.folder}/vicreg0,{cls.folder}/vicreg1",
                      "--group", f"contrast={cls.folder}/simclr0,{cls.folder}/simclr1"]
        cls.out = cls.folder / "analysis"
        done = cls.run_program("analyze", *cls.groups, *SMALL, "--out", cls.out)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        cls.analysis = json.loads((cls.out / "analysis.json").read_text())

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    @staticmethod
    def run_program(name: str, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run([BIN / name, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)

    def rows(self, experiment: str, table: str) -> list[dict]:
        (found,) = [e for e in self.analysis["experiments"] if e["name"] == experiment]
        return next(t["rows"] for t in found["tables"] if t["name"] == table)

    def test_every_network_is_in_its_group(self) -> None:
        self.assertEqual([row["group"] for row in self.analysis["networks"]],
                         ["vicreg"] * 2 + ["contrast"] * 2 + ["untrained"] * 2 + ["linear"] * 2)
        self.assertEqual([e["name"] for e in self.analysis["experiments"]],
                         ["normality", "overlap", "affine", "entropy", "bound", "correlation"])

    def test_normality(self) -> None:
        rows = self.rows("normality", "networks")
        self.assertEqual(len(rows), (8 + 6) * 4)  # encoders, expanders of all but the linear networks; sigmas, draws
        for row in rows:
            self.assertEqual(row["images"], 1 if row["output"] == "expander" else 2)
            self.assertEqual(row["units"] + row["dropped"],
                             row["images"] * (16 if row["output"] == "expander" else 32))
            self.assertTrue(0 <= row["mean_p"] <= 1)
        # Of a linear network the noise's size says nothing, and all is normal.
        linear = [row["mean_p"] for row in rows if row["group"] == "linear" and row["draws"] == 64]
        self.assertEqual(len(linear), 4)
        self.assertTrue(all(0.35 < p < 0.65 for p in linear), linear)
        for row in self.rows("normality", "comparisons"):
            self.assertEqual((row["a"], row["b"]), ("vicreg", "contrast"))
            self.assertTrue(row["low"] <= row["difference"] <= row["high"])
            self.assertGreaterEqual(row["p"], 1 / 3)  # 2 + 2 networks cannot go below
            self.assertEqual("not resolved" in row["verdict"], row["low"] <= 0 <= row["high"])

    def test_more_draws_are_of_fewer_images(self) -> None:
        out = self.folder / "draws"
        done = self.run_program("analyze", "--group", f"{self.folder}/vicreg0", "--no-controls", "--out", out,
                                "--experiments", "normality", "--set",
                                'normality={"images": 3, "draws": [32, 16, 64], "sigmas": [0.1], "second_images": 2}')
        self.assertEqual(done.returncode, 0, done.stderr)
        tables = json.loads((out / "analysis.json").read_text())["experiments"][0]["tables"]
        rows = next(table["rows"] for table in tables if table["name"] == "networks")
        self.assertEqual({row["draws"]: row["images"] for row in rows}, {32: 3, 16: 3, 64: 2})

    def test_overlap(self) -> None:
        for row in self.rows("overlap", "overlap"):
            self.assertAlmostEqual(row["distance_per_sqrt_dimension"], row["distance"] / 12)
        self.assertEqual(len(self.rows("overlap", "overlap")), 3 * 5)

    def test_affine(self) -> None:
        rows = self.rows("affine", "networks")
        self.assertEqual(len(rows), 8 * 2)
        for row in rows:
            if row["group"] == "linear":
                self.assertLess(row["error"], 1e-3)
                self.assertEqual((row["flip_rate"], row["same_region"]), (0, 1))
            else:
                self.assertTrue(0 < row["flip_rate"] < 1)
                self.assertLess(row["same_region"], 1)

    def test_entropy_lies_in_its_range(self) -> None:
        log_n = self.rows("entropy", "scales")[0]["log_n"]
        rows = self.rows("entropy", "networks")
        self.assertEqual(len(rows), 4 * 2 * 12)  # networks, checkpoints, variants
        estimates = {}
        for row in rows:
            key = (row["network"], row["step"], row["output"], row["form"])
            self.assertTrue(row["information"] <= log_n)
            estimates.setdefault(key, {})[row["bound"]] = row["information"]
        for of in estimates.values():
            self.assertTrue(0 <= of["lower"] <= of["upper"])
            # 30 draws: the standard error of a mean of numbers up to log 30 is some tenths.
            self.assertTrue(of["lower"] - 1 < of["mixture"] < of["upper"] + 1, of)

    def test_bound_marks_what_it_cannot_say(self) -> None:
        rows = self.rows("bound", "networks")
        for row in rows:
            self.assertEqual(row["vacuous"], row["sum"] >= 1)
            self.assertEqual(row["violated"], row["risk"] > row["sum"])
            quoted = row["invariance"] + row["unlabelled_term"] + row["labelled_term"]
            self.assertAlmostEqual(row["quoted_sum"], quoted)
            self.assertEqual(row["quoted_vacuous"], quoted >= 1)
            self.assertEqual(row["quoted_violated"], row["risk"] > quoted)
        self.assertEqual({row["at"] for row in rows}, {"20", "d"})
        self.assertTrue(all(row["labelled"] == 1000 for row in self.rows("bound", "not run")
                            if row["network"].endswith("vicreg0")))

    def test_correlation(self) -> None:
        self.assertEqual(len(self.rows("correlation", "encoders")), 4 * (2 + 1))
        for row in self.rows("correlation", "rank correlations"):
            self.assertTrue(row["rho"] is None or -1 <= row["rho"] <= 1)
        figure = next(e for e in self.analysis["experiments"] if e["name"] == "correlation")["figures"][0]
        shown = dict(zip(figure["rows"], figure["series"][0]["y"]))
        self.assertGreater(len(shown), 10)
        for row in self.rows("correlation", "rank correlations"):
            self.assertEqual(shown.get(row["diagnostic"]), row["rho"], row)
        strengths = [abs(rho) for rho in shown.values() if rho is not None]
        self.assertEqual(strengths, sorted(strengths, reverse=True))

    def test_figures_and_page(self) -> None:
        names = {figure["name"] for e in self.analysis["experiments"] for figure in e["figures"]}
        self.assertEqual({path.stem for path in self.out.glob("*.svg")}, names)
        for name in names:
            root = xml.etree.ElementTree.parse(self.out / f"{name}.svg").getroot()
            self.assertTrue(root.tag.endswith("svg"))
            self.assertNotIn("nan", (self.out / f"{name}.svg").read_text())
        page = (self.out / "index.html").read_text()
        self.assertEqual(page.count("<svg"), len(names))
        self.assertGreater(page.count("<td>–</td>"), 0)  # controls are of no seed
        # Self-contained: nothing is loaded, no script runs.
        self.assertEqual(re.findall(r'<script|<link|src=|href=|url\((?!#)', page), [])

    def test_the_same_call_gives_the_same_bytes(self) -> None:
        again = self.folder / "again"
        done = self.run_program("analyze", *self.groups, *SMALL, "--out", again)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_files(again)

    def assert_same_files(self, other: pathlib.Path) -> None:
        files = [path.relative_to(self.out) for path in self.out.rglob("*") if path.is_file()]
        self.assertEqual(len([path for path in files if path.parent.name == "networks"]), 8)
        for path in files:
            self.assertEqual((other / path).read_bytes(), (self.out / path).read_bytes(), path)

    def test_what_was_measured_stands_in_for_networks(self) -> None:
        kept = self.out / "networks"
        groups = [f"{kept}/{pattern}" for pattern in ("vicreg*", "simclr*", "untrained*", "linear*")]
        out = self.folder / "kept"
        groups = [argument for group in groups for argument in ("--group", group)]
        done = self.run_program("analyze", *groups, *SMALL, "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("affine", done.stderr)  # nothing was measured again
        self.assert_same_files(out)
        done = self.run_program("analyze", *groups, *SMALL, "--out", out)
        self.assertEqual(done.returncode, 1)
        self.assertIn("complete it with --resume", done.stderr)
        self.assert_same_files(out)
        out = self.folder / "kept-partly"
        for change, message in ((["--set", "affine.images=3"], "measured with"), (["--seed", 1], "measured on")):
            done = self.run_program("analyze", *groups, *SMALL, *change, "--out", self.folder / "refused")
            self.assertEqual(done.returncode, 1)
            self.assertIn(message, done.stderr)
        # A file that does not know an experiment is left out of it, and told.
        partly = json.loads((kept / "vicreg0.json").read_text())
        del partly["measured"]["affine"]
        (self.folder / "partly.json").write_text(json.dumps(partly))
        groups[1] = f"{self.folder}/partly.json,{kept}/vicreg1.json"
        done = self.run_program("analyze", *groups, *SMALL, "--out", out, "--experiments", "affine")
        self.assertEqual(done.returncode, 0, done.stderr)
        (affine,) = json.loads((out / "analysis.json").read_text())["experiments"]
        self.assertEqual(affine["notes"][-1], f"Not measured: {self.folder}/vicreg0.")
        rows = next(table["rows"] for table in affine["tables"] if table["name"] == "networks")
        self.assertNotIn(f"{self.folder}/vicreg0", {row["network"] for row in rows})
        # An estimate that a file does not know is compared for no network.
        known = partly["measured"]["entropy"]
        known["rows"] = [row for row in known["rows"] if row["bound"] != "mixture"]
        # Nor is a checkpoint that one run alone has: it was ended and resumed there.
        known["rows"] = [{**row, "step": 1} for row in known["rows"] if row["step"] == known["rows"][0]["step"]] \
            + known["rows"]
        (self.folder / "partly.json").write_text(json.dumps(partly))
        for group, bounds in ((groups[1], {"upper", "lower"}), (groups[3], {"upper", "mixture", "lower"})):
            out = self.folder / f"kept-{len(bounds)}-bounds"
            done = self.run_program("analyze", "--group", group, "--no-controls", *SMALL, "--out", out,
                                    "--experiments", "entropy")
            self.assertEqual(done.returncode, 0, done.stderr)
            (entropy,) = json.loads((out / "analysis.json").read_text())["experiments"]
            for table in entropy["tables"]:
                if table["name"] in ("networks", "last checkpoint"):
                    self.assertEqual({row["bound"] for row in table["rows"]}, bounds)
                if table["name"] == "networks":
                    self.assertEqual(1 in {row["step"] for row in table["rows"]}, group == groups[1])
                if table["name"] == "along training":
                    self.assertNotIn(1, {row["step"] for row in table["rows"]})
            self.assertEqual(len(entropy["figures"]), 4 * len(bounds))
        done = self.run_program("analyze", "--group", self.folder / "partly.json", "--no-controls", *SMALL,
                                "--experiments", "affine", "--out", self.folder / "refused")
        self.assertEqual(done.returncode, 1)
        self.assertIn("at least one network", done.stderr)
        done = self.run_program("analyze", "--group", self.out / "analysis.json", "--out", self.folder / "refused")
        self.assertEqual(done.returncode, 1)
        self.assertIn("networks/*.json", done.stderr)

    def test_resume_measures_what_is_lacking(self) -> None:
        out = self.folder / "resumed"
        shutil.copytree(self.out, out)
        (out / "analysis.json").unlink()
        (out / "networks" / "vicreg1.json").unlink()
        partly = out / "networks" / "simclr0.json"
        known = json.loads(partly.read_text())
        del known["measured"]["bound"]
        partly.write_text(json.dumps(known))
        # What was measured before an interruption is not measured over.
        done = self.run_program("analyze", *self.groups, *SMALL, "--out", out)
        self.assertEqual(done.returncode, 1)
        self.assertIn("'networks': complete it with --resume", done.stderr)
        done = self.run_program("analyze", *self.groups, *SMALL, "--out", out, "--resume")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(re.findall(r"(\S+) \(\d of 8\)", done.stderr),
                         [f"{self.folder}/vicreg1", f"{self.folder}/simclr0"])
        self.assert_same_files(out)
        known["config"]["seed"] = 7
        partly.write_text(json.dumps(known))
        done = self.run_program("analyze", *self.groups, *SMALL, "--out", out, "--resume")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--resume", done.stderr)

    def test_a_protocol_is_cut_to_the_data(self) -> None:
        out = self.folder / "cut"
        done = self.run_program("analyze", "--group", self.folder / "vicreg0", "--no-controls", "--out", out,
                                "--experiments", "overlap,affine", "--set", "affine.sigmas=[0.1]")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("overlap.images is 96: there are no more training images", done.stderr)
        settings = json.loads((out / "analysis.json").read_text())["settings"]
        self.assertEqual((settings["overlap"]["images"], settings["affine"]["images"]), (96, 40))

    def test_patterns_and_runs_that_have_not_ended(self) -> None:
        begun = self.folder / "unfinished0"
        shutil.copytree(self.folder / "vicreg0", begun)
        (begun / "encoder.safetensors").unlink()
        out = self.folder / "patterns"
        done = self.run_program("analyze", "--group", f"{self.folder}/vicreg[0-9]", "--group",
                                f"other={self.folder}/unfin*", "--no-controls", "--out", out, "--experiments",
                                "affine", "--set", "affine.images=2", "--set", "affine.sigmas=[0.1]")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("has not ended", done.stderr)
        analysis = json.loads((out / "analysis.json").read_text())
        networks = analysis["networks"]
        # Of the average of weights in its last checkpoint the batch-norm statistics are measured anew, as
        # they were of the run's own encoder: the same network.
        (rows,) = (table["rows"] for table in analysis["experiments"][0]["tables"] if table["name"] == "networks")
        first, _, last = ([row for row in rows if row["network"] == network["network"]] for network in networks)
        for row in first + last:
            del row["network"], row["group"]
        self.assertEqual(first, last)
        self.assertEqual([(row["group"], row["network"].split("/")[-1], row["ended"]) for row in networks],
                         [("vicreg", "vicreg0", True), ("vicreg", "vicreg1", True), ("other", "unfinished0", False)])

    def test_claims_are_filled_from_an_analysis(self) -> None:
        sys.path.insert(0, str(ROOT / "scripts"))
        claims = runpy.run_path(str(ROOT / "scripts" / "claims"))
        rows = json.loads((ROOT / "docs" / "paper" / "claims.json").read_text())
        renamed = json.loads(json.dumps(self.analysis).replace('"contrast"', '"simclr"'))
        renamed["data"] = {"name": "fashion_mnist"}
        path = self.folder / "renamed.json"
        path.write_text(json.dumps(renamed))
        costs = self.folder / "costs.json"
        ratios = {"vicreg_logdet": {"ratio": 1.03, "rounds": [1.02, 1.04]},
                  "vicreg_pairdist": {"ratio": 1.11, "rounds": [1.105, 1.12]}}
        costs.write_text(json.dumps({"about": "a test", "steps": 3, "rounds": 2, "ratios": {"512": ratios}}))
        filled = claims["fill"](rows, [path, costs])
        self.assertEqual(claims["problems"](filled), [])
        self.assertEqual([row["claim"] for row in filled], [row["claim"] for row in rows])
        measured = {row["claim"]: row for row in filled if row["ours"] is not None}
        new = [claim for claim in measured if "Fashion-MNIST" in claim and "linear accuracy than" not in claim]
        # Overlap is told at sigma .1, which this analysis does not have.
        self.assertEqual(len(new) - any("overlap" in claim for claim in new), 10, new)
        normal = next(row for claim, row in measured.items() if "are normal where the noise is small" in claim)
        shares = [row["mean"] for group in ("vicreg", "contrast") for row in self.rows("normality", "rejected")
                  if (row["output"], row["draws"], row["sigma"], row["group"]) == ("encoder", 64, 0.01, group)]
        limit = max([0.0128] + [row["high"] for row in self.rows("normality", "rejected") if row["group"] == "linear"
                                and (row["output"], row["draws"], row["sigma"]) == ("encoder", 64, 0.01)])
        self.assertEqual(normal["agrees"], "no" if all(low > limit for low, _ in normal["ci95"]) else "unresolved")
        self.assertEqual(len(shares), 2)
        self.assertTrue(all(low <= share <= high for (low, high), share in zip(normal["ci95"], shares)))
        normality = next(row for claim, row in measured.items() if "more nearly normal" in claim)
        comparison = [row for row in self.rows("normality", "comparisons")
                      if row["output"] == "encoder" and row["draws"] == 64]
        self.assertEqual(len(normality["ci95"]), len(comparison))
        self.assertEqual((normality["seeds"], normality["n"]), ("2 + 2", 2))
        for (low, high), row in zip(normality["ci95"], comparison):
            self.assertAlmostEqual(low, row["low"], delta=0.01 * abs(row["low"]))
            self.assertAlmostEqual(high, row["high"], delta=0.01 * abs(row["high"]))
        cost = next(row for claim, row in measured.items() if "cost" in claim)
        self.assertEqual(cost["agrees"], "no")
        self.assertIn("+11.0 % [+10.5, +12.0] at d 512", cost["ours"])

    def test_bad_input_is_refused(self) -> None:
        group = ["--group", str(self.folder / "vicreg0")]
        never = self.folder / "never"
        for message, arguments in (
                ("did you mean \"normality\"", group + ["--experiments", "normalty"]),
                ("did you mean \"draws\"", group + ["--set", "normality.draw=[64]"]),
                ("at least 8", group + ["--set", "normality.draws=[2]"]),
                ("1 to 40 test images", group + ["--set", "normality.images=4000", "--experiments", "normality"]),
                ("[overlap.images] expected 1 to 96 training images", group + ["--set", "overlap.images=97"]),
                ("did you mean \"linear\"", group + ["--controls", "linaer"]),
                ("no-such-run", ["--group", "vicreg=no-such-run"]),
                ("none like", ["--group", f"vicreg={self.folder}/no-such-*"]),
                ("without a config.json", ["--group", f"a={self.folder}"]),
                ("NAME=PATH", ["--group", "=x"]),
                ("NAME=PATH", ["--group", "x="]),
                ("test view", ["--group", f"{self.folder}/vicreg0,{self.other_view()}"]),
                ("of one configuration and seed", ["--group", f"a={self.folder}/vicreg0,{self.folder}/vicreg0"]),
                ("differ in their seed alone", ["--group", f"{self.folder}/vicreg0,{self.longer()}"]),
                ("expected JSON in '--data'", group + ["--data", "cifar"]),
                ("with checkpoints", ["--group", f"a={self.folder}/vicreg0/encoder.safetensors",
                                      "--experiments", "entropy", "--set", "entropy.images=30"])):
            with self.subTest(message):
                done = self.run_program("analyze", *arguments, "--out", never)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(message, done.stderr)
                self.assertFalse((never / "analysis.json").exists())
                self.assertFalse((never / "networks").exists() and "images" in message)
        self.assertIn("from 0 to 2^64 - 1, got -1", self.run_program("analyze", *group, "--seed", -1).stderr)

    def longer(self) -> pathlib.Path:
        """vicreg1, said to have been trained for another number of epochs."""
        copied = self.folder / "longer.json"
        kept = json.loads(next((self.out / "networks").glob("vicreg1.json")).read_text())
        kept["config"]["training"]["epochs"] += 1
        copied.write_text(json.dumps(kept))
        return copied

    def other_view(self) -> pathlib.Path:
        """A run whose test view is another one."""
        run = self.folder / "other-view"
        if not run.exists():
            view = [{"name": "Normalize", "mean": [0.4], "std": [0.25]}]
            done = self.run_program("pretrain", self.config_path, "--out", run, "--set",
                                    "training.epochs=1", "--set", f"test_view={json.dumps(view)}")
            self.assertEqual(done.returncode, 0, done.stderr)
        return run

    def test_diagnostics_change_nothing(self) -> None:
        run = self.folder / "with-diagnostics"
        done = self.run_program(
            "pretrain", self.config_path, "--seed", 0, "--out", run, "--set",
            'diagnostics={"every_steps": 1, "of": ["rankme", "lidar", "normality", "unit_information"]}')
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = metrics(run)
        kept = [line for line in lines if "features/rankme" not in line]
        self.assertEqual(len(lines) - len(kept), 12)
        self.assertEqual(kept, metrics(self.folder / "vicreg0"))
        self.assertEqual((run / "encoder.safetensors").read_bytes()[-4096:],
                         (self.folder / "vicreg0" / "encoder.safetensors").read_bytes()[-4096:])

    def test_diagnostics_on_fixed_images(self) -> None:
        run = self.folder / "fixed-images"
        of = ["rankme", "spectrum", "flip_rate", "noise_variance", "conditional_fitted", "bound"]
        setting = {"every_steps": 5, "images": 30, "sigma": 0.2, "of": of}
        done = self.run_program("pretrain", self.config_path, "--seed", 0, "--out", run, "--set",
                                f"diagnostics={json.dumps(setting)}")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line for line in metrics(run) if "test/features/rankme" in line]
        self.assertEqual([line["step"] for line in lines], [1, 5, 10])
        for line in lines:
            self.assertEqual(len(line), 1 + 2 * (5 + 4))
            self.assertEqual(len(line["test/features/spectrum"]), 32)
            self.assertTrue(0 < line["test/features/flip_rate"] < 1)
            self.assertGreater(line["test/embeddings/bound_labelled"], 0)
        self.assertNotEqual(lines[0]["test/features/rankme"], lines[1]["test/features/rankme"])
        # They leave no trace in the training.
        self.assertEqual([line for line in metrics(run) if "test/features/rankme" not in line],
                         metrics(self.folder / "vicreg0"))
        for message, wrong in (("it looks at fixed test images", {"of": ["flip_rate"]}),
                               ("did you mean \"flip_rate\"", {"of": ["flip_rates"], "images": 30}),
                               ("at most 4000", {"of": ["rankme"], "images": 5000000}),
                               ("sigma > 0", {"of": ["flip_rate"], "images": 9, "sigma": 0})):
            with self.subTest(message):
                done = self.run_program("pretrain", self.config_path, "--out", self.folder / "never", "--set",
                                        f"diagnostics={json.dumps(wrong)}")
                self.assertEqual(done.returncode, 1)
                self.assertIn(message.replace("4000", "40"), done.stderr)

    # --- the driver -------------------------------------------------------------------------------

    def experiments(self, *arguments, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "experiments", *map(str, arguments), "--bin", BIN,
             "--results", self.folder / "cells", "--runs", self.folder / "grid-runs",
             "--networks", self.folder / "networks"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_the_driver_goes_on_where_it_was(self) -> None:
        path = self.folder / "grid.json"
        path.write_text(json.dumps({
            "name": "tiny", "config": str(self.config_path), "set": {"evaluation": {"linear_epochs": 2}},
            "tuning": {"seed": 100, "held_out": 30}, "analysis": ["--experiments", "affine", *SMALL],
            "objectives": [{"name": "vicreg", "seeds": 2, "settings": {"c1.5": {"covariance": 1.5}, "c1.25": {"covariance": 1.25}}}]}))
        self.assertIn("not tuned yet", self.experiments(path, "run"))
        self.assertIn("in the repository with --commit", self.experiments(path, "run", "--commit", code=1))
        self.assertIn("1 of 2 cells done", self.experiments(path, "tune", "--limit", 1))
        self.assertIn("2 of 2 cells done", self.experiments(path, "tune"))
        tuned = json.loads((self.folder / "cells" / "tiny" / "tuning-vicreg-c1.25-seed100.json").read_text())
        self.assertEqual(tuned["steps"], 8)  # 66 of 96 images, 4 steps per epoch
        self.assertEqual(len(tuned["attempts"]), 1)
        self.assertIn("CPU hours left", self.experiments(path, "run", "--limit", 1))
        (cell,) = [p for p in (self.folder / "cells" / "tiny").glob("vicreg-*-seed0.json")]
        result = json.loads(cell.read_text())
        self.assertEqual((result["steps"], result["seed"], result["config"]["seed"]), (12, 0, 0))
        self.assertTrue({"commit", "cpu_seconds", "linear", "knn"} <= result.keys())
        before = cell.read_bytes()
        measured = self.folder / "networks" / "tiny" / cell.name
        first = measured.read_bytes()
        self.assertIn("affine", json.loads(first)["measured"])
        measured.unlink()  # as if ended before the analysis, which goes on with what was measured
        self.assertNotIn("pretrain", self.experiments(path, "run", "--limit", 1))
        self.assertEqual(measured.read_bytes(), first)
        # As if interrupted before the evaluation: it goes on with the run that is there.
        second = self.folder / "grid-runs" / "tiny" / cell.stem.replace("seed0", "seed1")
        shutil.copytree(self.folder / "grid-runs" / "tiny" / cell.stem, second)
        (second / "result.json").unlink()
        self.assertIn("expected vicreg", self.experiments(path, "run", code=1))  # it has another seed
        shutil.rmtree(second)
        config = self.folder / "second.json"
        config.write_text(json.dumps(result["config"]))
        self.assertEqual(self.run_program("pretrain", config, "--out", second, "--seed", 1).returncode, 0)
        whole = json.loads((second / "result.json").read_text())
        (second / "result.json").unlink()
        self.assertIn("2 of 2 cells done", self.experiments(path, "run"))
        self.assertEqual(cell.read_bytes(), before)
        resumed = json.loads(cell.with_name(second.name + ".json").read_text())
        self.assertEqual((resumed["linear"], resumed["resumed"]), (whole["trained_linear"], True))
        summary = self.experiments(path, "summary")
        self.assertEqual(summary.count("2 seeds"), 2, summary)  # linear accuracy and kNN
        picture = self.folder / "summary.svg"
        self.experiments(path, "summary", "--svg", picture)
        self.assertIn("linear accuracy", "".join(xml.etree.ElementTree.parse(picture).getroot().itertext()))
        grid = json.loads(path.read_text())
        path.write_text(json.dumps({**grid, "set": {"evaluation": {"linear_epochs": 3}}}))
        self.assertIn("linear_epochs", self.experiments(path, "summary", code=1))
        path.write_text(json.dumps(grid))
        # What was measured stands for the networks, whose checkpoints may be gone.
        shutil.rmtree(self.folder / "grid-runs" / "tiny")
        measured.unlink()
        self.assertIn("cannot be analysed", self.experiments(path, "run"))
        # Three seeds, their mean and interval; one seed alone has neither; none is told.
        draw = runpy.run_path(str(ROOT / "scripts" / "experiments"))["draw"]
        picture = draw("a", {"linear": {"b": [1.0, 2.0, 4.5], "c": [0.5], "d": []}})
        self.assertEqual((picture.count("<circle"), picture.count('stroke-width="2"'), picture.count("not run")),
                         (5, 1, 1), picture)
        path.write_text("{}")
        self.assertIn("expected a grid", self.experiments(path, "status", code=1))

    @unittest.skipUnless(shutil.which("git"), "no git")
    def test_the_driver_commits_each_result(self) -> None:
        root = self.folder / "repository"
        (root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "experiments", root / "scripts")
        shutil.copy(ROOT / ".gitignore", root)
        # Nobody's own configuration or repository.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

        def run(*command) -> str:
            done = subprocess.run(list(map(str, command)), cwd=root, env=environment, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            return done.stdout.strip()

        grid = self.folder / "committed.json"
        grid.write_text(json.dumps({
            "name": "tiny", "config": str(self.config_path), "set": {"evaluation": {"linear_epochs": 1}},
            "tuning": {"seed": 100, "held_out": 30}, "analysis": ["--experiments", "affine", *SMALL],
            "objectives": [{"name": "vicreg", "seeds": 2,
                            "settings": {"c1": {"covariance": 1}, "c2": {"covariance": 2}}}]}))
        driver = [sys.executable, root / "scripts" / "experiments", grid]
        run("git", "init", "-q")
        run("git", "config", "user.name", "Somebody")
        run("git", "config", "user.email", "somebody@localhost")
        run("git", "add", "-A")
        run("git", "commit", "-q", "-m", "Sources")
        lock = root / ".git" / "index.lock"
        lock.touch()  # as if another driver were committing, for longer than a cell takes
        threading.Timer(4, lock.unlink).start()
        run(*driver, "tune", "--commit", "--bin", BIN)
        run(*driver, "run", "--commit", "--bin", BIN)

        commits = {}  # the message: the commit, its parent, the files it touches
        for line in run("git", "log", "--reverse", "--format=%H %P %s").splitlines()[1:]:
            commit, parent, message = line.split(" ", 2)
            self.assertNotIn(message, commits)
            touched = run("git", "diff-tree", "-r", "--no-commit-id", "--name-status", commit).splitlines()
            commits[message] = (commit, parent, touched)
        results = root / "docs" / "paper" / "cells" / "tiny"
        cells = sorted(path.stem for path in results.iterdir())
        self.assertEqual(len([cell for cell in cells if cell.startswith("tuning-vicreg-")]), 2, cells)
        trained = [cell for cell in cells if cell.startswith("vicreg-")]
        self.assertEqual(len(trained), 2, cells)
        self.assertEqual(sorted(commits), sorted([f"Result: tiny {cell}" for cell in cells]
                                                 + [f"Analysis: tiny {cell}" for cell in trained]))
        for cell in cells:
            commit, parent, touched = commits[f"Result: tiny {cell}"]
            path = f"docs/paper/cells/tiny/{cell}.json"
            self.assertEqual(touched, [f"A\t{path}"])
            result = json.loads(run("git", "show", f"{commit}:{path}"))
            # The sources when it began, which nothing else has changed since.
            self.assertEqual((result["commit"], result["modified"]), (parent, False))
        for cell in trained:
            self.assertEqual(commits[f"Analysis: tiny {cell}"][2], [f"A\tdocs/paper/networks/tiny/{cell}.json"])
        self.assertEqual(run("git", "status", "--porcelain"), "")

        head = run("git", "rev-parse", "HEAD")
        run(*driver, "tune", "--commit", "--bin", BIN)
        self.assertIn("2 of 2 cells done", run(*driver, "run", "--commit", "--bin", BIN))
        self.assertEqual((run("git", "rev-parse", "HEAD"), run("git", "status", "--porcelain")), (head, ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
