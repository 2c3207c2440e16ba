"""Unpacks the data files of wheels (their prefix tree: lib/, include/, share/) into a folder.

usage: unpack_wheels.py WHEEL_FOLDER PREFIX

The oneDNN wheels hold nothing else; that of cudnn-frontend has an include/ beside its Python.
Shared libraries that a wheel stores once per name (zip files have no links) become one file and
symbolic links.
"""

import os
import pathlib
import re
import sys
import zipfile


def unpack(wheel: pathlib.Path, prefix: pathlib.Path) -> None:
    stored = {}  # (checksum, size) -> first path written with that content
    with zipfile.ZipFile(wheel) as archive:
        # Longest names first: libdnnl.so.3.2 is the file, libdnnl.so.3 and libdnnl.so the links.
        for info in sorted(archive.infolist(), key=lambda i: -len(i.filename)):
            match = re.fullmatch(r"(?:[^/]+\.data/data/|(?=include/))(.+[^/])", info.filename)
            if not match:
                continue
            target = prefix / match[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            key = (info.CRC, info.file_size, target.parent)
            if ".so" in target.name and key in stored:
                os.symlink(stored[key].name, target)
                continue
            content = archive.read(info)
            if target.suffix == ".cmake":
                # Generated long ago: CMake 4 refuses policy versions below 3.5.
                content = content.replace(b"cmake_policy(VERSION 2.6)", b"cmake_policy(VERSION 3.5)")
            target.write_bytes(content)
            stored[key] = target


def main() -> None:
    folder, prefix = map(pathlib.Path, sys.argv[1:])
    for wheel in sorted(folder.glob("*.whl")):
        unpack(wheel, prefix)


if __name__ == "__main__":
    main()
