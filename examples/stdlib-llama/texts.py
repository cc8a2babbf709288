# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Write texts that this folder's model is evaluated on and calibrated with.

Both are modules of the standard library of the Python that runs this: the ones that
`train.py` held out of the training for the evaluation, and others, which the model has
seen, for the calibration. No module is in both.
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"

# What `train.py` has held out with the Python 3.11 that the model was trained with.
# Some are missing in later versions.
EVALUATION = (
    "asyncio/queues.py",
    "contextlib.py",
    "distutils/command/build_clib.py",
    "email/_encoded_words.py",
    "gettext.py",
    "idlelib/hyperparser.py",
    "importlib/_bootstrap_external.py",
    "lib2to3/fixes/fix_buffer.py",
    "lib2to3/fixes/fix_throw.py",
    "multiprocessing/managers.py",
    "pyclbr.py",
    "symtable.py",
    "turtledemo/colormixer.py",
    "warnings.py",
    "zoneinfo/_common.py",
)
CALIBRATION = (
    "argparse.py",
    "base64.py",
    "collections/__init__.py",
    "configparser.py",
    "email/message.py",
    "http/client.py",
    "json/decoder.py",
    "logging/__init__.py",
    "os.py",
    "random.py",
    "socket.py",
    "tarfile.py",
    "threading.py",
    "unittest/case.py",
    "xml/dom/minidom.py",
)
FILES = {"evaluation.txt": EVALUATION, "calibration.txt": CALIBRATION}


def read_modules(names: tuple[str, ...]) -> str:
    """Return the sources of those modules that there are, an end of text before each.

    Raises FileNotFoundError if it is less than half of them.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [root / name for name in names if (root / name).is_file()]
    if 2 * len(paths) < len(names):
        raise FileNotFoundError(f"{root} lacks most of the modules {', '.join(names)}")
    return "".join(END_OF_TEXT + path.read_text(encoding="utf-8") for path in paths)


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, required=True, help="directory to write to"
    )
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, modules in FILES.items():
        (output / name).write_text(read_modules(modules), encoding="utf-8")


if __name__ == "__main__":
    main()
