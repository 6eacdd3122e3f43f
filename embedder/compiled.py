"""Runs graphs compiled by OpenVINO for the machine's CPU, and tells which precisions that CPU supports."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]

from core.errors import ModelError
from core.records import Float32Array
from embedder.precision import Precision

Inputs = Mapping[str, np.ndarray[Any, Any]]
QUANTISATION_GROUP = 128  # activations of one token that share an int8 scale
KEPT_KERNELS = 256  # cached kernels per stream: as fast as OpenVINO's default 5,000, and memory does not keep growing


def cpu_precision(wanted: Precision) -> Precision:
    """Resolves `auto` for this CPU: bf16 if it supports that natively, else fp32. Others are returned unchanged.

    Raises ModelError for bf16 on a CPU without it, where OpenVINO would silently compute in fp32.
    """
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted is Precision.AUTO:
        return Precision.BF16 if has_bf16 else Precision.FP32
    if wanted is Precision.BF16 and not has_bf16:
        raise ModelError("this CPU does not compute in bf16: precision auto, fp32 and int8 are allowed here")
    return wanted


class CompiledGraph:
    """Runs a graph on up to `streams` inputs at the same time, with `threads` threads in all.

    Thread-safe: one `run` at a time.
    """

    def __init__(self, graph: ov.Model, *, precision: Precision, threads: int, streams: int) -> None:
        int8 = precision is Precision.INT8
        floats = cpu_precision(Precision.AUTO) if int8 else precision
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if floats is Precision.BF16 else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": QUANTISATION_GROUP if int8 else 0,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT_KERNELS,
            "ENABLE_CPU_PINNING": False,  # the cores are shared with other models, the index and other processes
        }
        compiled = ov.Core().compile_model(graph, "CPU", settings)
        self._requests = [compiled.create_infer_request() for _ in range(streams)]
        self._free = threading.Lock()

    def run(self, parts: Sequence[Inputs]) -> list[list[Float32Array]]:
        """The graph's outputs for each of at most `streams` parts, which run at the same time."""
        with self._free:
            running = self._requests[: len(parts)]
            if len(parts) == 1:  # runs in this thread: waking another takes milliseconds on sleeping processors
                # Passing tensors is faster: OpenVINO would look up the tensor of each named array one by one.
                tensors = {name: ov.Tensor(values, shared_memory=True) for name, values in parts[0].items()}
                running[0].infer(tensors, share_inputs=True, share_outputs=True)
                return [[np.array(tensor.data) for tensor in running[0].output_tensors]]
            with ExitStack() as started:  # waits for all: a request still running would refuse the next call
                for request, inputs in zip(running, parts, strict=True):
                    request.start_async(inputs, share_inputs=True)
                    started.callback(request.wait)
            return [[np.array(tensor.data) for tensor in request.output_tensors] for request in running]
