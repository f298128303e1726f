"""Kernels and operations by what they are for. Data: the first pattern that is found in a name decides."""

from __future__ import annotations

import functools
import hashlib
import re

FAMILIES: tuple[tuple[str, str], ...] = (
    ("compiled code", r"CompiledFxGraph|Torch-Compiled Region"),
    ("video decoding", r"NV12|VideoColorSpace|nvdec|avcodec"),
    ("event images", r"last_event|extents_kernel|paint_kernel"),
    ("resize", r"upsample|interpolate|resample|pixel_values|values_of_maps|dali::"),
    ("attention", r"flash|fmha|sdpa|attention|FlashAttn|_sdp"),
    ("matrix times vector", r"gemv|matvec|dot_kernel"),
    ("convolution", r"convol|conv\dd|wgrad|dgrad|im2col|aten::_?conv"),
    ("matrix multiply", r"gemm|nvjet|cutlass|xmma|matmul|cublas|splitKreduce|aten::(mm|bmm|addmm|linear|baddbmm|mv|addmv)$|mkl"),
    ("normalization", r"layer_norm|LayerNorm|rms|RowwiseMoments|native_norm"),
    ("softmax", r"softmax|SoftMax"),
    ("sampling", r"argmax|ArgMax|greedy_token|multinomial|topk|sort|distribution"),
    ("lookup", r"index|gather|scatter|embedding|where|nonzero|masked|Select"),
    ("concatenation", r"CatArray|aten::cat|concat"),
    ("reduction", r"triton_(red|per)_|reduce|sum|mean|cumsum|DeviceScan|cub::"),
    ("copy", r"[Mm]emcpy|copy|clone|direct_copy|transpose|aten::(to|_to_copy|contiguous)$"),
    ("fill", r"[Mm]emset|[Ff]ill|zero_|arange|aten::(zeros|ones|empty|full)"),
    ("elementwise", r"elementwise|triton_poi_|rotated_heads|silu|gelu|aten::(add|mul|sub|div|neg|cos|sin|pow|rsqrt|exp|sigmoid|tanh)"),
)
OTHER = "other"
_COMPILED = tuple((name, re.compile(pattern)) for name, pattern in FAMILIES)


@functools.lru_cache(4096)  # a trace has hundreds of thousands of events, of a few hundred names
def family(name: str) -> str:
    """Of a kernel or an operation.

    >>> family("void gemmk1_kernel<int, float, 256>(...)"), family("aten::silu"), family("cudaLaunchKernel")
    ('matrix multiply', 'elementwise', 'other')
    """
    return next((name_of for name_of, pattern in _COMPILED if pattern.search(name)), OTHER)


NOISE = re.compile(r"(?<=CompiledFxGraph) \w+|^void |\bat::native::|\bc10::|\(anonymous namespace\)::|\bcutlass::|\bstd::|\bunsigned ")
LONGEST = 100
"""Letters of a name: those of templates take pages."""


@functools.lru_cache(4096)
def short(name: str) -> str:
    """A name that can be read, without what only a compiler needs.

    >>> short("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int, float*)")
    'vectorized_elementwise_kernel<4, CUDAFunctor_add<float>>'
    """
    cut = NOISE.sub("", name)
    depth = 0
    for position, letter in enumerate(cut):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0 and cut[:position].rstrip() == cut[:position] != "":
            cut = cut[:position]
            break
    if len(cut) <= LONGEST:
        return cut
    digest = hashlib.sha256(cut.encode()).hexdigest()[:6]  # two names may be equal as far as they are shown
    return f"{cut[: LONGEST - len(digest) - 1]}…{digest}"
