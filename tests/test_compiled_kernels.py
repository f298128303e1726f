"""Kernels compiled for a Hopper GPU, which needs none: Triton's interpreter lets pass what its compiler refuses."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from evbench.kernels import (
    all_reduce,
    block_attention,
    decode_attention,
    greedy_token,
    matvec,
    pixel_values,
    quick_gelu,
    rotated_heads,
    shared_sum,
    shifted_norm,
    token_embedding,
    tower_attention,
    values_of_maps,
)

HOPPER = GPUTarget("cuda", 90, 32)
MATRICES = [(12288, 4096, True, False), (4096, 4096, False, False), (11008, 4096, True, True), (4096, 11008, False, False)]
"""Outputs, columns, normal, gated: those of a layer of a 7B model."""
EIGHT_BITS = ("*i8", "*fp8e4nv")


def compiled(kernel: Any, constants: dict[str, Any], whole: dict[str, str], warps: int) -> Any:
    """Of pointers, and whole numbers and floats that are named with their type. All pointers and whole numbers are multiples of 16."""
    function = triton.runtime.jit.JITFunction(kernel.fn)
    signature = {name: "constexpr" if name in constants else whole.get(name, "*bf16") for name in function.arg_names}
    places = {name: (place,) for place, name in enumerate(function.arg_names)}
    aligned = {places[name]: [["tt.divisibility", 16]] for name, kind in signature.items() if kind[0] in "*i"}
    source = ASTSource(function, signature, {places[name]: value for name, value in constants.items()}, aligned)
    return triton.compile(source, target=HOPPER, options={"num_warps": warps})


def of_a_layer(outputs: int, columns: int, normal: bool, gated: bool) -> Any:
    config = matvec._config(columns, gated)
    constants: dict[str, Any] = {"NORM": normal, "GATED": gated, "RESIDUAL": not normal, "DEPENDENT": True}
    constants |= {"ROWS": config.rows, "WIDTH": config.width, "PARTS": math.ceil(columns / config.width)}
    return compiled(matvec.matvec_kernel, constants, {"columns": "i32", "outputs": "i32", "epsilon": "fp32"}, config.warps)


def several(outputs: int, columns: int, normal: bool, gated: bool) -> Any:
    shape = {name: value for name, value in matvec.SEVERAL[gated].items() if name != "num_warps"}
    constants = {"VECTORS": 4, "MOST": 8, "GATED": gated, "RESIDUAL": not normal, "DEPENDENT": True, **shape}
    return compiled(matvec.matvecs_kernel, constants, {"columns": "i32", "outputs": "i32"}, matvec.SEVERAL[gated]["num_warps"])


def quantized(stored: str, outputs: int, columns: int, normal: bool, gated: bool) -> Any:
    config = matvec._config(columns, gated)
    constants: dict[str, Any] = {"NORM": normal, "GATED": gated, "RESIDUAL": not normal, "DEPENDENT": True}
    constants |= {"ROWS": config.rows, "WIDTH": config.width, "PARTS": math.ceil(columns / config.width), "UNIT": matvec.VALUES}
    types = {"columns": "i32", "outputs": "i32", "epsilon": "fp32", "weight_ptr": stored, "scale_ptr": "*fp32"}
    return compiled(matvec.quantized_matvec_kernel, constants, types, config.warps)


def several_quantized(stored: str, outputs: int, columns: int, normal: bool, gated: bool) -> Any:
    shape = {name: value for name, value in matvec.SEVERAL[gated].items() if name != "num_warps"}
    constants = {"VECTORS": 4, "MOST": 8, "GATED": gated, "RESIDUAL": not normal, "DEPENDENT": True, **shape}
    types = {"columns": "i32", "outputs": "i32", "weight_ptr": stored, "scale_ptr": "*fp32"}
    return compiled(matvec.quantized_matvecs_kernel, constants, types, matvec.SEVERAL[gated]["num_warps"])


def normed() -> Any:
    constants = {"BLOCK": 4096, "DEPENDENT": True}
    return compiled(matvec.normed_kernel, constants, {"columns": "i32", "epsilon": "fp32"}, matvec.NORM_WARPS)


def of_some_tokens() -> Any:
    count, capacity, at = 5, 2183, block_attention
    split = decode_attention.split_slots(32, capacity, at.SLOTS, at.PROGRAMS)
    splits = math.ceil(capacity / split)
    constants = {"COUNT": count, "HEADS": 32, "KEY_HEADS": 32, "ROWS": 16, "SIZE": 128, "SPLIT_SLOTS": split, "DEPENDENT": True}
    constants |= {"SLOTS": at.SLOTS, "STAGES": at.STAGES, "SPLITS": splits, "SPLITS_POWER": triton.next_power_of_2(splits)}
    types = {"capacity": "i32", "scale": "fp32", "position_ptr": "*i64", "arrived_ptr": "*i32", "partial_ptr": "*fp32"}
    return compiled(at.block_attention_kernel, constants, types, at.WARPS)


def attention(kernel: Any = decode_attention.decode_attention_kernel, **cache: str) -> Any:
    """`cache`: type of the keys and values, if it is another."""
    split = decode_attention.split_slots(32, 2178)
    constants = {"HEADS": 32, "KEY_HEADS": 32, "ROWS": 16, "SIZE": 128, "SPLIT_SLOTS": split, "DEPENDENT": True}
    constants |= {"SLOTS": decode_attention.SLOTS, "STAGES": decode_attention.STAGES, "SPLITS": 23, "SPLITS_POWER": 32}
    types = {"capacity": "i32", "scale": "fp32", "position_ptr": "*i64", "arrived_ptr": "*i32"}
    types |= dict.fromkeys(("cosine_ptr", "sine_ptr", "partial_ptr"), "*fp32") | cache
    return compiled(kernel, constants, types, decode_attention.WARPS)


def of_a_token() -> Iterator[Any]:
    types = dict.fromkeys(("vocabulary", "capacity", "hidden"), "i32") | dict.fromkeys(("tokens_ptr", "position_ptr"), "*i64")
    yield compiled(token_embedding.token_embedding_kernel, {"BLOCK": 4096, "DEPENDENT": True}, types, 4)
    yield compiled(greedy_token.greedy_token_kernel, {"BLOCK": greedy_token.BLOCK, "DEPENDENT": True}, types, greedy_token.WARPS)


def of_a_prompt() -> Any:
    types = dict.fromkeys(("length", "heads", "key_heads", "capacity"), "i32") | dict.fromkeys(("cosine_ptr", "sine_ptr"), "*fp32")
    types["position_ptr"] = "*i64"
    constants = {"BEHIND": True, "QUANTIZED": False, "SIZE": 128, "TOKENS": rotated_heads.TOKENS, "DEPENDENT": True}
    return compiled(rotated_heads.rotated_heads_kernel, constants, types, 4)


def of_several_gpus() -> Iterator[str]:
    """Of two: what sums up and what puts side by side in a step, what sums up a prompt, and what waits for the other there."""
    types = dict.fromkeys(("words", "row", "exchange"), "i32") | dict.fromkeys(("x_ptr", "residual_ptr", "y_ptr", "turns_ptr"), "*i32")
    types |= dict.fromkeys(("boxes_ptr", "box_ptr"), "*i64")
    constants = {"RANK": 1, "RANKS": 2, "HALVES": True, "BLOCK": all_reduce.BLOCK, "DEPENDENT": True}
    for gather in (False, True):
        yield compiled(all_reduce.all_reduce_kernel, constants | {"GATHER": gather, "RESIDUAL": not gather}, types, all_reduce.WARPS).asm[
            "ptx"
        ]
    types = dict.fromkeys(("parts_ptr", "sums_ptr"), "*i64") | dict.fromkeys(("first", "values"), "i32")
    yield compiled(shared_sum.shared_sum_kernel, {"RANKS": 2, "BLOCK": shared_sum.BLOCK}, types, shared_sum.WARPS).asm["ptx"]
    types = {"flags_ptr": "*i64", "own_ptr": "*i32", "turn_ptr": "*i32", "exchange": "i32"}
    yield compiled(shared_sum.meeting_kernel, {"RANK": 1, "RANKS": 2}, types, 1).asm["ptx"]


def of_the_tower() -> Iterator[str]:
    """PTX of a norm, attention and an activation, as for 257 tokens of 16 heads."""
    types = {"shift_ptr": "*fp32", "epsilon": "fp32", "shift_rows": "i32"}
    yield compiled(shifted_norm.shifted_norm_kernel, {"COLUMNS": 1024, "BLOCK": 1024, "DEPENDENT": True}, types, 1).asm["ptx"]
    at = tower_attention
    tiles = at._config(257, 64, torch.bfloat16)
    constants = {"TOKENS": 257, "SIZE": 64, "QUERIES": tiles.queries, "QUERIES_LEFT": at.left_over(257, tiles.queries), "DEPENDENT": True}
    constants |= {"KEYS": tiles.keys, "KEYS_LEFT": at.left_over(257, tiles.keys), "STAGES": tiles.stages}
    strides = [f"{of}_{stride}" for of in ("query", "key", "value") for stride in ("image_stride", "stride", "head_stride")]
    yield compiled(at.tower_attention_kernel, constants, dict.fromkeys(strides, "i32") | {"scale": "fp32"}, tiles.warps).asm["ptx"]
    constants = {"BLOCK": quick_gelu.BLOCK, "DEPENDENT": True}
    yield compiled(quick_gelu.quick_gelu_kernel, constants, {"elements": "i32"}, quick_gelu.WARPS).asm["ptx"]


def of_frames(whole: bool) -> Any:
    constants = {name: getattr(pixel_values, name) for name in ("TILE", "WIDE", "ROWS", "GROUPS", "SCALE")} | {"WHOLE": whole}
    sizes = (
        "height",
        "width",
        "row_stride",
        "frame_stride",
        "crop_height",
        "crop_width",
        "row_edge",
        "column_edge",
        "row_span",
        "column_span",
    )
    types = dict.fromkeys(sizes, "i32") | {"frames_ptr": "*u8", "normal_ptr": "*fp32"}
    types |= dict.fromkeys(("first_row_ptr", "first_pixel_ptr"), "*i32") | dict.fromkeys(("vertical_ptr", "horizontal_ptr"), "*fp16")
    return compiled(pixel_values.pixel_values_kernel, constants, types, pixel_values.WARPS)


def of_maps() -> Any:
    constants = {name: getattr(values_of_maps, name) for name in ("TILE", "ROWS", "PIXELS", "GROUP", "LARGER")} | {"ROW_TAPS": 12}
    types = dict.fromkeys(("height", "width", "row_stride", "map_stride", "crop_height", "crop_width", "span"), "i32")
    types |= dict.fromkeys(("maps_ptr", "first_row_ptr", "first_pixel_ptr"), "*i32") | {"horizontal_ptr": "*fp16"}
    return compiled(
        values_of_maps.values_of_maps_kernel,
        constants,
        types | dict.fromkeys(("vertical_ptr", "normal_ptr"), "*fp32"),
        values_of_maps.WARPS,
    )


def main() -> None:
    for shape in MATRICES:
        require_read_ahead(of_a_layer(*shape).asm["ptx"], whole=True)
        assert "mma" in several(*shape).asm["ptx"]
    for stored in EIGHT_BITS:
        quantized(stored, 5120, 13_824, False, False)  # a row for each program, as in a model of 13B
        for shape in MATRICES:
            few = quantized(stored, *shape)
            require_read_ahead(few.asm["ptx"], whole=True, wide=".v2.b32")
            assert not re.search(r"convert_layout .*x\d{3,}x", few.asm["ttgir"]), "sums stay in their thread until all is summed up"
            assert few.name == "quantized_matvec_kernel", "as evidence looks for it"
            assert "mma" in several_quantized(stored, *shape).asm["ptx"]
    require_read_ahead(attention().asm["ptx"], whole=False)
    few = attention(decode_attention.quantized_decode_attention_kernel, keys_ptr="*fp8e4nv", values_ptr="*fp8e4nv")
    require_read_ahead(few.asm["ptx"], whole=False)
    require_read_ahead(of_some_tokens().asm["ptx"], whole=False)
    assert all("griddepcontrol.wait" in kernel.asm["ptx"] for kernel in (normed(), *of_a_token()))
    reads = [[len(re.findall(r"ld\.global|cp\.async\.cg", part)) for part in early_start(code)] for code in of_the_tower()]
    assert reads[0] == [4 * 4, 4], "ahead gain and bias, and the shift in four bytes each; behind what the kernel in front writes"
    assert all(ahead == 0 < behind for ahead, behind in reads[1:]), "all is written by kernels in front"
    for whole in (True, False):
        code = of_frames(whole).asm["ptx"]
        assert "mma.sync.aligned.m16n8k16" in code
        assert not re.search(r"cvt\.rn\.f16\.[us]", code), "bytes are moved, none is converted"
        assert ("ld.global.b8" in code) is not whole
    assert "mma.sync" in of_maps().asm["ptx"]
    assert ".v4.b32" in of_a_prompt().asm["ptx"], "16 bytes at a time"
    *of_a_step, of_many, meeting = of_several_gpus()
    for code in of_a_step:
        assert "griddepcontrol.wait" in code
        sent, _, behind = code.partition("ld.volatile.global.v2.b64")
        assert behind and "st.global.v2.b64" in sent, "words with their turns, in one store"
        assert behind.count("bar.sync") > 0, "all threads have read the turn before it is counted"
    assert "ld.global.cg.v4" in of_many and "st.global.v4" in of_many, "16 bytes at a time"
    assert "sys.release" in meeting and "sys.acquire" in meeting


def early_start(code: str) -> tuple[str, str]:
    """What is ahead of the wait, and behind it, of a kernel that lets the next one start at once."""
    ahead, wait, behind = code.partition("griddepcontrol.wait")
    assert wait
    assert "griddepcontrol.launch_dependents" in ahead
    return ahead, behind


def require_read_ahead(code: str, *, whole: bool, wide: str = ".v4.b32") -> None:
    """The next kernel may start at once, and what none in front writes is loaded before the wait, as many bytes at a time as `wide` says.

    `whole`: of the weights, nothing is loaded behind it.
    """
    ahead, behind = early_start(code)
    assert ahead.count("ld.global") > 1
    assert wide in ahead
    assert not (whole and "evict_first" in behind)


@pytest.mark.slow
def test_the_kernels_compile_for_hopper() -> None:
    """In a process of its own: here the interpreter is on."""
    command = [sys.executable, "-m", "tests.test_compiled_kernels"]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "0"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    main()
