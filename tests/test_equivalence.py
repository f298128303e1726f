"""Each rule is kept by what is equal within rounding, and broken by what is not: at its line, and with the place of the worst."""

from __future__ import annotations

import dataclasses
import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evbench.pipelines.eventgpt import EventGPT
from evbench.pipelines.video_llava import VideoLlava
from evbench.results import Check, Work
from evbench.verdict import findings
from evbench.verdict.equivalence import compare_sample
from evbench.verdict.error_rule import ELEMENT, ROW, WHOLE
from evbench.verdict.findings import Finding, SampleOutputs, SideOutputs, distance, first_divergence, merge, worst
from evbench.verdict.logit_rules import cosine_distance

Arrays = dict[str, npt.NDArray[Any]]
QUANTUM = 0.015
TOKENS = (4, 2, 7, 1, 0)
WORK = Work(frame_indices=(0, 2), frame_seconds=(0.0, 0.1), new_tokens=5)


UNTIMED = dataclasses.replace(WORK, frame_seconds=None)


def exact(seed: int = 0) -> Arrays:
    """What the reference makes: two frames of 6x8, 3 tokens of 16 features each, 5 positions over 12 words."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(5, 12))
    logits[np.arange(5), TOKENS] += 8
    return {
        "load": random.integers(20, 230, size=(2, 6, 8, 3)).astype(np.uint8),
        "preprocess": random.normal(size=(2, 3, 4, 4)),
        "vision": random.normal(size=(2, 3, 16)),
        "generate": logits,
    }


def rounded(arrays: Arrays, seed: int, error: float = 1e-3) -> Arrays:
    """Arrays with the errors of a working type."""
    random = np.random.default_rng(seed)
    noisy = {name: values + error * random.normal(size=values.shape) for name, values in arrays.items() if name != "load"}
    return {"load": arrays["load"], **noisy}


def with_swapped(arrays: Arrays) -> Arrays:
    return arrays | {f"stage-isolated/{name}": arrays[name] for name in ("preprocess", "vision", "generate")}


def seen(arrays: Arrays, tokens: tuple[int, ...] = TOKENS, **fields: Any) -> SideOutputs:
    return dataclasses.replace(SideOutputs(arrays, WORK, (1, 5, 6), tokens, QUANTUM, VideoLlava.axes), **fields)


def sides(change: Callable[[Arrays], None] | None = None, **fields: Any) -> SampleOutputs:
    """Two sides that are equal within rounding, but for the change."""
    truth = exact()
    optimized = with_swapped({name: values.copy() for name, values in rounded(truth, 2).items()})
    if change is not None:
        change(optimized)
    made = SampleOutputs(seen(rounded(truth, 1)), seen(rounded(truth, 1)), seen(optimized), with_swapped(truth), (), ())
    return dataclasses.replace(made, **fields)


def graded(given: SampleOutputs, dtype: str = "float32") -> dict[tuple[str, str, str], Finding]:
    return {(finding.stage, finding.mode, finding.rule): finding for finding in compare_sample(given, dtype)}


def failing(given: SampleOutputs, dtype: str = "float32") -> set[tuple[str, str, str]]:
    return {key for key, finding in graded(given, dtype).items() if finding.grade == "fail"}


def test_what_is_equal_within_rounding_passes_every_rule() -> None:
    found = graded(sides())
    assert failing(sides()) == set()
    assert {finding.grade for finding in found.values()} == {"pass"}
    rules = {(stage, rule) for stage, mode, rule in found if mode == "stage-isolated"}
    errors = ("RMS error", "RMS error, worst row", "max abs error", "NaN or infinity")
    assert rules >= {(stage, rule) for stage in ("preprocess", "vision", "generate") for rule in errors}
    assert ("load", "stage-isolated", "max abs difference (8-bit levels)") not in found, "nothing is fed to the first stage"


def test_the_error_of_the_whole_has_a_line_between_rounding_and_a_fault() -> None:
    def noisier(times: float) -> Callable[[Arrays], None]:
        def change(arrays: Arrays) -> None:
            arrays["stage-isolated/vision"] = rounded(exact(), 2, times * 1e-3)["vision"]

        return change

    key = ("vision", "stage-isolated", "RMS error")
    assert key not in failing(sides(noisier(0.8 * WHOLE["float32"])))
    assert key in failing(sides(noisier(1.3 * WHOLE["float32"])))


def test_one_bad_row_is_found_among_good_ones_and_named() -> None:
    def change(arrays: Arrays) -> None:
        arrays["stage-isolated/vision"][1, 2] += 1.5 * ROW["float32"] * 1e-3

    found = graded(sides(change))[("vision", "stage-isolated", "RMS error, worst row")]
    assert (found.grade, found.location) == ("fail", "frame 1, token 2")
    assert "1 of 6 rows" in found.detail


def test_one_bad_element_is_found_and_named() -> None:
    def change(arrays: Arrays) -> None:
        arrays["stage-isolated/generate"][3, 7] += 6 * ELEMENT * 1e-3

    found = graded(sides(change))[("generate", "stage-isolated", "max abs error")]
    assert (found.grade, found.location) == ("fail", "position 3, token 7")


def test_the_baselines_own_spread_is_in_the_line() -> None:
    def noisier(arrays: Arrays) -> None:
        arrays["stage-isolated/vision"] = rounded(exact(), 2, 4e-3)["vision"]

    assert ("vision", "stage-isolated", "RMS error") in failing(sides(noisier))
    again = seen(rounded(exact(), 3, 4e-3))
    assert ("vision", "stage-isolated", "RMS error") not in failing(sides(noisier, repeat=again))
    assert graded(sides(repeat=again))[("vision", "baseline-repeat", "bitwise repeatability")].grade == "warn"


def test_a_baseline_that_repeats_something_else_fails_as_itself() -> None:
    again = seen(rounded(exact(seed=5), 1))
    assert {mode for _, mode, _ in failing(sides(repeat=again))} >= {"baseline-repeat"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_new_values_that_are_not_finite_are_counted_and_located(value: float) -> None:
    def change(arrays: Arrays) -> None:
        arrays["stage-isolated/vision"][0, 1, 5] = value

    found = graded(sides(change))[("vision", "stage-isolated", "NaN or infinity")]
    assert (found.grade, found.value, found.location) == ("fail", 1.0, "frame 0, token 1, feature 5")


@pytest.mark.parametrize("name", ["preprocess", "stage-isolated/vision", "vision", "stage-isolated/generate"])
def test_nothing_passes_against_a_reference_that_is_not_finite(name: str) -> None:
    truth = with_swapped(exact())
    truth[name] = truth[name].copy()
    truth[name].flat[3] = np.nan
    assert "NaN or infinity" in {rule for _, _, rule in failing(sides(reference=truth))}


def test_a_baseline_far_from_the_reference_lets_nothing_pass() -> None:
    coarse = rounded(exact(), 1, 0.6)
    assert ("vision", "baseline-repeat", "relative error against the reference") in failing(
        sides(baseline=seen(coarse), repeat=seen(coarse))
    )


def test_the_edge_of_a_frame_is_looked_at() -> None:
    from evbench.verdict.pixel_rules import at_model_size

    white = np.full((1, 450, 677, 3), 255, np.uint8)
    edged = white.copy()
    edged[:, :, -1:] = 0
    assert np.abs(at_model_size(white) - at_model_size(edged)).max() > 100


def test_nothing_passes_beside_a_baseline_that_is_not_finite() -> None:
    broken = rounded(exact(), 1)
    broken["vision"][0, 0, 0] = np.nan
    assert ("vision", "stage-isolated", "NaN or infinity") in failing(sides(baseline=seen(broken)))


def test_other_frames_are_named_though_the_pixels_are_equal() -> None:
    optimized = sides().optimized
    other = dataclasses.replace(optimized, work=dataclasses.replace(WORK, frame_indices=(0, 3), frame_seconds=(0.0, 0.15)))
    found = graded(sides(optimized=other))
    assert found[("load", "end-to-end", "frame indices")].detail == "0 2 and 0 3"
    assert failing(sides(optimized=other)) == {("load", "end-to-end", "frame indices"), ("load", "end-to-end", "frame times")}


def test_another_question_is_a_difference() -> None:
    other = dataclasses.replace(sides().optimized, prompt=(1, 5, 9))
    assert failing(sides(optimized=other)) == {("preprocess", "end-to-end", "prompt tokens")}


@pytest.mark.parametrize(("levels", "grade"), [(0, "pass"), (1, "pass"), (3, "warn"), (30, "fail")])
def test_decoders_may_differ_by_a_level_or_two(levels: int, grade: str) -> None:
    def change(arrays: Arrays) -> None:
        arrays["load"] = (arrays["load"].astype(int) + levels * (np.indices((2, 6, 8, 3)).sum(0) % 2)).clip(0, 255).astype(np.uint8)

    # Small enough that each pixel is looked at by itself.
    assert graded(sides(change))[("load", "end-to-end", "max abs difference (8-bit levels)")].grade == grade


def test_event_images_may_not_differ_in_a_single_pixel() -> None:
    """They have no times, and no codec that loses something."""

    def of_events(given: SampleOutputs) -> SampleOutputs:
        return dataclasses.replace(
            given, **{name: dataclasses.replace(getattr(given, name), work=UNTIMED) for name in ("baseline", "repeat", "optimized")}
        )

    def change(arrays: Arrays) -> None:
        arrays["load"] = arrays["load"].copy()
        arrays["load"][1, 2, 5, 0] ^= 1

    assert failing(of_events(sides())) == set()
    finding = graded(of_events(sides(change)))[("load", "end-to-end", "differing pixels")]
    assert (finding.grade, finding.value, finding.threshold, finding.location) == ("fail", 1.0, 0.0, "frame 1, row 2, column 5")
    assert finding.detail.startswith("1.04% of all; ")


def test_the_worst_of_five_event_images_is_named_by_the_axes_of_their_outputs() -> None:
    """Shapes of EventGPT, but for smaller images: 582 pooled tokens are no frames, and images are no tokens."""
    random = np.random.default_rng(0)
    truth: Arrays = {
        "load": random.integers(0, 256, size=(5, 24, 32, 3)).astype(np.uint8),
        "preprocess": random.normal(size=(5, 3, 14, 14)),
        "vision": random.normal(size=(582, 16)),
        "generate": exact()["generate"],
    }
    optimized = with_swapped({name: values.copy() for name, values in rounded(truth, 2).items()})
    optimized["load"] = truth["load"].copy()
    optimized["load"][4, 20, 31, 1] ^= 1
    optimized["stage-isolated/preprocess"][3, 2, 10, 5] += 0.5
    optimized["stage-isolated/vision"][287, 9] += 0.5
    known: dict[str, Any] = {"axes": EventGPT.axes, "work": UNTIMED}
    once, again = (seen(rounded(truth, 1), **known) for _ in range(2))
    found = graded(SampleOutputs(once, again, seen(optimized, **known), with_swapped(truth), (), ()))
    assert found[("load", "end-to-end", "differing pixels")].location == "event image 4, row 20, column 31"
    alone = {(stage, rule): one for (stage, mode, rule), one in found.items() if mode == "stage-isolated" and one.grade != "pass"}
    assert {key: one.location for key, one in alone.items() if key[1] != "RMS error"} == {
        ("preprocess", "RMS error, worst row"): "event image 3",
        ("preprocess", "max abs error"): "event image 3, channel 2, row 10, column 5",
        ("preprocess", "max abs difference (8-bit levels)"): "event image 3, channel 2, row 10, column 5",
        ("preprocess", "mean shift (8-bit levels)"): "event image 3, channel 2",
        ("vision", "RMS error, worst row"): "token 287",
        ("vision", "max abs error"): "token 287, feature 9",
        ("vision", "cosine distance"): "token 287",
    }


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(findings).failed == 0


def test_a_shifted_mean_is_found_though_it_is_within_two_levels() -> None:
    def change(arrays: Arrays) -> None:
        arrays["stage-isolated/preprocess"][:, 1] += 0.5 * QUANTUM

    found = graded(sides(change))
    assert found[("preprocess", "stage-isolated", "max abs difference (8-bit levels)")].grade == "pass"
    assert found[("preprocess", "stage-isolated", "mean shift (8-bit levels)")].grade == "fail"


def test_a_feature_that_points_elsewhere_is_found_by_its_angle() -> None:
    def change(arrays: Arrays) -> None:
        arrays["vision"][0, 1] = -arrays["vision"][0, 1]

    found = graded(sides(change))[("vision", "end-to-end", "cosine distance")]
    assert (found.grade, found.location) == ("fail", "frame 0, token 1")
    assert found.value == pytest.approx(2.0, abs=1e-3)


# Tokens.


def near_tie(gap: float) -> SampleOutputs:
    """At position 2 the reference has word 3 by `gap` nats behind word 7, and the optimized side takes it."""
    truth = exact()
    truth["generate"][2, 3] = truth["generate"][2, 7] - gap
    ours, theirs = rounded(truth, 1), with_swapped(rounded(truth, 2))
    for name in ("generate", "stage-isolated/generate"):
        theirs[name] = theirs[name].copy()
        theirs[name][2, 3] = theirs[name][2, 7] + 1e-3
    return SampleOutputs(seen(ours), seen(ours), seen(theirs, (4, 2, 3, 9, 9)), with_swapped(truth), (), ())


@pytest.mark.parametrize(("gap", "grade"), [(0.0005, "warn"), (0.3, "warn"), (0.9, "fail")])
def test_tokens_may_part_at_a_near_tie_only(gap: float, grade: str) -> None:
    found = graded(near_tie(gap))[("generate", "end-to-end", "tokens")]
    assert (found.grade, found.location) == (grade, "position 2")
    assert found.value == pytest.approx(gap, abs=1e-6)
    assert f"tokens 7 and 3, logprob gap {gap:.3g} nats" in found.detail


@pytest.mark.parametrize(("error", "gap", "grade"), [(0.2, 0.9, "warn"), (0.2, 1.6, "fail"), (0.02, 0.9, "fail")])
def test_where_logits_are_further_off_tokens_may_part_at_a_wider_gap(error: float, gap: float, grade: str) -> None:
    """Six times the RMS error of all others; that of the two themselves does not count."""
    given = near_tie(gap)
    others = [word for word in range(12) if word not in (3, 7)]
    logits: npt.NDArray[Any] = given.baseline.arrays["generate"]
    logits[2, others] = logits[2, others] + error * np.resize([-1, 1], len(others))
    found = graded(given)
    assert found[("generate", "end-to-end", "tokens")].grade == grade
    assert found[("generate", "end-to-end", "top-1 logprob gap (nats)")].grade == grade


def test_no_tie_is_near_where_the_other_side_would_not_think_of_the_token() -> None:
    found = graded(sides(optimized=dataclasses.replace(sides().optimized, tokens=(4, 2, 7, 1, 5))))
    assert found[("generate", "end-to-end", "tokens")].grade == "fail"


def test_a_tie_may_be_of_three_tokens() -> None:
    """Each side likes a third one as much, so that of the other's token it has two before it."""
    given = near_tie(0.0005)
    for arrays in (given.baseline.arrays, given.optimized.arrays):
        logits = arrays["generate"][2]
        logits[11] = logits[[3, 7]].max() - 1e-4
    found = graded(given)[("generate", "end-to-end", "tokens")]
    assert (found.grade, found.location) == ("warn", "position 2")


@pytest.mark.parametrize(("side", "token", "named"), [("baseline", 3, "the baseline"), ("optimized", 7, "the optimized side")])
def test_a_tie_of_the_reference_is_none_of_a_side_that_ranks_the_token_far_below(side: str, token: int, named: str) -> None:
    given = near_tie(0.0005)
    logits = getattr(given, side).arrays["generate"][2]
    logits[token] = logits.max() - 0.7
    found = graded(given)[("generate", "end-to-end", "tokens")]
    assert (found.grade, found.location) == ("fail", "position 2")
    assert found.value == pytest.approx(0.7, abs=1e-3)
    assert f"of which {named} has one 0.7 nats below" in found.detail


def test_every_timed_run_is_looked_at() -> None:
    assert failing(sides(optimized_tokens=(TOKENS, (4, 2, 7, 1, 11)))) == {("generate", "end-to-end", "tokens")}
    assert failing(sides(baseline_tokens=(TOKENS, (4, 2, 7, 1, 11)))) == {("generate", "baseline-repeat", "tokens")}


def test_an_answer_that_is_cut_is_no_tie() -> None:
    found = graded(sides(optimized_tokens=(TOKENS[:4],)))[("generate", "end-to-end", "tokens")]
    assert (found.grade, found.value, found.location) == ("fail", 1.0, "position 4")


def test_without_a_reference_tokens_have_to_be_equal_and_logits_alike() -> None:
    found = graded(sides(reference=None))
    assert {finding.grade for finding in found.values()} == {"pass"}
    assert ("generate", "stage-isolated", "cosine distance") in found
    assert ("generate", "stage-isolated", "RMS error") not in found
    parted = graded(dataclasses.replace(near_tie(0.0005), reference=None))[("generate", "end-to-end", "tokens")]
    assert (parted.grade, "no reference" in parted.detail) == ("fail", True)


# All samples.


def test_of_many_samples_the_worst_is_shown_and_the_failed_are_counted() -> None:
    def bad(times: float) -> list[Finding]:
        def change(arrays: Arrays) -> None:
            arrays["stage-isolated/vision"][0, 0] += times

        return compare_sample(sides(change), "float32")

    checks = merge({3: bad(0), 5: bad(1), 8: bad(7), 9: bad(0)})
    (check,) = [check for check in checks if (check.stage, check.mode, check.rule) == ("vision", "stage-isolated", "RMS error")]
    assert (check.sample, check.samples, check.failed) == (8, 4, 2)
    assert worst(checks) == "fail"
    assert worst(merge({0: bad(0)})) == "pass"


def failed(stage: str, mode: Any) -> Check:
    return Check(stage, mode, "max abs error", "fail", 2.0, 1.0, "", "", 0, 1, 1)


def test_a_later_stage_is_not_blamed_for_what_it_was_given() -> None:
    first = first_divergence([failed("generate", "end-to-end"), failed("vision", "end-to-end"), failed("vision", "stage-isolated")])
    assert first is not None
    assert (first.stage, first.mode) == ("vision", "stage-isolated")
    alone = first_divergence([failed("vision", "end-to-end"), failed("generate", "end-to-end"), failed("generate", "stage-isolated")])
    assert alone is not None
    assert alone.stage == "generate", "vision is at fault only if it fails with the baseline's own input"
    assert first_divergence([failed("vision", "baseline-repeat")]) is None


def test_distance_is_counted_in_lines() -> None:
    assert distance(3.0, 2.0) == 1.5
    assert distance(0.0, 0.0) == 0.0
    assert distance(1.0, 0.0) == float("inf")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_last_bits_are_rounded_as_torch_rounds_them(dtype: str) -> None:
    import torch

    from evbench.verdict.error_rule import _rounded

    values = np.random.default_rng(0).normal(scale=100, size=1000)
    expected = torch.from_numpy(values).to(torch.float32).to(getattr(torch, dtype)).double().numpy()
    assert (_rounded(values, dtype) == expected).all()


def test_rows_of_zeros_are_equal_and_one_alone_is_not() -> None:
    zeros, other = np.zeros((2, 3)), np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    axes = ("token", "feature")
    assert cosine_distance("vision", axes, "end-to-end", zeros, zeros.copy()).value == 0
    assert cosine_distance("vision", axes, "end-to-end", zeros, other).grade == "fail"
