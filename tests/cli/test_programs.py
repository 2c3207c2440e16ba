#!/usr/bin/env python3
"""Runs the programs as a user would, on small data made here: training, resuming after every kind of
end, evaluation. Bad input: test_refusals.py.

usage: test_programs.py BIN_FOLDER [unittest arguments]
"""
import array
import json
import pathlib
import random
import shutil
import signal
import subprocess
import tarfile
import time
import unittest
from typing import Optional

from small_runs import BIN, ROOT, SmallRun, grey_png, make_images, metrics, read_safetensors


class Programs(SmallRun):
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
        saved = lambda: max((path.name for path in (run / "checkpoints").glob("step-*.safetensors")), default="")
        midway = 0
        for _ in range(30):
            process = subprocess.Popen([BIN / "pretrain", *map(str, arguments), "--out", run],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            # Wait for the training to save, then for an arbitrary moment of it.
            before, deadline = saved(), time.monotonic() + 60
            while saved() == before and process.poll() is None:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
            midway += "" < saved() < "step-000000018"
            if midway == 4:
                break
            if (run / "result.json").exists():  # too fast this time
                shutil.rmtree(run)
            # What a kill in the middle of a save leaves; the next start removes it.
            if (run / "config.json").exists():
                for name in ("metrics.jsonl.tmp-7-0", "checkpoints/best.safetensors.tmp-7-1"):
                    (run / name).write_text("half")
            arguments = ["--resume"] if (run / "config.json").exists() else [self.config_path]
        self.assertEqual(midway, 4)
        done = self.run_program("pretrain", "--resume", "--out", run)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_run(run)
        self.assertEqual(list(run.rglob("*.tmp-*")), [])

    def test_an_interrupted_run_saves_and_says_how_to_go_on(self) -> None:
        for reason in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            run = self.folder / f"interrupted-{reason.name}"
            # Whoever starts the tests may have told them to ignore a hangup.
            process = subprocess.Popen([BIN / "pretrain", self.config_path, "--out", run],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True,
                                       preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
            while not (run / "metrics.jsonl").exists() and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(reason)
            _, errors = process.communicate(timeout=60)
            if process.returncode == 0:
                self.skipTest("the run was over before the signal came")
            self.assertEqual(process.returncode, 128 + reason, errors)
            self.assertIn("--resume", errors)
            self.assertEqual(self.run_program("pretrain", "--out", run, "--resume").returncode, 0)
            self.assert_same_run(run)

    def test_nobody_reads_what_is_printed(self) -> None:
        run = self.folder / "unread"
        process = subprocess.Popen([BIN / "pretrain", self.config_path, "--out", run],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.close()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=120), 0)
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
        self.fails("\"cpu\"", "tune", self.config_path, "--out", choices, "--set", "training.device=cuda")
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

    def test_biases_and_norms_may_be_left_out_of_weight_decay(self) -> None:
        largest = {}
        for exclude in (False, True):
            run = self.folder / f"exclude-{exclude}"
            config = self.with_config(optimizer={"name": "adamw", "lr": 1e-3, "weight_decay": 500, "exclude_1d": exclude})
            done = self.run_program("pretrain", config, "--out", run)
            self.assertEqual(done.returncode, 0, done.stderr)
            _, tensors = read_safetensors(run / "encoder.safetensors")
            for name in ("conv1.weight", "bn1.weight"):
                largest[name, exclude] = max(map(abs, array.array("f", tensors[name][2])))
        # Each step halves what decays.
        self.assertGreater(largest["bn1.weight", True], 0.9)
        for decayed in (largest["bn1.weight", False], largest["conv1.weight", True]):
            self.assertLess(decayed, 0.4)

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

    def test_unlabelled_images_of_ones_own(self) -> None:
        root = self.folder / "mine"
        root.mkdir()
        for i in range(40):
            (root / f"{i}.png").write_bytes(grey_png(12))
        run, out = self.folder / "mine-run", self.folder / "mine-features"
        data = {"name": "image_folder", "root": str(root), "channels": 1}
        done = self.run_program("pretrain", self.with_config(data=data, diagnostics={}), "--out", run)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("trained_knn", json.loads((run / "result.json").read_text()))
        done = self.run_program("embed", run / "encoder.safetensors", "--split", "train", "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"'shape': (40, 32)", (out / "features.npy").read_bytes()[:128])
        self.assertFalse((out / "labels.npy").exists())
        self.fails("--split train", "evaluate", run / "encoder.safetensors")
        (root / "train").mkdir()
        for i in range(40):
            (root / f"{i}.png").rename(root / "train" / f"{i}.png")
        shutil.copytree(root / "train", root / "test")
        self.fails("[evaluate] expected labelled data", "evaluate", run / "encoder.safetensors")
        # Labels of another set of images are not left beside features without.
        for name in ("labels.npy", "classes.txt"):
            (out / name).touch()
        done = self.run_program("embed", run / "encoder.safetensors", "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([path.name for path in out.iterdir()], ["features.npy"])

    def test_classes_without_test_images(self) -> None:
        root, run = self.folder / "classes", self.folder / "held-out"
        for name in ("ant", "bee"):
            (root / name).mkdir(parents=True)
            for i in range(30):
                (root / name / f"{i}.png").write_bytes(grey_png(12))
        config = self.with_config(data={"name": "image_folder", "root": str(root), "channels": 1},
                                  evaluation={**self.config["evaluation"], "held_out": 12})
        done = self.run_program("pretrain", config, "--out", run)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.run_program("evaluate", run / "encoder.safetensors")
        self.assertEqual(done.returncode, 0, done.stderr)
        scores, result = json.loads(done.stdout), json.loads((run / "result.json").read_text())
        self.assertEqual((scores["train_images"], scores["test_images"]), (48, 12))
        self.assertEqual((scores["knn"], scores["linear"]), (result["trained_knn"], result["trained_linear"]))

    # --- using what was trained -----------------------------------------------------------------

    def test_evaluate(self) -> None:
        out = self.folder / "scores.json"
        done = self.run_program("evaluate", self.reference / "encoder.safetensors", "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        for label in ("kNN", "linear probe"):
            self.assertIn(f"{label}: ", done.stderr)
        printed, written = json.loads(done.stdout), json.loads(out.read_text())
        self.assertEqual(printed, written)
        self.assertEqual((printed["k"], printed["linear_epochs"]), (5, 3))  # as in the configuration
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
        self.assertEqual((out / "classes.txt").read_text(), "rows\ncolumns\nchecks\n")

    def test_programs_tell_their_version(self) -> None:
        for name in ("pretrain", "evaluate", "embed", "tune", "analyze"):
            self.assertRegex(self.run_program(name, "--version").stdout, r"^\d+\.\d+\.\d+\n$")

    def test_the_tour_runs(self) -> None:
        done = self.run_program("autograd_tour")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("d loss / d a = 5", done.stdout)
        self.assertNotIn("no error?", done.stdout)
        shown = (ROOT / "README.md").read_text().split("autograd_tour`")[1].split("```")[1].strip()
        self.assertIn(shown, done.stdout, "README.md shows something else")

    # --- bad input ------------------------------------------------------------------------------


if __name__ == "__main__":
    unittest.main(verbosity=2)
