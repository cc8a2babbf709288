# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""OpenVINO GenAI's LLMPipeline, on models that optimum-intel has exported.

The pipeline is left as it comes: it computes in bfloat16 where the CPU can, keeps keys
and values in 8 bits, and chooses every token itself. It tells how long each step took.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peers import prepared

FORMATS = {"bf16": "fp16", "int8": "int8", "int4": "int4"}


def version() -> str:
    """Return the version."""
    import openvino_genai

    return f"OpenVINO GenAI {openvino_genai.__version__.split('-')[0]}"


def prepare(model: Path, format: str, cache: Path) -> Path:
    """Export: float16 in the file, int8 of each output, int4 of groups of 32."""
    path, partial = prepared(cache, f"openvino-{FORMATS[format]}")
    if path.exists():
        return path
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    quantization: dict[str, Any] = {"fp16": None}
    quantization["int8"] = OVWeightQuantizationConfig(bits=8, sym=False)
    quantization["int4"] = OVWeightQuantizationConfig(
        bits=4, sym=True, group_size=32, ratio=1.0
    )
    exported = OVModelForCausalLM.from_pretrained(
        model,
        export=True,
        compile=False,
        load_in_8bit=False,
        quantization_config=quantization[FORMATS[format]],
    )
    if format == "bf16":
        exported.half()
    exported.save_pretrained(partial)
    partial.rename(path)
    return path


class Session:
    """A pipeline."""

    def __init__(self, path: Path, threads: int, context: int, sequences: int) -> None:
        """Load and compile."""
        import openvino
        import openvino_genai

        self.genai, self.openvino, self.path = openvino_genai, openvino, path
        self.options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        self.pipeline = openvino_genai.LLMPipeline(str(path), "CPU", **self.options)

    def prefill(self, ids: list[int]) -> float:
        """Read a prompt, as the time to the first token."""
        begin = time.perf_counter()
        self._generate([ids], 1)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], depth: int, sequences: int) -> float:
        """Write tokens, and leave the first out, which came with the prompt."""
        measured = self._generate([[7] * max(depth, 1)] * sequences, len(ids) + 1)
        times = measured.perf_metrics.raw_metrics.m_new_token_times
        if len(times) < 2:
            raise RuntimeError("the pipeline reports no times of its tokens")
        return float(times[-1] - times[0]) / 1000

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the last row, of the same program without the pipeline."""
        core = self.openvino.Core()
        model = core.compile_model(
            str(self.path / "openvino_model.xml"), "CPU", self.options
        )
        count = len(ids)
        inputs: dict[str, Any] = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, count), np.int64),
            "position_ids": np.arange(count)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        names = {name for port in model.inputs for name in port.names}
        result = model({name: inputs[name] for name in inputs if name in names})
        return np.asarray(result[model.output("logits")][0, -1], dtype=np.float32)

    def _generate(self, ids: list[list[int]], count: int) -> Any:
        tensor = self.openvino.Tensor(np.array(ids, dtype=np.int64))
        mask = self.openvino.Tensor(np.ones((len(ids), len(ids[0])), dtype=np.int64))
        config = self.genai.GenerationConfig()
        config.max_new_tokens = count
        config.min_new_tokens = count
        config.ignore_eos = True
        config.do_sample = False
        inputs = self.genai.TokenizedInputs(tensor, mask)
        return self.pipeline.generate(inputs, config)
