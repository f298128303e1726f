"""Metrics of a result with known times."""

from __future__ import annotations

import dataclasses

import pytest

from evbench.results import Energy, Memory, SideResult
from evbench.verdict.judge import judge
from evbench.verdict.metrics import METRICS, Value
from evbench.verdict.statistics import Distribution
from tests.examples import (
    make_result,
    make_run,
    make_session,
    make_side,
    make_throughput_run,
    scaled,
    with_throughput_runs,
    without_stage_sync,
)


def values(side: SideResult) -> dict[str, Value]:
    """Name of a metric -> its value of one variant alone."""
    return {name: metric.sides["baseline"] for name, metric in judge(make_result(baseline=side)).metrics.items()}


def median(value: Value) -> float:
    assert isinstance(value, Distribution)
    return value.median


def test_each_name_is_given_once() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))


def test_times_of_tokens_and_units_of_work() -> None:
    """Each stage takes 100 ms: of generate 50 ms are prefill, and one decode step takes 25 ms."""
    found = values(make_side())
    assert median(found["decode-step"]) == pytest.approx(0.025)
    assert found["decode-tokens-per-second"] == pytest.approx(40)
    assert found["new-tokens-per-second"] == pytest.approx(2 / 0.4)
    assert median(found["load-per-frame"]) == pytest.approx(0.05)
    assert median(found["generate-per-new-token"]) == pytest.approx(0.05)
    assert "vision-per-visual-token" not in found, "the number of visual tokens is unknown"
    assert not {"samples-per-second", "throughput-overhead"} & {*found}, "there are no throughput runs"


def test_throughput_runs() -> None:
    found = values(with_throughput_runs(make_side(), make_throughput_run(0.8, samples=4, load_wait_seconds=0.04)))
    assert found["samples-per-second"] == pytest.approx(5)
    assert (median(found["load-per-sample"]), median(found["load-wait-per-sample"])) == pytest.approx((0.05, 0.01))
    assert median(found["samples-per-throughput-run"]) == 4
    assert found["throughput-overhead"] == pytest.approx(0.2 / 0.3 - 1), "preprocess, vision and generate take 100 ms each"


def test_startup_and_compile_time_is_what_the_runs_take_longer_than_steady_ones() -> None:
    slow = (make_run("first", seconds=1.0), make_run("warmup", seconds=0.2))
    found = values(dataclasses.replace(make_side(), runs=(*slow, *make_side().runs[1:])))
    assert found["build"] == 1.5
    assert (found["first-call"], found["warm-up"], found["warm-up-runs"]) == pytest.approx((4.0, 0.8, 1))
    assert found["startup-and-compile"] == pytest.approx(1.5 + 3.6 + 0.4)


def test_startup_and_compile_time_is_never_less_than_the_build() -> None:
    """Where steady runs took longer than those before them, on a machine that became busy."""
    quick = (make_run("first", seconds=0.05), make_run("warmup", seconds=0.01))
    found = values(dataclasses.replace(make_side(), runs=(*quick, *make_side().runs[1:])))
    assert found["startup-and-compile"] == found["build"] == 1.5


def test_the_overhead_of_stage_synchronization() -> None:
    run = make_run()
    runs = [dataclasses.replace(one, block=block) for block in range(10) for one in (run, without_stage_sync(run, 0.32))]
    assert values(make_side(*runs))["stage-sync-overhead"] == pytest.approx(0.25)


def test_the_peak_memory_is_that_of_the_largest_run_and_unknown_if_one_run_does_not_know_it() -> None:
    def with_memory(block: int, size: int | None) -> SideResult:
        run = make_run()
        stages = {
            name: dataclasses.replace(stage, memory=Memory(size, None, None, None, None)) for name, stage in (run.stages or {}).items()
        }
        changed = dataclasses.replace(run, stages=stages, block=block)
        return make_side(*make_side().runs[1:], changed)

    assert values(with_memory(3, 2**30))["process-memory-vision"] == 2**30
    assert "process-memory-vision" not in values(with_memory(3, None))
    assert "device-memory-vision" not in values(make_side())


@pytest.mark.parametrize(("joules", "credible"), [(105.0, True), (150.0, False), (0.0, False)])
def test_energy_is_given_only_if_counter_and_power_readings_agree(joules: float, credible: bool) -> None:
    side = dataclasses.replace(make_side(), energy=Energy(10, 5.0, joules, 100.0, 70.0))
    assert values(side).get("energy-per-sample") == (pytest.approx(joules / 10) if credible else None)
    assert judge(make_result(baseline=side)).energy["baseline"].credible is credible


def test_runs_of_disturbed_blocks_do_not_count() -> None:
    side = make_side()
    runs = tuple(dataclasses.replace(run, block=0) if run.block == 0 else run for run in side.runs)
    loud = tuple(slow if run.block == 0 else run for run, slow in zip(runs, scaled(side, 50).runs, strict=True))
    session = make_session()
    marked = dataclasses.replace(session.blocks[0], disturbances=("power brake",))
    session = dataclasses.replace(session, blocks=(marked, *session.blocks[1:]))
    found = judge(make_result(baseline=dataclasses.replace(side, runs=loud), sessions=(session,))).metrics["decode-step"].sides["baseline"]
    assert isinstance(found, Distribution)
    assert found.runs == 9
    assert found.maximum == pytest.approx(0.025)
