"""A kernel that is compiled to see whether Triton can. Only the process that does so imports this."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def _double(values, count: tl.constexpr):
    place = tl.arange(0, count)
    tl.store(values + place, tl.load(values + place) * 2)


def compile_for(capability: int) -> list[str]:
    """Compile it for a compute capability, such as 90; no GPU is needed. Returns the forms that it went through, to machine code."""
    source = ASTSource(fn=_double, signature={"values": "*fp32", "count": "constexpr"}, constexprs={"count": 16})
    return list(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm)
