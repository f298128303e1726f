"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.matvec import MOST_INPUTS, Norm, Quantized, matvec, reference
from evbench.pipelines.compute.cuda_graph import captured
from evbench.pipelines.generate.quantized import quantize
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("products_of_bfloat16")]

SHAPES = [(1, 40, 96), (1, 7, 1100), (2, 33, 200), (3, 18, 64), (8, 5, 72)]
"""Vectors, results, columns: neither a multiple of what a program takes."""
STORED = [torch.int8, torch.float8_e4m3fn]
# The interpreter cuts numbers to bfloat16 off where a GPU rounds them: several normalized vectors before they are multiplied, so that all
# products are too small, and if gated both factors.
ERROR = {torch.float32: 1e-6, torch.bfloat16: 1.5e-2 if DEVICE == "cpu" else 5e-3}


def made(count: int, rows: int, columns: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    shapes = ((count, columns), (rows, columns), (columns,))
    inputs, weight, gain = (torch.randn(shape, generator=generator).to(DEVICE, dtype) for shape in shapes)
    return inputs, weight, gain


def require_equal(shape: tuple[int, int, int], normal: bool, gated: bool, added: bool, dtype: torch.dtype) -> None:
    count, results, columns = shape
    inputs, weight, gain = made(count, 2 * results if gated else results, columns, dtype)
    residual = torch.randn(count, results, generator=torch.Generator().manual_seed(1)).to(DEVICE, dtype) if added else None
    norm = Norm(gain, 1e-5) if normal else None
    ours = matvec(inputs, weight, norm, gated, residual)
    assert ours.shape == (count, results)
    assert ours.dtype == dtype
    exact = reference(
        inputs.double(),
        weight.double(),
        Norm(gain.double(), 1e-5) if normal else None,
        gated,
        None if residual is None else residual.double(),
    )
    error = (ours.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error < ERROR[dtype]


@pytest.mark.parametrize("added", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("gated", [False, True], ids=["", "gated"])
@pytest.mark.parametrize("normal", [False, True], ids=["", "norm"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_equals_its_reference(shape: tuple[int, int, int], normal: bool, gated: bool, added: bool) -> None:
    require_equal(shape, normal, gated, added, torch.float32)


def quantized(weight: torch.Tensor, stored: torch.dtype = torch.int8) -> Quantized:
    return Quantized(*quantize(weight, stored))


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("added", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("gated", [False, True], ids=["", "gated"])
@pytest.mark.parametrize("normal", [False, True], ids=["", "norm"])
@pytest.mark.parametrize("shape", SHAPES)
def test_quantized_weights_are_multiplied_as_if_they_were_made_whole(
    shape: tuple[int, int, int], normal: bool, gated: bool, added: bool, dtype: torch.dtype, stored: torch.dtype
) -> None:
    """Rows of very different sizes: a scale of another row would be far off."""
    count, results, columns = shape
    inputs, weight, gain = made(count, 2 * results if gated else results, columns, dtype)
    few = quantized(weight.float() * torch.logspace(-1, 1, len(weight), device=DEVICE)[:, None], stored)
    residual = torch.randn(count, results, generator=torch.Generator().manual_seed(1)).to(DEVICE, dtype) if added else None
    norm, exact_norm = (Norm(gain, 1e-5), Norm(gain.double(), 1e-5)) if normal else (None, None)
    ours = matvec(inputs, few, norm, gated, residual)
    assert (ours.shape, ours.dtype) == ((count, results), dtype)
    whole = few.values.double() * few.scales.double()[:, None]
    exact = reference(inputs.double(), whole, exact_norm, gated, None if residual is None else residual.double())
    assert (ours.double() - exact).square().mean().sqrt() < ERROR[dtype] * exact.square().mean().sqrt()
    by_torch = reference(inputs, few, norm, gated, residual)
    assert (by_torch.double() - exact).square().mean().sqrt() < 3 * ERROR[dtype] * exact.square().mean().sqrt()


@pytest.mark.gpu
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize(("rows", "columns", "normal", "gated", "added"), [
    (12288, 4096, True, False, False), (4096, 4096, False, False, True), (11008, 4096, True, True, False),
    (4096, 11008, False, False, True),
])  # fmt: skip
def test_the_shapes_of_the_large_model_quantized(
    count: int, rows: int, columns: int, normal: bool, gated: bool, added: bool, stored: torch.dtype
) -> None:
    test_quantized_weights_are_multiplied_as_if_they_were_made_whole((count, rows, columns), normal, gated, added, torch.bfloat16, stored)


@pytest.mark.parametrize("shape", SHAPES)
def test_also_in_bfloat16(shape: tuple[int, int, int]) -> None:
    require_equal(shape, True, True, True, torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize(("rows", "columns", "normal", "gated", "added"), [
    (12288, 4096, True, False, False), (4096, 4096, False, False, True), (11008, 4096, True, True, False),
    (4096, 11008, False, False, True), (32064, 4096, True, False, False),
])  # fmt: skip
def test_the_shapes_of_the_large_model(count: int, rows: int, columns: int, normal: bool, gated: bool, added: bool) -> None:
    require_equal((count, rows, columns), normal, gated, added, torch.bfloat16)


@pytest.mark.gpu
def test_nothing_is_read_before_the_kernel_in_front_has_written_it() -> None:
    inputs, first, gain = made(1, 4096, 4096, torch.bfloat16)
    second, third = (made(1, rows, 4096, torch.bfloat16)[1] / 64 for rows in (8192, 4096))
    written: list[torch.Tensor] = []

    def chain() -> None:
        hidden = matvec(inputs, first, Norm(gain, 1e-5), residual=inputs)
        gated = matvec(hidden, second, Norm(gain, 1e-5), gated=True)
        written[:] = hidden, gated, matvec(gated, third, residual=hidden)

    replay = captured(chain)
    replay()
    expected = [tensor.clone() for tensor in written]
    for _ in range(200):
        for tensor in written:
            tensor.fill_(torch.nan)
        replay()
        assert all(torch.equal(ours, right) for ours, right in zip(written, expected, strict=True))
    exact = reference(inputs.double(), first.double(), Norm(gain.double(), 1e-5), residual=inputs.double())
    assert (expected[0].double() - exact).square().mean().sqrt() < 5e-3 * exact.square().mean().sqrt()


def test_what_does_not_fit_is_refused() -> None:
    inputs, weight, _ = made(2, 8, 64, torch.float32)
    with pytest.raises(ValueError, match="contiguous"):
        matvec(inputs, weight[:, :32])
    with pytest.raises(ValueError, match="contiguous"):
        matvec(inputs, weight[:7], gated=True)
    with pytest.raises(ValueError, match=f"{MOST_INPUTS} vectors at most"):
        matvec(torch.zeros(MOST_INPUTS + 1, 64, device=DEVICE), weight)
    with pytest.raises(ValueError, match=r"a residual must be contiguous \(2, 8\)"):
        matvec(inputs, weight, residual=torch.zeros(2, 7, device=DEVICE))
    with pytest.raises(ValueError, match=r"the gain of a norm must be contiguous \(64,\)"):
        matvec(inputs, weight, Norm(torch.zeros(63, device=DEVICE), 1e-5))
    few = quantized(weight)
    with pytest.raises(ValueError, match=r"scales must be contiguous float32 \(8,\), not torch.float32 \(7,\)"):
        matvec(inputs, Quantized(few.values, few.scales[:7]))
    with pytest.raises(ValueError, match=r"scales must be contiguous float32 \(8,\), not torch.float64"):
        matvec(inputs, Quantized(few.values, few.scales.double()))


@pytest.mark.parametrize("whole", [False, True], ids=["bare", "with everything"])
def test_the_operator_tells_what_it_does_without_running(whole: bool) -> None:
    x, weight, gain = made(2, 6, 40, torch.float16)
    if not whole:
        return require_operator("matvec", matvec, x, weight)
    residual = torch.ones(2, 3, device=DEVICE, dtype=torch.float16)
    require_operator(
        "matvec", lambda x, weight, gain, residual: matvec(x, weight, Norm(gain, 1e-5), True, residual), x, weight, gain, residual
    )


def test_the_operator_tells_the_same_of_quantized_weights() -> None:
    x, weight, _ = made(2, 6, 40, torch.float16)
    few = quantized(weight)
    require_operator("matvec", lambda x, values, scales: matvec(x, Quantized(values, scales)), x, few.values, few.scales)
