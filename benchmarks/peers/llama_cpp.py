# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""llama.cpp, through the C interface that llama-cpp-python carries.

The model is written as GGUF with the package `gguf`, as llama.cpp's own converter
would, but without a vocabulary, and quantized by the library. Every product has the
format's name, the head too: `pure`, as LLMIR does it, rather than Q6_K for the head.
"""

from __future__ import annotations

import ctypes
import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peers import prepared

FORMATS = {"bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
# llama_ftype in llama.h.
FILE_TYPES = {"int8": 7, "int4": 2}


def _library() -> Any:
    import llama_cpp

    return llama_cpp


def version() -> str:
    """Return the versions of the binding and of the code inside."""
    return f"llama.cpp of llama-cpp-python {_library().__version__}"


def prepare(model: Path, format: str, cache: Path) -> Path:
    """Write GGUF, once in bfloat16, and quantize that."""
    path, partial = prepared(cache, f"llama.cpp-{format}.gguf")
    if path.exists():
        return path
    if format == "bf16":
        _write_gguf(model, partial)
    else:
        source = prepare(model, "bf16", cache)
        library = _library()
        options = library.llama_model_quantize_default_params()
        options.ftype = FILE_TYPES[format]
        options.pure = True
        options.nthread = 2
        status = library.llama_model_quantize(
            str(source).encode(), str(partial).encode(), ctypes.byref(options)
        )
        if status:
            raise RuntimeError(f"llama_model_quantize returned {status}")
    partial.rename(path)
    return path


NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _write_gguf(model: Path, path: Path) -> None:
    import gguf

    config = json.loads((model / "config.json").read_text())
    kind, heads = config["model_type"], config["num_attention_heads"]
    head_dim = config.get("head_dim", config["hidden_size"] // heads)
    writer = gguf.GGUFWriter(path, kind, use_temp_file=False)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    with (model / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    data = np.memmap(model / "model.safetensors", np.uint8, "r", offset=8 + length)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        bits = data[begin:end].view(np.uint16).reshape(entry["shape"])
        target = _name(name)
        if bits.ndim == 1 or target.endswith("bias"):
            values = (bits.astype(np.uint32) << 16).view(np.float32)
            if kind == "llama" and ("attn_q" in target or "attn_k" in target):
                raise ValueError("biases of a llama are not handled")
            writer.add_tensor(target, values)
            continue
        if kind == "llama" and ("attn_q." in target or "attn_k." in target):
            # RoPE turns neighbours there and halves here.
            rows = bits.reshape(-1, 2, head_dim // 2, bits.shape[1])
            bits = np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(bits.shape)
        writer.add_tensor(
            target, bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    stem, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[stem]}.{kind}"


class Session:
    """A model and a context of llama.cpp, as llama-bench makes them."""

    def __init__(self, path: Path, threads: int, context: int, sequences: int) -> None:
        """Map the model and allocate the cache."""
        library = self.library = _library()
        quiet = library.llama_log_callback(lambda level, text, user: None)
        self.quiet = quiet  # the library keeps a pointer
        library.llama_log_set(quiet, None)
        library.llama_backend_init()
        options = library.llama_model_default_params()
        options.n_gpu_layers = 0
        self.model = library.llama_model_load_from_file(str(path).encode(), options)
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        choice = library.llama_context_default_params()
        choice.n_ctx = -(-context // 256) * 256 * sequences
        choice.n_batch = 2048
        choice.n_seq_max = sequences
        choice.n_threads = choice.n_threads_batch = threads
        self.context = library.llama_init_from_model(self.model, choice)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context")
        self.memory = library.llama_get_memory(self.context)
        vocabulary = library.llama_model_get_vocab(self.model)
        self.vocab_size = library.llama_vocab_n_tokens(vocabulary)
        self.batch = library.llama_batch_init(2048, 0, 1)
        self.depth = [0] * sequences

    def __del__(self) -> None:
        """Free what C has allocated."""
        library = self.library
        library.llama_free(self.context)
        library.llama_model_free(self.model)

    def prefill(self, ids: list[int]) -> float:
        """Read a prompt in an empty context."""
        self._empty()
        begin = time.perf_counter()
        self._decode([(token, place, 0) for place, token in enumerate(ids)])
        seconds = time.perf_counter() - begin
        self._empty()
        return seconds

    def decode(self, ids: list[int], depth: int, sequences: int) -> float:
        """Append tokens to each sequence, one a step."""
        for index in range(sequences):
            if self.depth[index] != depth:
                self._remove(index, 0)
                if depth:
                    self._decode([(7, place, index) for place in range(depth)])
                self.depth[index] = depth
        begin = time.perf_counter()
        for step, token in enumerate(ids):
            self._decode(
                [(token, depth + step, index) for index in range(sequences)], True
            )
        seconds = time.perf_counter() - begin
        for index in range(sequences):
            self._remove(index, depth)
        return seconds

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the last row."""
        self.prefill(ids)
        row = self.library.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(row, (self.vocab_size,)).copy()

    def _empty(self) -> None:
        self.library.llama_memory_clear(self.memory, True)
        self.depth = [0] * len(self.depth)

    def _remove(self, index: int, begin: int) -> None:
        self.library.llama_memory_seq_rm(self.memory, index, begin, -1)

    def _decode(
        self, tokens: list[tuple[int, int, int]], all_logits: bool = False
    ) -> None:
        batch = self.batch
        batch.n_tokens = len(tokens)
        for row, (token, place, sequence) in enumerate(tokens):
            batch.token[row] = token
            batch.pos[row] = place
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = sequence
            batch.logits[row] = all_logits or row + 1 == len(tokens)
        status = self.library.llama_decode(self.context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        self.library.llama_synchronize(self.context)
