"""Installs the built project into an empty folder and uses it as a stranger would.

usage: check_install.py SOURCE_DIR BUILD_DIR CMAKE CXX PROGRAM...

1. `cmake --install` into BUILD_DIR/check_install/prefix; no file there names the build folder.
2. tests/consumer finds it with find_package(invar), builds, trains a small model, and compiles every
   installed header.
3. examples/training_loop.cpp, as it was installed, trains and goes on from its checkpoint.
4. The example at the top of README.md, built against it, prints what README.md says.
5. Exactly the given programs are installed, as invar-<name>, and each starts: its shared libraries
   are found and `--help` ends with 0. The configurations are beside them.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys


def run(*command: str | pathlib.Path, cwd: pathlib.Path | None = None) -> str:
    print("+", *command, flush=True)
    # No library path of this shell: the installed files must find each other.
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nerror: exit code {done.returncode}")
    return done.stdout


def main() -> None:
    source, build = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    cmake, cxx = sys.argv[3:5]
    work = build / "check_install"
    shutil.rmtree(work, ignore_errors=True)
    prefix = work / "prefix"

    run(cmake, "--install", build, "--prefix", prefix)
    for path in sorted(path for path in prefix.rglob("*") if path.is_file()):
        if str(build).encode() in path.read_bytes():
            sys.exit(f"error: {path} contains the path {build}")

    # The consumer sees headers by their installed names only, one #include per header.
    headers = sorted(str(path.relative_to(prefix / "include"))
                     for path in (prefix / "include").rglob("*.hpp"))
    if not headers:
        sys.exit("error: no header was installed")
    (work / "all_headers.cpp").write_text("".join(f"#include <{name}>\n" for name in headers))
    example = re.search(r"```cpp\n(.*?)```\s*```\n(.*?)```", (source / "README.md").read_text(), re.DOTALL)
    if not example:
        sys.exit("error: README.md has no C++ example with its output below")
    (work / "readme.cpp").write_text(example[1])
    (loop,) = prefix.rglob("training_loop.cpp")
    run(cmake, "-G", "Ninja", "-S", source / "tests/consumer", "-B", work / "consumer",
        f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER={cxx}",
        "-DCMAKE_BUILD_TYPE=Release", f"-DALL_HEADERS={work / 'all_headers.cpp'}",
        f"-DREADME_EXAMPLE={work / 'readme.cpp'}", f"-DTRAINING_LOOP={loop}")
    run(cmake, "--build", work / "consumer")
    run(work / "consumer/consumer")
    printed = run(work / "consumer/readme")
    if printed != example[2]:
        sys.exit(f"error: README.md says that its example prints\n{example[2]}it prints\n{printed}")

    folder = work / "loop"
    if pathlib.Path("/usr/share/datasets/fashion-mnist").exists():
        run(work / "consumer/training_loop", "10", folder)
        # From its last checkpoint the rest is nothing but the evaluation.
        again = run(work / "consumer/training_loop", "10", folder)
        if not re.fullmatch(r"kNN [0-9.]+ %  linear [0-9.]+ %\n", again):
            sys.exit(f"error: training_loop did not go on from its checkpoint, it printed\n{again}")
    else:
        print("skipped: training_loop is not run, Fashion-MNIST is not installed")

    wanted = sorted(f"invar-{name}" for name in sys.argv[5:])
    installed = sorted(path.name for path in (prefix / "bin").glob("*"))
    if installed != wanted:
        sys.exit(f"error: expected the programs {wanted}, got {installed}")
    for name in installed:
        run(prefix / "bin" / name, "--help", cwd=work)
    configurations = sorted(path.name for path in (source / "examples/configs").iterdir())
    found = sorted(path.name for path in (prefix / "share/invar/configs").glob("*"))
    if wanted and found != configurations:
        sys.exit(f"error: expected the configurations {configurations}, got {found}")


if __name__ == "__main__":
    main()
