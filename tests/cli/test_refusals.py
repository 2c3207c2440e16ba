#!/usr/bin/env python3
"""What the programs do with bad input, with files that are not what they should be and with machines that fail
them: told in a line, and nothing of the user's is lost.

usage: test_refusals.py BIN_FOLDER [unittest arguments]
"""
import fcntl
import json
import os
import pathlib
import shutil
import struct
import subprocess
import unittest

from small_runs import BIN, SmallRun, grey_png, make_images, read_safetensors


class Refusals(SmallRun):
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
                ("[expander] expected layer widths of at least 1, got 0", {"expander": {"layers": [0]}}),
                ("draws \"RandomHorizontalFlip.applied\"", {"test_view": [{"name": "RandomHorizontalFlip"}]}),
                ("resnet18", {"encoder": {"name": "resnet19"}})):
            self.fails(message, "pretrain", self.with_config(**changes), "--out", run)
            self.assertFalse(run.exists(), message)
        # What only shows once the data is there, or in a step.
        for message, changes in (
                ("96 training images", {"evaluation": {"held_out": 1000}}),
                ("at least 100 x 100 pixels", {"views": [{"name": "CenterCrop", "size": 100}]}),
                ("expected 1 number in mean", {"test_view": [{"name": "Normalize", "mean": [0, 0, 0], "std": 1}]}),
                ("betas in [0, 1)", {"optimizer": {"lr": 1e-3, "betas": [1.5, 0]}}),
                ("shorter than the training of 18 steps", {"schedule": {"warmup_steps": 1000}}),
                ("layer widths", {"expander": {"layers": [0, 16]}}),
                ("warmup_steps >= 0, got -1", {"schedule": {"warmup_steps": -1}}),
                ("start_lr and end_lr of at least 0", {"schedule": {"start_lr": -1}}),
                ("at least 3x3", {"encoder": {**self.config["encoder"], "cifar_padding": 0},
                                  "test_view": [{"name": "CenterCrop", "size": 2}]}),
                ("[w_mse] expected", {"objective": {"name": "w_mse", "part": 8}}),
                ("choose batch_size <= 96", {"objective": {"name": "simclr"},
                                             "training": {**self.config["training"], "batch_size": 100000}}),
                ("[corinfomax] expected", {"objective": {"name": "corinfomax", "views": 3}}),
                ("set \"joint_views\" to false",
                 {"views": [[{"name": "CenterCrop", "size": size}] for size in (12, 10)],
                  "training": {**self.config["training"], "joint_views": True}})):
            self.fails(message, "pretrain", self.with_config(**changes), "--out", run)
            self.assertFalse(run.exists(), message)
        for text, message in (("[]", "a JSON object"), ("null", "a JSON object"), ("", "line 1"),
                              ('{"seed": 1}\0{', "a NUL character"),
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
        self.fails("File name too long", "pretrain", self.config_path, "--out", self.folder / ("x" * 300))

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
        broken.write_text('{"training": {"epochs": 1}, "training": {"epochs": 2}}')
        self.fails('got "training" twice', "pretrain", broken, "--out", self.folder / "never")
        self.fails("[training] expected", "tune", self.with_config(training=3), "--out", self.folder / "never")
        self.fails("[FILE] expected UTF-8", "evaluate", b"encoder-\xff.safetensors")
        self.fails("[--group] expected UTF-8", "analyze", "--group", b"run-\xff", "--out", self.folder / "never")

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
        config = json.loads(header["__metadata__"]["config"])
        for message, change in (("[evaluation] expected a JSON object", {"evaluation": 3}),
                                # Also of a part that evaluate makes no use of.
                                ("did you mean \"layers\"", {"expander": {"layer": [16, 16]}})):
            header["__metadata__"]["config"] = json.dumps({**config, **change})
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            bad.write_bytes(struct.pack("<Q", len(text)) + text + good[8 + length:])
            self.fails(message, "evaluate", bad)
        self.fails("expected", "evaluate", self.folder / "none.safetensors")
        run = self.folder / "damaged"
        shutil.copytree(self.reference, run)
        newest = max((run / "checkpoints").glob("step-*"))
        newest.write_bytes(newest.read_bytes()[:1000])
        self.fails("from the checkpoint before", "pretrain", "--resume", "--out", run)

    def test_a_run_does_not_go_on_with_other_data(self) -> None:
        run, fewer = self.folder / "other-data", self.folder / "fewer"
        shutil.copytree(self.reference, run)
        fewer.mkdir()
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**config, "data": make_images(fewer, train=80)}))
        self.fails("expected the 96 training images", "pretrain", "--resume", "--out", run)

    def test_a_run_does_not_go_on_with_another_configuration(self) -> None:
        run = self.folder / "other-configuration"
        shutil.copytree(self.reference, run)
        for section, change in (("seed", 99), ("optimizer", {"name": "sgd", "lr": 0.1}),
                                ("training", {**self.config["training"], "batch_size": 32})):
            (run / "config.json").write_text(json.dumps({**self.config, section: change}))
            self.assertNotIn("checkpoint before", self.fails(f'got another "{section}"', "pretrain", "--resume",
                                                             "--out", run))
        # Where the data are, who makes the views and what is scored may change.
        moved = json.loads(json.dumps(self.config).replace("train-images.gz", "moved.gz"))
        shutil.copy(self.folder / "train-images.gz", self.folder / "moved.gz")
        moved |= {"training": {**self.config["training"], "workers": 0}, "evaluation": {"linear_epochs": 1}}
        (run / "config.json").write_text(json.dumps(moved))
        done = self.run_program("pretrain", "--resume", "--out", run)
        self.assertEqual(done.returncode, 0, done.stderr)
        (run / "result.json").write_text("[]")
        self.fails("result.json] expected a JSON object", "pretrain", "--resume", "--out", run)

    def test_nobody_has_to_listen(self) -> None:
        command = f"'{BIN}/pretrain' '{self.config_path}' --set training.epochs=1 --out"
        for name, streams in (("full", ">/dev/full 2>/dev/full"), ("closed", "<&- >&- 2>&-")):
            run = self.folder / f"silent-{name}"
            done = subprocess.run(["bash", "-c", f"{command} '{run}' {streams}"], timeout=120)
            self.assertEqual(done.returncode, 0, name)
            json.loads((run / "result.json").read_text())
            json.loads((run / "config.json").read_text())
            refused = subprocess.run(["bash", "-c", f"{command} '{run}' {streams}"], timeout=120)
            self.assertEqual(refused.returncode, 1, name)
        # A limit on the size of files is told, too.
        run = self.folder / "limited"
        done = subprocess.run(["bash", "-c", f"ulimit -f 100; {command} '{run}'"], capture_output=True, text=True,
                              timeout=120)
        self.assertEqual((done.returncode, "File too large" in done.stderr), (1, True), done.stderr)

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
        for program, *arguments in (("evaluate",), ("embed", "--out", self.folder / "diverged"),
                                    ("analyze", "--out", self.folder / "diverged", "--group")):
            self.fails("finite weights, got NaN", program, *arguments, broken)
        # Finite ones can still be too large for what follows.
        weights[-4:] = struct.pack("<f", 3e38)
        broken.write_bytes(weights)
        self.fails("finite features, got NaN", "evaluate", broken)
        self.fails("lower the learning rate", "evaluate", self.reference / "encoder.safetensors", "--lr", "1e30")

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

    def test_images_that_cannot_be_evaluated_are_refused_before_training(self) -> None:
        root, run = self.folder / "pictures", self.folder / "never"
        for i in range(20):
            for split in ("train/a", "train/b", "test"):
                (root / split).mkdir(parents=True, exist_ok=True)
                (root / split / f"{i}.png").write_bytes(grey_png(12))
        data = {"name": "image_folder", "root": str(root), "channels": 1}
        config = self.with_config(data=data)
        self.fails("expected test images with labels", "pretrain", config, "--out", run)
        # A set without labels stands back for one with them.
        shutil.copytree(root / "train", root / "val")
        self.assertEqual(self.run_program("pretrain", config, "--out", self.folder / "val").returncode, 0)
        (root / "val" / "b" / "7.png").write_bytes(grey_png(5))
        smaller = self.with_config(data=data, test_view=[{"name": "CenterCrop", "size": 8}, *self.config["test_view"]])
        self.fails("at least 8 x 8 pixels, got 5 x 5", "pretrain", smaller, "--out", run)
        (root / "train" / "7.png").write_bytes(grey_png(12))
        self.fails("the image '7.png' beside the folder 'a'", "pretrain", config, "--out", run)
        self.assertFalse(run.exists())

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
