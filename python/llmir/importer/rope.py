# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads how a config rotates queries and keys by their positions (RoPE).

Two spellings are about: `rope_theta` with `rope_scaling`, which most published
models have, and the `rope_parameters` of transformers 5, which may hold one set for
each type of layer. They are read with the precedence of `convert_rope_params_to_dict`
and `standardize_rope_params` in transformers' `modeling_rope_utils.py`, so that both
programs see the same numbers. What a scaling does stands with `#llm.rope_scaling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llmir.importer.builder import float_literal
from llmir.importer.config import Config

DEFAULT_THETA = 10000.0

# The types of layers that may have parameters of their own.
FULL = "full_attention"
SLIDING = "sliding_attention"


@dataclass(frozen=True)
class Rope:
    """A rotary embedding.

    dim: how many dimensions of a head are rotated, the first ones.
    theta: the base of the frequencies.
    scaling: the attribute of the `llm` dialect that changes them, or empty.
    reach: for how many positions it is made, as far as it says so itself.
    """

    dim: int
    theta: float
    scaling: str = ""
    reach: int = 0


def read_ropes(
    config: Config, layer_types: Iterable[str], head_dim: int, *, partial: bool
) -> dict[str, Rope]:
    """Return the rotary embedding of each of the `layer_types`.

    partial: whether the architecture knows `partial_rotary_factor`, the part of a
        head that is rotated.

    Raises LLMIRError if one is not supported.
    """
    name = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    section = config.section(name)
    nested = any(layer_type in section.fields for layer_type in (FULL, SLIDING))
    return {
        layer_type: _read_rope(
            config,
            section.section(layer_type) if nested else section,
            head_dim,
            partial=partial,
        )
        for layer_type in set(layer_types)
    }


def _read_rope(config: Config, rope: Config, head_dim: int, *, partial: bool) -> Rope:
    kind = rope.text("rope_type", rope.text("type", "default"))
    theta = rope.number("rope_theta", config.number("rope_theta", DEFAULT_THETA))
    if kind == "default":
        return Rope(_rotated(config, rope, head_dim, partial), theta)
    if kind not in SCALINGS:
        known = ", ".join(["default", *SCALINGS])
        raise rope.error(
            f"{rope.where}rope_type asks for {kind}, which is not supported; LLMIR "
            f"knows {known}"
        )
    dim = _rotated(config, rope, head_dim, partial)
    fields, reach = SCALINGS[kind](config, rope, dim)
    shown = [kind, *(f"{name} = {_shown(value)}" for name, value in fields.items())]
    return Rope(dim, theta, f"#llm.rope_scaling<{', '.join(shown)}>", reach)


def _rotated(config: Config, rope: Config, head_dim: int, partial: bool) -> int:
    if not partial:
        rope.only("partial_rotary_factor", 1.0)
        config.only("partial_rotary_factor", 1.0)
    factor = rope.number(
        "partial_rotary_factor", config.number("partial_rotary_factor", 1.0)
    )
    dim = int(head_dim * factor)
    if dim % 2 or not 0 < dim <= head_dim:
        raise config.error(
            f"partial_rotary_factor = {factor} rotates {dim} of the {head_dim} "
            "dimensions of a head, which is not an even number of them"
            if partial
            else f"head_dim = {head_dim} is odd and cannot be rotated"
        )
    return dim


# The fields of the dialect's attribute, and the positions that the scaling reaches.
Scaling = tuple[dict[str, float | int | bool | list[float]], int]


def _max_positions(config: Config) -> int:
    return config.integer("max_position_embeddings", 2048)


def _original(config: Config, rope: Config) -> int:
    name = "original_max_position_embeddings"
    return config.integer(name, rope.integer(name, _max_positions(config)))


def _linear(config: Config, rope: Config, dim: int) -> Scaling:
    del dim
    factor = rope.number("factor")
    return {"factor": factor}, int(_max_positions(config) * factor)


def _dynamic(config: Config, rope: Config, dim: int) -> Scaling:
    # Hunyuan's way to give the factor, which comes to other frequencies.
    rope.only("alpha")
    factor, original = rope.number("factor"), _max_positions(config)
    if dim == 2:
        raise rope.error("dynamic RoPE needs heads of more than two dimensions")
    fields = {"factor": factor, "original_max_position": original}
    return dict(fields), int(original * factor)


def _llama3(config: Config, rope: Config, dim: int) -> Scaling:
    del dim
    fields = {
        name: rope.number(name)
        for name in ("factor", "low_freq_factor", "high_freq_factor")
    }
    if fields["low_freq_factor"] >= fields["high_freq_factor"]:
        raise rope.error(
            f"{rope.where}low_freq_factor must be less than high_freq_factor"
        )
    return {**fields, "original_max_position": _original(config, rope)}, 0


def _yarn(config: Config, rope: Config, dim: int) -> Scaling:
    del dim
    original = _original(config, rope)
    factor = rope.number("factor", _max_positions(config) / original)
    fields: dict[str, float | int | bool | list[float]] = {
        "factor": factor,
        "original_max_position": original,
    }
    # Transformers reads a 0 in these as if it were not there.
    for name in ("beta_fast", "beta_slow"):
        if rope.get(name):
            fields[name] = rope.number(name)
    if not rope.boolean("truncate", True):
        fields["truncate"] = False
    if rope.get("attention_factor") is not None:
        fields["attention_factor"] = rope.number("attention_factor")
    elif rope.get("mscale") and rope.get("mscale_all_dim"):
        for name in ("mscale", "mscale_all_dim"):
            fields[name] = rope.number(name)
    return fields, int(original * factor)


def _longrope(config: Config, rope: Config, dim: int) -> Scaling:
    original = _original(config, rope)
    factor = rope.number("factor", _max_positions(config) / original)
    fields: dict[str, float | int | bool | list[float]] = {
        "factor": factor,
        "original_max_position": original,
    }
    if rope.get("attention_factor") is not None:
        fields["attention_factor"] = rope.number("attention_factor")
    for name in ("short_factor", "long_factor"):
        fields[name] = rope.numbers(name, dim // 2)
    return fields, int(original * factor)


SCALINGS: dict[str, Callable[[Config, Config, int], Scaling]] = {
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}


def _shown(value: float | int | bool | list[float]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(float_literal, value))}]"
    return float_literal(value)
