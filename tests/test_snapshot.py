"""One whole report, as a file: `python -m tests.test_snapshot` writes it again after a change of words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from evbench.report.render import to_markdown
from evbench.results import Activation, CacheCheck, CachePair, Energy, Gpu, Result, SideResult
from tests.examples import (
    GREEDY,
    MACHINE,
    PRESERVED,
    described,
    make_check,
    make_result,
    make_run,
    make_session,
    make_side,
    make_throughput_run,
    make_trace,
    with_throughput_runs,
    without_stage_sync,
)
from tests.simulation import LIMITS

SNAPSHOT = Path(__file__).parent / "recorded" / "report.md"


CHECKED = CacheCheck((CachePair({"load": 0.1, "vision": 0.1}, {"load": 0.102, "vision": 0.1}),) * 4, True)


def side(variant: str, factor: float) -> SideResult:
    """Ten blocks whose runs differ by a few per cent; the optimized side takes `factor` of the time, which differs by block too."""
    runs, rows = [], [make_throughput_run(0.8 * factor, block=None)]
    for block in range(10):
        seconds = (0.1 + 0.001 * block) * (factor + 0.01 * (block % 4))
        run = make_run(seconds=seconds)
        runs += [dataclasses.replace(run, block=block), dataclasses.replace(without_stage_sync(run, 3.8 * seconds), block=block)]
        rows.append(make_throughput_run(7 * seconds, block=block))
    choices = {"decode": "plain", "prefetch": "off"} if variant == "baseline" else {"decode": "threaded", "prefetch": "on"}
    made = with_throughput_runs(make_side(*runs, variant=variant), *rows)
    return dataclasses.replace(
        made,
        builds=(dataclasses.replace(made.builds[0], seconds=1.5 / factor),),
        trace=make_trace(f"trace-{variant}.json.gz"),
        energy=Energy(10, 5.0, 105.0 * factor, 100.0 * factor, 70.0),
        choices=choices,
        activations=(*(Activation(part, choice, True, f"1 x {choice}") for part, choice in choices.items()), GREEDY),
    )


def result() -> Result:
    """Two sides on a GPU with throughput runs, traces, energy, demands and a warning, so that most of a report is there."""
    optimized = dataclasses.replace(side("optimized", 0.6), unsteady=("times moved by -9%",))
    card = Gpu("H200", "580", 2**37, 600.0, 700.0, 1980, None)
    session = make_session(machine=dataclasses.replace(MACHINE, gpu=card), throughput=2)
    blocks = tuple(dataclasses.replace(block, sm_mhz=1700 + block.number) for block in session.blocks)
    session = dataclasses.replace(session, limits=LIMITS, blocks=blocks, remarks=("2 other processes use the GPU",))
    outputs = dataclasses.replace(PRESERVED, checks=(*PRESERVED.checks, make_check("load", "end-to-end", "warn", rule="differing pixels")))
    baseline, floors = side("baseline", 1.0), {"end-to-end": 0.02}
    demands = {"targets": ("video-llava.tpot<30ms",), "fail_if": ("slower:2%",)}
    baseline, optimized = (dataclasses.replace(one, cache_check=CHECKED) for one in (baseline, optimized))
    return make_result(optimized, baseline, (session,), outputs, noise_floors=floors, **demands)


def report() -> str:
    return to_markdown(described(result()), "2026-01-01", "evbench compare --baseline baseline --optimized optimized")


def test_the_report_is_the_recorded_one() -> None:
    assert report() == SNAPSHOT.read_text(encoding="utf-8")


if __name__ == "__main__":
    SNAPSHOT.write_text(report(), encoding="utf-8")
