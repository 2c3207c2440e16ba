#!/usr/bin/env python3
"""Runs the programs as a user would, on small data made here: training, resuming after every kind of
end, evaluation, and what happens with bad input.

usage: test_programs.py BIN_FOLDER [unittest arguments]
"""
import array
import fcntl
import gzip
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import zlib
from typing import Optional

BIN = pathlib.Path(sys.argv.pop(1)).resolve()
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def write_idx(path: pathlib.Path, shape: list[int], data: bytes) -> None:
    path.write_bytes(gzip.compress(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + data))


def make_images(folder: pathlib.Path, train: int = 96, test: int = 40, size: int = 12,
                channels: int = 1) -> dict:
    """Three classes of noisy stripes as gzipped IDX files; returns the "data" part of a configuration."""
    rng = random.Random(0)
    data: dict = {"name": "idx", "classes": ["rows", "columns", "checks"]}
    for split, count in (("train", train), ("test", test)):
        labels = bytes(i % 3 for i in range(count))
        pixels = bytearray()
        for label in labels:
            for y in range(size):
                for x in range(size):
                    on = (y // 2 % 2, x // 2 % 2, (x // 2 + y // 2) % 2)[label]
                    for _ in range(channels):
                        pixels.append(min(255, 40 + 150 * on + rng.randrange(60)))
        shape = [count, size, size] + [channels] * (channels > 1)
        write_idx(folder / f"{split}-images.gz", shape, bytes(pixels))
        write_idx(folder / f"{split}-labels.gz", [count], labels)
        data[split] = {"images": str(folder / f"{split}-images.gz"),
                       "labels": str(folder / f"{split}-labels.gz")}
    return data


def grey_png(size: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(range(size))) * size
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def configuration(data: dict) -> dict:
    normalise = {"name": "Normalize", "mean": [0.5], "std": [0.25]}
    return {
        "seed": 3,
        "data": data,
        "views": [{"name": "RandomResizedCrop", "size": 12, "scale": [0.5, 1.0]},
                  {"name": "RandomErasing", "p": 0.5, "side": [2, 4]}, normalise],
        "test_view": [normalise],
        "encoder": {"name": "resnet18", "stem": "cifar", "width": 4},
        "expander": {"layers": [16, 16]},
        "objective": {"name": "vicreg"},
        "optimizer": {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-4},
        "schedule": {"warmup_steps": 3},
        "training": {"batch_size": 16, "epochs": 3, "ema_decay": 0.9, "log_every": 1, "workers": 1},
        "checkpoints": {"every_steps": 2, "keep": 2},
        "diagnostics": {"every_steps": 5, "of": ["rankme", "alignment"]},
        "evaluation": {"linear_epochs": 3, "k": 5},
    }


def read_safetensors(path: pathlib.Path) -> tuple[dict, dict]:
    """Metadata and the raw bytes of every tensor."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    metadata = header.pop("__metadata__", {})
    body = raw[8 + length:]
    return metadata, {name: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])])
                      for name, t in header.items()}


def metrics(run: pathlib.Path) -> list[dict]:
    """The logged lines without what a clock decides."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("train_seconds", None)
    return lines


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="invar-cli-"))
        cls.config = configuration(make_images(cls.folder))
        cls.config_path = cls.folder / "config.json"
        cls.config_path.write_text(json.dumps(cls.config))
        cls.reference = cls.folder / "reference"
        done = cls.run_program("pretrain", cls.config_path, "--out", cls.reference)
        if done.returncode != 0:
            raise AssertionError(f"the reference run failed:\n{done.stdout}\n{done.stderr}")

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    @staticmethod
    def run_program(name: str, *arguments, timeout: float = 120,
                    environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        words = [word if isinstance(word, bytes) else str(word) for word in arguments]
        return subprocess.run([BIN / name, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=timeout,
                              env={**os.environ, **(environment or {})})

    def fails(self, message: str, name: str, *arguments) -> str:
        """Runs a program that must refuse: exit code 1 and one line that holds `message`."""
        done = self.run_program(name, *arguments)
        self.assertEqual(done.returncode, 1, f"{done.stdout}\n{done.stderr}")
        self.assertIn(message, done.stderr)
        return done.stderr

    def with_config(self, **changes) -> pathlib.Path:
        path = self.folder / "changed.json"
        path.write_text(json.dumps({**self.config, **changes}))
        return path

    def assert_same_run(self, run: pathlib.Path, reference: Optional[pathlib.Path] = None) -> None:
        reference = reference or self.reference
        self.assertEqual(metrics(run), metrics(reference))
        for name in ("step-000000018.safetensors", "best.safetensors"):
            ours, theirs = (read_safetensors(folder / "checkpoints" / name)[1]
                            for folder in (run, reference))
            self.assertEqual(ours.keys(), theirs.keys())
            for tensor in ours:
                self.assertEqual(ours[tensor], theirs[tensor], f"{name}: {tensor}")
        ours, theirs = (json.loads((folder / "result.json").read_text())
                        for folder in (run, reference))
        for key in ("trained_knn", "trained_linear", "steps"):
            self.assertEqual(ours[key], theirs[key])

    def assert_resumes(self, whole: pathlib.Path) -> None:
        """From the checkpoint before the last one, with all that came after it gone, to the same end."""
        resumed = whole.with_name(whole.name + "-resumed")
        shutil.copytree(whole, resumed)
        for name in ("checkpoints/step-000000018.safetensors", "result.json", "encoder.safetensors"):
            (resumed / name).unlink()
        done = self.run_program("pretrain", "--out", resumed, "--resume")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_run(resumed, whole)

    # --- training -------------------------------------------------------------------------------

    def test_a_run_leaves_what_it_promises(self) -> None:
        lines = metrics(self.reference)
        steps = [line for line in lines if "loss" in line]
        self.assertEqual([line["step"] for line in steps], list(range(1, 19)))
        for line in steps:
            for key in ("epoch", "lr", "invariance", "variance", "covariance"):
                self.assertIn(key, line)
            self.assertLess(line["floor"], line["loss"])
        diagnosed = [line for line in lines if "features/rankme" in line]
        self.assertEqual([line["step"] for line in diagnosed], [1, 5, 10, 15])
        for line in diagnosed:
            self.assertTrue(1 <= line["features/rankme"] <= 16)
            self.assertTrue(0 <= line["embeddings/alignment"] <= 4)
        self.assertEqual(len([line for line in lines if "epoch_loss" in line]), 3)
        result = json.loads((self.reference / "result.json").read_text())
        self.assertGreater(result["trained_linear"], 50)  # three classes
        self.assertEqual(sorted(p.name for p in (self.reference / "checkpoints").iterdir()),
                         ["best.safetensors", "step-000000016.safetensors",
                          "step-000000018.safetensors"])
        environment = json.loads((self.reference / "environment.json").read_text())
        self.assertTrue({"processor", "threads", "onednn", "openblas", "invar"} <= environment.keys())
        self.assertEqual(json.loads((self.reference / "config.json").read_text()), self.config)
        _, encoder = read_safetensors(self.reference / "encoder.safetensors")
        self.assertEqual(encoder["conv1.weight"][1], [4, 1, 3, 3])  # torchvision's name and order

    def test_the_same_configuration_gives_the_same_run(self) -> None:
        run = self.folder / "again"
        self.assertEqual(self.run_program("pretrain", self.config_path, "--out", run).returncode, 0)
        self.assert_same_run(run)

    def test_a_profile_changes_nothing_but_tells_where_the_time_goes(self) -> None:
        run, trace = self.folder / "profiled", self.folder / "trace.json"
        done = self.run_program("pretrain", self.config_path, "--out", run, "--profile", trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_run(run)
        # The table has the slowest modules only: which leaves are among them is a matter of timing.
        for name in ("conv2d", "networks.encoder", "GFLOP/s"):
            self.assertIn(name, done.stdout + done.stderr)
        events = json.loads(trace.read_text())["traceEvents"]
        for name in ("networks.encoder.conv1", "networks.encoder.layer1.0.conv1"):
            self.assertEqual(sum(event["name"] == name for event in events),
                             5 * 2)  # five steps of two views

    def test_a_killed_run_resumes_bit_for_bit(self) -> None:
        rng = random.Random(1)
        run = self.folder / "killed"
        arguments = [self.config_path]
        for _ in range(6):
            process = subprocess.Popen([BIN / "pretrain", *map(str, arguments), "--out", run],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            # Wait for the training to begin, then for an arbitrary moment of it.
            deadline = time.monotonic() + 60
            while not (run / "metrics.jsonl").exists() and process.poll() is None:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
            # What a kill in the middle of a save leaves; the next start removes it.
            if (run / "config.json").exists():
                for name in ("metrics.jsonl.tmp-7-0", "checkpoints/best.safetensors.tmp-7-1"):
                    (run / name).write_text("half")
            arguments = ["--resume"] if (run / "config.json").exists() else [self.config_path]
        done = self.run_program("pretrain", *arguments, "--out", run)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_run(run)
        self.assertEqual(list(run.rglob("*.tmp-*")), [])

    def test_an_interrupted_run_saves_and_says_how_to_go_on(self) -> None:
        run = self.folder / "interrupted"
        process = subprocess.Popen([BIN / "pretrain", self.config_path, "--out", run],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        while not (run / "metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            self.skipTest("the run was over before the signal came")
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn("--resume", errors)
        self.assertEqual(self.run_program("pretrain", "--out", run, "--resume").returncode, 0)
        self.assert_same_run(run)

    def test_an_interrupt_outside_of_training_ends_the_program_at_once(self) -> None:
        run = self.folder / "interrupted-early"
        arguments = [self.config_path, "--set", "evaluation.baselines=true",
                     "--set", "evaluation.linear_epochs=1000000000"]
        for arguments in (arguments, ["--resume"]):
            process = subprocess.Popen([BIN / "pretrain", *arguments, "--out", run],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True)
            for line in process.stderr:
                if "train features: 96/96" in line:
                    break
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            self.assertEqual(process.returncode, 130, errors)
            self.assertIn(f"--out {run} --resume", errors)

    def test_openblas_that_does_not_know_the_processor(self) -> None:
        run = self.folder / "prescott"
        done = self.run_program("pretrain", self.config_path, "--out", run,
                                environment={"OPENBLAS_CORETYPE": "Prescott"})
        self.assertEqual(done.returncode, 0, done.stderr)
        environment = json.loads((run / "environment.json").read_text())
        if "Prescott" not in environment["openblas"]:
            self.skipTest(f"this OpenBLAS cannot be told: {environment['openblas']}")
        self.assertIn("OpenBLAS does not know this processor", done.stderr)
        self.assertIn("OPENBLAS_CORETYPE=", done.stderr)
        ours, theirs = (next(line["loss"] for line in metrics(r) if "loss" in line)
                        for r in (run, self.reference))
        self.assertAlmostEqual(ours, theirs, delta=1e-3 * theirs)

    def test_bf16_trains_and_resumes_bit_for_bit(self) -> None:
        whole = self.folder / "bf16"
        done = self.run_program("pretrain", self.config_path, "--out", whole,
                                "--set", "training.precision=bf16")
        self.assertEqual(done.returncode, 0, done.stderr)
        environment = json.loads((whole / "environment.json").read_text())
        native = any(name in environment["instruction_set"] for name in ("bf16", "fp16", "amx"))
        self.assertEqual("bf16 works, but is slower than f32 here" in done.stderr, not native)
        ours, theirs = (next(line["loss"] for line in metrics(run) if "loss" in line)
                        for run in (whole, self.reference))
        self.assertNotEqual(ours, theirs)
        self.assertAlmostEqual(ours, theirs, delta=0.02 * theirs)
        self.assert_resumes(whole)

    def test_tuned_convolutions_resume_bit_for_bit(self) -> None:
        choices = self.folder / "tuned.json"
        done = self.run_program("tune", self.config_path, "--out", choices)
        self.assertEqual(done.returncode, 0, done.stderr)
        tuned = json.loads(choices.read_text())
        self.assertEqual({entry["pass"] for entry in tuned},
                         {"forward", "backward_input", "backward_weight"})
        self.assertIn([4, 3, 3, 4], [entry["weight"] for entry in tuned])
        self.assertEqual(done.stdout.count("direct\n") + done.stdout.count("winograd\n"), len(tuned))

        # On such small networks the algorithm is always direct, unless somebody chooses.
        for entry in tuned:
            entry["algorithm"] = "winograd"
        choices.write_text(json.dumps(tuned))
        run = self.folder / "tuned"
        done = self.run_program("pretrain", self.config_path, "--out", run, "--set",
                                f"training.conv_choices={choices}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads((run / "config.json").read_text())["training"]["conv_choices"], tuned)
        self.assertNotEqual(metrics(run), metrics(self.reference))
        choices.unlink()
        self.assert_resumes(run)

        del tuned[0]["weight"]
        choices.write_text(json.dumps(tuned))
        for text, message in ((json.dumps(tuned), "weight"), ("[{", "tuned.json"), ("7", "expected a list")):
            choices.write_text(text)
            self.fails(message, "pretrain", self.config_path, "--out", self.folder / "untuned", "--set",
                       f"training.conv_choices={choices}")
        self.assertFalse((self.folder / "untuned").exists())

    def test_overrides_and_seed(self) -> None:
        run = self.folder / "overridden"
        done = self.run_program("pretrain", self.config_path, "--out", run, "--seed", 9, "--set",
                                "training.epochs=1", "--set", "optimizer.lr=0.001")
        self.assertEqual(done.returncode, 0, done.stderr)
        stored = json.loads((run / "config.json").read_text())
        self.assertEqual((stored["seed"], stored["training"]["epochs"], stored["optimizer"]["lr"]),
                         (9, 1, 0.001))
        trace = self.folder / "short.json"  # six steps are too few for a profile
        done = self.run_program("pretrain", self.config_path, "--out", self.folder / "short", "--set",
                                "training.epochs=1", "--profile", trace)
        self.assertIn("no profile: it needs 8 steps, there were 6", done.stderr)
        self.assertFalse(trace.exists())
        for program in ("pretrain", "evaluate"):
            for seed in ("-1", "abc"):
                self.assertIn(f"expected an integer from 0 to 2^64 - 1, got {seed}",
                              self.run_program(program, "x", "--out", run, "--seed", seed).stderr)
        first, other = ([line["loss"] for line in metrics(folder) if "loss" in line][0]
                        for folder in (run, self.reference))
        self.assertNotEqual(first, other)

    def test_every_optimiser_and_schedule_trains(self) -> None:
        for index, (optimizer, schedule) in enumerate((
                ({"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True}, {"name": "constant"}),
                ({"name": "lars", "lr_per_256": 0.8}, {"warmup_epochs": 1}),
                ({"name": "lars_clipped", "lr": 0.3, "eta": 0.02}, {"end_lr": 1e-4}),
                ({"name": "adam", "lr": 1e-3}, {}))):
            run = self.folder / f"optimiser-{index}"
            config = self.with_config(optimizer=optimizer, schedule=schedule,
                                      training={**self.config["training"], "epochs": 2,
                                                "joint_views": bool(index % 2),
                                                "conv_algorithm": ("auto", "winograd")[index % 2],
                                                "clip_grad_norm": index})
            done = self.run_program("pretrain", config, "--out", run)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_objectives_of_every_kind_train_and_resume_bit_for_bit(self) -> None:
        for program, objective, tensors in (
                ("pretrain", {"name": "supcon"}, []),  # labels
                ("pretrain", {"name": "swav", "prototypes": 8, "queue": 32, "queue_epoch": 0},
                 ["objective.prototypes", "objective.queue"]),  # parameters, state
                ("pretrain", {"name": "byol_logdet", "hidden": 8},  # averaged networks
                 ["objective.predictor.0.weight", "target.encoder.conv1.weight",
                  "target.expander.0.weight"]),
                ("custom_objective", {"name": "decorrelated_contrast"}, ["objective.log_scale"])):
            with self.subTest(objective["name"]):
                name = objective["name"]
                run, again = self.folder / f"of-{name}", self.folder / f"of-{name}-resumed"
                config = self.with_config(objective=objective,
                                          training={**self.config["training"], "epochs": 2},
                                          checkpoints={"every_steps": 3, "keep": 9})
                done = self.run_program(program, config, "--out", run)
                self.assertEqual(done.returncode, 0, done.stderr)
                checkpoint = "checkpoints/step-000000012.safetensors"
                _, end = read_safetensors(run / checkpoint)
                for tensor in tensors:
                    self.assertIn(tensor, end)
                # As a run that ended after its fourth step, the checkpoint of the third being there.
                shutil.copytree(run, again)
                (again / "result.json").unlink()
                for path in (again / "checkpoints").glob("step-*"):
                    if path.name != "step-000000003.safetensors":
                        path.unlink()
                done = self.run_program(program, "--out", again, "--resume")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(metrics(again), metrics(run))
                self.assertEqual(read_safetensors(again / checkpoint)[1], end)
                # A target that follows is not the network that it follows.
                if "target.encoder.conv1.weight" in end:
                    self.assertNotEqual(end["target.encoder.conv1.weight"],
                                        end["encoder.conv1.weight"])
        config = self.with_config(objective={"name": "simclr", "temprature": 1})
        self.fails('did you mean "temperature"', "pretrain", config, "--out", self.folder / "typo")
        # An encoder is of use without the objective that trained it.
        custom = self.folder / "of-decorrelated_contrast" / "encoder.safetensors"
        done = self.run_program("evaluate", custom, "--epochs", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.run_program("embed", custom, "--out", self.folder / "custom-features")
        self.assertEqual(done.returncode, 0, done.stderr)
        config = self.with_config(objective={"name": "decorrelated_contrast"})
        self.fails("unknown objective", "pretrain", config, "--out", self.folder / "unknown")
        config = self.with_config(diagnostics={"of": ["rank"]})
        self.fails("did you mean", "pretrain", config, "--out", self.folder / "no-diagnostic")

    def test_every_example_configuration_trains(self) -> None:
        paths = sorted((ROOT / "examples" / "configs").glob("*.json"))
        self.assertIn("quickstart.json", [path.name for path in paths])
        for path in paths:
            with self.subTest(path.name):
                # Its data set is known, and asked for where the configuration says.
                missing = self.folder / "no data here"
                self.fails("no data here", "pretrain", path, "--out", self.folder / f"never-{path.stem}",
                           "--set", f"data.root={missing}")
                # All the rest as it stands, on a few small images of the same number of channels.
                channels = 3 if "cifar" in path.name else 1
                folder = self.folder / f"data-{path.stem}"
                folder.mkdir()
                data = make_images(folder, train=32, test=9, size=28, channels=channels)
                done = self.run_program(
                    "pretrain", path, "--out", self.folder / f"example-{path.stem}",
                    "--set", f"data={json.dumps(data)}", "--set", "training.epochs=1",
                    "--set", "training.batch_size=16", "--set", "schedule={}",
                    "--set", "encoder.width=4", "--set", "expander.layers=[8,8]",
                    "--set", "evaluation={\"k\": 3, \"linear_epochs\": 1, \"baselines\": true}")
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_real_photographs_in_class_folders(self) -> None:
        archive = ROOT.parent / "shared" / "data" / "cifar10-jpegq75.tar.xz"
        if not archive.exists():
            self.skipTest(f"no {archive}")
        wanted = {"train": 40, "test": 10}  # per class
        root = self.folder / "photographs"
        taken: dict = {}
        with tarfile.open(archive, "r|xz") as tar:
            for member in tar:
                parts = pathlib.PurePosixPath(member.name).parts
                if not member.isfile() or len(parts) != 4:
                    continue
                _, split, label, name = parts
                if taken.get((split, label), 0) == wanted[split]:
                    continue
                taken[split, label] = taken.get((split, label), 0) + 1
                target = root / split / label / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
        self.assertEqual(len(taken), 20)
        run = self.folder / "photographs-run"
        done = self.run_program(
            "pretrain", ROOT / "examples" / "configs" / "cifar10.json", "--out", run,
            "--set", "data.name=image_folder", "--set", f"data.root={root}",
            "--set", "training.epochs=2", "--set", "training.batch_size=64",
            "--set", "encoder.width=8", "--set", "expander.layers=[64,64]",
            "--set", "evaluation.linear_epochs=20")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads((run / "result.json").read_text())
        self.assertEqual(result["steps"], 12)
        # Images and labels belong together; twelve steps teach a network nothing to speak of.
        self.assertGreater(result["raw_knn"], 14, result)  # ten classes
        done = self.run_program("evaluate", run / "encoder.safetensors", "--epochs", 20)
        self.assertEqual(done.returncode, 0, done.stderr)
        scores = json.loads(done.stdout)
        self.assertEqual((scores["knn"], scores["linear"]),
                         (result["trained_knn"], result["trained_linear"]))

    # --- using what was trained -----------------------------------------------------------------

    def test_evaluate(self) -> None:
        out = self.folder / "scores.json"
        done = self.run_program("evaluate", self.reference / "encoder.safetensors", "--k", 5,
                                "--epochs", 3, "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        for label in ("kNN", "linear probe"):
            self.assertIn(f"{label}: ", done.stderr)
        printed, written = json.loads(done.stdout), json.loads(out.read_text())
        self.assertEqual(printed, written)
        result = json.loads((self.reference / "result.json").read_text())
        self.assertEqual(printed["knn"], result["trained_knn"])
        self.assertEqual(printed["linear"], result["trained_linear"])
        # The newest checkpoint holds the same weights, an average of them: batch-norm's statistics are
        # measured as pretrain measured them.
        newest = max((self.reference / "checkpoints").glob("step-*"))
        done = self.run_program("evaluate", newest, "--k", 5, "--epochs", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("measured anew", done.stderr)
        again = json.loads(done.stdout)
        self.assertEqual((again["knn"], again["linear"]), (printed["knn"], printed["linear"]))
        checkpoint = self.reference / "checkpoints" / "best.safetensors"
        done = self.run_program("evaluate", checkpoint, "--k", 5, "--epochs", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        # Wrong options are refused before the work, and no result is lost without a word.
        for option, value in (("--k", 0), ("--temperature", 0), ("--epochs", 0), ("--lr", "nan")):
            self.assertEqual(self.fails("[evaluation] expected", "evaluate", checkpoint, option,
                                        value).count("\n"), 1)
        with open("/dev/full", "w") as full:
            done = subprocess.run([BIN / "evaluate", checkpoint, "--epochs", "1"], stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)
        # Labels of other classes are not compared with these.
        root = self.folder / "insects"
        for split, names in (("train", ("ant", "bee", "wasp")), ("test", ("ant", "wasp"))):
            for name in names:
                (root / split / name).mkdir(parents=True)
                (root / split / name / "1.png").write_bytes(grey_png(12))
        self.fails('class 1 is "bee" in training and "wasp" in test', "evaluate", checkpoint, "--data",
                   json.dumps({"name": "image_folder", "root": str(root), "channels": 1}))
        colour = {"name": "image_folder", "root": str(root)}
        self.fails("expected images of 1 channels", "embed", checkpoint, "--out", root, "--data", json.dumps(colour))

    def test_embed(self) -> None:
        out = self.folder / "features"
        done = self.run_program("embed", self.reference / "encoder.safetensors", "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        raw = (out / "features.npy").read_bytes()
        self.assertTrue(raw.startswith(b"\x93NUMPY"))
        self.assertIn(b"'shape': (40, 32)", raw[:128])
        labels = array.array("q", (out / "labels.npy").read_bytes()[128:])
        self.assertEqual(list(labels), [i % 3 for i in range(40)])

    def test_the_tour_runs(self) -> None:
        done = self.run_program("autograd_tour")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("d loss / d a = 5", done.stdout)
        self.assertNotIn("no error?", done.stdout)
        shown = (ROOT / "README.md").read_text().split("autograd_tour`")[1].split("```")[1].strip()
        self.assertIn(shown, done.stdout, "README.md shows something else")

    # --- bad input ------------------------------------------------------------------------------

    def test_a_wrong_configuration_is_refused_before_anything_is_made(self) -> None:
        run = self.folder / "never"
        for message, changes in (
                ("did you mean \"epochs\"", {"training": {"epoch": 3}}),
                ("did you mean \"vicreg\"", {"objective": {"name": "vicregg"}}),
                ("did you mean \"adamw\"", {"optimizer": {"name": "adamww", "lr": 1e-3}}),
                ("did you mean \"evaluation\"", {"evaluate": {}}),
                ("learning rate", {"optimizer": {"name": "sgd", "lr": -1}}),
                ("batch_size", {"training": {"batch_size": 1}}),
                ("16777215 epochs", {"training": {"epochs": 1 << 24}}),
                ("warm-up", {"schedule": {"warmup_epochs": 1 << 62}}),
                ("out of range", {"training": {"workers": 1 << 32}}),
                ("out of range", {"seed": -1}),
                ("k >= 1", {"evaluation": {"k": 0}}),
                ("at least 1 epoch", {"evaluation": {"linear_epochs": 0}}),
                ("RandomErasing", {"views": [{"name": "RandomErazing"}]}),
                ("expander", {"expander": {"layers": []}}),
                ("resnet18", {"encoder": {"name": "resnet19"}})):
            self.fails(message, "pretrain", self.with_config(**changes), "--out", run)
            self.assertFalse(run.exists(), message)
        # What only shows once the data is there, or in a step.
        for message, changes in (
                ("96 training images", {"evaluation": {"held_out": 1000}}),
                ("at least 100 x 100 pixels", {"views": [{"name": "CenterCrop", "size": 100}]}),
                ("1 numbers in mean", {"test_view": [{"name": "Normalize", "mean": [0, 0, 0], "std": 1}]}),
                ("betas in [0, 1)", {"optimizer": {"lr": 1e-3, "betas": [1.5, 0]}}),
                ("shorter than the training of 18 steps", {"schedule": {"warmup_steps": 1000}}),
                ("layer widths", {"expander": {"layers": [0, 16]}}),
                ("warmup_steps >= 0, got -1", {"schedule": {"warmup_steps": -1}}),
                ("[w_mse] expected", {"objective": {"name": "w_mse", "part": 8}}),
                ("[corinfomax] expected", {"objective": {"name": "corinfomax", "views": 3}}),
                ("set \"joint_views\" to false",
                 {"views": [[{"name": "CenterCrop", "size": size}] for size in (12, 10)],
                  "training": {**self.config["training"], "joint_views": True}})):
            self.fails(message, "pretrain", self.with_config(**changes), "--out", run)
            self.assertFalse(run.exists(), message)
        for text, message in (("[]", "a JSON object"), ("null", "a JSON object"), ("", "line 1"),
                              ('{"seed": 1e400}', "1e400"), ('{"test_veiw": []}', 'the key "data"'),
                              ('{"seed": ' + "[" * 200000 + "]" * 200000 + "}", "100 levels")):
            path = self.folder / "odd.json"
            path.write_text(text)
            self.fails(message, "pretrain", path, "--out", run)
            self.assertFalse(run.exists(), message)
        # A required key that is misspelt.
        config = dict(self.config)
        config["test_veiw"] = config.pop("test_view")
        path.write_text(json.dumps(config))
        self.fails('nearest one here is "test_veiw"', "pretrain", path, "--out", run)
        for override, message in (("seed", "key=value"), ("=1", "key=value"), ("a..b=1", "path of keys"),
                                  ("views.0=1", "path of keys"), (b"data.root=\xff", "UTF-8"),
                                  ("training.epochs=", "wrong type"),
                                  ("data=" + "[" * 60000 + "]" * 60000, "100 levels")):
            self.fails(message, "pretrain", self.config_path, "--out", run, "--set", override)
            self.assertFalse(run.exists(), message)

    def test_plans_chosen_by_timing_are_kept(self) -> None:
        run = self.folder / "timed"
        done = self.run_program("pretrain", self.config_path, "--out", run, "--set",
                                "training.benchmark=true", "--set", "training.epochs=1")
        self.assertEqual(done.returncode, 0, done.stderr)
        metadata, _ = read_safetensors(run / "checkpoints/best.safetensors")
        self.assertEqual(json.loads(metadata["conv_plans"]), {})  # none on the CPU
        (run / "result.json").unlink()
        done = self.run_program("pretrain", "--out", run, "--resume")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_device_that_is_not_there_is_refused(self) -> None:
        never = self.folder / "never_on_a_gpu"
        self.fails("[cuda] expected", "pretrain", self.config_path, "--out", never,
                   "--set", "training.device=cuda:99")
        self.assertIn("\"cuda:N\", got \"tpu\"",
                      self.fails("[device] expected", "pretrain", self.config_path, "--out", never,
                                 "--set", "training.device=tpu"))
        self.assertFalse(never.exists())
        encoder = self.reference / "encoder.safetensors"
        self.fails("[cuda] expected", "evaluate", encoder, "--device", "cuda:99")
        self.fails("[cuda] expected", "embed", encoder, "--out", never, "--device", "cuda:99")
        self.fails("[cuda] expected", "analyze", "--group", encoder, "--out", never,
                   "--device", "cuda:99")
        self.assertFalse(never.exists())

    def test_wrong_files_are_refused_with_their_name(self) -> None:
        broken = self.folder / "broken.json"
        broken.write_text('{"seed": 1,\n "data": }')
        self.assertIn("line 2", self.fails("broken.json", "pretrain", broken, "--out",
                                           self.folder / "never"))
        self.fails("nowhere.json", "pretrain", "nowhere.json", "--out", self.folder / "never")

        data = json.loads(json.dumps(self.config["data"]))
        data["train"]["images"] = str(self.folder / "missing.gz")
        self.fails("missing.gz", "pretrain", self.with_config(data=data), "--out",
                   self.folder / "missing-data")
        truncated = self.folder / "truncated.gz"
        whole = pathlib.Path(self.config["data"]["train"]["images"]).read_bytes()
        truncated.write_bytes(whole[:len(whole) // 2])
        data["train"]["images"] = str(truncated)
        self.fails("truncated.gz", "pretrain", self.with_config(data=data), "--out",
                   self.folder / "truncated-data")
        for name in ("missing-data", "truncated-data"):
            self.assertFalse((self.folder / name).exists())

    def test_corrupt_checkpoints_are_refused(self) -> None:
        good = (self.reference / "encoder.safetensors").read_bytes()
        bad = self.folder / "bad.safetensors"
        for name, content in (("empty", b""), ("half", good[:len(good) // 2]),
                              ("text", b"not a checkpoint at all, just some text"),
                              ("header", good[:8] + b"\xff" + good[9:])):
            bad.write_bytes(content)
            with self.subTest(name):
                self.fails("bad.safetensors", "evaluate", bad)
        (length,) = struct.unpack("<Q", good[:8])
        header = json.loads(good[8:8 + length])
        config = {**json.loads(header["__metadata__"]["config"]), "evaluation": 3}
        header["__metadata__"]["config"] = json.dumps(config)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        bad.write_bytes(struct.pack("<Q", len(text)) + text + good[8 + length:])
        self.fails("[evaluation] expected a JSON object", "evaluate", bad)
        self.fails("expected", "evaluate", self.folder / "none.safetensors")
        run = self.folder / "damaged"
        shutil.copytree(self.reference, run)
        newest = max((run / "checkpoints").glob("step-*"))
        newest.write_bytes(newest.read_bytes()[:1000])
        self.fails("from the checkpoint before", "pretrain", "--resume", "--out", run)

    def test_a_run_is_not_overwritten(self) -> None:
        before = (self.reference / "result.json").read_bytes()
        self.fails("--resume", "pretrain", self.config_path, "--out", self.reference)
        self.assertEqual((self.reference / "result.json").read_bytes(), before)
        self.fails("no config.json", "pretrain", "--resume", "--out", self.folder / "nothing-here")
        # Nor is what is left of one continued, or somebody's file removed.
        left = self.folder / "left"
        (left / "checkpoints").mkdir(parents=True)
        self.fails("'checkpoints'", "pretrain", self.config_path, "--out", left)
        (left / "checkpoints").rmdir()
        (left / "metrics.jsonl").write_text("mine")
        self.fails("'metrics.jsonl'", "pretrain", self.config_path, "--out", left)
        self.assertEqual((left / "metrics.jsonl").read_text(), "mine")
        self.fails("--set", "pretrain", "--resume", "--out", self.reference, "--set", "seed=1")
        folder = os.open(self.reference, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            self.fails("another one", "pretrain", "--resume", "--out", self.reference)
        finally:
            os.close(folder)
        self.fails("either a configuration or --resume", "pretrain", "--out", self.folder / "x")

    def test_training_that_diverges(self) -> None:
        for name, message, setting in (
                ("at-once", "nothing is trained yet", 'views=[{"name": "Normalize", "mean": 0.5, "std": 1e-40}]'),
                ("later", "a smaller learning rate", "optimizer.lr=1e30")):
            run = self.folder / f"diverges-{name}"
            errors = self.fails(message, "pretrain", self.config_path, "--out", run, "--set", setting)
            self.assertEqual("last checkpoint" in errors, any((run / "checkpoints").iterdir()))
        weights = bytearray((self.reference / "encoder.safetensors").read_bytes())
        weights[-4:] = struct.pack("<f", float("nan"))
        broken = self.folder / "diverged.safetensors"
        broken.write_bytes(weights)
        self.fails("finite features, got NaN", "evaluate", broken)
        self.fails("finite features, got NaN", "embed", broken, "--out", self.folder / "diverged")

    def test_files_that_cannot_be_written_are_told_before_the_work(self) -> None:
        nowhere, never = self.folder / "no-folder" / "file.json", self.folder / "never-profiled"
        self.fails("[--profile] expected", "pretrain", self.config_path, "--out", never, "--profile", nowhere)
        self.assertFalse(never.exists())
        self.fails("[--out] expected", "tune", self.config_path, "--out", nowhere)
        encoder = self.reference / "encoder.safetensors"
        self.assertNotIn("features", self.fails("[--out] expected", "evaluate", encoder, "--out", nowhere))

    def test_a_finished_run_stays_as_it_is(self) -> None:
        run = self.folder / "finished"
        shutil.copytree(self.reference, run)
        done = self.run_program("pretrain", "--out", run, "--resume")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("this run was finished", done.stderr)
        self.assertEqual(*(json.loads((r / "result.json").read_text()) for r in (run, self.reference)))

    def test_data_smaller_than_a_batch(self) -> None:
        config = self.with_config(training={**self.config["training"], "batch_size": 1000})
        self.fails("choose batch_size <= 96", "pretrain", config, "--out", self.folder / "small")
        self.assertFalse((self.folder / "small").exists())

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small file system needs root")
    def test_a_full_disk_spares_the_last_checkpoint(self) -> None:
        mount = self.folder / "disk"
        mount.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1400k", "tmpfs", mount],
                          capture_output=True).returncode != 0:
            self.skipTest("this machine does not let us mount a tmpfs")
        try:
            done = self.run_program("pretrain", self.config_path, "--out", mount / "run")
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("No space left", done.stderr)
            for path in (mount / "run" / "checkpoints").iterdir():
                read_safetensors(path)  # whole, every one of them
                self.assertTrue(path.name.endswith(".safetensors"), path)
        finally:
            subprocess.run(["umount", mount], check=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
