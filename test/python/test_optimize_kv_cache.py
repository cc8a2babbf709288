# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What `--llm-optimize-kv-cache` changes computes the same, and takes less."""

from __future__ import annotations

import json

import numpy as np
import pytest

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir import _native
from reference import Array, Cache, Program, normal

LAYERS, HEADS, KV_HEADS, DIM, BLOCK, LONGEST = 2, 4, 2, 4, 4, 16

KV = f"!llm.paged_kv_cache<f32, {LAYERS}, {KV_HEADS}, {DIM}, {BLOCK}, {LONGEST}>"

# Attention over a lookup: of all positions, and by a mask of what there is.
LOOKUPS = f"""
!kv = {KV}
!q = tensor<3x2x{HEADS}x{DIM}xf32>
!held = tensor<3x{LONGEST}x{KV_HEADS}x{DIM}xf32>
func.func @whole(%q: !q, %kv: !kv, %blocks: tensor<3x4xi32>, %layer: index) -> !q {{
  %lens = arith.constant dense<{LONGEST}> : tensor<3xi32>
  %k, %v = llm.lookup_kv %kv, %blocks, %lens layer %layer
    : (!kv, tensor<3x4xi32>, tensor<3xi32>, index) -> (!held, !held)
  %o = llm.attention %q, %k, %v {{causal, softcap = 2.0 : f32, window = 7 : i64}}
    : (!q, !held, !held) -> !q
  return %o : !q
}}
func.func @masked(%q: !q, %kv: !kv, %blocks: tensor<3x4xi32>, %lens: tensor<3xi32>,
                  %layer: index) -> !q {{
  %c1 = arith.constant 1 : index
  %k, %v = llm.lookup_kv %kv, %blocks, %lens layer %layer
    : (!kv, tensor<3x4xi32>, tensor<3xi32>, index) -> (!held, !held)
  %e = tensor.empty() : tensor<3x1x2x{LONGEST}xi1>
  %m = linalg.generic {{
      indexing_maps = [affine_map<(b, h, t, j) -> (b)>,
                       affine_map<(b, h, t, j) -> (b, h, t, j)>],
      iterator_types = ["parallel", "parallel", "parallel", "parallel"]}}
      ins(%lens : tensor<3xi32>) outs(%e : tensor<3x1x2x{LONGEST}xi1>) {{
  ^bb0(%len: i32, %out: i1):
    %n = arith.index_cast %len : i32 to index
    %t = linalg.index 2 : index
    %j = linalg.index 3 : index
    %next = arith.addi %j, %c1 : index
    %end = arith.addi %n, %t : index
    %y = arith.cmpi slt, %next, %end : index
    linalg.yield %y : i1
  }} -> tensor<3x1x2x{LONGEST}xi1>
  %o = llm.attention %q, %k, %v mask %m
    : (!q, !held, !held, tensor<3x1x2x{LONGEST}xi1>) -> !q
  return %o : !q
}}
"""

APPENDS = f"""
!kv = {KV}
!new = tensor<?x{KV_HEADS}x{DIM}xf32>
!one = tensor<1x?x{KV_HEADS}x{DIM}xf32>
func.func @overwritten(%kv: !kv, %a: !new, %b: !new, %slots: tensor<?xi32>,
                       %layer: index) -> !kv {{
  %kv1 = llm.append_kv %kv, %a, %b slots %slots layer %layer
    : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  %kv2 = llm.append_kv %kv1, %b, %a slots %slots layer %layer
    : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  return %kv2 : !kv
}}
func.func @parts(%kv: !kv, %k: !new, %v: !new, %slots: tensor<?xi32>, %n: index)
    -> !kv {{
  %c0 = arith.constant 0 : index
  %all = tensor.dim %slots, %c0 : tensor<?xi32>
  %rest = arith.subi %all, %n : index
  %allk = tensor.dim %k, %c0 : !new
  %restk = arith.subi %allk, %n : index
  %allv = tensor.dim %v, %c0 : !new
  %restv = arith.subi %allv, %n : index
  %s0 = tensor.extract_slice %slots[0] [%n] [1] : tensor<?xi32> to tensor<?xi32>
  %s1 = tensor.extract_slice %slots[%n] [%rest] [1] : tensor<?xi32> to tensor<?xi32>
  %k0 = tensor.extract_slice %k[0, 0, 0] [%n, {KV_HEADS}, {DIM}] [1, 1, 1]
    : !new to !new
  %k1 = tensor.extract_slice %k[%n, 0, 0] [%restk, {KV_HEADS}, {DIM}] [1, 1, 1]
    : !new to !new
  %v0 = tensor.extract_slice %v[0, 0, 0] [%n, {KV_HEADS}, {DIM}] [1, 1, 1]
    : !new to !new
  %v1 = tensor.extract_slice %v[%n, 0, 0] [%restv, {KV_HEADS}, {DIM}] [1, 1, 1]
    : !new to !new
  %kv1 = llm.append_kv %kv, %k0, %v0 slots %s0
    : (!kv, !new, !new, tensor<?xi32>) -> !kv
  %kv2 = llm.append_kv %kv1, %k1, %v1 slots %s1
    : (!kv, !new, !new, tensor<?xi32>) -> !kv
  return %kv2 : !kv
}}
func.func @sequence(%kv: !kv, %a: tensor<1x3x{KV_HEADS}x{DIM}xf32>,
                    %b: tensor<1x2x{KV_HEADS}x{DIM}xf32>, %id: tensor<1xi32>,
                    %layer: index) -> (!kv, tensor<1x4xi32>) {{
  %kv1, %b1 = llm.append_kv %kv, %a, %a, %id layer %layer
    : (!kv, tensor<1x3x{KV_HEADS}x{DIM}xf32>, tensor<1x3x{KV_HEADS}x{DIM}xf32>,
       tensor<1xi32>, index) -> (!kv, tensor<1x4xi32>)
  %kv2, %b2 = llm.append_kv %kv1, %b, %b, %id layer %layer
    : (!kv, tensor<1x2x{KV_HEADS}x{DIM}xf32>, tensor<1x2x{KV_HEADS}x{DIM}xf32>,
       tensor<1xi32>, index) -> (!kv, tensor<1x4xi32>)
  return %kv2, %b2 : !kv, tensor<1x4xi32>
}}
"""


def before_and_after(text: str, count: tuple[str, int]) -> tuple[Program, Program]:
    """Return a program and what the pass makes of it, which has so many of an op."""
    module = _native.compiler().Module.parse(text)
    module.run("llm-optimize-kv-cache")
    optimized = str(module)
    assert optimized.count(f"= {count[0]} ") == count[1]
    return Program(text), Program(optimized)


def filled(random: np.random.Generator) -> Cache:
    """Return a cache whose blocks hold random numbers."""
    cache = Cache.empty(
        "f32", LAYERS, KV_HEADS, DIM, BLOCK, LONGEST, blocks=14, sequences=4
    )
    for pool in cache.pools:
        pool[:] = normal(random, pool.shape)
    return cache


def copies(cache: Cache) -> list[Array]:
    """Return the tensors of a cache for a call, which may change them."""
    return [tensor.copy() for tensor in cache.tensors]


@pytest.mark.parametrize("name", ["whole", "masked"])
def test_attention_over_lookups(name: str) -> None:
    before, after = before_and_after(LOOKUPS, ("llm.paged_attention", 2))
    random = np.random.default_rng(3)
    cache = filled(random)
    query = normal(random, (3, 2, HEADS, DIM))
    blocks = random.permutation(14)[:12].reshape(3, 4).astype(np.int32)
    lens = [np.array([2, 16, 9], np.int32)] if name == "masked" else []
    arguments = (query, *cache.tensors, blocks, *lens, 1)
    expected = before.run(*arguments, name=name)
    assert np.std(expected) > 0.1
    assert np.abs(after.run(*arguments, name=name) - expected).max() < 1e-6


def test_merged_appends() -> None:
    before, after = before_and_after(APPENDS, ("llm.append_kv", 3))
    # Each append has one result or two.
    random = np.random.default_rng(4)
    cache = filled(random)
    new = normal(random, (2, 9, KV_HEADS, DIM))
    slots = random.permutation(14 * BLOCK)[:9].astype(np.int32)
    for name, last in (("overwritten", 1), ("parts", 4)):
        a, b = (
            program.call(name, *copies(cache), *new, slots, last)
            for program in (before, after)
        )
        for x, y in zip(a, b, strict=True):
            assert np.array_equal(x, y)
        assert not np.array_equal(a[0], cache.pools[0])
    first, second = (
        normal(random, (1, 3, KV_HEADS, DIM)),
        normal(random, (1, 2, KV_HEADS, DIM)),
    )
    a, b = (
        program.call(
            "sequence", *copies(cache), first, second, np.array([2], np.int32), 1
        )
        for program in (before, after)
    )
    for x, y in zip(a, b, strict=True):
        assert np.array_equal(x, y)


def test_blocks_behind_a_window(
    make_model: MakeModel, make_artifact: MakeArtifact
) -> None:
    """A long text takes the blocks of a window, and reads the same as ever."""
    artifact = make_artifact("mistral", "float32")
    manifest = json.loads((artifact / "manifest.json").read_text())
    window = manifest["model"]["kv_cache_window"]
    assert window == 20
    model = llmir.load(artifact, threads=2)
    engine = model.engine
    text = tiny.prompt(320, 200)
    exact = tiny.transformers_logits(
        tiny.transformers_model(make_model("mistral", "float32")), text
    )
    sequence, others = engine.new_sequence(), engine.new_sequence()
    begin, most = 0, 0
    for count in (1, 30, 1, 1, 17, 50, *[1] * 100):
        logits = engine.step([(sequence, text[begin : begin + count], True)])
        used = engine.num_blocks - engine.num_free_blocks
        assert used <= 1 + -(-(window - 1 + count) // 16)
        most = max(most, used)
        expected = exact[begin : begin + count]
        assert tiny.relative_error(logits, expected) < 1e-5
        begin += count
        if begin == 50:
            # Blocks that were given back are written by another one.
            engine.step([(others, tiny.prompt(320, 90, seed=1), False)])
            others.close()
    assert begin == 200
    assert most < 200 / 16
