# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the step function that all decoder-only models share.

Embedding, layers, final norm, logits: between families only the layer differs.
One function is written per distinct kind of layer and called once per layer, so a
program's size, and the time to compile it, hardly grow with the number of layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmir.importer.builder import FunctionBuilder, module_text
from llmir.importer.layers import Operand
from llmir.importer.rope import Rope
from llmir.importer.types import CacheType, TensorType, Type, Value
from llmir.importer.weights import Weights

# The ragged batch of one step: the name, rank and, per argument, what it holds is
# documented with the runtime's interface, `llmir/runtime/abi.h`.
BATCH: tuple[tuple[str, TensorType], ...] = (
    ("token_ids", TensorType((None,), "i32")),
    ("positions", TensorType((None,), "i32")),
    ("slots", TensorType((None,), "i32")),
    ("block_table", TensorType((None, None), "i32")),
    ("context_lens", TensorType((None,), "i32")),
    ("row_starts", TensorType((None,), "i32")),
    ("logit_rows", TensorType((None,), "i32")),
)

# What of the batch a layer needs.
LAYER_BATCH = ("positions", "slots", "block_table", "context_lens", "row_starts")


@dataclass(frozen=True)
class LayerParameter:
    """A weight of a layer.

    name: the name of the layer function's argument.
    key: the tensor's name after the layer's own prefix.
    shape: its sizes.
    """

    name: str
    key: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LayerKind:
    """What may differ between the layers of a model, besides their weights.

    rope: how queries and keys are rotated; None leaves them as they are.
    window: how many positions a token sees, itself included; None is all.
    """

    rope: Rope | None
    window: int | None = None


@dataclass(frozen=True)
class Decoder:
    """A decoder-only model as its family reads it from a config.

    max_positions: the most tokens of a sequence, unless asked otherwise.
    reach: the most that may be asked for.
    layers: the kind of each layer.
    layer: writes the body of a layer into a function that has the arguments
        `hidden`, `cache`, `layer`, those of LAYER_BATCH, one per parameter and,
        where queries and keys are rotated, `rope_table`; returns the new hidden state
        and cache. Its last argument is the window.
    """

    vocab_size: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    reach: int
    rms_norm_eps: float
    embedding_key: str
    layer_prefix: str
    layers: tuple[LayerKind, ...]
    layer_parameters: tuple[LayerParameter, ...]
    norm_key: str
    head_key: str
    layer: Callable[[FunctionBuilder, int | None], tuple[Value, Value]]

    @property
    def num_layers(self) -> int:
        """The number of layers."""
        return len(self.layers)


@dataclass(frozen=True)
class Tokens:
    """The special tokens; they do not change what a step computes."""

    bos: int | None
    eos: list[int]


def write_program(
    model: Decoder,
    weights: Weights,
    tokens: Tokens,
    *,
    name: str,
    max_model_len: int,
    block_size: int,
    comment: str,
) -> str:
    """Return the text of the program `name`: the step function and its layers."""
    dtype = weights.dtype.mlir
    cache_type = CacheType(
        dtype,
        model.num_layers,
        model.num_kv_heads,
        model.head_dim,
        block_size,
        max_model_len,
    )
    logits_type = TensorType((None, model.vocab_size), "f32")
    step = FunctionBuilder(
        "step", [*BATCH, ("cache", cache_type)], [logits_type, cache_type]
    )
    batch = {name: step.argument(name) for name, _ in BATCH}
    cache = step.argument("cache")

    table_shape = (model.vocab_size, model.hidden_size)
    embed = step.parameter(
        "embed_tokens",
        model.embedding_key,
        *weights.types(model.embedding_key, table_shape),
    )
    rope_tables: dict[Rope, Value] = {}
    for kind in model.layers:
        if kind.rope is not None and kind.rope not in rope_tables:
            rope_tables[kind.rope] = step.rope_table(
                "rope_table",
                max_model_len,
                kind.rope.dim,
                kind.rope.theta,
                kind.rope.scaling,
            )
    hidden = step.embedding("h0", batch["token_ids"], embed)

    functions: dict[tuple[int | None, tuple[Type, ...]], FunctionBuilder] = {}
    for number, kind in enumerate(model.layers):
        step.blank()
        index = step.constant_index(f"layer{number}", number)
        operands = {"hidden": hidden, "cache": cache, "layer": index}
        operands.update((name, batch[name]) for name in LAYER_BATCH)
        if kind.rope is not None:
            operands["rope_table"] = rope_tables[kind.rope]
        for parameter in model.layer_parameters:
            key = f"{model.layer_prefix}{number}.{parameter.key}"
            operands[parameter.name] = step.parameter(
                f"l{number}_{parameter.name}", key, *weights.types(key, parameter.shape)
            )
        window = kind.window
        if window is not None and window >= max_model_len:
            window = None  # no sequence leaves it
        types = tuple(operand.type for operand in operands.values())
        if (window, types) not in functions:
            suffix = f"_{len(functions)}" if functions else ""
            functions[window, types] = _layer(
                f"decoder_layer{suffix}", model, window, operands
            )
        hidden, cache = step.call(
            [f"h{number + 1}", f"cache{number + 1}"],
            functions[window, types],
            list(operands.values()),
        )

    step.blank()
    rows = step.embedding("final_rows", batch["logit_rows"], hidden)
    norm = step.parameter(
        "final_norm",
        model.norm_key,
        *weights.types(model.norm_key, (model.hidden_size,)),
    )
    head = embed
    if model.head_key != model.embedding_key:
        head = step.parameter(
            "lm_head", model.head_key, *weights.types(model.head_key, table_shape)
        )
    normed = Operand(
        lambda dtype: step.rms_norm("normed", rows, norm, model.rms_norm_eps, dtype)
    )
    step.returns([step.linear("logits", normed.for_weight(head), head), cache])
    weights.check_all_read(model.layer_prefix, model.num_layers)

    facts = {
        "architecture": name,
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "num_layers": model.num_layers,
        "num_heads": model.num_heads,
        "num_kv_heads": model.num_kv_heads,
        "head_dim": model.head_dim,
        "dtype": dtype,
        "max_model_len": max_model_len,
        **({} if tokens.bos is None else {"bos_token_id": tokens.bos}),
        "eos_token_ids": tokens.eos,
    }
    return module_text(
        name,
        facts,
        cache_type,
        [step, *functions.values()],
        comment,
    )


def _layer(
    name: str, model: Decoder, window: int | None, operands: dict[str, Value]
) -> FunctionBuilder:
    function = FunctionBuilder(
        name,
        [(argument, operand.type) for argument, operand in operands.items()],
        [operands["hidden"].type, operands["cache"].type],
        private=True,
    )
    function.returns(model.layer(function, window))
    return function
