# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What weights and the KV cache are stored as, on the command line and for passes.

The compiler, its child process and the pipelines all take the same choice; this is
the only place that spells it for each of them.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from llmir.errors import LLMIRError
from llmir.files import shown

NONE = "none"
FORMATS = (NONE, "int8", "int4", "w8a8", "w4a8")
EMBEDDINGS = (NONE, "int8", "int4")
AUTO = "auto"
SCALES = (AUTO, "f32", "f16", "bf16")
# What a KV cache may hold, by the command line's names, and what MLIR calls it.
CACHE_TYPES = {"f32": "f32", "bf16": "bf16", "f16": "f16", "int8": "i8", "int4": "i4"}
GROUP_MULTIPLE, MOST_IN_GROUP = 32, 512


@dataclass(frozen=True)
class Quantization:
    """How the weights of products, keys and values are stored.

    format: one of FORMATS: `int8` and `int4` are weights alone, whose products take
        bfloat16; `w8a8` and `w4a8` have inputs of 8 bits as well.
    group_size: the inputs that share a scale, 0 for whole rows, None for what the
        format has: whole rows of 8 bits, 32 of 4 bits.
    asymmetric: whether groups have a zero point too.
    scales: the type of scales, one of SCALES; `auto` is f32 for rows, f16 for groups.
    kv_cache: what the KV cache holds, one of CACHE_TYPES; `auto` is what it holds in
        the program.
    head: the format of the product that makes the logits; `auto` is that of the
        others, `none` leaves it as it is.
    embedding: the format of the tables that tokens are looked up in, one of
        EMBEDDINGS; `none` leaves them as they are.
    exclude: patterns of the keys of weights that stay as they are, as
        `--llm-quantize-weights` reads them.
    """

    format: str = NONE
    group_size: int | None = None
    asymmetric: bool = False
    scales: str = AUTO
    kv_cache: str = AUTO
    head: str = AUTO
    embedding: str = NONE
    exclude: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise LLMIRError if there is no such way to store weights or the cache."""
        if self.kv_cache not in (AUTO, *CACHE_TYPES):
            raise LLMIRError(
                f"--kv-cache-dtype must be one of {', '.join((AUTO, *CACHE_TYPES))}, "
                f"not {self.kv_cache}"
            )
        if self.format not in FORMATS:
            raise LLMIRError(
                f"--quantize must be one of {', '.join(FORMATS)}, not {self.format}"
            )
        if self.scales not in SCALES:
            raise LLMIRError(
                f"--quantize-scales must be one of {', '.join(SCALES)}, not "
                f"{self.scales}"
            )
        if self.head not in (AUTO, *FORMATS):
            raise LLMIRError(
                f"--quantize-head must be one of {', '.join((AUTO, *FORMATS))}, not "
                f"{self.head}"
            )
        if self.embedding not in EMBEDDINGS:
            raise LLMIRError(
                f"--quantize-embedding must be one of {', '.join(EMBEDDINGS)}, not "
                f"{self.embedding}"
            )
        for pattern in self.exclude:
            # What MLIR reads as one word of an option's list.
            if not re.fullmatch(r"(?:[\w.*?/:+-]|\[[\w^-]+\])+", pattern):
                raise LLMIRError(
                    f"--quantize-exclude has the pattern {shown(pattern)!r}; a pattern "
                    "is a key with *, ? and [ab] in it, and several have commas between"
                )
        if self.format == NONE and self != Quantization(kv_cache=self.kv_cache):
            raise LLMIRError(
                "--quantize-group-size, --quantize-asymmetric, --quantize-scales, "
                "--quantize-head, --quantize-embedding and --quantize-exclude say how "
                "weights are quantized, and need --quantize"
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
        if self.scales != AUTO:
            given.append(("quantize-scales", self.scales))
        if self.head != AUTO:
            given.append(("quantize-head", self.head))
        if self.embedding != NONE:
            given.append(("quantize-embedding", self.embedding))
        if self.exclude:
            given.append(("quantize-exclude", ",".join(self.exclude)))
        if self.kv_cache != AUTO:
            given.append(("kv-cache-dtype", self.kv_cache))
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
        default=AUTO,
        help="the type of scales (default: f32 for whole rows, f16 for groups)",
    )
    parser.add_argument(
        "--quantize-head",
        choices=(AUTO, *FORMATS),
        default=AUTO,
        help="the format of the head, which makes the logits; none leaves it as it is "
        "(default: auto, that of the others)",
    )
    parser.add_argument(
        "--quantize-embedding",
        choices=EMBEDDINGS,
        default=NONE,
        help="the format of the embedding, which the head may share (default: none, as "
        "it is)",
    )
    parser.add_argument(
        "--quantize-exclude",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="PATTERN,...",
        help="leave out the weights whose keys match, as a whole or up to the last "
        "dot: lm_head, model.layers.0.*, *.down_proj",
    )
    parser.add_argument(
        "--kv-cache-dtype",
        choices=(AUTO, *CACHE_TYPES),
        default=AUTO,
        help="what the KV cache holds: int8 and int4 are quantized, each head of each "
        "token for itself (default: auto, the model's own dtype)",
    )


def from_arguments(arguments: argparse.Namespace) -> Quantization:
    """Return what a command line has chosen, unchecked."""
    return Quantization(
        arguments.quantize,
        arguments.quantize_group_size,
        arguments.quantize_asymmetric,
        arguments.quantize_scales,
        arguments.kv_cache_dtype,
        arguments.quantize_head,
        arguments.quantize_embedding,
        arguments.quantize_exclude,
    )


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"
