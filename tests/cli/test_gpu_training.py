#!/usr/bin/env python3
"""Trains on an emulated GPU (tests/cuda/emulated): as on the CPU, and with graphs as without.

usage: test_gpu_training.py BIN_FOLDER [unittest arguments]
"""
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import small_runs as programs


class GpuTraining(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="invar-gpu-"))
        cls.config = programs.configuration(programs.make_images(cls.folder, channels=3))
        cls.config["views"][1:1] = [{"name": "RandomHorizontalFlip"},
                                    {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4,
                                     "saturation": 0.2, "hue": 0.1, "p": 0.8}]
        cls.config["training"]["device"] = "cuda"

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def train(self, name: str, says: str = "", **changes) -> pathlib.Path:
        """Trains with changes to the parts of the configuration; the output must hold `says`."""
        config = json.loads(json.dumps(self.config))
        for part, values in changes.items():
            config[part] = {**config[part], **values}
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(config))
        return self.pretrain(self.folder / name, says, path)

    def pretrain(self, run: pathlib.Path, says: str, *arguments) -> pathlib.Path:
        done = subprocess.run([programs.BIN / "pretrain_emulated_gpu", *arguments, "--out", run],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        output = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, output)
        self.assertIn(says, output)
        return run

    def assert_same_run(self, run: pathlib.Path, reference: pathlib.Path) -> None:
        self.assertEqual(programs.metrics(run), programs.metrics(reference))
        ours, theirs = (programs.read_safetensors(next((folder / "checkpoints").glob("step-*18.*")))[1]
                        for folder in (run, reference))
        self.assertEqual(ours, theirs)

    def assert_graphs_change_nothing(self, name: str, **changes) -> pathlib.Path:
        training = changes.pop("training", {})
        plain = self.train(name, **changes, training=training)
        graph = self.train(name + "-graph", "cuda_graph: steps are replayed", **changes,
                           training={**training, "cuda_graph": True})
        self.assert_same_run(graph, plain)
        return graph

    def test_the_gpu_trains_as_the_cpu(self) -> None:
        def losses(run: pathlib.Path) -> list[float]:
            return [line["loss"] for line in programs.metrics(run) if "loss" in line]

        cpu = losses(self.train("cpu", training={"device": "cpu"}))
        for name, changes in (("gpu", {}), ("gpu-cpu-views", {"views_on_gpu": False})):
            gpu = losses(self.train(name, training=changes))
            self.assertEqual(len(gpu), 18)
            for step in range(6):
                self.assertAlmostEqual(gpu[step] / cpu[step], 1, delta=1e-3, msg=f"step {step}")

    def test_graphs_change_nothing(self) -> None:
        graph = self.assert_graphs_change_nothing("vicreg")
        resumed = graph.with_name("resumed")
        shutil.copytree(graph, resumed)
        for name in ("checkpoints/step-000000018.safetensors", "result.json"):
            (resumed / name).unlink()
        self.pretrain(resumed, "", "--resume")
        self.assert_same_run(resumed, graph)

    def test_graphs_change_nothing_in_bf16_with_lars_and_clipping(self) -> None:
        self.assert_graphs_change_nothing(
            "lars", optimizer={"name": "lars", "lr": 0.2, "weight_decay": 1e-6},
            training={"precision": "bf16", "clip_grad_norm": 1.0, "joint_views": True})

    def test_graphs_change_nothing_with_targets_and_random_numbers(self) -> None:
        self.assert_graphs_change_nothing("byol", objective={"name": "byol"})
        self.assert_graphs_change_nothing("sigreg", objective={"name": "sigreg"})

    def test_a_refused_graph_changes_nothing_in_bf16(self) -> None:
        changes = {"objective": {"name": "vicreg_logdet"}}
        plain = self.train("refused-plain", training={"precision": "bf16"}, **changes)
        refused = self.train("refused", "no cuda_graph: [graph] expected work",
                             training={"precision": "bf16", "cuda_graph": True}, **changes)
        self.assert_same_run(refused, plain)

    def test_what_no_graph_can_hold_is_said(self) -> None:
        for name, says in (("vicreg_logdet", "no cuda_graph: [graph] expected work"),
                           ("moco_v3", "no cuda_graph: [graph] expected work"),
                           ("mec", "no cuda_graph: the objective changes")):
            self.train(name, says, objective={"name": name},
                       training={"cuda_graph": True, "epochs": 1})


if __name__ == "__main__":
    unittest.main(verbosity=2)
