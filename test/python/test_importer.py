# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The importer, without the native modules: what it writes and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import CONFIG_MAPPING

import tiny
from conftest import MakeModel
from llmir.errors import LLMIRError
from llmir.importer import import_model
from llmir.importer.builder import float32_literal, float_literal
from llmir.importer.config import Config
from llmir.importer.registry import Family, all_families
from llmir.safetensors import open_checkpoint

LLAMA_3_1_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}


def write_config(directory: Path, **changes: Any) -> Path:
    """Write Llama 3.1 8B's config with some fields changed; None removes one."""
    fields = {**LLAMA_3_1_8B, **changes}
    fields = {name: value for name, value in fields.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(fields))
    return directory


def import_checked(directory: Path, **options: Any) -> str:
    """Import a directory with its weights."""
    return import_model(directory, open_checkpoint(directory), **options)


def test_llama_8b_is_small_and_fast(tmp_path: Path) -> None:
    started = time.monotonic()
    text = import_checked(write_config(tmp_path))
    assert time.monotonic() - started < 2
    assert len(text.encode()) < 100_000
    assert text.count("func.func") == 2
    assert text.count("func.func private @decoder_layer(") == 1
    assert text.count("call @decoder_layer(") == 32
    assert text.count("llm.parameter") == 32 * 9 + 3
    assert "!kv = !llm.paged_kv_cache<bf16, 32, 8, 128, 16, 131072>" in text
    assert (
        "{theta = 500000.0 : f64, scaling = #llm.rope_scaling<llama3, factor = 8.0, "
        "low_freq_factor = 1.0, high_freq_factor = 4.0, "
        "original_max_position = 8192>} : tensor<131072x2x64xf32>" in text
    )
    assert "eos_token_ids = [128001, 128008, 128009]" in text
    assert "epsilon = 1.0e-05 : f32" in text


def test_both_spellings_of_rope_are_the_same(tmp_path: Path) -> None:
    old = import_checked(write_config(tmp_path))
    rope = {**LLAMA_3_1_8B["rope_scaling"], "rope_theta": 500000.0}
    new = import_checked(
        write_config(tmp_path, rope_scaling=None, rope_theta=None, rope_parameters=rope)
    )
    oldest = {**LLAMA_3_1_8B["rope_scaling"], "type": "llama3"}
    del oldest["rope_type"]
    assert old == new == import_checked(write_config(tmp_path, rope_scaling=oldest))


def test_plain_rope(tmp_path: Path) -> None:
    plain = "llm.rope_table {theta = 500000.0 : f64} : "
    assert plain in import_checked(write_config(tmp_path, rope_scaling=None))
    parameters = {"rope_type": "default", "rope_theta": 1e6}
    text = import_checked(
        write_config(tmp_path, rope_scaling=None, rope_parameters=parameters)
    )
    assert "llm.rope_table {theta = 1000000.0 : f64} : " in text


@pytest.mark.parametrize("shape", tiny.SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_names_every_weight_once(make_model: MakeModel, shape: str, dtype: str) -> None:
    directory = make_model(shape, dtype)
    text = import_checked(directory)
    stored = safetensors.torch.load_file(directory / "model.safetensors")
    named = re.findall(r'llm\.parameter "model"::"([^"]+)" : tensor<(\S+)>', text)
    assert len(named) == len(stored)
    mlir = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[dtype]
    assert dict(named) == {
        key: "x".join([*map(str, tensor.shape), mlir]) for key, tensor in stored.items()
    }


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_one_function_for_each_kind_of_layer(make_model: MakeModel, shape: str) -> None:
    text = import_checked(make_model(shape, "float32"))
    kinds = {
        "ministral": 2,
        "qwen2_window": 2,
        "qwen3_bias": 2,
        "smollm3": 2,
        "smollm3_window": 2,
        "olmo3": 2,
    }
    assert text.count("func.func private") == kinds.get(shape, 1)
    # A table is written once for each way to rotate, and layers share it.
    assert text.count("llm.rope_table") == (2 if shape == "olmo3" else 1)


def test_windows_are_in_the_layers_that_have_them(make_model: MakeModel) -> None:
    text = import_checked(make_model("qwen2_window", "float32"))
    first, second = text.split("func.func private")[1:]
    assert "window" not in first
    assert "window = 9 : i64" in second
    calls = re.findall(r"call (@\w+)", text)
    assert calls == ["@decoder_layer", "@decoder_layer_1", "@decoder_layer_1"]
    # No sequence leaves a window of its greatest length.
    assert "window" not in import_checked(
        make_model("qwen2_window", "float32"), max_model_len=9
    )


@pytest.mark.parametrize(
    ("shape", "removed"),
    [
        ("qwen2_window", ["layer_types"]),
        ("smollm3_window", ["layer_types"]),
        ("smollm3_window", ["layer_types", "no_rope_layers"]),
        ("olmo3", ["layer_types"]),
    ],
)
def test_layers_follow_from_the_fields_of_old(
    make_model: MakeModel, tmp_path: Path, shape: str, removed: list[str]
) -> None:
    """Transformers 5 writes per layer what older configs have as a rule."""
    directory = make_model(shape, "float32")
    fields = json.loads((directory / "config.json").read_text())
    for name in removed:
        del fields[name]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert import_checked(tmp_path) == import_checked(directory)


def test_head_dim_is_the_configs(make_model: MakeModel) -> None:
    text = import_checked(make_model("mqa", "float32"))
    assert "!kv = !llm.paged_kv_cache<f32, 2, 1, 24, 16, 256>" in text
    assert f"scale = {float32_literal(24**-0.5)} : f32" in text


def test_float32_widens_bfloat16(make_model: MakeModel) -> None:
    text = import_checked(make_model("gqa", "bfloat16"), dtype="float32")
    assert '"model"::"model.norm.weight" from tensor<64xbf16> : tensor<64xf32>' in text
    assert 'dtype = "f32"' in text
    program = re.sub(r"from tensor<\S+>", "", text)
    assert "bf16" not in program
    assert import_checked(make_model("gqa", "float32")).count(" from ") == 0


@pytest.mark.parametrize(
    ("stored", "used"),
    [
        ("float32", "bfloat16"),
        ("float32", "float16"),
        ("bfloat16", "float16"),
        ("float16", "bfloat16"),
    ],
)
def test_rounding_is_refused(make_model: MakeModel, stored: str, used: str) -> None:
    message = f"is {stored}, and using it in {used} would round it; use --dtype=auto or"
    with pytest.raises(LLMIRError, match=message):
        import_checked(make_model("gqa", stored), dtype=used)


def test_lengths(make_model: MakeModel) -> None:
    directory = make_model("gqa", "float32")
    text = import_checked(directory, max_model_len=100, block_size=32)
    assert "!llm.paged_kv_cache<f32, 2, 2, 16, 32, 100>" in text
    assert "max_model_len = 100 : i64" in text
    assert "16, 256>" in import_checked(directory)
    with pytest.raises(LLMIRError, match="--max-model-len=257 is more than the 256 po"):
        import_checked(directory, max_model_len=257)
    with pytest.raises(LLMIRError, match="power of two, at most 16384, and not 24"):
        import_checked(directory, block_size=24)


def test_generation_config_settles_the_end(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    text = import_checked(tmp_path)
    assert "bos_token_id = 128000 : i64" in text
    assert "eos_token_ids = [5, 6]" in text
    write_config(tmp_path, bos_token_id=None)
    assert "bos_token_id" not in import_checked(tmp_path)


def test_an_end_beyond_the_vocabulary_ends_nothing(tmp_path: Path) -> None:
    text = import_checked(write_config(tmp_path, eos_token_id=[2, 128256]))
    assert "eos_token_ids = [2]" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_bias": 1}, "attention_bias is 1, not true or false"),
        (
            {"hidden_act": "xielu"},
            'hidden_act = "xielu" is not supported; LLMIR knows ',
        ),
        ({"hidden_act": ["silu"]}, 'hidden_act is ["silu"], not a string'),
        ({"sliding_window": 4096}, "sliding_window = 4096 changes"),
        ({"layer_types": ["full_attention"]}, "layer_types is not a list of 32"),
        (
            {"layer_types": ["sliding_attention"] * 32},
            "sliding_attention, which is not supported where the config uses no slid",
        ),
        ({"layer_types": ["conv"] * 32}, "layer_types has conv, which is not support"),
        ({"num_local_experts": 8}, "num_local_experts = 8 changes"),
        ({"per_layer_config": {"1": {}}}, "per_layer_config = {"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0 changes"),
        ({"residual_multiplier": 0.22}, "residual_multiplier = 0.22 changes"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder = true changes"),
        ({"quantization_config": {"bits": 4}}, r'quantization_config = {"bits": 4} ch'),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 changes"),
        (
            {"rope_scaling": {"type": "mrope"}},
            "rope_scaling.rope_type asks for mrope, which is not supported; LLMIR kn",
        ),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor is missing"),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2, "alpha": 1000}},
            "rope_scaling.alpha = 1000 changes",
        ),
        (
            {"rope_scaling": {"type": "longrope", "short_factor": [1, 2]}},
            "rope_scaling.short_factor is [1, 2], not a list of 64 numbers",
        ),
        (
            {"rope_scaling": {"type": "longrope", "short_factor": [1] * 63 + ["x"]}},
            'rope_scaling.short_factor[63] is "x", not a positive number',
        ),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.5}, "rope_scaling": None},
            "rope_parameters.partial_rotary_factor = 0.5 changes",
        ),
        (
            {
                "rope_scaling": {
                    "type": "llama3",
                    "factor": 8,
                    "low_freq_factor": 4,
                    "high_freq_factor": 4,
                }
            },
            "rope_scaling.low_freq_factor must be less than high_freq_factor",
        ),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling.factor is missing"),
        ({"rope_scaling": 3}, "rope_scaling is 3, not an object"),
        ({"rope_theta": "big"}, 'rope_theta is "big", not a positive number'),
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel is not supported; "),
        ({"architectures": None, "model_type": "gpt2"}, "gpt2 is not supported; "),
        ({"architectures": None, "model_type": None}, "neither architectures nor"),
        ({"architectures": "Llama"}, "not a list of names"),
        ({"num_key_value_heads": 5}, "not a multiple of num_key_value_heads = 5"),
        ({"hidden_size": 4097}, "hidden_size = 4097 is not a multiple"),
        ({"head_dim": 127}, "head_dim = 127 is odd"),
        ({"hidden_size": -1}, "hidden_size is -1, not a positive integer"),
        ({"hidden_size": 2**40}, "not a positive integer"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers is 1.5, not a positive"),
        ({"num_hidden_layers": True}, "num_hidden_layers is true, not a positive"),
        (
            {"num_hidden_layers": 2**30},
            "num_layers is 1073741824, and LLMIR runs models of at most 65536",
        ),
        ({"rms_norm_eps": "x"}, 'rms_norm_eps is "x", not a positive number'),
        ({"rms_norm_eps": 1e39}, "rms_norm_eps is 1e+39, not a positive number of fl"),
        ({"rms_norm_eps": 1e-60}, "rms_norm_eps is 1e-60, not a positive number"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps is -1e-05, not a positive number"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is NaN, not a positive number"),
        ({"rms_norm_eps": 10**400}, "000..., not a positive number"),
        ({"rope_theta": 10**400}, "000..., not a positive number"),
        ({"rope_theta": float("inf")}, "rope_theta is Infinity, not a positive"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1, not true or false"),
        ({"torch_dtype": "float64"}, "float64 is not supported"),
        ({"torch_dtype": 16}, "torch_dtype is 16, not a string"),
        ({"eos_token_id": "end"}, 'eos_token_id is "end", not a token id'),
    ],
)
def test_refuses_a_config(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(LLMIRError, match=re.escape(message).replace(r"\ ", " ")):
        import_checked(write_config(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": None},
        {"sliding_window": 4096, "use_sliding_window": False},
        {"hidden_act": "swish"},
        {"pretraining_tp": 2},
        {"attention_dropout": 0.1},
        {"layer_types": ["full_attention"] * 32},
        {"partial_rotary_factor": 1.0},
        {"residual_multiplier": 1.0},
        {"num_experts": 0},
        {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}},
        {"some_field_of_tomorrow": 3},
    ],
)
def test_accepts_harmless_fields(tmp_path: Path, changes: dict[str, Any]) -> None:
    expected = import_checked(write_config(tmp_path))
    assert import_checked(write_config(tmp_path, **changes)) == expected


def test_unknown_architectures_are_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LLMIRError, match=r"LLMIR imports .*LlamaForCausalLM"):
        import_checked(write_config(tmp_path, architectures=["NoSuchModel"]))


@pytest.mark.parametrize("content", ["", "[1]", "{", "\0"])
def test_refuses_what_is_not_a_config(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(LLMIRError, match=r"config\.json"):
        import_checked(tmp_path)


def test_refuses_a_directory_without_config(tmp_path: Path) -> None:
    with pytest.raises(LLMIRError, match=r"not a model directory: it has no config"):
        import_checked(tmp_path)


class TestWeights:
    """Weights that do not fit the config."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        tiny.write_model(tmp_path, "gqa", torch.float32)
        return tmp_path

    def change(self, directory: Path, **tensors: torch.Tensor | None) -> None:
        path = directory / "model.safetensors"
        stored = safetensors.torch.load_file(path)
        for key, tensor in tensors.items():
            del stored[key]
            if tensor is not None:
                stored[key] = tensor
        path.unlink()
        safetensors.torch.save_file(stored, path)

    def test_missing(self, directory: Path) -> None:
        key = "model.layers.1.mlp.up_proj.weight"
        self.change(directory, **{key: None})
        with pytest.raises(LLMIRError, match=f"have no tensor {key}"):
            import_checked(directory)

    def test_wrong_shape(self, directory: Path) -> None:
        key = "model.layers.0.self_attn.k_proj.weight"
        self.change(directory, **{key: torch.zeros(32, 63)})
        with pytest.raises(LLMIRError, match=r"\[32, 63\], and .* to \[32, 64\]"):
            import_checked(directory)

    def test_unsupported_dtype(self, directory: Path) -> None:
        key = "model.norm.weight"
        self.change(directory, **{key: torch.zeros(64, dtype=torch.float64)})
        with pytest.raises(LLMIRError, match=f"{key} is stored as F64"):
            import_checked(directory)

    def test_each_dtype_is_kept(self, directory: Path) -> None:
        key = "model.norm.weight"
        for dtype, mlir in ((torch.bfloat16, "bf16"), (torch.float16, "f16")):
            self.change(directory, **{key: torch.zeros(64, dtype=dtype)})
            assert f'"{key}" : tensor<64x{mlir}>' in import_checked(directory)
            text = import_checked(directory, dtype="float32")
            assert f'"{key}" from tensor<64x{mlir}> : tensor<64xf32>' in text

    @pytest.mark.parametrize(
        "key",
        [
            "model.layers.1.self_attn.q_proj.bias",
            "model.layers.0.self_attn.q_norm.weight",
            "model.layers.0.mlp.experts.0.up_proj.weight",
            "lm_head.bias",
            "model.norm.bias",
        ],
    )
    def test_left_over(self, directory: Path, key: str) -> None:
        self.add(directory, key)
        with pytest.raises(LLMIRError, match=f"tensor {key} is part of the model"):
            import_checked(directory)

    @pytest.mark.parametrize(
        "key",
        [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            # A layer that predicts the token after the next, of a draft model.
            "model.layers.2.self_attn.q_proj.weight",
            "vision_tower.patch_embed.weight",
        ],
    )
    def test_left_over_and_harmless(self, directory: Path, key: str) -> None:
        expected = import_checked(directory)
        self.add(directory, key)
        assert import_checked(directory) == expected

    def add(self, directory: Path, key: str) -> None:
        path = directory / "model.safetensors"
        stored = safetensors.torch.load_file(path)
        path.unlink()
        safetensors.torch.save_file({**stored, key: torch.zeros(64)}, path)

    def test_the_files_settle_the_dtype(self, directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        config["dtype"] = "bfloat16"
        (directory / "config.json").write_text(json.dumps(config))
        assert 'dtype = "f32"' in import_checked(directory)

    def test_no_head_though_it_is_not_tied(self, directory: Path) -> None:
        self.change(directory, **{"lm_head.weight": None})
        with pytest.raises(LLMIRError, match=r"have no tensor lm_head\.weight"):
            import_checked(directory)

    def test_tied_only_if_the_files_agree(self, directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        config["tie_word_embeddings"] = True
        (directory / "config.json").write_text(json.dumps(config))
        assert "%lm_head" in import_checked(directory)
        stored = safetensors.torch.load_file(directory / "model.safetensors")
        same = stored["model.embed_tokens.weight"].clone()
        self.change(directory, **{"lm_head.weight": same})
        assert "%lm_head" not in import_checked(directory)


# Published configs, as far as they matter here, and what must come of them.
PUBLISHED: dict[str, tuple[dict[str, Any], int | None, list[str]]] = {
    "deepseek-r1-distill-qwen-1.5b": (
        {
            "architectures": ["Qwen2ForCausalLM"],
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "max_position_embeddings": 131072,
            "max_window_layers": 21,
            "num_attention_heads": 12,
            "num_hidden_layers": 28,
            "num_key_value_heads": 2,
            "rope_theta": 10000,
            "sliding_window": 4096,
            "torch_dtype": "bfloat16",
            "use_mrope": False,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
        None,
        [
            "!llm.paged_kv_cache<bf16, 28, 2, 128, 16, 131072>",
            '"model.layers.27.self_attn.v_proj.bias" : tensor<256xbf16>',
            "llm.rope_table {theta = 10000.0 : f64} : tensor<131072x2x64xf32>",
        ],
    ),
    "qwen2.5-7b with the YaRN that its page suggests": (
        {
            "architectures": ["Qwen2ForCausalLM"],
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "max_position_embeddings": 32768,
            "num_attention_heads": 28,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "rope_theta": 1000000.0,
            "rope_scaling": {
                "factor": 4.0,
                "original_max_position_embeddings": 32768,
                "type": "yarn",
            },
            "vocab_size": 152064,
        },
        131072,
        [
            "scaling = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = "
            "32768>} : tensor<131072x2x64xf32>",
        ],
    ),
    "qwen3-0.6b": (
        {
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "head_dim": 128,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "max_position_embeddings": 40960,
            "max_window_layers": 28,
            "num_attention_heads": 16,
            "num_hidden_layers": 28,
            "num_key_value_heads": 8,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
        None,
        ['"model.layers.0.self_attn.q_norm.weight" : tensor<128xf32>', "16x128xf32"],
    ),
    "mistral-7b-v0.1": (
        {
            "architectures": ["MistralForCausalLM"],
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "sliding_window": 4096,
            "vocab_size": 32000,
        },
        None,
        ["window = 4096 : i64", "tensor<32768x2x64xf32>"],
    ),
    "smollm3-3b": (
        {
            "architectures": ["SmolLM3ForCausalLM"],
            "hidden_size": 2048,
            "layer_types": ["full_attention"] * 36,
            "max_position_embeddings": 65536,
            "no_rope_layer_interval": 4,
            "no_rope_layers": [1, 1, 1, 0] * 9,
            "num_hidden_layers": 36,
            "pretraining_tp": 2,
            "rope_scaling": None,
            "rope_theta": 5000000.0,
            "sliding_window": None,
            "use_sliding_window": False,
        },
        None,
        ["call @decoder_layer_1(%h3,", "call @decoder_layer_1(%h35,"],
    ),
    "phi-3.5-mini": (
        {
            "architectures": ["Phi3ForCausalLM"],
            "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "max_position_embeddings": 131072,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 32,
            "original_max_position_embeddings": 4096,
            "resid_pdrop": 0.0,
            "rope_scaling": {
                "long_factor": [1.08 + i for i in range(48)],
                "short_factor": [1.0 + i / 8 for i in range(48)],
                "type": "longrope",
            },
            "sliding_window": 262144,
            "vocab_size": 32064,
        },
        None,
        [
            "#llm.rope_scaling<longrope, factor = 32.0, original_max_position = 4096, "
            "short_factor = [1.0, 1.125, ",
            '"model.layers.31.self_attn.qkv_proj.weight" : tensor<9216x3072xf32>',
        ],
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(tmp_path: Path, name: str) -> None:
    fields, max_model_len, expected = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    text = import_checked(tmp_path, max_model_len=max_model_len)
    for part in expected:
        assert part in text


def test_a_window_that_is_null_is_none(tmp_path: Path) -> None:
    fields = dict(PUBLISHED["mistral-7b-v0.1"][0])
    del fields["sliding_window"]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert "window = 4096 : i64" in import_checked(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({**fields, "sliding_window": None})
    )
    assert "window" not in import_checked(tmp_path)


@pytest.mark.parametrize("name", ["su", "yarn"])
def test_phi3_has_other_names_for_longrope(tmp_path: Path, name: str) -> None:
    fields = dict(PUBLISHED["phi-3.5-mini"][0])
    (tmp_path / "config.json").write_text(json.dumps(fields))
    expected = import_checked(tmp_path)
    fields["rope_scaling"] = {**fields["rope_scaling"], "type": name}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert import_checked(tmp_path) == expected


# Fields of Transformers' configuration classes that do not change what a step
# computes: how to train, what to return, how tokens are called.
HARMLESS = {
    "architectures",
    "attention_dropout",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "label2id",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "resid_pdrop",
    "return_dict",
    "transformers_version",
    "use_cache",
}


@pytest.mark.parametrize("family", all_families(), ids=lambda family: family.name)
def test_no_field_is_passed_over(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That every field of the configuration class is read, with the same default."""
    read = set()
    get = Config.get

    def recorded(config: Config, name: str) -> Any:
        read.add(config.where + name)
        return get(config, name)

    monkeypatch.setattr(Config, "get", recorded)
    llama3 = {"factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for fields in (
        {},
        {"use_sliding_window": True},
        {"rope_scaling": {"rope_type": "llama3", **llama3}},
    ):
        named = {"model_type": family.model_types[0], **fields}
        (tmp_path / "config.json").write_text(json.dumps(named))
        import_checked(tmp_path)
    known = CONFIG_MAPPING[family.model_types[0]]
    fields = {field.name: field.default for field in dataclasses.fields(known)}
    assert set(fields) - read == HARMLESS & set(fields) - read
    defaults = {"rope_theta": known.default_theta, **fields}
    ours = {"rope_theta": 10000.0, **family.defaults}
    for name in (read | set(ours)) & set(defaults) - HARMLESS - {"is_encoder_decoder"}:
        assert ours.get(name) == defaults[name], name


def test_float_literals() -> None:
    assert float_literal(1e-5) == "1.0e-05"
    assert float_literal(10000) == "10000.0"
    assert float_literal(1e22) == "1.0e+22"
    assert float_literal(0.1) == "0.1"
    with pytest.raises(ValueError, match="inf"):
        float_literal(float("inf"))
    for exponent in range(-30, 30):
        value = np.float32(1.2345678 * 10.0**exponent)
        literal = float32_literal(float(value))
        assert np.float32(literal) == value
        assert re.fullmatch(r"[0-9]+\.[0-9]+(e[+-][0-9]+)?", literal)
