"""Wide instructions stand only where they are meant to, so that the library runs on lesser machines.

usage: check_instructions.py LIBRARY.a

Every member but winograd_avx512* must be free of AVX-512 registers, and those must have some. What
is compiled for an instruction set of its own must have no weak symbols: the linker might take its
copy of an inline function for the whole program.
Exit code 4: skipped, no x86 library or no objdump.
"""

import re
import shutil
import subprocess
import sys

WIDE_MEMBERS = ("winograd_avx512.", "winograd_avx512_bf16.")
OWN_FLAGS = re.compile(r"^winograd_(baseline|avx2|avx512|avx512_bf16)\.")
WIDE = re.compile(r"%zmm\d|%[xy]mm(?:1[6-9]|2\d|3[01])\b|%k[0-7]\b")
MEMBER = re.compile(r"^(\S+):\s+file format (\S+)")


def main() -> int:
    library = sys.argv[1]
    if not shutil.which("objdump") or not shutil.which("nm"):
        print("skipped: no objdump")
        return 4
    wide: dict[str, str] = {}
    members: set[str] = set()
    with subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", library], text=True,
                          stdout=subprocess.PIPE) as listing:
        member = ""
        for line in listing.stdout:
            if found := MEMBER.match(line):
                if "x86-64" not in found[2]:
                    print(f"skipped: {found[2]}")
                    return 4
                member = found[1]
                members.add(member)
            elif member not in wide and WIDE.search(line):
                wide[member] = line.strip()
    errors = [f"{member}: {line}" for member, line in sorted(wide.items())
              if not member.startswith(WIDE_MEMBERS)]
    errors += [f"{name} expected AVX-512 instructions, found none" for name in WIDE_MEMBERS
               if not any(member.startswith(name) for member in wide)]

    symbols = subprocess.run(["nm", "-A", library], capture_output=True, text=True, check=True)
    for line in symbols.stdout.splitlines():
        member, _, symbol = line.removeprefix(library + ":").partition(":")
        if OWN_FLAGS.match(member) and re.search(r" [WVwv] ", symbol):
            errors.append(f"{member}: weak symbol {symbol.split()[-1]}")
    print("\n".join(errors) or f"{len(members)} objects, all as they should be")
    return 1 if errors or not members else 0


if __name__ == "__main__":
    sys.exit(main())
