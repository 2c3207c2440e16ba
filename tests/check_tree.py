"""Checks of the source tree itself.

usage: check_tree.py ROOT arrows|sources|engine|hygiene|configuration|self-test

arrows     libraries include only what stands before them: core <- ops <- autodiff <- nn <- ssl, and
           data only core and ops; project headers are named <invar/...>
sources    every .cpp and .cu is named in the CMakeLists.txt of its top folder, so none is forgotten
engine     the autograd engine stays small enough to read in one go: at most 600 lines of code, comments
           and blank lines not counted
hygiene    no package registry's host name, no absolute path of somebody's machine, no unfinished
           mark without a reference (an issue number in brackets after it)
configuration  every key that a configuration may have stands in docs/configuration.md, in its section,
           and every option of an objective in docs/objectives.md
self-test  a tree that breaks every rule is reported, a clean one is not
"""

import pathlib
import re
import subprocess
import sys
import tempfile

MAY_INCLUDE = {
    "core": {"core"},
    "ops": {"core", "ops"},
    "autodiff": {"core", "ops", "autodiff"},
    "nn": {"core", "ops", "autodiff", "nn"},
    "ssl": {"core", "ops", "autodiff", "nn", "ssl"},
    "data": {"core", "ops", "data"},
}
SOURCES = {".hpp", ".cpp", ".cu", ".cuh", ".h"}
ENGINE_FOLDER = ("core", "autograd")
ENGINE_LINES = 600
BINARY = {".safetensors", ".bin", ".png", ".jpg", ".jpeg", ".gz", ".npy", ".ico"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<invar/([^/>]+)/[^>]*>|(".*"))')
# A key that is read from JSON: reader.get("k", ..), reader.require<T>("k"), get_range(reader, "k", ..).
KEY = re.compile(r'\b(?:get|require)(?:_\w+|<[^()]*>)?\((?:reader, )?\s*"(\w+)"')
RULES = [
    ("the host name of a package registry (take it from the machine's own configuration)",
     re.compile(r"\b(?:[\w-]+\.)+(?:debian|ubuntu)\.(?:org|com)\b|\bpypi\.(?:org|python)"
                r"|\bpythonhosted\.org\b")),
    ("an absolute path of one machine",
     re.compile(r"(?<![\w.~:/}\])*])/(?:work|opt|root|home|Users|mnt)/\w")),
    ("an unfinished mark without a reference",
     re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b(?!\(#\d+\))")),
]


def files(root: pathlib.Path) -> list[pathlib.Path]:
    """What belongs to the project: git's list if there is one, else everything not built."""
    try:
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "--cached",
             "--others", "--exclude-standard"], capture_output=True, check=True)
        names = [name for name in listed.stdout.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
        names = [name for name in names
                 if name.split("/")[0] not in {"build", ".deps", ".git", "runs"}]
    return [root / name for name in sorted(names) if (root / name).is_file()]


def lines(path: pathlib.Path):
    return enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)


def arrows(root: pathlib.Path) -> list[str]:
    found = []
    for path in files(root):
        name = path.relative_to(root)
        allowed = MAY_INCLUDE.get(name.parts[0])
        if allowed is None or path.suffix not in SOURCES:
            continue
        for number, line in lines(path):
            match = INCLUDE.match(line)
            if not match:
                continue
            if match[2]:
                found.append(f"{name}:{number}: {match[2]}: write <invar/...> instead")
            elif match[1] not in allowed:
                found.append(f"{name}:{number}: {name.parts[0]} must not include {match[1]} "
                             f"(allowed: {', '.join(sorted(allowed))})")
    return found


def sources(root: pathlib.Path) -> list[str]:
    found = []
    listed = {}  # top folder -> words of its CMakeLists.txt
    for path in files(root):
        name = path.relative_to(root)
        if path.suffix not in (".cpp", ".cu") or len(name.parts) == 1 or name.parts[:2] == ("tests", "consumer"):
            continue
        top = name.parts[0]
        if top not in listed:
            lists = root / top / "CMakeLists.txt"
            listed[top] = set(re.split(r"[\s()]+", lists.read_text())) if lists.exists() else set()
        if str(name.relative_to(top)) not in listed[top]:
            found.append(f"{name}:1: not in {top}/CMakeLists.txt, so nothing compiles it")
    return found


def code_lines(text: str) -> int:
    """Lines that hold more than a comment. A comment mark inside a string does no harm: such a line
    has code before it."""
    text = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    return sum(1 for line in text.splitlines() if line.split("//")[0].strip())


def engine(root: pathlib.Path) -> list[str]:
    counts = {path.relative_to(root): code_lines(path.read_text(encoding="utf-8"))
              for path in files(root)
              if path.relative_to(root).parts[:2] == ENGINE_FOLDER and path.suffix in SOURCES}
    total = sum(counts.values())
    print(f"the engine has {total} lines of code in {len(counts)} files, of at most {ENGINE_LINES}")
    if total <= ENGINE_LINES:
        return []
    return [f"{name}:1: {count} lines" for name, count in counts.items()]


def hygiene(root: pathlib.Path) -> list[str]:
    found = []
    for path in files(root):
        name = path.relative_to(root)
        if path.suffix in BINARY or path.is_symlink():
            continue
        for number, line in lines(path):
            for what, pattern in RULES:
                match = pattern.search(line)
                if match:
                    found.append(f"{name}:{number}: {what}: '{match[0]}'")
    return found


def configuration(root: pathlib.Path) -> list[str]:
    found = []
    keys = 0

    def look_up(source: pathlib.Path, code: str, text: str, where: str) -> None:
        nonlocal keys
        for key in sorted({match[1] for match in KEY.finditer(code)} - {"name"}):
            keys += 1
            if f"`{key}`" not in text:
                found.append(f"{source.relative_to(root)}:1: the key \"{key}\" is not in {where}")

    document = root / "docs" / "configuration.md"
    introduction, *rest = re.split(r"^## ", document.read_text(), flags=re.MULTILINE)
    sections = {"config": introduction, **{part.split("\n")[0]: part for part in rest}}
    experiment = root / "examples" / "common" / "experiment.cpp"
    # From one reader of a section to the next.
    _, *readers = re.split(r'JsonReader reader\(\w+, "(\w+)"\)', experiment.read_text())
    for name, code in zip(readers[::2], readers[1::2]):
        look_up(experiment, code, sections.get(name, ""), f"{document.name}, {name}")
    for name, source in (("data", root / "data" / "dataset.cpp"), ("views", root / "data" / "pipeline.cpp")):
        look_up(source, source.read_text(), sections.get(name, ""), f"{document.name}, {name}")
    objectives = root / "docs" / "objectives.md"
    rows = re.findall(r"^\| (`\w+`.*)", objectives.read_text(), re.MULTILINE)
    for source in sorted((root / "ssl" / "objectives").glob("*.cpp")):
        # Its own row, and those of what is built on it: `vicreg`, `vicreg_logdet`, ...; all for what they share.
        own = [row for row in rows if any(n.startswith(source.stem) for n in re.findall(r"`(\w+)`", row.split("|")[0]))]
        look_up(source, source.read_text(), "\n".join(own or rows), objectives.name)
    print(f"{keys} keys of configurations")
    return found


def self_test() -> list[str]:
    mark = "TO" + "DO"
    home = "/" + "home/somebody"
    bad = {
        "core/a.hpp": "#include <invar/ops/conv.hpp>\n",
        "data/b.cpp": "#include <invar/nn/linear.hpp>\n",
        "nn/c.cpp": '#include "linear.hpp"\n',
        "scripts/d": f"cd {home}/invar\n",
        "scripts/e": "wget pypi" + ".org\n",
        "ssl/f.cpp": f"// {mark}: later\n",
        "ops/cpu/g.cpp": "",
    }
    good = {
        "ops/a.hpp": "#include <invar/core/tensor.hpp>\n#include <vector>\n",
        "ssl/b.cpp": "#include <invar/nn/linear.hpp>\n",
        "core/c.cpp": f"// {mark}(#12): see there; /usr/share and a/root/b are fine\n",
        "examples/d.cpp": "#include <invar/data/dataset.hpp>\n",
        "examples/CMakeLists.txt": "invar_program(d SOURCES d.cpp)\n",
        "ssl/CMakeLists.txt": "target_sources(invar PRIVATE b.cpp)\n",
        "core/CMakeLists.txt": "target_sources(invar PRIVATE\n  c.cpp\n)\n",
    }
    found = []
    for contents, broken in ((bad, True), (good, False)):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in contents.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            reports = arrows(root) + sources(root) + hygiene(root)
        for name in contents:
            reported = any(report.startswith(name + ":") for report in reports)
            if reported != broken:
                found.append(f"{name} ({contents[name].strip()}): "
                             + ("not reported" if broken else f"reported: {reports}"))
    counted = code_lines("int a;  // one\n\n// none\n  /* none\n none */\nint b = 1 / 2;\n{\n")
    if counted != 3:
        found.append(f"code_lines counts {counted} lines instead of 3")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        root.joinpath(*ENGINE_FOLDER).mkdir(parents=True)
        source = root.joinpath(*ENGINE_FOLDER, "a.cpp")
        for count in (ENGINE_LINES, ENGINE_LINES + 1):
            source.write_text("int a;\n" * count + "// said\n")
            if bool(engine(root)) != (count > ENGINE_LINES):
                found.append(f"engine judges {count} lines wrongly")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in (("examples/common/experiment.cpp", 'JsonReader reader(json, "training");\n'
                            'reader.get("epochs", 1); JsonReader reader(json, "schedule");\n'
                            'reader.require<int>("said");\n'),
                           ("data/dataset.cpp", 'reader.get<bool>("grey", false);\n'),
                           ("data/pipeline.cpp", 'get_range(reader, "scale", {});\n'),
                           ("ssl/objectives/a.cpp", 'reader.get("weight", 1.0);\n'),
                           ("docs/objectives.md", ""),
                           ("docs/configuration.md", "`grey` `scale` `weight`\n## schedule\n`said` `epochs`\n")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        reported = [match[1] for match in re.finditer('key "(.*?)"', "\n".join(configuration(root)))]
        if reported != ["epochs", "grey", "scale", "weight"]:
            found.append(f"configuration reports {reported}")
    return found


def main() -> int:
    root = pathlib.Path(sys.argv[1]).resolve()
    check = {"arrows": lambda: arrows(root), "sources": lambda: sources(root),
             "engine": lambda: engine(root), "hygiene": lambda: hygiene(root),
             "configuration": lambda: configuration(root), "self-test": self_test}[sys.argv[2]]
    found = check()
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
