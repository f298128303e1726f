"""What a session does in which order, on a machine whose clock is simulated."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from evbench.errors import UserError
from evbench.machine import machine as this_machine
from evbench.pipelines.checkpoints.folder import parameter_count
from evbench.pipelines.registry import MODELS
from evbench.results import SIDES, Energy, Run, Sample, Side, Workload
from evbench.session import memory_fit
from evbench.session.config import SessionConfig
from evbench.session.memory_fit import choose_order
from evbench.session.recorder import RunRecorder
from evbench.session.same_work import require_same_workload
from evbench.session.session import ENERGY_SECONDS, run_session
from evbench.session.side_results import Untimed, session_of, side_results
from evbench.session.warm_up import COMPILING, MOST_COMPILING, QUIET_RUNS, WarmWorkers, unsteady_reasons
from evbench.session.worker_pool import WorkerPool
from evbench.verdict.judge import judge
from tests.checkpoints import save_tiny_video_llava, tiny_video_llava
from tests.examples import make_run, make_side
from tests.simulation import (
    PLAN,
    MemoryJournal,
    Noise,
    SimulatedMachine,
    SimulatedWorker,
    configure,
    finished,
    header,
    run_simulated,
    simulate,
    simulated_workload,
)

QUIET = Noise(variation=0.005, drift=0, first_slot=0, outliers=0)


def plan(**changes: Any) -> Any:
    return dataclasses.replace(PLAN, **changes)


def kinds(machine: SimulatedMachine, kind: str) -> list[tuple[str, int, bool]]:
    return [(side[0], sample, stage_sync) for side, found, sample, stage_sync in machine.order if found == kind]


def test_first_calls_warm_ups_blocks_and_what_comes_after_are_run_in_this_order() -> None:
    machine = SimulatedMachine(1, QUIET)
    result = simulate(machine, plan(blocks=7))
    phases = list(dict.fromkeys(kind for _, kind, _, _ in machine.order))
    assert phases == ["first", "warmup", "timed", "blocked"]
    assert kinds(machine, "first") == [("b", 0, True), ("o", 0, True)]
    warm_up = kinds(machine, "warmup")
    assert [(side, stage_sync) for side, _, stage_sync in warm_up] == [(side, turn % 2 == 0) for turn in range(5) for side in ("b", "o")]
    assert len(kinds(machine, "timed")) == 7 * 8
    assert kinds(machine, "blocked") == [("b", 0, False)] * 4 + [("o", 0, False)] * 4
    assert [block.number for block in result.sessions[0].blocks] == list(range(7))
    assert {block.order for block in result.sessions[0].blocks} == {"ABBA", "BAAB"}
    turns = sorted(run.turn for measured in result.variants().values() for run in measured.runs)
    assert turns == list(range(len(machine.order)))


def test_what_was_measured_is_handed_over_before_what_may_still_fail() -> None:
    """Blocks before anything else runs."""
    machine, stored = SimulatedMachine(1, QUIET), list[Untimed]()
    config = configure(machine, MemoryJournal(header(plan(blocks=6))))

    def checkpoint(untimed: Untimed) -> None:
        stored.append(untimed)
        assert len(session_of(config, untimed).blocks) == 6
        assert all(measured.timed() for measured in side_results(config, untimed).values())

    untimed = run_session(config, Path("nowhere"), None, checkpoint)
    assert stored == [Untimed()], "and the outputs, if they are compared"
    assert set(untimed.activations) == set(SIDES)


def test_a_worker_that_dies_behind_the_blocks_costs_no_block() -> None:
    machine, stored = SimulatedMachine(1, QUIET), list[Untimed]()
    config = configure(machine, MemoryJournal(header(plan(blocks=6))))

    def no_reference(fingerprint: str) -> NoReturn:
        raise UserError("no room for the reference")

    with pytest.raises(UserError, match="no room"):
        run_session(config, Path("nowhere"), no_reference, stored.append)
    assert stored == [Untimed()]
    assert not machine.live


def test_behind_each_letter_of_a_block_samples_are_run_in_a_row() -> None:
    machine = SimulatedMachine(1, QUIET)
    result = simulate(machine, plan(blocks=7, throughput=5), samples=2)
    phases = list(dict.fromkeys(kind for _, kind, _, _ in machine.order))
    assert phases == ["first", "warmup", "stream warm-up", "timed", "stream"]
    in_blocks = [(side, kind) for side, kind, _, _ in machine.order if kind in ("timed", "stream")]
    for block in result.sessions[0].blocks:
        sides: dict[str, Side] = {"A": "baseline", "B": "optimized"}
        expected = [(sides[letter], kind) for letter in block.order for kind in ("timed", "timed", "stream")]
        assert [in_blocks.pop(0) for _ in expected] == expected
    for measured in result.variants().values():
        assert [stream.block for stream in measured.throughput_runs] == [None, *(block for block in range(8) for _ in range(2))]
        assert {stream.samples for stream in measured.throughput_runs} == {5}
    side_results = result.variants().values()
    turns = sorted(
        [
            *(run.turn for measured in side_results for run in measured.runs),
            *(stream.turn for measured in side_results for stream in measured.throughput_runs),
        ]
    )
    assert turns == list(range(len(machine.order)))
    assert result.sessions[0].plan.throughput == 5


def test_each_start_of_a_worker_has_a_warm_up_of_its_feed() -> None:
    result = simulate(SimulatedMachine(1, QUIET), plan(order="reload", blocks=2, throughput=2))
    for measured in result.variants().values():
        assert [stream.block for stream in measured.throughput_runs][:10] == [None, 0, 0, 0, 0, None, 1, 1, 1, 1]
    alone = run_simulated(SimulatedMachine(1, QUIET), MemoryJournal(header(plan(blocks=6, throughput=2))), ("baseline",))
    assert [stream.block for stream in alone.baseline.throughput_runs] == [None, *(block for block in range(6) for _ in range(2))]
    assert judge(alone).verdict is None


def test_a_block_in_whose_row_something_is_compiled_is_run_again() -> None:
    first = simulate(SimulatedMachine(1, QUIET), plan(throughput=2)).baseline
    turn = next(stream.turn for stream in first.throughput_runs if stream.block == 3)
    blocks = simulate(SimulatedMachine(1, QUIET, compiles={turn: 1}), plan(throughput=2)).sessions[0].blocks
    assert [block.number for block in blocks if block.disturbances] == [3]
    assert len(blocks) == 11


def test_answers_in_a_row_are_compared_like_others() -> None:
    """The optimized side answers the second sample otherwise, and in throughput runs only."""
    machine = SimulatedMachine(1, QUIET, streamed=((1, 2, 3), (1, 2, 9), (1, 2, 3)))
    result = simulate(machine, plan(throughput=3), 2)
    answers = {
        side: {sample: set(tokens) for sample, tokens in found.tokens_by_sample().items()} for side, found in result.variants().items()
    }
    assert answers == {"baseline": {0: {(1, 2, 3)}, 1: {(1, 2, 3)}}, "optimized": {0: {(1, 2, 3)}, 1: {(1, 2, 3), (1, 2, 9)}}}


BEGUN_FIRST = [("begun", "baseline"), ("begun", "optimized"), ("ended", "baseline"), ("ended", "optimized")]
ONE_BY_ONE = [("begun", "baseline"), ("ended", "baseline"), ("begun", "optimized"), ("ended", "optimized")]


@pytest.mark.parametrize(
    ("device", "order", "expected"),
    [("cuda", "interleaved", BEGUN_FIRST), ("cpu", "interleaved", ONE_BY_ONE), ("cuda", "reload", ONE_BY_ONE)],
)
def test_evidence_of_both_sides_is_gathered_at_once_on_a_gpu_where_both_live(device: str, order: str, expected: list[object]) -> None:
    machine = SimulatedMachine(1, QUIET)
    config = configure(machine, MemoryJournal(header(plan(blocks=6, order=order))))
    workloads: dict[str, Workload] = dict.fromkeys(SIDES, dataclasses.replace(simulated_workload(), device=device))
    journal = dataclasses.replace(config.journal.header, workloads=workloads)
    run_session(dataclasses.replace(config, journal=MemoryJournal(journal), energy=False), Path(), None, lambda untimed: None)
    assert machine.gathering == expected


@pytest.mark.parametrize(("device", "wanted", "measured"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)])
def test_energy_is_measured_on_a_gpu_where_it_is_wanted(device: str, wanted: bool, measured: bool) -> None:
    machine, request = SimulatedMachine(1, QUIET), header(plan())
    workloads: dict[str, Workload] = dict.fromkeys(SIDES, dataclasses.replace(simulated_workload(), device=device))
    journal = MemoryJournal(dataclasses.replace(request, workloads=workloads))
    result = finished(dataclasses.replace(configure(machine, journal), energy=wanted, idle_watts=5.0))
    energies = [measured.energy for measured in result.variants().values()]
    assert energies == [Energy(10, ENERGY_SECONDS, 200.0, 200.0, 5.0) if measured else None] * 2


def test_both_workers_live_and_each_is_started_once() -> None:
    machine = SimulatedMachine(1, QUIET)
    simulate(machine)
    assert (machine.most_live, machine.starts) == (2, 2)
    assert not machine.live


def test_blocks_are_spread_over_starts_of_both_workers() -> None:
    machine = SimulatedMachine(1, QUIET, disturbed=(3,))
    result = simulate(machine, plan(blocks=12, invocations=4))
    invocations = [block.invocation for block in result.sessions[0].blocks]
    assert invocations == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3], "a disturbed block is run again on the same start"
    assert (machine.most_live, machine.starts) == (2, 8)
    assert all(len(measured.builds) == 4 for measured in result.variants().values())
    assert len([run for run in result.baseline.runs if run.kind == "first"]) == 4
    assert "ONE_INVOCATION" not in judge(result).flags
    more = simulate(SimulatedMachine(1), plan(blocks=12, invocations=4, precision=0.005)).sessions[0].blocks
    assert max(block.invocation for block in more) == (len(more) - 1) // 3, "blocks that are added have starts of their own"


def test_where_only_one_fits_each_block_starts_both_anew() -> None:
    machine = SimulatedMachine(1, QUIET)
    result = simulate(machine, plan(order="reload", blocks=6))
    assert machine.most_live == 1
    assert machine.starts == 12 + 2, "and once more to see whether their choices are active"
    assert {block.order for block in result.sessions[0].blocks} == {"AAAABBBB", "BBBBAAAA"}
    assert all(len(measured.builds) == 6 + 1 for measured in result.variants().values())
    judged = judge(result)
    assert "ORDER=RELOAD" in judged.flags
    assert judged.end_to_end.interval is not None


def test_every_sample_has_the_same_number_of_blocks_and_each_shape_a_warm_up() -> None:
    machine = SimulatedMachine(1, QUIET)
    result = simulate(machine, plan(blocks=7), samples=3)
    assert Counter(block.sample for block in result.sessions[0].blocks) == {0: 3, 1: 3, 2: 3}
    assert {sample for _, sample, _ in kinds(machine, "warmup")} == {0}, "all are of one shape"

    asked = header(PLAN, 3)
    tall = Sample("tall.mp4", "t", 8, 6)
    higher = dataclasses.replace(asked.workloads["baseline"], samples=(*asked.workloads["baseline"].samples[:2], tall))
    asked = dataclasses.replace(asked, workloads=dict.fromkeys(SIDES, higher))
    machine = SimulatedMachine(1, QUIET)
    run_simulated(machine, MemoryJournal(asked))
    usual = {True: 3, False: 2}
    assert Counter(kinds(machine, "warmup")) == {
        (side, sample, stage_sync): times for side in "bo" for sample in (0, 2) for stage_sync, times in usual.items()
    }


def of_two_models(machine: SimulatedMachine, samples: tuple[Sample, ...], other: tuple[Sample, ...]) -> SessionConfig:
    """A session of a model on some samples, and another on others."""
    workload = header(PLAN, len(samples)).workloads["baseline"]
    workloads: dict[str, Workload] = {
        "baseline": dataclasses.replace(workload, samples=samples),
        "optimized": dataclasses.replace(workload, samples=other, model="eventgpt"),
    }
    return configure(machine, MemoryJournal(dataclasses.replace(header(PLAN), workloads=workloads)))


def test_two_models_have_a_workload_each_and_weights_of_their_own() -> None:
    machine = SimulatedMachine(1, QUIET, fingerprints={"optimized": "cd"})
    clips, events = (tuple(Sample(f"{name}{place}", name, 4, 6) for place in range(2)) for name in ("clip", "events"))
    config = of_two_models(machine, clips, events)
    untimed = run_session(config, Path("nowhere"), None, lambda untimed: None)
    session, sides = session_of(config, untimed), side_results(config, untimed)
    assert [measured.workload.model for measured in sides.values()] == ["video-llava", "eventgpt"]
    assert [measured.workload.samples for measured in sides.values()] == [clips, events]
    assert untimed.outputs is None and all(measured.activations for measured in sides.values())
    assert Counter(block.sample for block in session.blocks) == {0: 5, 1: 5}
    assert {sample for _, sample, _ in kinds(machine, "warmup")} == {0}

    wider = (clips[0], dataclasses.replace(clips[1], width=8))
    machine = SimulatedMachine(1, QUIET)
    run_session(of_two_models(machine, wider, events), Path("nowhere"), None, lambda untimed: None)
    assert {(side, sample) for side, sample, _ in kinds(machine, "warmup")} == {(side, sample) for side in "bo" for sample in (0, 1)}


def test_one_model_with_two_weights_is_refused() -> None:
    with pytest.raises(UserError, match="different weights"):
        simulate(SimulatedMachine(1, QUIET, fingerprints={"optimized": "cd"}))


def test_one_variant_alone_has_no_other_to_take_turns_with() -> None:
    machine = SimulatedMachine(1, QUIET)
    result = run_simulated(machine, MemoryJournal(header()), ("baseline",))
    assert {block.order for block in result.sessions[0].blocks} == {"AA"}
    assert not kinds(machine, "blocked")
    assert judge(result).verdict is None


def test_a_disturbed_block_is_run_again_and_counted() -> None:
    machine = SimulatedMachine(1, QUIET, disturbed=(2, 5))
    result = simulate(machine)
    blocks = result.sessions[0].blocks
    assert [block.number for block in blocks if block.disturbances] == [2, 5]
    assert len(blocks) == 12
    judged = judge(result)
    assert judged.blocks.disturbed == 2
    assert judged.verdict != "INVALID"


def test_a_second_interrupt_while_one_worker_ends_does_not_leave_the_other_behind() -> None:
    machine, ended = SimulatedMachine(1, QUIET), []

    class Impatient(SimulatedMachine):
        @contextmanager
        def start(self, side: Side) -> Iterator[SimulatedWorker]:
            try:
                with machine.start(side) as worker:
                    yield worker
            finally:
                ended.append(side)
                if len(ended) == 1:
                    raise KeyboardInterrupt

        def warmed(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(Impatient(1, QUIET), plan(blocks=6))
    assert sorted(ended) == ["baseline", "optimized"]
    assert not machine.live


def test_a_machine_that_disturbs_all_the_time_ends_invalid_and_not_never() -> None:
    machine = SimulatedMachine(1, QUIET, disturbed=tuple(range(1000)))
    judged = judge(simulate(machine))
    assert judged.verdict == "INVALID"
    assert "somebody else was here" in judged.reasons[0]


def test_also_on_such_a_machine_every_sample_is_run() -> None:
    result = simulate(SimulatedMachine(1, QUIET, disturbed=tuple(range(1000))), plan(blocks=6), samples=6)
    assert {block.sample for block in result.sessions[0].blocks} == set(range(6))
    assert len(result.sessions[0].blocks) < 12


def test_a_block_in_which_something_is_compiled_is_run_again() -> None:
    machine = SimulatedMachine(1, QUIET, compiles={20: 1})
    blocks = simulate(machine).sessions[0].blocks
    assert [block.disturbances for block in blocks if block.disturbances] == [("something was compiled or captured in a timed run",)]
    assert len(blocks) == 11


def test_blocks_are_added_until_the_interval_is_narrow() -> None:
    few = judge(simulate(SimulatedMachine(1), plan(precision=0.05)))
    many_result = simulate(SimulatedMachine(1), plan(precision=0.004))
    many = judge(many_result)
    assert few.end_to_end.interval is not None
    assert many.end_to_end.interval is not None
    assert few.end_to_end.interval.half_width > 0.004 >= many.end_to_end.interval.half_width
    assert len(many_result.sessions[0].blocks) > 10


def test_no_block_is_added_after_the_time_is_over() -> None:
    result = simulate(SimulatedMachine(1), plan(precision=0.0001, max_seconds=100.0))
    spent = sum(run.seconds for measured in result.variants().values() for run in measured.timed())
    assert 100 <= spent < 120
    assert len(simulate(SimulatedMachine(1), plan(precision=0.0001, max_seconds=0.0)).sessions[0].blocks) == 10
    fewer = simulate(SimulatedMachine(1), plan(precision=0.0001, max_seconds=100.0, throughput=4))
    assert len(fewer.sessions[0].blocks) < len(result.sessions[0].blocks), "samples in a row take time too"


@pytest.mark.parametrize("sides", [("baseline",), ("baseline", "optimized")])
def test_a_machine_that_disturbs_every_block_is_not_asked_for_a_narrow_interval(sides: tuple[Side, ...]) -> None:
    asked = plan(blocks=6, precision=0.01)
    machine = SimulatedMachine(1, QUIET, disturbed=tuple(range(10_000)))
    result = run_simulated(machine, MemoryJournal(header(asked)), sides)
    assert len(result.sessions[0].blocks) < 2 * asked.blocks
    assert judge(result).end_to_end.sides["baseline"] is None


def test_what_the_blocks_can_see_is_said_before_they_are_run() -> None:
    machine = SimulatedMachine(1, QUIET)
    simulate(machine)
    (message,) = machine.messages
    assert message.startswith("warm-up runs vary by 0.")
    assert "10 blocks detect a difference of 0." in message and "end-to-end in 80 of 100 comparisons, and of 0." in message
    machine = SimulatedMachine(1, Noise(variation=3.0, drift=0, first_slot=0, outliers=0))
    simulate(machine, plan(blocks=6))
    assert machine.messages[0].endswith(", and of more than 1,000% in a stage that varies as much")
    machine = SimulatedMachine(1, QUIET)
    simulate(machine, plan(blocks=3))
    assert machine.messages[0] == "--blocks 3 are too few for any interval; give 6 at least"
    assert not any("detect" in message for message in machine.messages)


@pytest.mark.parametrize(
    ("changed", "samples", "names", "said"),
    [
        ({"blocks": 5}, 1, ("baseline", "optimized"), True),
        ({"blocks": 6}, 1, ("baseline", "optimized"), False),
        ({"blocks": 5}, 1, ("baseline",), False),
        ({"blocks": 5, "precision": 0.5}, 1, ("baseline", "optimized"), False),
        ({"blocks": 3}, 3, ("baseline", "optimized"), False),
    ],
    ids=["five", "six", "of one variant", "more are added", "three samples"],
)
def test_blocks_that_are_too_few_are_said_before_the_first_worker_starts(
    changed: dict[str, Any], samples: int, names: tuple[Side, ...], said: bool
) -> None:
    machine = SimulatedMachine(1, QUIET)
    journal = MemoryJournal(header(plan(**changed), samples))
    config = configure(machine, journal, names)

    class Stopped(Exception): ...

    def start(side: Side) -> AbstractContextManager[SimulatedWorker]:
        raise Stopped

    with pytest.raises(Stopped):
        run_session(dataclasses.replace(config, start=start), Path("nowhere"), None, lambda untimed: None)
    assert machine.messages == (["--blocks 5 are too few for any interval; give 6 at least"] if said else [])


@pytest.mark.parametrize(
    ("blocks", "invocations", "sizes"), [(6, 4, [2, 2, 1, 1]), (12, 4, [3, 3, 3, 3]), (7, 3, [3, 2, 2]), (3, 5, [1, 1, 1]), (5, 1, [5])]
)
def test_blocks_are_spread_over_invocations_as_evenly_as_it_gets(blocks: int, invocations: int, sizes: list[int]) -> None:
    found = simulate(SimulatedMachine(1, QUIET), plan(blocks=blocks, invocations=invocations)).sessions[0].blocks
    assert list(Counter(block.invocation for block in found).values()) == sizes


def warm_up_runs(machine: SimulatedMachine) -> Counter[str]:
    return Counter(side for side, _, _ in kinds(machine, "warmup"))


def test_a_warm_up_that_does_not_become_steady_is_given_up_and_told() -> None:
    machine = SimulatedMachine(1, Noise(variation=0.005, drift=20, first_slot=0, outliers=0))
    result = simulate(machine, plan(warmup_runs=8))
    assert warm_up_runs(machine) == {"b": 8, "o": 8}
    assert any(reason.startswith("times moved by +") for reason in result.baseline.unsteady)
    assert "NOT_STEADY" in judge(result).flags
    machine = SimulatedMachine(1, QUIET)
    result = simulate(machine, plan(warmup_seconds=1.0))
    assert len(kinds(machine, "warmup")) == 2 + 2, "a run takes 0.63 s"
    assert result.baseline.unsteady == ("2 warm-up runs are too few, 5 must be steady",)


def test_a_warm_up_goes_on_beyond_its_limit_while_something_is_compiled_or_captured() -> None:
    late = {turn: 1 for turn in range(24)}  # two first calls, then eleven runs of each side
    machine = SimulatedMachine(1, QUIET, compiles=late)
    result = simulate(machine, plan(warmup_runs=6))
    assert warm_up_runs(machine) == {"b": 11 + QUIET_RUNS, "o": 11 + QUIET_RUNS}
    assert result.baseline.unsteady == ("something was still compiled or captured",), "the last five runs were not all quiet"
    assert not any(block.disturbances for block in result.sessions[0].blocks)
    machine = SimulatedMachine(1, QUIET, compiles=late)
    result = simulate(machine, plan(warmup_runs=30))
    assert (warm_up_runs(machine)["b"], result.baseline.unsteady) == (11 + 5, ())


def test_what_is_compiled_only_without_stage_synchronization_is_compiled_in_the_warm_up() -> None:
    machine = SimulatedMachine(1, QUIET, compiles={4: 1})  # behind two first calls and the first warm-up run of each side
    result = simulate(machine)
    assert warm_up_runs(machine) == {"b": 2 + 5, "o": 5}
    assert not any(block.disturbances for block in result.sessions[0].blocks)
    assert result.baseline.unsteady == ()


def test_what_is_compiled_in_every_run_does_not_hold_a_warm_up_for_ever() -> None:
    machine = SimulatedMachine(1, QUIET, compiles=dict.fromkeys(range(2000), 1))
    config = configure(machine, MemoryJournal(header(plan(warmup_runs=5))))
    with WorkerPool(config) as pool:
        WarmWorkers(config, pool, RunRecorder(config, pool)).worker("baseline")
    assert warm_up_runs(machine) == {"b": MOST_COMPILING, "o": MOST_COMPILING}
    assert config.journal.state.unsteady["baseline"] == [COMPILING]


@pytest.mark.parametrize(("asked", "run"), [(0, 5), (4, 5), (5, 5)])
def test_a_limit_below_the_runs_that_must_be_steady_is_raised_and_told(asked: int, run: int) -> None:
    machine = SimulatedMachine(1, QUIET)
    result = simulate(machine, plan(warmup_runs=asked))
    assert warm_up_runs(machine) == {"b": run, "o": run}
    assert result.baseline.unsteady == (), "with four it could never be steady"
    told = [text for text in machine.messages if text.startswith("--warmup")]
    assert told == ([] if asked == run else [f"--warmup {asked} is raised to 5: a warm-up is steady if its last 5 runs are"])


def warmups(*seconds: float, **changes: Any) -> list[Run]:
    return [dataclasses.replace(make_run("warmup", value), **changes) for value in seconds]


def test_a_warm_up_is_done_when_nothing_moves_any_more() -> None:
    assert unsteady_reasons(warmups(1, 1, 1, 1)) == ["4 warm-up runs are too few, 5 must be steady"]
    assert unsteady_reasons(warmups(9, 1.0, 1.01, 1.0, 0.99, 1.0)) == [], "only the last five count"
    assert "the first of them took 2.00x the median" in unsteady_reasons(warmups(2, 1, 1.01, 0.99, 1))[0]
    grown = [dataclasses.replace(run, reserved=place) for place, run in enumerate(warmups(1, 1, 1, 1, 1))]
    assert unsteady_reasons(grown) == ["the memory pool still grew"]


def test_two_results_of_different_work_are_refused_with_both_values() -> None:
    ours, theirs = make_side().workload, make_side(new_tokens=3, dtype="bfloat16", samples=(Sample("b.mp4", "00", 4, 6),)).workload
    with pytest.raises(UserError) as caught:
        require_same_workload(ours, theirs)
    assert "new_tokens 2 and 3; dtype 'float32' and 'bfloat16'" in str(caught.value)
    assert "b.mp4" not in str(caught.value), "the same file may lie elsewhere"
    require_same_workload(ours, ours)


def test_the_order_is_chosen_by_what_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_video_llava(tmp_path / "weights")
    weights = 4 * MODELS["video-llava"].presets["tiny"].parameters
    assert 4 * parameter_count(folder) == weights
    asked = tiny_video_llava(preset=None, weights=str(folder))

    def remembering(amount: int) -> None:
        monkeypatch.setattr(this_machine, "_memory_bytes", lambda: amount)

    remembering(2 * (weights + memory_fit.ROOM_PER_WORKER))
    assert choose_order("auto", [asked] * 2) == "interleaved"
    assert choose_order("reload", [asked] * 2) == "reload"
    remembering(2 * (weights + memory_fit.ROOM_PER_WORKER) - 1)
    assert choose_order("auto", [asked] * 2) == "reload"
    assert choose_order("auto", [asked]) == "interleaved"
    with pytest.raises(UserError, match="use --order reload"):
        choose_order("interleaved", [asked] * 2)
    other = dataclasses.replace(asked, model="eventgpt", preset="tiny", weights=None)
    remembering(weights + 4 * MODELS["eventgpt"].presets["tiny"].parameters + 2 * memory_fit.ROOM_PER_WORKER)
    assert choose_order("auto", [asked, other]) == "interleaved", "each has its own weights"
    remembering(weights - 1)
    with pytest.raises(UserError, match="use a smaller --preset"):
        choose_order("auto", [asked])


@pytest.mark.parametrize(("asked", "run"), [(1, 6), (6, 6), (7, 12)])
def test_blocks_that_are_not_the_same_for_each_sample_are_raised_and_told(asked: int, run: int) -> None:
    machine = SimulatedMachine(1, QUIET)
    result = simulate(machine, plan(blocks=asked), 6)
    assert len(result.sessions[0].blocks) == run
    told = [text for text in machine.messages if text.endswith("samples has as many")]
    assert told == ([] if asked == run else [f"{asked} blocks are raised to {run}: each of 6 samples has as many"])
