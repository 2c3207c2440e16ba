#!/usr/bin/env python3
"""scripts/gpu_check without a GPU: that it says so, and, with programs that only pretend, what it makes
of what they print.

usage: test_gpu_check.py ROOT [unittest arguments]
"""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
SCRIPT = ROOT / "scripts/gpu_check"

CASE = '<TestCase name="{}"><Section name="s"><OverallResults successes="1"/></Section><OverallResult {}/></TestCase>'
REPORT = ('<?xml version="1.0" encoding="UTF-8"?><Catch2TestRun name="t">'
          + CASE.format("a", 'success="true" skips="0"') + CASE.format("b", 'success="true" skips="0"')
          + CASE.format("c", 'success="true" skips="1"'))
TEST_CUDA = """#!/bin/sh
for argument in "$@"; do
  case $argument in xml::out=*) printf %s '{report}' > "${{argument#xml::out=}}";; esac
done
{then}
"""
BENCH_STEP = 'import json; print("warm"); print(json.dumps({"median_s": 0.004}))\n'
SANITIZER = 'print("========= ERROR SUMMARY: 0 errors")\n'
PRETRAIN = """
import json, pathlib, signal, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
(out / "config.json").write_text(" ".join(sys.argv))
if {endless} and "--resume" not in sys.argv:
    time.sleep(60)
(out / "result.json").write_text(json.dumps(
    {{"trained_linear": 88.5, "trained_knn": 85.25, "train_seconds": 100.0, "steps": 7}}))
"""


class GpuCheck(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="invar-gpu-check-"))
        self.out, self.bin = self.folder / "out", self.folder / "bin"
        self.bin.mkdir()
        self.environment = dict(os.environ, CUDA_VISIBLE_DEVICES="")

    def tearDown(self) -> None:
        shutil.rmtree(self.folder)

    def pretend(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text if text.startswith("#!") else f"#!{sys.executable}\n{text}")
        path.chmod(0o755)

    def pretend_gpu(self, failing: bool = False, endless: bool = False) -> None:
        self.environment["CUDA_VISIBLE_DEVICES"] = "0"
        self.environment["PATH"] = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        self.pretend("nvidia-smi", 'print("A GPU, 1.0, 8 MiB")\n')
        report = REPORT + (CASE.format("d", 'success="false" skips="0"') if failing else "")
        self.pretend("test_cuda", TEST_CUDA.format(report=report + "</Catch2TestRun>", then="exit 1" if failing else ""))
        self.pretend("test_ops", TEST_CUDA.format(report=REPORT + "</Catch2TestRun>", then=""))
        self.pretend("compute-sanitizer", SANITIZER)
        self.pretend("bench_step", BENCH_STEP)
        self.pretend("pretrain", PRETRAIN.format(endless=endless))

    def check(self, *arguments, code: int = 0) -> dict:
        done = subprocess.run([sys.executable, str(SCRIPT), "--bin", str(self.bin), "--out",
                               str(self.out), *arguments], env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads((self.out / "gpu_check.json").read_text())

    def test_without_a_gpu_everything_is_skipped(self) -> None:
        found = self.check()
        self.assertEqual(list(found["stages"]),
                         ["tests", "sanitizer", "benchmark", "fashion_mnist", "cifar10"])
        for stage in found["stages"].values():
            self.assertEqual((stage["result"], stage["why"]), ("skipped", "no GPU"))
        self.assertNotIn("machine", found)

    def test_stages_are_merged(self) -> None:
        self.pretend_gpu()
        data = self.folder / "data"
        data.mkdir()
        (data / "train-images-idx3-ubyte.gz").touch()
        first = self.check("--stages", "tests,sanitizer,benchmark")
        self.assertEqual({name: stage["result"] for name, stage in first["stages"].items()},
                         {"tests": "passed", "sanitizer": "passed", "benchmark": "passed"})
        self.assertEqual((first["stages"]["tests"]["passed"], first["stages"]["tests"]["skipped"]), (4, 2))
        self.assertEqual(first["machine"]["gpu"], "A GPU, 1.0, 8 MiB")
        found = self.check("--stages", "fashion_mnist,cifar10", "--fashion-mnist", str(data),
                           "--cifar10", str(data))
        self.assertEqual(found["stages"]["tests"], first["stages"]["tests"])
        self.assertEqual(found["stages"]["fashion_mnist"]["trained_linear"], 88.5)
        self.assertEqual(found["stages"]["cifar10"]["result"], "skipped")
        self.assertIn("no CIFAR-10", found["stages"]["cifar10"]["why"])
        # A visit without a GPU takes nothing away.
        self.environment["CUDA_VISIBLE_DEVICES"] = ""
        self.assertEqual(self.check(), found)

    def test_a_failing_test_is_named_and_run_again(self) -> None:
        self.pretend_gpu(failing=True)
        found = self.check("--stages", "tests", code=1)
        self.assertEqual(found["stages"]["tests"]["result"], "failed")
        self.assertEqual(found["stages"]["tests"]["failures"], ["test_cuda: d"])
        again = (self.out / "tests-blocking.log").read_text()
        self.assertEqual((again.count("+ "), again.count("test_ops")), (8, 0))

    def test_a_stage_that_is_cut_off_keeps_what_it_found(self) -> None:
        self.pretend_gpu()
        self.pretend("bench_step", 'import sys, time\nif "f32" in sys.argv: time.sleep(100)\n' + BENCH_STEP)
        process = subprocess.Popen([sys.executable, str(SCRIPT), "--bin", str(self.bin), "--out", str(self.out),
                                    "--stages", "benchmark"], env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if "--precision f32" in line:
                break
        process.kill()
        process.communicate()
        subprocess.run(["pkill", "-f", str(self.bin / "bench_step")])
        found = json.loads((self.out / "gpu_check.json").read_text())["stages"]["benchmark"]
        self.assertEqual(found["result"], "unfinished")
        self.assertEqual(found["steps"]["bf16 1024"]["invar_timed"]["median_s"], 0.004)

    def test_what_goes_wrong_costs_nothing_else(self) -> None:
        self.pretend_gpu()
        # A crash after the report, a report that is none, a step that does not run, a child that stays.
        self.pretend("test_ops", TEST_CUDA.format(report=REPORT + "</Catch2TestRun>", then="exit 139"))
        self.pretend("bench_step", 'import json, sys\nif "f32" in sys.argv: sys.exit("no plan")\n' + BENCH_STEP)
        self.pretend("compute-sanitizer", "import subprocess, sys, time\n"
                     "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\ntime.sleep(100)\n")
        self.check("--stages", "tests", code=1)
        found = self.check("--stages", "sanitizer,benchmark", "--minutes", "0.05", code=1)["stages"]
        self.assertEqual({stage["result"] for stage in found.values()}, {"failed"})
        self.assertIn("test_ops 11 of 11 ended with exit code 139", found["tests"]["why"])
        self.assertEqual(found["tests"]["passed"], 4)
        self.assertEqual(found["sanitizer"]["checks"]["racecheck bf16"], "not finished in time")
        self.assertIn("f32 256: exit code 1: no plan", found["benchmark"]["why"])
        self.assertEqual(found["benchmark"]["steps"]["bf16 256"]["invar"]["median_s"], 0.004)
        self.pretend("test_ops", TEST_CUDA.format(report="<Catch2TestRun>", then=""))
        self.assertIn("test_ops 1 of 11 ended with exit code 0: it printed nothing",
                      self.check("--stages", "tests", code=1)["stages"]["tests"]["why"])

    def test_a_case_that_crashes_or_hangs_is_named(self) -> None:
        self.pretend_gpu()
        begun = REPORT + '<TestCase name="d &amp; e"><Section name="s">'
        self.pretend("test_ops", TEST_CUDA.format(report=begun, then="exit 139"))
        found = self.check("--stages", "tests", code=1)["stages"]["tests"]
        self.assertEqual((found["passed"], found["skipped"], found["failures"]), (4, 2, ["test_ops: d & e"]))
        self.assertIn("test_ops 1 of 11, at 'd & e', ended with exit code 139", found["why"])
        self.assertEqual((self.out / "tests-blocking.log").read_text().count("+ "), 11)
        # One that hangs would do so again.
        (self.out / "tests-blocking.log").unlink()
        self.pretend("test_ops", TEST_CUDA.format(report=begun, then="exec sleep 100"))
        found = self.check("--stages", "tests", "--minutes", "0.05", code=1)["stages"]["tests"]
        self.assertIn("test_ops 1 of 11, at 'd & e', was not finished in time", found["why"])
        self.assertEqual((found["passed"], found["failures"]), (4, ["test_ops: d & e"]))
        self.assertFalse((self.out / "tests-blocking.log").exists())

    def test_a_gpu_that_nothing_can_look_at_is_an_error(self) -> None:
        self.pretend_gpu()
        (self.bin / "test_cuda").unlink()
        self.environment["PATH"] = str(self.bin)  # neither nvcc nor cmake
        found = self.check("--stages", "tests", code=1)
        self.assertIn("no build in --bin", found["stages"]["tests"]["why"])

    def test_a_sanitizer_that_cannot_look_is_skipped(self) -> None:
        self.pretend_gpu()
        self.pretend("compute-sanitizer", "print('Error: Device not supported. Please refer to the documentation')\n"
                     "raise SystemExit(1)\n")
        found = self.check("--stages", "sanitizer")["stages"]["sanitizer"]
        self.assertEqual(found["result"], "skipped")

    def test_a_build_is_packed_with_its_libraries(self) -> None:
        archive, tar = self.folder / "build.tar.xz", shutil.which("tar")
        command = [sys.executable, str(SCRIPT), "--bin", str(self.bin), "--pack", str(archive)]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("got no test_cuda, test_ops, bench_step, pretrain", done.stderr)
        for name in ("test_cuda", "test_ops", "bench_step", "pretrain"):
            shutil.copy(tar, self.bin / name)
        subprocess.run(command, check=True, capture_output=True)
        there = self.folder / "elsewhere"
        there.mkdir()
        subprocess.run([tar, "xf", archive], cwd=there, check=True)
        packed = {path.name for path in (there / "bin").iterdir()}
        libraries = {line.split()[0] for line in subprocess.run(
            ["ldd", tar], capture_output=True, text=True).stdout.splitlines() if "=>" in line}
        self.assertEqual(packed - {"test_cuda", "test_ops", "bench_step", "pretrain"},
                         {name for name in libraries if not name.startswith(("libc.", "libm."))})
        self.assertIn("GNU tar", subprocess.run([there / "bin" / "pretrain", "--version"], check=True,
                                                capture_output=True, text=True).stdout)

    def test_a_long_training_goes_on_later(self) -> None:
        self.pretend_gpu(endless=True)
        (self.folder / "train-images-idx3-ubyte.gz").touch()
        arguments = ("--stages", "fashion_mnist", "--fashion-mnist", str(self.folder))
        found = self.check(*arguments, "--minutes", "0.02")
        self.assertEqual(found["stages"]["fashion_mnist"]["result"], "unfinished")
        found = self.check(*arguments)
        self.assertEqual(found["stages"]["fashion_mnist"]["result"], "passed")

    def test_tables(self) -> None:
        loader = importlib.machinery.SourceFileLoader("gpu_check", str(SCRIPT))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", loader))
        sys.modules["gpu_check"] = module
        sys.dont_write_bytecode = True
        loader.exec_module(module)
        self.assertIn("| tests | never run |  |", module.tables({}))
        steps = {"bf16 256": {"invar": {"median_s": 0.004}, "invar_graph": {"median_s": 0.003},
                              "invar_timed": {"median_s": 0.0035}, "torch": {"cl": {"median_s": 0.006}, "cl_compile": {"error": "no"}}}}
        text = module.tables({"stages": {"benchmark": {"result": "passed", "steps": steps}}})
        self.assertIn("| bf16 256 | 4.00 | 3.00 | 3.50 | 6.00 (cl) | 2.00 |", text)
        steps["bf16 256"]["invar"] = {"error": "no plan"}
        text = module.tables({"stages": {"benchmark": {"result": "failed", "steps": steps}}})
        self.assertIn("| bf16 256 | failed | 3.00 | 3.50 | 6.00 (cl) | 2.00 |", text)
        cut_off = {"bf16 256": {"torch": {}, "invar": {"median_s": 0.004}}}
        text = module.tables({"stages": {"benchmark": {"result": "unfinished", "steps": cut_off}}})
        self.assertIn("| bf16 256 | 4.00 | not measured | not measured | not measured |  |", text)
        self.assertIn(module.BEGIN, (ROOT / "docs/gpu.md").read_text())
        self.assertIn(module.END, (ROOT / "docs/gpu.md").read_text())


if __name__ == "__main__":
    unittest.main()
