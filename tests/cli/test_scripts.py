#!/usr/bin/env python3
"""Every script that takes options explains itself: --help, and exit code 2 for an option it does not know. What
somebody may well forget is told in a line. So do the benchmarks with arguments of their own.

usage: test_scripts.py ROOT [BENCHMARKS]
"""
import pathlib
import subprocess
import sys


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    scripts = [path for folder in ("scripts", "bench") for path in sorted((root / folder).iterdir())
               if path.is_file() and "argparse.ArgumentParser(" in path.read_text()]
    failures = []
    for script in scripts:
        for option, code in (("--help", 0), ("--no-such-option", 2)):
            done = subprocess.run([sys.executable, script, option], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True)
            if done.returncode != code or (done.stdout + done.stderr).count("usage: ") != 1:
                failures.append(f"{script.relative_to(root)} {option}: exit code {done.returncode}, expected "
                                f"{code}\n{done.stdout}{done.stderr}")
    grid = root / "examples" / "grids" / "estimators_fashion_mnist.json"
    for name, arguments, message in (
            ("experiments", [grid, "run", "--bin", root / "docs"], "got no pretrain: build"),
            ("objective_cost", ["--bin", root / "docs"], "got none: build"),
            ("roofline", [root / "README.md"], "what `bench/run conv ops` measures")):
        done = subprocess.run([sys.executable, root / "scripts" / name, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        if done.returncode != 1 or done.stderr.count("\n") != 1 or message not in done.stderr:
            failures.append(f"{name}: expected \"{message}\", got exit code {done.returncode}: {done.stderr}")
    for name, arguments, code, message in (
            ("bench_step", ["128", "3", "32"], 1, "expected BATCH CHANNELS SIZE"),
            ("bench_step", ["0", "3", "32", "2048", "3"], 1, "of at least 1, got 0"),
            ("bench_step", ["1", "3", "32", "2048", "3", "resnet9"], 1, "got resnet9"),
            ("bench_step", ["1", "3", "32", "2048", "3", "--benchmark", "1"], 1, "--benchmark on or off"),
            ("bench_augment", ["soon"], 2, "usage: bench_augment"),
            ("bench_overhead", ["-1"], 2, "usage: bench_overhead")) if len(sys.argv) > 2 else ():
        done = subprocess.run([pathlib.Path(sys.argv[2]) / name, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        if done.returncode != code or message not in done.stderr:
            failures.append(f"{name} {arguments}: expected \"{message}\", got exit code {done.returncode}: "
                            f"{done.stderr}")
    print("\n".join(failures) or f"{len(scripts)} scripts")
    return 1 if failures or len(scripts) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
