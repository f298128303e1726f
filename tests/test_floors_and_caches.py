"""What is less than possible, and what is remembered, is claimed by nobody."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from evbench import results
from evbench.pipelines.build import build
from evbench.results import STAGES, CacheCheck, CachePair, Limits, NetworkShape, Rates, Result, Run, Work
from evbench.session import caches
from evbench.variants.named import parse
from evbench.verdict import costs, floors
from evbench.verdict.blocks import END_TO_END, TPOT
from evbench.verdict.caches import examine
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from evbench.worker.instruments import instruments
from evbench.worker.limits import measure_limits
from tests import simulation
from tests.examples import described, make_result, make_run, make_session, make_side, scaled
from tests.simulation import PLAN, MemoryJournal, Noise, SimulatedMachine, SimulatedWorker, header, run_simulated, simulate
from tests.test_judge import in_blocks
from tests.test_mutants import workload

CLIP_L = {"vision_layers": 24, "vision_hidden": 1024, "vision_intermediate": 4096, "patch": 14}
VICUNA_7B = {"layers": 32, "hidden": 4096, "intermediate": 11008, "heads": 32, "key_heads": 32, "head_size": 128, "weight_bytes": 2}
EVENTGPT_7B = NetworkShape(**CLIP_L, vision_tokens=577, **VICUNA_7B, vocabulary=32000)
VIDEO_LLAVA_7B = NetworkShape(**CLIP_L, vision_tokens=257, **VICUNA_7B, vocabulary=32064)
H200 = Rates(4.3e12, 790e12)


def test_floors_of_each_timing_add_up() -> None:
    work = Work(
        (0, 1, 2, 3, 4, 5, 6, 7),
        frame_height=1080,
        frame_width=1440,
        pixel_shape=(1, 8, 3, 224, 224),
        visual_tokens=2056,
        prompt_tokens=2076,
        new_tokens=102,
    )
    found = floors.floors(Limits(H200, VIDEO_LLAVA_7B), work, video=True)
    assert found["vision"] == pytest.approx(1.750e-3, rel=0.01), "by its operations"
    assert found["prefill"] == pytest.approx(34.4e-3, rel=0.01)
    assert found[TPOT] == pytest.approx(3.333e-3, rel=0.01), "by its bytes"
    assert found["generate"] == pytest.approx(found["prefill"] + 101 * found[TPOT])
    assert found["load"] == pytest.approx(8 * 1080 * 1440 * 3 / 4.3e12)
    assert found["preprocess"] == pytest.approx(8 * 1080 * 1080 * 3 / 4.3e12)
    assert found[END_TO_END] == pytest.approx(sum(found[stage] for stage in STAGES))
    assert "load" not in floors.floors(Limits(H200, EVENTGPT_7B), work, video=False), "event images may be of several sizes"


def test_a_side_that_drafts_has_the_floor_of_the_fewest_passes() -> None:
    result = of_a_machine(0.5, LIMITS, dataclasses.replace(WORK, new_tokens=72))
    assert result.optimized is not None
    drafting = dataclasses.replace(result.optimized, choices={**result.optimized.choices, "draft": "head-4"})
    judged = judge(dataclasses.replace(result, optimized=drafting))
    assert list(judged.side_floors) == ["optimized"]
    one, some = judged.floors, judged.side_floors["optimized"]
    assert one["generate"] == pytest.approx(one["prefill"] + 71 * one[TPOT])
    assert some["generate"] == pytest.approx(one["prefill"] + 15 * one[TPOT]), "71 tokens in passes of five"
    assert some[TPOT] == pytest.approx(one[TPOT] * 15 / 71)
    assert some["prefill"] == one["prefill"]


def test_a_side_whose_language_model_is_divided_has_the_floor_of_so_many_gpus() -> None:
    work = dataclasses.replace(WORK, pixel_shape=(1, 8, 3, 224, 224), visual_tokens=2056, new_tokens=72)
    result = of_a_machine(0.5, LIMITS, work)
    assert result.optimized is not None
    divided = dataclasses.replace(result.optimized, choices={**result.optimized.choices, "parallel": "tensor-4"})
    judged = judge(dataclasses.replace(result, optimized=divided))
    assert list(judged.side_floors) == ["optimized"]
    one, some = judged.floors, judged.side_floors["optimized"]
    assert {name: one[name] / some[name] for name in ("vision", "prefill", TPOT)} == pytest.approx({"vision": 1, "prefill": 4, TPOT: 4})
    assert some["generate"] == pytest.approx(one["generate"] / 4)


def of_a_machine(factor: float, limits: Limits | None, work: Work, **changes: Any) -> Result:
    """The baseline takes ten times its floor in all; the optimized side `factor` times that."""
    run = dataclasses.replace(make_run(), work=work)
    side = make_side(*in_blocks(run))
    floor = floors.floors(Limits(H200, VIDEO_LLAVA_7B), work, video=True)
    baseline = scaled(side, 10 * floor["generate"] / 0.1)
    session = dataclasses.replace(make_session(), limits=limits)
    return make_result(scaled(baseline, factor), baseline=baseline, sessions=(session,), **changes)


WORK = dataclasses.replace(make_run().work, pixel_shape=(1, 2, 3, 224, 224), prompt_tokens=534, new_tokens=2)
LIMITS = Limits(H200, VIDEO_LLAVA_7B)


def test_less_than_a_tenth_of_a_floor_is_impossible_and_claims_nothing() -> None:
    judged = judge(of_a_machine(1 / 11921, LIMITS, WORK))
    assert judged.verdict == Verdict.INVALID
    assert judged.exit_code == 6
    (reason,) = judged.reasons
    assert reason.startswith("IMPOSSIBLE: optimized: ")
    assert "generate took" in reason
    assert "end-to-end took" in reason
    assert "baseline" not in reason
    assert "IMPOSSIBLE" in judged.flags
    assert all(timing.interval is None for timing in judged.timings())


def test_what_is_possible_is_claimed() -> None:
    """Three times the floor, and half of it: rates and counts are not that exact."""
    for factor in (0.3, 0.05):
        judged = judge(of_a_machine(factor, LIMITS, WORK))
        assert judged.verdict == Verdict.FASTER
        assert "IMPOSSIBLE" not in judged.flags
        assert judged.floors[TPOT] == pytest.approx(3.14e-3, rel=0.01)


def test_a_run_that_only_pretends_to_be_end_to_end_is_impossible() -> None:
    """It does its work where stages are timed, and none where they are not."""
    result = of_a_machine(0.5, LIMITS, WORK)
    assert result.optimized is not None

    def hasty(run: Run) -> Run:
        return run if run.stages is not None else dataclasses.replace(run, seconds=1e-5)

    cheat = dataclasses.replace(result.optimized, runs=tuple(map(hasty, result.optimized.runs)))
    judged = judge(dataclasses.replace(result, optimized=cheat))
    assert judged.verdict == Verdict.INVALID
    assert "end-to-end took" in judged.reasons[0]
    assert "vision took" not in judged.reasons[0]


def test_a_result_of_before_has_no_floors_and_says_so() -> None:
    result = of_a_machine(0.5, None, WORK)
    judged = judge(result)
    assert judged.verdict == Verdict.FASTER
    assert judged.floors == {}
    notes = described(result).notes
    assert any(note.startswith("Physical floors of the times: not checked") for note in notes)
    assert any(note.startswith("Seen against unseen input: not checked") for note in notes)


@pytest.mark.slow
def test_rates_of_this_machine_and_the_network_of_a_pipeline() -> None:
    pipeline = build(parse("baseline"), workload("video"))
    limits = measure_limits(pipeline, "cpu", instruments("cpu"))
    assert 1e8 < limits.rates.read < 1e13
    assert 1e8 < limits.rates.product < 1e14
    network, (layer, *_) = limits.network, pipeline.decoder.layers
    assert network is not None
    of_layers = sum(weight.numel() for weight in layer.parameters() if weight.ndim > 1) * network.layers
    assert costs.decode_step(network, 0).bytes == 4 * (of_layers + pipeline.decoder.embed_tokens.weight.numel())
    used = pipeline.tower.encoder.layers[: network.vision_layers]
    projector = pipeline.model.model.multi_modal_projector
    weights = [weight for part in (used, pipeline.tower.embeddings.patch_embedding, projector) for weight in part.parameters()]
    assert costs.vision(network, 0, 0).bytes == 4 * sum(weight.numel() for weight in weights if weight.ndim > 1)
    assert (network.vision_layers, len(pipeline.tower.encoder.layers)) == (2, 3), "the last is not needed"
    assert network.vision_tokens == pipeline.tower.embeddings.num_positions


def test_a_model_of_another_kind_has_floors_of_its_frames_only() -> None:
    work = Work(frame_indices=(0, 1), frame_height=480, frame_width=640, prompt_tokens=9, new_tokens=3, pixel_shape=(2, 3, 224, 224))
    known = floors.floors(Limits(Rates(1e9, 1e12), None), work, video=True)
    assert known["load"] > known["preprocess"] > 0
    assert {"vision", "prefill", "tpot", "generate"} & known.keys() == set()


# Remembered.

QUIET = Noise(variation=0.005, drift=0, first_slot=0, outliers=0)


def test_a_session_compares_seen_with_unseen_input_on_both_sides() -> None:
    machine = SimulatedMachine(1, QUIET, faster=1.5)
    result = simulate(machine, dataclasses.replace(PLAN, blocks=6))
    assert [side for side, _ in machine.checked] == ["baseline", "optimized"]
    assert len({request.seed for _, request in machine.checked}) == 1, "both are given the same"
    assert result.sessions[0].limits is not None
    judged = judge(result)
    assert judged.verdict == Verdict.FASTER
    assert "CACHED" not in judged.flags
    assert set(judged.seen_unseen) == {"baseline", "optimized"}
    assert any("baseline: no difference found" in note for note in described(result).notes)


@pytest.mark.parametrize("side", ["baseline", "optimized"])
@pytest.mark.parametrize(("timing", "factor"), [("prefill", 100.0), ("vision", 3.73), ("load", 1.3)])
def test_a_side_that_is_faster_on_what_it_has_seen_claims_nothing(side: Any, timing: str, factor: float) -> None:
    machine = SimulatedMachine(2, QUIET, faster=1.5, remembers={side: {timing: factor}})
    result = simulate(machine, dataclasses.replace(PLAN, blocks=6))
    judged = judge(result)
    assert judged.verdict == Verdict.INVALID
    assert judged.exit_code == 6
    assert judged.reasons[0].startswith(f"CACHED: {side}: {timing} takes ")
    assert judged.reasons[0].endswith("allow it by --allow cached")
    seeds = [request.seed for checked, request in machine.checked if checked == side]
    assert len(set(seeds)) == len(seeds) == 3, "looked at again, with other input"
    assert any(f"{side}: remembers {timing}" in note for note in described(result).notes)
    allowed = judge(dataclasses.replace(result, rules=dataclasses.replace(result.rules, allowed=("cached",))))
    assert allowed.verdict == Verdict.FASTER
    assert "CACHED" in allowed.flags, "it is told all the same"


UNCHANGED = {"preprocess": 0.0, "vision": 0.002, "generate": 0.0, "load": 0.0}


@pytest.mark.parametrize("side", ["baseline", "optimized"])
@pytest.mark.parametrize(("stage", "share"), [("load", 1.0), ("vision", 1.0), ("preprocess", 0.125)])
def test_a_side_whose_outputs_do_not_follow_its_input_is_invalid(side: Any, stage: str, share: float) -> None:
    result = simulate(SimulatedMachine(1, QUIET, faster=1.5), dataclasses.replace(PLAN, blocks=6))

    def checked(measured: Any, unchanged: dict[str, float]) -> Any:
        return dataclasses.replace(measured, cache_check=dataclasses.replace(measured.cache_check, unchanged=unchanged))

    sides = {one: checked(measured, UNCHANGED) for one, measured in result.variants().items()}
    assert judge(dataclasses.replace(result, **sides)).verdict == Verdict.FASTER
    later = {"vision": 1.0} if stage == "preprocess" else {}
    both = sides | {side: checked(sides[side], UNCHANGED | {stage: share} | later)}
    judged = judge(dataclasses.replace(result, **both))
    assert judged.verdict == Verdict.INVALID
    (reason,) = judged.reasons
    assert reason.startswith(f"INPUT_IGNORED: {side}: given other input, {stage} leaves {share:.0%} of its output as it was")
    assert "INPUT_IGNORED" in judged.flags
    same = {one: checked(measured, UNCHANGED | {stage: share}) for one, measured in sides.items()}
    assert judge(dataclasses.replace(result, **same)).verdict == Verdict.FASTER, "input that looks alike to both"


def test_noise_is_not_taken_for_a_cache() -> None:
    """In 500 sessions of two sides, on a machine with a scatter of 5 % and outliers of half as much again."""
    noise = Noise(variation=0.05)
    found = 0
    for seed in range(500):
        machine = SimulatedMachine(seed, noise)
        check = CacheCheck(tuple(machine.cache_pair("baseline") for _ in range(12)), True)
        found += any(one.cached for one in examine(check))
    assert found == 0


def checked_in_rounds(seed: int, remembers: dict[str, float]) -> tuple[CacheCheck, CacheCheck]:
    """A check, and one that makes all pairs: the first ones are the same."""
    noise = Noise(variation=0.07)

    def machine() -> SimulatedMachine:
        return SimulatedMachine(seed, noise, remembers={"baseline": remembers})

    whole = machine()
    every = CacheCheck(tuple(whole.cache_pair("baseline") for _ in range(caches.PAIRS * caches.ROUNDS)), True)
    return caches.check(SimulatedWorker(machine(), "baseline", 1.0), seed), every


def test_a_check_that_ends_early_finds_what_all_pairs_find() -> None:
    """Pairs that scatter by 10 %, with outliers."""
    for factor in (1.2, 1.4, 2.0):
        both = [[any(one.cached for one in examine(check)) for check in checked_in_rounds(seed, {"vision": factor})] for seed in range(300)]
        early, late = (sum(found) for found in zip(*both, strict=True))
        assert early >= 0.99 * late > 0


def test_a_check_without_a_cache_ends_early_as_a_rule() -> None:
    lengths = [len(checked_in_rounds(seed, {})[0].pairs) for seed in range(300)]
    assert set(lengths) == {caches.PAIRS, 2 * caches.PAIRS, 3 * caches.PAIRS}
    assert sum(lengths) / len(lengths) < 9


def test_one_side_alone_and_a_stored_pair_survive_without_a_check() -> None:
    machine = SimulatedMachine(1, QUIET)
    result = run_simulated(machine, MemoryJournal(header(dataclasses.replace(PLAN, blocks=6))), ("baseline",))
    assert machine.checked == []
    assert result.baseline.cache_check is None
    assert judge(result).verdict is None


def test_one_side_alone_has_floors() -> None:
    result = run_simulated(SimulatedMachine(1, QUIET), MemoryJournal(header(dataclasses.replace(PLAN, blocks=6))), ("baseline",))
    assert result.sessions[0].limits == simulation.LIMITS
    assert judge(result).floors == floors.of_result(result) != {}


def test_a_check_survives_its_file(tmp_path: Any) -> None:
    check = CacheCheck((CachePair({"load": 0.1}, {"load": 0.2}),), True)
    side = dataclasses.replace(make_side(variant="optimized"), cache_check=check)
    result = make_result(side, sessions=(dataclasses.replace(make_session(), limits=LIMITS),))
    results.write(result, tmp_path / "result.json")
    assert results.read(tmp_path) == result


@pytest.mark.parametrize("seconds", [0.0, 1e-320, 1e300, float("inf"), float("nan")])
def test_a_pair_has_times_of_which_ratios_are_numbers(seconds: float) -> None:
    with pytest.raises(ValueError, match="a run of a pair has a time that is impossible"):
        CachePair({"load": 0.1}, {"load": seconds})
