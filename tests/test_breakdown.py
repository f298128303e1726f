from __future__ import annotations

import pytest

from evbench.results import Section
from evbench.traces.breakdown import own_times, sections
from evbench.traces.families import FAMILIES, OTHER, family, short
from evbench.traces.timeline import Timeline
from tests.traces import call, host_range, kernel, launched, operation, stages


def broken_down(events: list[dict[str, object]]) -> dict[str, Section]:
    return {section.name: section for section in sections(Timeline(events, "x"), events)}


def test_idle_time_is_the_hosts_if_nothing_was_launched() -> None:
    """Vision is from 220 to 320. The first kernel waits for its launch, the second for a launch that ends at 270, the third for nothing
    that the host could do; after the last, the host waits, or does something else."""
    events = [*stages(), *launched(1, 229, 240, 10), *launched(2, 269, 275, 10), *launched(3, 270, 295, 5)]
    vision = broken_down(events)["vision"]
    assert vision.seconds == pytest.approx(100e-6)
    assert vision.busy == pytest.approx(25e-6)
    assert vision.host_bound == pytest.approx((10 + 20 + 20) * 1e-6)


def test_overlapping_work_counts_once() -> None:
    events = [*stages(), *launched(1, 221, 230, 20), *launched(2, 222, 240, 20)]
    assert broken_down(events)["vision"].busy == pytest.approx(30e-6)


def test_a_stage_without_work_is_the_hosts() -> None:
    events = [*stages(), *launched(1, 221, 230, 20)]
    load = broken_down(events)["load"]
    assert (load.busy, load.host_bound, load.used) == (0.0, load.seconds, ())


def test_generate_is_told_as_prefill_and_further_tokens() -> None:
    """The host is done with the prefill at 340, the GPU at 370: what is launched later is of the tokens."""
    events = [
        *stages(),
        host_range("prefill", 330, 10),
        host_range("decode", 340, 10),
        *launched(1, 331, 335, 35),
        *launched(2, 341, 372, 20),
    ]
    found = broken_down(events)
    assert list(found) == ["load", "preprocess", "vision", "prefill", "decode"]
    assert found["prefill"].seconds == pytest.approx(40e-6)
    assert found["decode"].seconds == pytest.approx(60e-6)
    assert found["decode"].busy == pytest.approx(20e-6)
    assert found["decode"].host_bound == pytest.approx(38e-6)


def test_work_is_summed_by_name_with_the_bytes_that_were_copied() -> None:
    events = [*stages(), call(1, 221, name="cudaGraphLaunch"), kernel(1, 230, 4, "gemm"), kernel(1, 240, 6, "gemm"),
              *launched(2, 225, 250, 3, "Memcpy HtoD", bytes=1000), *launched(3, 226, 260, 3, "Memcpy HtoD", bytes=500)]  # fmt: skip
    gemm, copy = broken_down(events)["vision"].used
    assert (gemm.name, gemm.family, gemm.calls, gemm.bytes_copied) == ("gemm", "matrix multiply", 2, 0)
    assert gemm.seconds == pytest.approx(10e-6)
    assert (copy.name, copy.family, copy.calls, copy.bytes_copied) == ("Memcpy HtoD", "copy", 2, 1500)


def test_without_a_gpu_operations_count_without_those_inside_them() -> None:
    inner, other = operation("aten::mm", 240, 30), operation("aten::add", 280, 10)
    events = [*stages(), operation("aten::linear", 230, 50), inner, other]
    found = broken_down(events)["vision"]
    assert found.busy is None and found.host_bound is None
    assert {used.name: used.seconds for used in found.used} == pytest.approx({"aten::mm": 30e-6, "aten::linear": 20e-6, "aten::add": 10e-6})
    assert sum(seconds for _, seconds in own_times(events)) == pytest.approx(60e-6)


NAMES = {
    "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu>(T1::Params)": "matrix multiply",
    "nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_TNT": "matrix multiply",
    "void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64>>(flash::Flash_fwd_params)": "attention",
    "decode_attention_kernel": "attention",
    "matvec_kernel": "matrix times vector",
    "greedy_token_kernel": "sampling",
    "rotated_heads_kernel": "elementwise",
    "token_embedding_kernel": "lookup",
    "pixel_values_kernel": "resize",
    "values_of_maps_kernel": "resize",
    "last_event_kernel": "event images",
    "triton_per_fused_add_native_layer_norm_2": "normalization",
    "triton_poi_fused_mul_silu_3": "elementwise",
    "triton_red_fused_mean_1": "reduction",
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<c10::BFloat16>>(int)": "elementwise",
    "void at::native::(anonymous namespace)::CatArrayBatchedCopy_vectorized<...>(...)": "concatenation",
    "Memcpy HtoD (Pageable -> Device)": "copy",
    "Memset (Device)": "fill",
    "ConvertNV12BLtoNV12": "video decoding",
    "## Call CompiledFxGraph fi6crucrcuk2uwuasifp2ybz ##": "compiled code",
    "something_new": OTHER,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_belongs_to_a_family(name: str) -> None:
    assert family(name) == NAMES[name]


def test_a_product_that_makes_a_convolution_is_one() -> None:
    assert family("void implicit_convolve_sgemm<__nv_bfloat16, __nv_bfloat16, 128, 5>(int)") == "convolution"
    assert family("void convert_kernel<float>(int)") == OTHER


def test_each_family_has_an_example_or_an_operation() -> None:
    operations = ("aten::_softmax", "aten::argmax", "aten::index_select", "aten::conv2d")
    assert {name for name, _ in FAMILIES} == {family(name) for name in (*NAMES, *operations)} - {OTHER}


def test_a_name_is_cut_to_what_a_person_reads() -> None:
    assert short("void at::native::reduce_kernel<512, 1>(at::native::ReduceOp<float>)") == "reduce_kernel<512, 1>"
    assert short("Memcpy HtoD (Pageable -> Device)") == "Memcpy HtoD (Pageable -> Device)"
    assert short("## Call CompiledFxGraph fi6crucrcuk2uwuasifp2ybz ##") == "## Call CompiledFxGraph ##"
    assert len(short("kernel<" + "a" * 500 + ">")) == 100
    assert short("kernel<" + "a" * 500 + "1>") != short("kernel<" + "a" * 500 + "2>"), "they are two"
