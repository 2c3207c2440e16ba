#!/usr/bin/env python3
"""Every script that takes options explains itself: --help, and exit code 2 for an option it does not know.

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
            if done.returncode != code or "usage" not in done.stdout + done.stderr:
                failures.append(f"{script.relative_to(root)} {option}: exit code {done.returncode}, expected "
                                f"{code}\n{done.stdout}{done.stderr}")
    print("\n".join(failures) or f"{len(scripts)} scripts")
    return 1 if failures or len(scripts) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
