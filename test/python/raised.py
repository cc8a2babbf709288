# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama as raising makes it of an exported program, written by hand.

So that what comes after raising is tested by programs that are as they should be,
whatever raising does. The three forms compute the same.
"""

from __future__ import annotations

from typing import Any


class _Function:
    """The lines of a function, whose values are numbered."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def add(self, op: str) -> str:
        """Write an op with one result, and return its name."""
        self.count += 1
        self.lines.append(f"    %v{self.count} = {op}")
        return f"%v{self.count}"

    def by_sequence(self, value: str, old: str, heads: int, size: int) -> str:
        """Write what gives rows [rows, heads, size] their sequences back."""
        shape = self.add(
            f"tensor.from_elements %b, %t, %h{heads}, %d : tensor<4xindex>"
        )
        return self.add(
            f"tensor.reshape {value}({shape}) : ({old}, tensor<4xindex>) "
            f"-> tensor<?x?x{heads}x{size}xf32>"
        )


def raised_llama(
    config: dict[str, Any], *, past: bool = False, outlined: bool = False
) -> str:
    """Return a program over whole sequences, of the weights of a Llama in float32.

    config: what `config.json` has.
    past: whether keys and values of what came before are arguments, [sequences,
        heads, tokens, head_dim], and results.
    outlined: whether layers are calls of one function.
    """
    vocab, hidden = config["vocab_size"], config["hidden_size"]
    inner, heads = config["intermediate_size"], config["num_attention_heads"]
    kv, layers = config["num_key_value_heads"], config["num_hidden_layers"]
    size = config.get("head_dim") or hidden // heads
    positions = config["max_position_embeddings"]
    theta = float(config["rope_parameters"]["rope_theta"])
    epsilon = config["rms_norm_eps"]
    table_type = f"tensor<{positions}x2x{size // 2}xf32>"
    held = f"tensor<?x{kv}x?x{size}xf32>"
    weights = {
        "input_layernorm": [hidden],
        "self_attn.q_proj": [heads * size, hidden],
        "self_attn.k_proj": [kv * size, hidden],
        "self_attn.v_proj": [kv * size, hidden],
        "self_attn.o_proj": [hidden, heads * size],
        "post_attention_layernorm": [hidden],
        "mlp.gate_proj": [inner, hidden],
        "mlp.up_proj": [inner, hidden],
        "mlp.down_proj": [hidden, inner],
    }
    types = {
        name: f"tensor<{'x'.join(map(str, shape))}xf32>"
        for name, shape in weights.items()
    }

    def rows(size: int) -> str:
        return f"tensor<?x{size}xf32>"

    def parameter(f: _Function, key: str, type_: str) -> str:
        return f.add(f'llm.parameter "model"::"{key}.weight" : {type_}')

    def norm(f: _Function, x: str, weight: str) -> str:
        return f.add(
            f"llm.rms_norm {x}, {weight} {{epsilon = {epsilon:e} : f32}} "
            f": ({rows(hidden)}, tensor<{hidden}xf32>) -> {rows(hidden)}"
        )

    def linear(f: _Function, x: str, weight: str, k: int, n: int) -> str:
        return f.add(
            f"llm.linear {x}, {weight} : ({rows(k)}, tensor<{n}x{k}xf32>) -> {rows(n)}"
        )

    def layer(
        f: _Function, h: str, w: dict[str, str], pasts: list[str]
    ) -> tuple[str, list[str]]:
        x = norm(f, h, w["input_layernorm"])
        parts, presents = {}, []
        for name, count in (("q", heads), ("k", kv), ("v", kv)):
            y = linear(f, x, w[f"self_attn.{name}_proj"], hidden, count * size)
            flat = f"tensor<?x{count}x{size}xf32>"
            y = f.add(
                f"tensor.expand_shape {y} [[0], [1, 2]] : {rows(count * size)} "
                f"into {flat}"
            )
            if name != "v":
                y = f.add(
                    f"llm.rope {y}, %table, %positions : ({flat}, {table_type}, "
                    f"tensor<?xi32>) -> {flat}"
                )
            parts[name] = f.by_sequence(y, flat, count, size)
        for name, given in zip("kv", pasts, strict=bool(pasts)):
            # As Transformers lays them out.
            new = f"tensor<?x?x{kv}x{size}xf32>"
            empty = f.add(f"tensor.empty(%b, %t) : {held}")
            y = f.add(
                f"linalg.transpose ins({parts[name]} : {new}) outs({empty} : {held}) "
                "permutation = [0, 2, 1, 3]"
            )
            y = f.add(f"tensor.concat dim(2) {given}, {y} : ({held}, {held}) -> {held}")
            presents.append(y)
            empty = f.add(f"tensor.empty(%b, %s) : {new}")
            parts[name] = f.add(
                f"linalg.transpose ins({y} : {held}) outs({empty} : {new}) "
                "permutation = [0, 2, 1, 3]"
            )
        q = f"tensor<?x?x{heads}x{size}xf32>"
        k = f"tensor<?x?x{kv}x{size}xf32>"
        a = f.add(
            f"llm.attention {parts['q']}, {parts['k']}, {parts['v']} {{causal}} "
            f": ({q}, {k}, {k}) -> {q}"
        )
        a = f.add(
            f"tensor.collapse_shape {a} [[0, 1], [2, 3]] : {q} into "
            f"{rows(heads * size)}"
        )
        a = linear(f, a, w["self_attn.o_proj"], heads * size, hidden)
        h = f.add(f"arith.addf {h}, {a} : {rows(hidden)}")
        y = norm(f, h, w["post_attention_layernorm"])
        gate = linear(f, y, w["mlp.gate_proj"], hidden, inner)
        up = linear(f, y, w["mlp.up_proj"], hidden, inner)
        y = f.add(
            f"llm.activation silu {gate}, {up} : ({rows(inner)}, {rows(inner)}) "
            f"-> {rows(inner)}"
        )
        y = linear(f, y, w["mlp.down_proj"], inner, hidden)
        return f.add(f"arith.addf {h}, {y} : {rows(hidden)}"), presents

    def sizes(f: _Function) -> None:
        f.lines.append(f"    %h{heads} = arith.constant {heads} : index")
        if kv != heads:
            f.lines.append(f"    %h{kv} = arith.constant {kv} : index")
        f.lines.append(f"    %d = arith.constant {size} : index")

    main, outer = _Function(), _Function()
    names = [f"%past{i}" for i in range(2 * layers)] if past else []
    sizes(main)
    main.lines += [
        "    %c0 = arith.constant 0 : index",
        "    %c1 = arith.constant 1 : index",
        "    %b = tensor.dim %ids, %c0 : tensor<?x?xi64>",
        "    %t = tensor.dim %ids, %c1 : tensor<?x?xi64>",
    ]
    if past:
        main.lines += [
            "    %c2 = arith.constant 2 : index",
            f"    %p = tensor.dim %past0, %c2 : {held}",
            "    %s = arith.addi %p, %t : index",
        ]
    embed = parameter(main, "model.embed_tokens", f"tensor<{vocab}x{hidden}xf32>")
    main.lines.append(
        f"    %table = llm.rope_table {{theta = {theta:e} : f64}} : {table_type}"
    )
    ids = main.add(
        "tensor.collapse_shape %ids [[0, 1]] : tensor<?x?xi64> into tensor<?xi64>"
    )
    ids = main.add(f"arith.trunci {ids} : tensor<?xi64> to tensor<?xi32>")
    empty = main.add("tensor.empty(%b, %t) : tensor<?x?xi32>")
    shift = (
        "%j = arith.addi %i, %p : index" if past else "%j = arith.addi %i, %c0 : index"
    )
    grid = main.add(
        "linalg.generic {indexing_maps = [affine_map<(b, t) -> (b, t)>], "
        'iterator_types = ["parallel", "parallel"]} '
        f"outs({empty} : tensor<?x?xi32>) {{\n"
        "    ^bb0(%out: i32):\n"
        "      %i = linalg.index 1 : index\n"
        f"      {shift}\n"
        "      %p32 = arith.index_cast %j : index to i32\n"
        "      linalg.yield %p32 : i32\n"
        "    } -> tensor<?x?xi32>"
    )
    main.lines.append(
        f"    %positions = tensor.collapse_shape {grid} [[0, 1]] "
        ": tensor<?x?xi32> into tensor<?xi32>"
    )
    h = main.add(
        f"llm.embedding {ids}, {embed} : (tensor<?xi32>, tensor<{vocab}x{hidden}xf32>)"
        f" -> {rows(hidden)}"
    )
    presents: list[str] = []
    signature = {
        "%h": rows(hidden),
        "%b": "index",
        "%t": "index",
        **({"%s": "index"} if past else {}),
        "%positions": "tensor<?xi32>",
        "%table": table_type,
        **{f"%past{i}": held for i in range(2 if past else 0)},
        **{f"%w{i}": type_ for i, type_ in enumerate(types.values())},
    }
    results = [rows(hidden), *([held, held] if past else [])]
    for number in range(layers):
        w = {
            name: parameter(main, f"model.layers.{number}.{name}", type_)
            for name, type_ in types.items()
        }
        mine = names[2 * number : 2 * number + 2]
        if not outlined:
            h, new = layer(main, h, w, mine)
            presents += new
            continue
        given = [name for name in signature if name[1:] in ("b", "t", "s")]
        operands = [h, *given, "%positions", "%table", *mine, *w.values()]
        main.count += 1
        main.lines.append(
            f"    %v{main.count}:{len(results)} = call @layer({', '.join(operands)})"
            f" : ({', '.join(signature.values())}) -> ({', '.join(results)})"
        )
        h = f"%v{main.count}#0"
        presents += [f"%v{main.count}#{i}" for i in range(1, len(results))]
    h = norm(main, h, parameter(main, "model.norm", f"tensor<{hidden}xf32>"))
    head = embed
    if not config.get("tie_word_embeddings"):
        head = parameter(main, "lm_head", f"tensor<{vocab}x{hidden}xf32>")
    logits = linear(main, h, head, hidden, vocab)
    main.lines.append(f"    %n = arith.constant {vocab} : index")
    shape = main.add("tensor.from_elements %b, %t, %n : tensor<3xindex>")
    logits_type = f"tensor<?x?x{vocab}xf32>"
    logits = main.add(
        f"tensor.reshape {logits}({shape}) : ({rows(vocab)}, tensor<3xindex>) "
        f"-> {logits_type}"
    )
    main_arguments = ["%ids: tensor<?x?xi64>", *(f"{name}: {held}" for name in names)]
    main_results = [logits_type, *([held] * len(names))]

    def function(
        name: str,
        arguments: list[str],
        results: list[str],
        f: _Function,
        values: list[str],
    ) -> str:
        body = "\n".join(f.lines)
        return (
            f"  func.func {name}({', '.join(arguments)}) -> ({', '.join(results)}) {{\n"
            f"{body}\n    return {', '.join(values)} : {', '.join(results)}\n  }}\n"
        )

    text = function("@main", main_arguments, main_results, main, [logits, *presents])
    if outlined:
        sizes(outer)
        w = {name: f"%w{i}" for i, name in enumerate(types)}
        mine = ["%past0", "%past1"] if past else []
        out, new = layer(outer, "%h", w, mine)
        arguments = [f"{name}: {type_}" for name, type_ in signature.items()]
        text += function("private @layer", arguments, results, outer, [out, *new])
    facts = f'architecture = "llama", eos_token_ids = [{config["eos_token_id"]}]'
    return f"module attributes {{llm.model = {{{facts}}}}} {{\n{text}}}\n"
