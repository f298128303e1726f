from __future__ import annotations

from evbench.results import Role
from evbench.schedule import turns


def test_variants_take_turns_and_none_is_always_first() -> None:
    roles: list[Role] = ["baseline", "optimized"]
    order = list(turns(roles, 4))
    assert order == ["baseline", "optimized", "optimized", "baseline"] * 2


def test_one_variant_alone() -> None:
    assert list(turns(["baseline"], 3)) == ["baseline"] * 3
