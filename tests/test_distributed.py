"""Samples spread over ranks: which rank has which, how their sessions become one, and what is said of their speed."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from evbench import results
from evbench.distributed.group import Place, launched_place
from evbench.distributed.merge import Asked, RankPart, merge
from evbench.distributed.rank import blocks_ended, left_by_refused, on_this_machine
from evbench.distributed.shards import plan_of, require_enough, shards, workload_of
from evbench.errors import UserError
from evbench.machine.conditions import descendants
from evbench.report import ranks as report
from evbench.results import FailedSample, Machine, Rules, Run, Side
from evbench.session import journal
from evbench.session.session_folder import RANKS, RUNS, make_folder
from evbench.session.verification import read_verified
from evbench.variants.named import parse
from evbench.verdict.ranks import FORMAT, Pass, RankedSession, RankShare, parallel_efficiency
from tests.command import refused
from tests.simulation import MACHINE, PLAN, Noise, SimulatedMachine, header, run_simulated, simulated_workload

SAMPLES = 5
ALONE: tuple[Side, ...] = ("baseline",)
PLANNED = dataclasses.replace(PLAN, blocks=2 * SAMPLES, invocations=2, trace_tokens=4)
ASKED = Asked(simulated_workload(SAMPLES), PLANNED, Rules({}, (), (), False, ()), "2026-01-02T00:00:00Z", "evbench run baseline")


# Shards.


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_each_sample_has_one_rank_and_as_many_blocks_as_on_one_device(ranks: int) -> None:
    each = shards(SAMPLES, ranks)
    assert sorted(sample for shard in each for sample in shard) == list(range(SAMPLES))
    assert max(map(len, each)) - min(map(len, each)) <= 1
    plans = [plan_of(PLANNED, ASKED.workload, shard, traced=rank == 0) for rank, shard in enumerate(each)]
    assert [plan.blocks for plan in plans] == [2 * len(shard) for shard in each]
    assert [plan.trace_tokens for plan in plans] == [4] + [0] * (ranks - 1)
    names = [[sample.path for sample in workload_of(ASKED.workload, shard).samples] for shard in each]
    assert names == [[f"{sample}.mp4" for sample in shard] for shard in each]


def test_more_ranks_than_samples_are_refused() -> None:
    require_enough(2, 2)
    with pytest.raises(UserError, match=r"4 ranks are more than 2 samples: .*; start 2 at most, or give more samples"):
        require_enough(2, 4)
    with pytest.raises(UserError, match="2 ranks are more than 1 sample: "):
        require_enough(1, 2)


# Places.


def test_a_place_is_read_only_where_a_launcher_has_named_it() -> None:
    named = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "GROUP_RANK": "1"}
    assert launched_place(named) is None
    assert launched_place(named | {"TORCHELASTIC_RUN_ID": "job"}) == Place(rank=5, ranks=8, local_rank=1, node=1)
    with pytest.raises(UserError, match=r"RANK 'x'.*; start it by torchrun"):
        launched_place(named | {"TORCHELASTIC_RUN_ID": "job", "RANK": "x"})
    with pytest.raises(UserError, match="GROUP_RANK None"):
        launched_place({name: named[name] for name in list(named)[:3]} | {"TORCHELASTIC_RUN_ID": "job"})


def test_processes_of_processes_are_found() -> None:
    code = "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            grandchild = int(parent.stdout.readline())
            assert {parent.pid, grandchild} <= set(descendants(os.getpid()))
            assert descendants(parent.pid) == [grandchild]
        finally:
            for process in descendants(parent.pid):
                os.kill(process, 9)
    assert descendants(parent.pid) == []


@dataclasses.dataclass(frozen=True)
class Told:
    """Ranks of which each has given a text already."""

    place: Place
    texts: list[str]

    def gather(self, text: str) -> list[str]:
        return [text if rank == self.place.rank else other for rank, other in enumerate(self.texts)]

    def meet(self) -> None: ...


def test_ranks_of_one_machine_know_of_each_other_whoever_has_started_them() -> None:
    """They are no disturbance to each other. A process of the same number on another machine is none of them."""
    others = ["[0, 7]", "", f"[1, {os.getpid()}]", "[1, 8]"]
    assert on_this_machine(Told(Place(1, 4, 1, 0), others)) == [7, os.getpid()]


# Sessions of ranks -> one.


def part(
    folder: Path, shard: Sequence[int], rank: int, interrupted: bool = False, machine: Machine = MACHINE, weights: str = "ab"
) -> RankPart:
    """A session of a rank, simulated: each rank's runs have times of their own."""
    plan = plan_of(PLANNED, ASKED.workload, shard, traced=False)
    variant = parse("baseline")
    asked = dataclasses.replace(
        header(plan, len(shard), rank),
        machine=machine,
        workloads={"baseline": workload_of(ASKED.workload, shard)},
        choices={"baseline": {"name": "baseline", **variant.choices()}},
    )
    simulated = SimulatedMachine(rank, Noise(), fingerprints={"baseline": weights})
    if interrupted:
        with journal.create(folder, asked) as written:
            run_simulated(simulated, written, ALONE)
        lines = (folder / RUNS).read_text().splitlines(keepends=True)
        (folder / RUNS).write_text("".join(lines[: 2 * len(lines) // 3]))
        simulated = SimulatedMachine(rank + 10, Noise(), fingerprints={"baseline": weights})
        with journal.resume(folder, asked) as written:
            result = run_simulated(simulated, written, ALONE)
    else:
        with journal.create(folder, asked) as written:
            result = run_simulated(simulated, written, ALONE)
    return RankPart(tuple(shard), journal.read_header(folder), (folder / RUNS).read_text(), result)


def timed(runs: Sequence[Run]) -> list[tuple[int, float, tuple[int, ...]]]:
    return sorted((run.sample, run.seconds, run.tokens) for run in runs if run.kind == "timed")


@pytest.mark.parametrize(("ranks", "interrupted"), [(1, False), (2, False), (3, False), (2, True)])
def test_one_result_has_the_runs_of_all_ranks_sample_by_sample(ranks: int, interrupted: bool, tmp_path: Path) -> None:
    each = shards(SAMPLES, ranks)
    parts = [part(tmp_path / f"rank-{rank}", shard, rank, interrupted) for rank, shard in enumerate(each)]
    assert blocks_ended(tmp_path, ranks) == 2 * SAMPLES
    whole = tmp_path / "whole"
    whole.mkdir()
    merged = merge(ASKED, (), parts, whole)
    results.write(merged, whole / "result.json")
    found = read_verified(whole)
    assert not found.baseline.unverified, "its journal says the same"
    assert [sample.path for sample in found.baseline.workload.samples] == [f"{sample}.mp4" for sample in range(SAMPLES)]
    wanted = [
        (shard[sample], seconds, tokens)
        for shard, one in zip(each, parts, strict=True)
        for sample, seconds, tokens in timed(one.result.baseline.runs)
    ]
    assert timed(found.baseline.runs) == sorted(wanted)
    (session,) = found.sessions
    assert [block.number for block in session.blocks] == list(range(2 * SAMPLES))
    assert sorted(block.sample for block in session.blocks) == sorted([*range(SAMPLES)] * 2)
    invocations = sum(len({block.invocation for block in one.result.sessions[0].blocks}) for one in parts)
    assert len({block.invocation for block in session.blocks}) == invocations
    assert (ranks > 1) == any("at the same time" in remark for remark in session.remarks)
    energies = [one.result.baseline.energy for one in parts]
    assert (found.baseline.energy is None) == (None in energies)


def test_ranks_of_other_weights_or_machines_are_refused(tmp_path: Path) -> None:
    one, other = shards(SAMPLES, 2)
    first = part(tmp_path / "first", one, 0)
    with pytest.raises(UserError, match="different weights"):
        merge(ASKED, (), [first, part(tmp_path / "second", other, 1, weights="cd")], tmp_path)
    elsewhere = part(tmp_path / "third", other, 1, machine=dataclasses.replace(MACHINE, packages={"torch": "2.15"}))
    with pytest.raises(UserError, match=r"rank 1 runs on another machine or version than rank 0 \(torch: 2.14 and 2.15\)"):
        merge(ASKED, (), [first, elsewhere], tmp_path)
    assert not (tmp_path / RUNS).exists()


def test_a_choice_that_one_rank_did_not_have_active_is_told(tmp_path: Path) -> None:
    parts = [part(tmp_path / f"rank-{rank}", shard, rank) for rank, shard in enumerate(shards(SAMPLES, 2))]
    seen = parts[1].result.baseline
    idle = (dataclasses.replace(seen.activations[0], active=False, evidence="not seen"), *seen.activations[1:])
    changed = dataclasses.replace(parts[1].result, baseline=dataclasses.replace(seen, activations=idle))
    found = merge(ASKED, (), [parts[0], dataclasses.replace(parts[1], result=changed)], tmp_path).baseline.activations
    assert [(one.active, one.evidence) for one in found][:2] == [(False, "rank 1: not seen"), (True, "simulated")]


# Speed.


SESSION = RankedSession(
    FORMAT,
    "0",
    2,
    (),
    alone=Pass(4, 8.0, 0.4),
    seconds=10.0,
    shares=(
        RankShare(0, 0, (0, 2, 4, 6), Pass(4, 9.0, 0.9), 0, False),
        RankShare(1, 0, (1, 3, 5), Pass(3, 10.0, 0.3), 0, False),
    ),
)
"""Rank 0 alone: 2 s a sample, of which it waits 0.1 s. Beside rank 1 it takes 9 s for four; rank 1 takes 10 s for three."""


def test_what_is_lost_sums_up_with_the_efficiency() -> None:
    found = parallel_efficiency(SESSION)
    assert found is not None
    assert (found.samples_per_second, found.alone_samples_per_second, found.speedup) == pytest.approx((0.7, 0.5, 1.4))
    assert found.slowest == 1
    assert dataclasses.astuple(found.by_rank[0]) == pytest.approx((0.8, 0.1, 0.05, 0.05))
    assert dataclasses.astuple(found.by_rank[1]) == pytest.approx((0.6, 0.0, 0.0, 0.4))
    assert dataclasses.astuple(found.whole) == pytest.approx((0.7, 0.05, 0.025, 0.225))
    for loss in (*found.by_rank, found.whole):
        assert sum(dataclasses.astuple(loss)) == pytest.approx(1)


def test_ranks_as_fast_as_one_alone_lose_nothing() -> None:
    shares = tuple(RankShare(rank, 0, (rank,), Pass(1, 2.0, 0.1), 0, False) for rank in range(8))
    found = parallel_efficiency(RankedSession(FORMAT, "0", 8, (), Pass(1, 2.0, 0.1), 2.0, shares))
    assert found is not None
    assert found.speedup == pytest.approx(8)
    assert dataclasses.astuple(found.whole) == pytest.approx((1, 0, 0, 0))


def test_a_session_that_has_not_ended_has_no_speed() -> None:
    begun = RankedSession(FORMAT, "0", 2)
    assert parallel_efficiency(begun) is None
    assert report.facts(begun) == []
    assert report.table(begun).rows == ()


def test_it_is_told_in_sentences_and_a_table() -> None:
    lost = tuple(FailedSample(number, f"{name}.mp4", f"{name}.mp4 is cut off") for number, name in enumerate("abcd"))
    shares = (dataclasses.replace(SESSION.shares[0], differing=1), dataclasses.replace(SESSION.shares[1], compiled=True))
    session = dataclasses.replace(SESSION, failed=lost, shares=shares)
    left_out, speed, differing, compiled = report.facts(session)
    assert left_out == "4 of 11 samples cannot be used and are left out: a.mp4 is cut off; b.mp4 is cut off; c.mp4 is cut off; and 1 more"
    assert speed == (
        "2 ranks: 0.7 samples/s, 1.40x of rank 0 alone (0.5); efficiency 70.0%, lost: 5.0% waiting for rank 1, 2.5% loading, "
        "22.5% in slower stages"
    )
    assert differing.startswith("tokens of 1 sample back to back are not those")
    assert "on rank 1" in compiled
    assert [row[0] for row in report.table(session).rows] == ["0", "1", "all", "0 alone"]
    page = report.to_markdown(session, "2026-01-01", "evbench run baseline --gpus 2")
    assert "- d.mp4: d.mp4 is cut off" in page
    assert "| 1 | 0 | 3 | 10.0 s | 0.3 | 60.0% | 0.0% | 0.0% | 40.0% |" in page


# The command.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run baseline --gpus 99", "99 ranks need as many GPUs, and this machine shows"),
        ("run baseline --gpus 0", "--gpus 0 is out of range; give 1 or more. See: evbench run --help"),
        ("run baseline --gpus 2 --resume", "--resume goes on with the session in --out, which is not given"),
    ],
)
def test_wrong_numbers_of_gpus_are_refused(
    arguments: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(arguments, monkeypatch, capsys)


def test_a_rank_needs_a_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As torchrun starts it, without --out. What ends it with its launcher is not for this process."""
    for name, value in {"TORCHELASTIC_RUN_ID": "job", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("evbench.cli.ranks.end_with", lambda parent: None)
    assert "several ranks write into one folder; name it by --out" in refused("run baseline --device cpu", monkeypatch, capsys)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    told = refused("run baseline --device cpu --out out --gpus 3", monkeypatch, capsys)
    assert "--gpus 3, and the launcher has started 2 ranks here" in told


def test_ranks_that_were_refused_before_their_first_run_leave_a_folder_that_others_may_use(tmp_path: Path) -> None:
    assert left_by_refused(tmp_path) == ()
    (tmp_path / "rank-0").mkdir()
    for name in (RANKS, "rank-0/worker-load.log", f"rank-0/{RUNS}"):
        (tmp_path / name).touch()
    make_folder(tmp_path, left_by_refused(tmp_path))
    (tmp_path / "rank-0" / RUNS).write_text("a run", encoding="utf-8")
    with pytest.raises(UserError, match="holds an earlier session; go on with it by --resume"):
        make_folder(tmp_path, left_by_refused(tmp_path))


def test_a_session_of_ranks_is_not_resumed_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / RANKS).touch()
    told = refused(f"run baseline --preset tiny --device cpu --out {tmp_path} --resume", monkeypatch, capsys)
    assert f"--resume: {tmp_path} was begun with several ranks; give the same command as then, with its --gpus" in told
