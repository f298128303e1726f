from __future__ import annotations

from evbench.report.traces import families, gone_and_new, where_the_time_went
from evbench.results import Section, Used


def section(name: str, *used: Used, seconds: float = 0.01, busy: float | None = 0.004, host_bound: float | None = 0.005) -> Section:
    return Section(name, seconds, busy, host_bound, used)


BEFORE = [section("vision", Used("gemm", "matrix multiply", 0.003, 24, 0), Used("softmax", "softmax", 0.001, 24, 0))]
AFTER = [
    section(
        "vision",
        Used("gemm", "matrix multiply", 0.002, 24, 0),
        Used("flash", "attention", 0.0005, 24, 0),
        seconds=0.003,
        busy=0.0025,
        host_bound=0.00045,
    )
]


def test_time_idle_time_and_host_bound_share_of_both() -> None:
    table = where_the_time_went({"A": BEFORE, "B": AFTER})
    assert table.rows == (
        ("vision", "A", "10.0 ms", "4.00 ms", "6.00 ms", "50%"),
        ("vision", "B", "3.00 ms", "2.50 ms", "500 µs", "15%"),
    )


def test_without_a_gpu_its_columns_are_empty() -> None:
    (row,) = where_the_time_went({"A": [section("load", busy=None, host_bound=None)]}).rows
    assert row == ("load", "A", "10.0 ms", "-", "-", "-")


def test_families_of_both_with_their_difference() -> None:
    table = families({"A": BEFORE, "B": AFTER})
    assert table.columns == ("", "kernel family", "A", "calls", "bytes copied", "B", "calls", "bytes copied", "difference")
    assert table.rows == (
        ("vision", "matrix multiply", "3.00 ms", "24", "-", "2.00 ms", "24", "-", "-1.00 ms"),
        ("vision", "softmax", "1.00 ms", "24", "-", "-", "-", "-", "-1.00 ms"),
        ("vision", "attention", "-", "-", "-", "500 µs", "24", "-", "500 µs"),
    )


def test_small_families_are_summed_and_none_is_lost() -> None:
    used = [Used(f"k{index}", f"family {index}", 0.001 * (10 - index), 1, 2**20) for index in range(8)]
    table = families({"A": [section("vision", *used)]})
    assert [row[1] for row in table.rows] == [*(f"family {index}" for index in range(5)), "all others"]
    assert table.rows[-1][2:] == ("12.0 ms", "3", "3.00 MiB")


def test_what_only_one_side_has() -> None:
    assert gone_and_new({"A": BEFORE, "B": AFTER}).rows == (
        ("vision", "gone", "softmax", "1.00 ms", "24"),
        ("vision", "new", "flash", "500 µs", "24"),
    )
    hostile = [section("load", Used("\x1b[31mred", "x", 0.001, 1, 0))]
    assert gone_and_new({"A": hostile, "B": []}).rows[0][2] == "·[31mred"
    many = [section("load", *(Used(f"k{index}", "x", 0.001, 2, 0) for index in range(8)))]
    assert gone_and_new({"A": many, "B": []}).rows[-1] == ("load", "gone", "and 3 more", "3.00 ms", "6")
