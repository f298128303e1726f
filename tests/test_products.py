"""Products of a decode step, timed by themselves."""

from __future__ import annotations

import pytest
import torch

from evbench.errors import UserError
from evbench.kernels import matvec
from evbench.microbenchmarks import products
from evbench.microbenchmarks.products import Shape, Timed, shapes
from evbench.pipelines.generate.choices import QUANTIZATION
from tests.reference_kernels import uncaptured
from tests.test_compiled_kernels import MATRICES
from tests.test_decoding import CLOCK_STEP, ticking


def test_the_shapes_are_those_of_a_layer() -> None:
    found = [(shape.rows // 2 if shape.gated else shape.rows, shape.columns, shape.normal, shape.gated) for shape in shapes("7b")]
    assert found == MATRICES
    assert list(products.TYPES) == list(QUANTIZATION.choices)
    with pytest.raises(UserError, match=r"unknown --preset '7c'; did you mean '7b'\?"):
        shapes("7c")


@pytest.mark.parametrize(("quantization", "row_bytes"), [("none", 4 * 40), ("int8", 40 + 4), ("fp8", 40 + 4)])
@pytest.mark.parametrize("shape", [Shape("a", 6, 40, True, True), Shape("b", 6, 40, False)])
def test_a_product_takes_its_part_of_a_chain_over_copies(
    shape: Shape, quantization: str, row_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def counted(x: torch.Tensor, weight: matvec.Matrix, *rest: object) -> torch.Tensor:
        seen.append(weight.values.data_ptr() if isinstance(weight, matvec.Quantized) else weight.data_ptr())
        return matvec.reference(x, weight, *rest)  # type: ignore[arg-type]

    uncaptured(monkeypatch)
    monkeypatch.setattr(matvec, "matvec", counted)
    monkeypatch.setattr(products, "CHAIN_BYTES", 5 * 6 * row_bytes - 1)
    found = products.measure(shape, 2, quantization, 1e9, "cpu", torch.float32, ticking())
    assert found == Timed(shape, CLOCK_STEP / 1e9 / 5, 6 * row_bytes / 1e9)
    assert len(set(seen)) == 5, "each copy is in memory of its own"
    assert len(seen) == 5 * (products.REPLAYS + products.WARM_UPS)


def test_the_layer_is_told_behind_its_products() -> None:
    told = products.lines([Timed(Shape("one", 1, 1, True), 3e-6, 1e-6), Timed(Shape("two", 1, 1, False), 1e-6, 1e-6)])
    assert told[0] == "  one: 3.00 µs; physical floor 1.00 µs, 33% of it"
    assert told[-1] == "  a layer: 4.00 µs; physical floor 2.00 µs, 50% of it"
