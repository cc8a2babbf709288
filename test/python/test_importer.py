# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The importer, without the native modules: what it writes and what it refuses."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import tiny
from conftest import MakeModel
from llmir.errors import LLMIRError
from llmir.importer import import_model
from llmir.importer.builder import float32_literal, float_literal
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
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_names_every_weight_once(make_model: MakeModel, shape: str, dtype: str) -> None:
    directory = make_model(shape, dtype)
    text = import_checked(directory)
    stored = safetensors.torch.load_file(directory / "model.safetensors")
    named = re.findall(r'llm\.parameter "model"::"([^"]+)" : tensor<(\S+)>', text)
    assert len(named) == len(stored)
    mlir = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    assert dict(named) == {
        key: "x".join([*map(str, tensor.shape), mlir]) for key, tensor in stored.items()
    }
    assert text.count("func.func private") == 1


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


def test_rounding_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(LLMIRError, match="would round it; use --dtype=float32"):
        import_checked(make_model("gqa", "float32"), dtype="bfloat16")


def test_lengths(make_model: MakeModel) -> None:
    directory = make_model("gqa", "float32")
    text = import_checked(directory, max_model_len=100, block_size=32)
    assert "!llm.paged_kv_cache<f32, 2, 2, 16, 32, 100>" in text
    assert "max_model_len = 100 : i64" in text
    assert "16, 256>" in import_checked(directory, max_model_len=10_000)
    with pytest.raises(LLMIRError, match="power of two, not 24"):
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
        ({"attention_bias": True}, "attention_bias = true changes"),
        ({"mlp_bias": True}, "mlp_bias = true changes"),
        ({"hidden_act": "gelu"}, 'hidden_act = "gelu" changes'),
        ({"sliding_window": 4096}, "sliding_window = 4096 changes"),
        ({"pretraining_tp": 2}, "pretraining_tp = 2 changes"),
        ({"quantization_config": {"bits": 4}}, r'quantization_config = {"bits": 4} ch'),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 changes"),
        ({"rope_scaling": {"type": "linear"}}, "RoPE of type linear"),
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


@pytest.mark.parametrize("changes", [{"sliding_window": None}, {"hidden_act": "swish"}])
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

    def test_mixed_dtypes_widen(self, directory: Path) -> None:
        key = "model.norm.weight"
        self.change(directory, **{key: torch.zeros(64, dtype=torch.bfloat16)})
        text = import_checked(directory)
        assert f'"{key}" from tensor<64xbf16> : tensor<64xf32>' in text

    def test_the_files_settle_the_dtype(self, directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        config["dtype"] = "bfloat16"
        (directory / "config.json").write_text(json.dumps(config))
        assert 'dtype = "f32"' in import_checked(directory)

    def test_tied_only_if_the_files_agree(self, directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        config["tie_word_embeddings"] = True
        (directory / "config.json").write_text(json.dumps(config))
        assert "%lm_head" in import_checked(directory)
        stored = safetensors.torch.load_file(directory / "model.safetensors")
        same = stored["model.embed_tokens.weight"].clone()
        self.change(directory, **{"lm_head.weight": same})
        assert "%lm_head" not in import_checked(directory)


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
