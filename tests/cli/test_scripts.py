#!/usr/bin/env python3
"""Every script that takes options explains itself: --help, and exit code 2 for an option it does not know. What
somebody may well forget is told in a line.

usage: test_scripts.py ROOT
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
    print("\n".join(failures) or f"{len(scripts)} scripts")
    return 1 if failures or len(scripts) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
