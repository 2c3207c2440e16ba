#!/usr/bin/env python3
"""Runs analyze and scripts/experiments as a user would, on tiny networks trained here.

usage: test_analyze.py BIN_FOLDER [unittest arguments]
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from test_programs import BIN, ROOT, configuration, make_images, metrics

SMALL = ["--set", 'normality={"images": 2, "draws": [64, 32], "sigmas": [0.01, 0.3], "expander": true}',
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
        self.assertEqual(len(rows), (8 + 4) * 4)  # encoders and expanders, sigmas, draws
        for row in rows:
            self.assertEqual(row["units"] + row["dropped"], 2 * (16 if row["output"] == "expander" else 32))
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
                self.assertEqual(row["flip_rate"], 0)
            else:
                self.assertTrue(0 < row["flip_rate"] < 1)

    def test_entropy_lies_in_its_range(self) -> None:
        log_n = self.rows("entropy", "scales")[0]["log_n"]
        rows = self.rows("entropy", "networks")
        self.assertEqual(len(rows), 4 * 2 * 8)  # networks, checkpoints, variants
        upper = {}
        for row in rows:
            key = (row["network"], row["step"], row["output"], row["form"])
            self.assertTrue(0 <= row["information"] <= log_n)
            upper.setdefault(key, {})[row["bound"]] = row["information"]
        for both in upper.values():
            self.assertLessEqual(both["lower"], both["upper"])

    def test_bound_marks_what_it_cannot_say(self) -> None:
        rows = self.rows("bound", "networks")
        for row in rows:
            self.assertEqual(row["vacuous"], row["sum"] >= 1)
            self.assertEqual(row["violated"], row["risk"] > row["sum"])
        self.assertEqual({row["at"] for row in rows}, {"20", "d"})
        self.assertTrue(all(row["labelled"] == 1000 for row in self.rows("bound", "not run")
                            if row["network"].endswith("vicreg0")))

    def test_correlation(self) -> None:
        self.assertEqual(len(self.rows("correlation", "encoders")), 4 * (2 + 1))
        for row in self.rows("correlation", "rank correlations"):
            self.assertTrue(row["rho"] is None or -1 <= row["rho"] <= 1)

    def test_figures_and_page(self) -> None:
        names = {figure["name"] for e in self.analysis["experiments"] for figure in e["figures"]}
        self.assertEqual({path.stem for path in self.out.glob("*.svg")}, names)
        for name in names:
            root = xml.etree.ElementTree.parse(self.out / f"{name}.svg").getroot()
            self.assertTrue(root.tag.endswith("svg"))
            self.assertNotIn("nan", (self.out / f"{name}.svg").read_text())
        page = (self.out / "index.html").read_text()
        self.assertEqual(page.count("<svg"), len(names))
        # Self-contained: nothing is loaded, no script runs.
        self.assertEqual(re.findall(r'<script|<link|src=|href=|url\(', page), [])

    def test_the_same_call_gives_the_same_bytes(self) -> None:
        again = self.folder / "again"
        done = self.run_program("analyze", *self.groups, *SMALL, "--out", again)
        self.assertEqual(done.returncode, 0, done.stderr)
        for path in self.out.iterdir():
            self.assertEqual((again / path.name).read_bytes(), path.read_bytes(), path.name)

    def test_bad_input_is_refused(self) -> None:
        group = ["--group", str(self.folder / "vicreg0")]
        never = self.folder / "never"
        for message, arguments in (
                ("did you mean \"normality\"", group + ["--experiments", "normalty"]),
                ("did you mean \"draws\"", group + ["--set", "normality.draw=[64]"]),
                ("at least 8", group + ["--set", "normality.draws=[2]"]),
                ("1 to 40 test images", group + ["--set", "normality.images=4000", "--experiments", "normality"]),
                ("did you mean \"linear\"", group + ["--controls", "linaer"]),
                ("no-such-run", ["--group", "vicreg=no-such-run"]),
                ("without a config.json", ["--group", f"a={self.folder}"]),
                ("NAME=PATH", ["--group", "=x"]),
                ("NAME=PATH", ["--group", "x="]),
                ("test view", ["--group", f"{self.folder}/vicreg0,{self.other_view()}"]),
                ("expected JSON in '--data'", group + ["--data", "cifar"]),
                ("with checkpoints", ["--group", f"a={self.folder}/vicreg0/encoder.safetensors",
                                      "--experiments", "entropy", "--set", "entropy.images=30"])):
            with self.subTest(message):
                done = self.run_program("analyze", *arguments, "--out", never)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(message, done.stderr)
                self.assertFalse((never / "analysis.json").exists())

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
            'diagnostics={"every_steps": 1, "of": ["rankme", "lidar", "normality", "unit_information_lower"]}')
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = metrics(run)
        kept = [line for line in lines if "features/rankme" not in line]
        self.assertEqual(len(lines) - len(kept), 12)
        self.assertEqual(kept, metrics(self.folder / "vicreg0"))
        self.assertEqual((run / "encoder.safetensors").read_bytes()[-4096:],
                         (self.folder / "vicreg0" / "encoder.safetensors").read_bytes()[-4096:])

    # --- the driver -------------------------------------------------------------------------------

    def experiments(self, *arguments, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "experiments", *map(str, arguments), "--bin", BIN,
             "--results", self.folder / "cells", "--runs", self.folder / "grid-runs"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_the_driver_goes_on_where_it_was(self) -> None:
        path = self.folder / "grid.json"
        path.write_text(json.dumps({
            "name": "tiny", "config": str(self.config_path), "set": {"evaluation": {"linear_epochs": 2}},
            "tuning": {"seed": 100, "held_out": 30},
            "objectives": [{"name": "vicreg", "seeds": 2, "settings": {"one": {}, "two": {"covariance": 2}}}]}))
        self.assertIn("not tuned yet", self.experiments(path, "run"))
        self.assertIn("1 of 2 cells done", self.experiments(path, "tune", "--limit", 1))
        self.assertIn("2 of 2 cells done", self.experiments(path, "tune"))
        tuned = json.loads((self.folder / "cells" / "tiny" / "tuning-vicreg-two-seed100.json").read_text())
        self.assertEqual(tuned["steps"], 8)  # 66 of 96 images, 4 steps per epoch
        self.assertIn("CPU hours left", self.experiments(path, "run", "--limit", 1))
        (cell,) = [p for p in (self.folder / "cells" / "tiny").glob("vicreg-*-seed0.json")]
        result = json.loads(cell.read_text())
        self.assertEqual((result["steps"], result["seed"], result["config"]["seed"]), (12, 0, 0))
        self.assertTrue({"commit", "cpu_seconds", "linear", "knn"} <= result.keys())
        before = cell.read_bytes()
        # As if interrupted before the evaluation: it goes on with the run that is there.
        second = self.folder / "grid-runs" / "tiny" / cell.stem.replace("seed0", "seed1")
        shutil.copytree(self.folder / "grid-runs" / "tiny" / cell.stem, second)
        (second / "result.json").unlink()
        self.assertIn("2 of 2 cells done", self.experiments(path, "run"))
        self.assertEqual(cell.read_bytes(), before)
        resumed = json.loads(cell.with_name(second.name + ".json").read_text())
        self.assertEqual((resumed["linear"], resumed["resumed"]), (result["linear"], True))
        self.assertIn("2 seeds", self.experiments(path, "summary"))
        path.write_text("{}")
        self.assertIn("expected a grid", self.experiments(path, "status", code=1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
