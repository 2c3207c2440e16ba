"""What the tests of the programs share: small data made here, a configuration that trains on them in a second,
readers of what a run leaves, and a case that has such a run. A test is started with the programs' folder first.
"""
import gzip
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

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


class SmallRun(unittest.TestCase):
    """Has the configuration and a finished run of it: self.config, self.config_path, self.reference."""

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
