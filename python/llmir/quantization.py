# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What weights are quantized to: the options of the command line and of the passes.

The compiler, its child process and the pipelines all take the same choice; this is
the only place that spells it for each of them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from llmir.errors import LLMIRError

NONE = "none"
FORMATS = (NONE, "int8", "int4", "w8a8", "w4a8")
SCALES = ("auto", "f32", "f16", "bf16")
GROUP_MULTIPLE, MOST_IN_GROUP = 32, 512


@dataclass(frozen=True)
class Quantization:
    """How the weights of products are stored.

    format: one of FORMATS: `int8` and `int4` are weights alone, whose products take
        bfloat16; `w8a8` and `w4a8` have inputs of 8 bits as well.
    group_size: the inputs that share a scale, 0 for whole rows, None for what the
        format has: whole rows of 8 bits, 32 of 4 bits.
    asymmetric: whether groups have a zero point too.
    scales: the type of scales, one of SCALES; `auto` is f32 for rows, f16 for groups.
    """

    format: str = NONE
    group_size: int | None = None
    asymmetric: bool = False
    scales: str = "auto"

    def check(self) -> None:
        """Raise LLMIRError if there is no such way to store weights."""
        if self.format not in FORMATS:
            raise LLMIRError(
                f"--quantize must be one of {', '.join(FORMATS)}, not {self.format}"
            )
        if self.scales not in SCALES:
            raise LLMIRError(
                f"--quantize-scales must be one of {', '.join(SCALES)}, not "
                f"{self.scales}"
            )
        if self.format == NONE and self != Quantization():
            raise LLMIRError(
                "--quantize-group-size, --quantize-asymmetric and --quantize-scales "
                "say how weights are quantized, and need --quantize"
            )
        size = self.group_size or 0
        if size % GROUP_MULTIPLE or not 0 <= size <= MOST_IN_GROUP:
            raise LLMIRError(
                f"--quantize-group-size must be a multiple of {GROUP_MULTIPLE} up to "
                f"{MOST_IN_GROUP}, or 0 for whole rows, and not {size}"
            )

    @property
    def arguments(self) -> list[str]:
        """The options as a command line has them, those alone that are given."""
        return [f"--{name}={value}" for name, value in self._given()]

    @property
    def pass_options(self) -> list[str]:
        """The same as options of a pipeline."""
        return [f"{name}={value}" for name, value in self._given()]

    def _given(self) -> list[tuple[str, str]]:
        given = []
        if self.format != NONE:
            given.append(("quantize", self.format))
        if self.group_size is not None:
            given.append(("quantize-group-size", str(self.group_size)))
        if self.asymmetric:
            given.append(("quantize-asymmetric", "true"))
        if self.scales != "auto":
            given.append(("quantize-scales", self.scales))
        return given


UNQUANTIZED = Quantization()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command line."""
    parser.add_argument(
        "--quantize",
        choices=FORMATS,
        default=NONE,
        help="store the weights of products in 8 or 4 bits; w8a8 and w4a8 round what "
        "they are multiplied by to 8 bits, too (default: none)",
    )
    parser.add_argument(
        "--quantize-group-size",
        type=int,
        metavar="N",
        help=f"inputs that share a scale, a multiple of {GROUP_MULTIPLE} up to "
        f"{MOST_IN_GROUP}, or 0 for whole rows (default: whole rows of 8 bits, 32 of "
        "4 bits)",
    )
    parser.add_argument(
        "--quantize-asymmetric",
        nargs="?",
        const=True,
        default=False,
        type=_truth,
        metavar="BOOL",
        help="give the groups zero points as well",
    )
    parser.add_argument(
        "--quantize-scales",
        choices=SCALES,
        default="auto",
        help="the type of scales (default: f32 for whole rows, f16 for groups)",
    )


def from_arguments(arguments: argparse.Namespace) -> Quantization:
    """Return what a command line has chosen, unchecked."""
    return Quantization(
        arguments.quantize,
        arguments.quantize_group_size,
        arguments.quantize_asymmetric,
        arguments.quantize_scales,
    )


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text]
