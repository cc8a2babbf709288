# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads how a config rotates queries and keys by their positions (RoPE).

Two spellings are about: `rope_theta` with `rope_scaling`, which most published
models have, and the `rope_parameters` of transformers 5. They are read with the
precedence of `convert_rope_params_to_dict` in transformers'
`modeling_rope_utils.py`, so that both programs see the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmir.importer.builder import float_literal
from llmir.importer.config import Config

DEFAULT_THETA = 10000.0


@dataclass(frozen=True)
class Rope:
    """A rotary embedding.

    theta: the base of the frequencies.
    scaling: the attribute of the `llm` dialect that changes them, or empty.
    """

    theta: float
    scaling: str


def read_rope(config: Config) -> Rope:
    """Return the config's rotary embedding; LLMIRError if it is not supported."""
    name = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    rope = config.section(name)
    kind = rope.text("rope_type", rope.text("type", "default"))
    theta = rope.number("rope_theta", config.number("rope_theta", DEFAULT_THETA))
    rope.only("partial_rotary_factor", 1.0)
    config.only("partial_rotary_factor", 1.0)
    if kind == "default":
        return Rope(theta, "")
    if kind == "llama3":
        fields = {
            "factor": rope.number("factor"),
            "low_freq_factor": rope.number("low_freq_factor"),
            "high_freq_factor": rope.number("high_freq_factor"),
        }
        if fields["low_freq_factor"] >= fields["high_freq_factor"]:
            raise config.error(
                f"{name}.low_freq_factor must be less than high_freq_factor"
            )
        original = rope.integer(
            "original_max_position_embeddings",
            config.integer("max_position_embeddings", 2048),
        )
        shown = [f"{key} = {float_literal(value)}" for key, value in fields.items()]
        return Rope(
            theta,
            f"#llm.rope_scaling<llama3, {', '.join(shown)}, "
            f"original_max_position = {original}>",
        )
    raise config.error(
        f"{name} asks for RoPE of type {kind}, which is not supported; "
        "LLMIR knows default and llama3"
    )
