"""One variant on several numbers of GPUs: what is derived, what is told, and how the command goes on; and once really, on the CPU."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pynvml
import pytest

from evbench import results
from evbench.cli import ranks
from evbench.cli.main import main
from evbench.cli.report import write_report
from evbench.distributed import scaling as carried_out
from evbench.distributed.launch import Failed
from evbench.distributed.rank import read_ranks
from evbench.distributed.usage import read_usage
from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.machine import gpu
from evbench.pipelines.generate.choices import ALL_REDUCE, SHARED_SUM
from evbench.report import scaling as report
from evbench.results import Section, Side, ThroughputRun, Used
from evbench.session import compare, journal
from evbench.session.session_folder import RANKS
from evbench.session.verification import read_verified
from evbench.traces.breakdown import sections
from evbench.traces.timeline import STEP, Timeline
from evbench.variants.named import parse
from evbench.verdict import scaling
from evbench.verdict.judge import judge
from evbench.verdict.ranks import FORMAT, Pass, RankedSession, RankShare, Usage
from evbench.verdict.scaling import Answers, SpreadRun, divided_run, exchanging, failed_division, rows
from evbench.verdict.sweep import PointOutcome, PointTiming
from evbench.worker.client import Worker, WorkerDied
from evbench.worker.messages import ThroughputRequest
from tests.checkpoints import least_model
from tests.command import evbench, interruptible, refused
from tests.examples import make_result, make_side, make_throughput_run, make_trace, scaled
from tests.ranks import QUICK, blocks, place_clips, ranks_of, timed, wait_until
from tests.simulation import LIMITS, PLAN, Noise, SimulatedMachine, header, run_simulated, simulated_workload
from tests.test_climb import Messages
from tests.test_sweep import SimulatedPoints
from tests.traces import host_range, launched, stages

ALONE: tuple[Side, ...] = ("baseline",)
ANSWERS = tuple(Answers(f"{sample}.mp4", str(sample), "same") for sample in range(4))


def passes(*each: Pass, seconds: float) -> RankedSession:
    """Of ranks, each with one pass."""
    shares = tuple(RankShare(rank, 0, (rank,), one, 0, False) for rank, one in enumerate(each))
    return RankedSession(FORMAT, "0", len(each), (), each[0], seconds, shares)


def spread(session: RankedSession, load: float = 0.1, **fields: object) -> SpreadRun:
    outcome = PointOutcome(None, "", (), (), None, {"load": PointTiming({"baseline": load}, None, None, None)})
    return dataclasses.replace(SpreadRun(session, outcome, ANSWERS, "ab", 4), **fields)  # type: ignore[arg-type]


ONE = spread(passes(Pass(4, 8.0, 0.4), seconds=8.0))
TWO = spread(passes(Pass(2, 4.5, 0.4), Pass(2, 5.0, 0.2), seconds=5.0), load=0.12)
USED = dataclasses.replace(TWO.session.shares[0], usage=Usage(1.5, 0.25, 2e9, None))
TWO = dataclasses.replace(TWO, session=dataclasses.replace(TWO.session, shares=(USED, TWO.session.shares[1])))
"""One GPU takes 2 s a sample, of which it waits 0.1 s; of two one takes 4.5 s for two, the other 5 s."""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "--gpus '' has what is no number of GPUs; give whole numbers above 0, ascending, such as --gpus 1,2,4,8"),
        ("1,,2", "has what is no number of GPUs"),
        ("0,1", "has what is no number of GPUs"),
        ("1,-2", "has what is no number of GPUs"),
        ("1,2.0", "has what is no number of GPUs"),
        ("1,٢", "has what is no number of GPUs"),
        ("2,1", "--gpus '2,1' is not ascending; give"),
        ("1,1", "is not ascending"),
    ],
)
def test_what_is_no_list_of_numbers_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        scaling.read_gpus(text)


def test_numbers_are_read() -> None:
    assert scaling.read_gpus("1, 2,4") == (1, 2, 4)


# What is derived.


def test_efficiency_and_what_is_lost_against_the_smallest_number() -> None:
    one, two = rows([ONE, TWO])
    assert (one.samples_per_second, one.speedup, one.loss, one.withheld) == (0.5, 1.0, None, ())
    assert (two.samples_per_second, two.speedup) == pytest.approx((0.8, 1.6))
    assert two.slowest == 1
    assert two.loss is not None
    assert dataclasses.astuple(two.loss) == pytest.approx((0.8, 0.05, 0.02, 0.13))
    assert two.speedup == pytest.approx(2 * two.loss.efficiency)
    for loss in (two.loss, *two.by_rank):
        assert sum(dataclasses.astuple(loss)) == pytest.approx(1)


def test_twice_as_many_as_two_are_held_against_two() -> None:
    four = spread(passes(*(Pass(1, 2.5, 0.15) for _ in range(4)), seconds=2.5))
    _, found = rows([TWO, four])
    assert found.speedup == pytest.approx(2)
    assert found.loss is not None and found.loss.efficiency == pytest.approx(1)


def test_another_answer_withholds_the_efficiency_and_is_named() -> None:
    other = (*ANSWERS[:3], dataclasses.replace(ANSWERS[3], tokens="other"))
    _, two = rows([ONE, dataclasses.replace(TWO, answers=other)])
    assert (two.speedup, two.loss, two.by_rank) == (None, None, ())
    assert two.different == ("3.mp4",)
    assert two.withheld == ("2 GPUs: 1 of 4 samples have other tokens",)
    assert scaling.exit_code([ONE, dataclasses.replace(TWO, answers=other)], ()) == 5
    text = report.to_markdown(account(ONE, dataclasses.replace(TWO, answers=other)))
    assert "2 GPUs: 0.8 samples/s; not compared: 2 GPUs: 1 of 4 samples have other tokens (3.mp4)" in text
    assert "| 3 of 4 |" in text


@pytest.mark.parametrize(
    ("changed", "told", "code"),
    [
        ({"fingerprint": "cd"}, "2 GPUs: the weights are others", 5),
        ({"answers": ANSWERS[:3]}, "2 GPUs: the samples that could be used are others", 5),
        ({"outcome": dataclasses.replace(TWO.outcome, left_out=("disturbed",))}, "2 GPUs: disturbed", 6),
    ],
)
def test_what_is_not_the_same_is_not_compared(changed: dict[str, object], told: str, code: int) -> None:
    two = dataclasses.replace(TWO, **changed)  # type: ignore[arg-type]
    (one, found) = rows([ONE, two])
    assert (one.withheld, found.withheld, found.speedup) == ((), (told,), None)
    assert scaling.exit_code([ONE, two], ()) == code


def test_nothing_is_held_against_a_smallest_number_that_is_not_to_be_believed() -> None:
    shares = (dataclasses.replace(ONE.session.shares[0], differing=2),)
    one, two = rows([dataclasses.replace(ONE, session=dataclasses.replace(ONE.session, shares=shares)), TWO])
    assert one.withheld == ("1 GPU: back to back 2 of the samples had other tokens than in their timed runs",)
    assert two.withheld == ("1 GPU cannot be used, with which it would be compared",)


# Sums of a divided model.


def test_the_share_of_the_sums_is_of_all_kernels_in_the_decode_steps_of_a_trace() -> None:
    """From the events of a trace on: two steps, in which 30 of 80 µs are sums, and a prefill that has others."""
    events = [*stages(0.0, 100.0, 10.0)]
    generate = 330.0
    events += [host_range("prefill", generate, 30.0), host_range("decode", generate + 40, 20.0), host_range("decode", generate + 70, 20.0)]
    events += launched(1, generate + 1, generate + 2, 10.0, "gemm") + launched(2, generate + 14, generate + 15, 10.0, SHARED_SUM)
    events += launched(3, generate + 41, generate + 42, 25.0, "matvec") + launched(4, generate + 44, generate + 70, 15.0, ALL_REDUCE)
    events += launched(5, generate + 71, generate + 72, 25.0, "matvec") + launched(6, generate + 74, generate + 99, 15.0, ALL_REDUCE)
    found = {section.name: exchanging(section) for section in sections(Timeline(events, "trace"), events)}
    assert found[STEP] == pytest.approx(30 / 80)
    assert found["prefill"] == pytest.approx(10 / 20)
    assert exchanging(Section("load", 1.0, 0.0, 0.0, ())) is None
    assert exchanging(Section("load", 1.0, 1.0, 0.0, (Used("gemm", "matrix multiply", 1.0, 1, 0),))) == 0


def division() -> scaling.DividedRun:
    """Of a comparison whose divided side is twice as fast."""
    used = (Used("matvec", "matrix times vector", 0.06, 10, 0), Used(ALL_REDUCE, "reduction", 0.02, 10, 0))
    trace = make_trace("trace-optimized.json.gz", sections=(Section(STEP, 0.1, 0.08, 0.0, used),))
    side = dataclasses.replace(scaled(make_side(variant="optimized"), 0.5), trace=trace)
    found = make_result(side)
    found = dataclasses.replace(found, sessions=(dataclasses.replace(found.sessions[0], limits=LIMITS),))
    return divided_run(2, found, judge(found))


def test_a_division_has_its_time_its_floor_and_its_sums() -> None:
    found = division()
    assert found.exchanging == {STEP: pytest.approx(0.25)}
    medians = found.outcome.timings["tpot"].medians
    assert medians["optimized"] == pytest.approx(medians["baseline"] / 2)
    told = report.sentences(account(ONE, TWO, divided=(found, failed_division(4, "a worker died"))))
    assert any("25.0 ms -> 12.5 ms a token" in one and "25% of the kernels' time in sums" in one for one in told), told
    assert told[-1] == "divided over 4 GPUs: could not be run: a worker died"
    assert scaling.exit_code([ONE, TWO], [found]) == 0
    assert scaling.exit_code([ONE, TWO], [found, failed_division(4, "a worker died")]) == 1


# What is told.


def account(*runs: SpreadRun, divided: Sequence[scaling.DividedRun] = ()) -> report.Account:
    asked = header()
    return report.Account(
        (1, 2), runs, tuple(divided), "baseline", simulated_workload(4), asked.machine, asked.plan, asked.started, "evbench scaling"
    )


def test_it_is_told_in_sentences_and_tables() -> None:
    found = account(ONE, TWO)
    assert report.headline(found) == "baseline on 1, 2 GPUs: 2 of 2 measured; on the CPU, where each GPU is a process"
    on_gpus = dataclasses.replace(found, workload=dataclasses.replace(found.workload, device="cuda"))
    assert report.headline(on_gpus) == "baseline on 1, 2 GPUs: 2 of 2 measured"
    first, second = report.sentences(found)
    assert first == "1 GPU: 0.5 samples/s"
    assert second == (
        "2 GPUs: 0.8 samples/s, 1.60x of 1 GPU; efficiency 80.0%, lost: 5.0% waiting for rank 1, 2.0% loading, 13.0% running; the same "
        "tokens in all 4 samples"
    )
    text = report.to_markdown(found)
    assert "| 2 | 4 | 0.8 | 1.60x | 80.0% | 5.0% | 2.0% | 13.0% | 1 | 4 of 4 | 4 | - |" in text
    assert "| load | 100 ms | 120 ms (+20.0%) |" in text
    assert "| 2, rank 0 | 2 | 4.50 s | 80.0% | 10.0% | 4.0% | 6.0% | 1.50 | 25.0% | 2.00 GB/s | n/a |" in text
    assert "| 2, rank 1 | 2 | 5.00 s | 80.0% | 0.0% | 0.0% | 20.0% | n/a | n/a | n/a | n/a |" in text
    assert "divided" not in text.lower()
    assert report.sentences(account()) == ()


def test_samples_that_are_left_out_are_named_once() -> None:
    failed = (results.FailedSample(1, "no.mp4", "no.mp4 is damaged or no video"),)
    both = (dataclasses.replace(ONE.session.shares[0], samples=(0, 1)),)
    sessions = (dataclasses.replace(ONE.session, shares=both, failed=failed), dataclasses.replace(TWO.session, failed=failed))
    runs = [dataclasses.replace(one, session=session) for one, session in zip((ONE, TWO), sessions, strict=True)]
    one, two, left_out = report.sentences(account(*runs))
    assert one.startswith("1 GPU: ") and two.startswith("2 GPUs: ")
    assert left_out == "1 of 3 samples cannot be used and are left out: no.mp4 is damaged or no video"


# What ranks use.


@dataclasses.dataclass
class IdleWorker:
    """This process, which computes while it is asked for samples."""

    pid: int = dataclasses.field(default_factory=os.getpid)

    def throughput_run(self, request: ThroughputRequest) -> ThroughputRun:
        start = time.monotonic()
        while time.monotonic() < start + 0.3:
            sum(range(1000))
        return dataclasses.replace(make_throughput_run(), seconds=time.monotonic() - start)


def test_what_a_rank_uses_is_read_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def throughput(handle: object, counter: int) -> int:
        if counter == pynvml.NVML_PCIE_UTIL_TX_BYTES:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 2048

    monkeypatch.setattr(gpu, "first_visible", lambda: "GPU")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetDecoderUtilization", lambda handle: [40, 200_000])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPcieThroughput", throughput)
    request = ThroughputRequest(0, None, 1, False)
    found = read_usage(cast("Worker", IdleWorker()), request, "cuda")
    assert found.decoder == pytest.approx(0.4)
    assert (found.pcie_in, found.pcie_out) == (2048 * 1024, None)
    assert found.cores is not None and 0 < found.cores < 3
    without = read_usage(cast("Worker", IdleWorker()), request, "cpu")
    assert (without.decoder, without.pcie_in, without.pcie_out) == (None, None, None)


# The command, its ranks simulated.


@dataclasses.dataclass
class SimulatedLaunch:
    """Stands in for torch's launcher: leaves in --out what the ranks would."""

    fails: dict[int, Failed] = dataclasses.field(default_factory=dict)
    """Number of ranks -> how they end, once."""
    called: list[list[str]] = dataclasses.field(default_factory=list)

    def launch(self, count: int, arguments: Sequence[str], *, silent: bool = False) -> Failed | None:
        assert silent
        self.called.append(list(arguments))
        out = Path(arguments[arguments.index("--out") + 1])
        out.mkdir(exist_ok=True)
        if count in self.fails:
            (out / RANKS).write_text(to_json(RankedSession(FORMAT, "0", count)))
            return self.fails.pop(count)
        (out / RANKS).unlink(missing_ok=True)
        samples = 4
        asked = dataclasses.replace(
            header(samples=samples), workloads={"baseline": simulated_workload(samples)},
            choices={"baseline": {"name": "baseline", **parse("baseline").choices()}},
        )  # fmt: skip
        with journal.create(out, asked) as opened:
            result = run_simulated(SimulatedMachine(count, Noise()), opened, ALONE)
        results.write(result, out / "result.json")
        (out / RANKS).write_text(to_json(passes(*(Pass(samples // count, 8.0 / count, 0.4) for _ in range(count)), seconds=8.0 / count)))
        return None


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedLaunch:
    made = SimulatedLaunch()
    monkeypatch.setattr(ranks, "launch", made.launch)
    monkeypatch.chdir(tmp_path)
    place_clips(tmp_path)
    return made


ASKED = "scaling baseline --device cpu --preset tiny --video 0.mp4 --video 1.mp4 --video 2.mp4 --video 3.mp4 --blocks 4"


def command(arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["evbench", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_rank_that_dies_is_told_and_the_command_goes_on_with_more_numbers(
    simulated: SimulatedLaunch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated.fails[2] = Failed(1, -9)
    assert command(f"{ASKED} --gpus 1,2 --out out", monkeypatch) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("evbench: rank 1 ended with code -9: SIGKILL")
    assert last.endswith("--gpus 1 is in out/scaling.md. To go on, give the same command with --out out --resume")
    assert "1 of 2 measured" in Path("out/scaling.md").read_text()
    done = Path("out/gpus-1/runs.jsonl").read_bytes()

    assert "out holds an earlier scaling; go on with it by --resume" in refused(f"{ASKED} --gpus 1,2 --out out", monkeypatch, capsys)
    other = f"{ASKED.replace('--blocks 4', '--blocks 8')} --gpus 1,2 --out out --resume"
    assert "the session was begun with something else: plan.blocks 4 and 8" in refused(other, monkeypatch, capsys)

    assert command(f"{ASKED} --gpus 1,2,4 --out out --resume", monkeypatch) == 0
    assert Path("out/gpus-1/runs.jsonl").read_bytes() == done
    assert [[*one[one.index("--gpus") :]] for one in simulated.called] == [
        ["--gpus", "1", "--out", "out/gpus-1"],
        ["--gpus", "2", "--out", "out/gpus-2"],
        ["--gpus", "2", "--out", "out/gpus-2", "--resume"],
        ["--gpus", "4", "--out", "out/gpus-4"],
    ]
    assert " ".join(simulated.called[0]).startswith("run baseline --preset tiny --video 0.mp4 --video 1.mp4 --video 2.mp4 --video 3.mp4 ")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "baseline on 1, 2, 4 GPUs: 3 of 3 measured; on the CPU, where each GPU is a process"
    assert lines[-1] == "exit 0: all were measured, with the same answers"

    before = Path("out/scaling.md").read_text()
    Path("out/scaling.md").unlink()
    written = write_report(Path("out"))
    assert (written.headlines, written.files) == (tuple(lines[:4]), ("scaling.md",))
    assert written.headlines[3].startswith("4 GPUs: ")
    assert Path("out/scaling.md").read_text() == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("--gpus 2,1", "--gpus '2,1' is not ascending"),
        ("--gpus 1,8", "8 ranks are more than 4 samples: some would have nothing to do; start 4 at most, or give more samples"),
        ("--gpus 1,2 --trace-tokens 4", "--trace-tokens is of the comparisons of --tensor-samples, and none is asked for; leave it out"),
        ("--gpus 1 --tensor-samples 1", "--tensor-samples divides the model over several GPUs, and --gpus 1 is one; give more, or leave"),
        ("--gpus 1,2 --tensor-samples 5", "--tensor-samples 5 are more than there are; give 4 at most, or more samples"),
        ("--gpus 1,3 --tensor-samples 1", "tensor-3"),
        ("--gpus 1,2 --tensor-samples 1", "parallel=tensor-2"),
        ("--gpus 1,2 --resume --out nowhere", "cannot read nowhere/scaling.json"),
        ("--gpus 1,2 --out 0.mp4", "--out 0.mp4 is a file"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(
    more: str, told: str, simulated: SimulatedLaunch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(f"{ASKED} {more}", monkeypatch, capsys)
    assert not simulated.called


def test_more_gpus_than_there_are_are_refused(
    simulated: SimulatedLaunch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evbench.machine.gpu.visible", lambda: ["GPU-0", "GPU-1"])
    monkeypatch.setattr("evbench.cli.scaling.work_and_plan", lambda options, variants, workload: (workload, header().plan))
    workload = dataclasses.replace(simulated_workload(8), device="cuda")
    monkeypatch.setattr("evbench.api.options.Options.workload", lambda options: workload)
    told = refused("scaling baseline --gpus 1,2,4 --out out", monkeypatch, capsys)
    assert "--gpus 4: this machine shows 2 GPUs; give --gpus 1,2, or run so many processes on the CPU by --device cpu" in told
    assert not Path("out").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_file_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "scaling.json").write_text(content)
    with pytest.raises(UserError, match=r"scaling\.json (is|has)"):
        carried_out.read(tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"shares": []}, "it has the passes of 0 of 1 ranks, which are said to have ended"),
        ({"alone": None}, "it has the passes of 1 of 1 ranks"),
        ({"seconds": 0.0}, "its passes have no samples, or took no time"),
        ({"seconds": -8.0}, "its passes have no samples, or took no time"),
        ({"alone": {"samples": 0, "seconds": 8.0, "load_wait_seconds": 0.4}}, "its passes have no samples, or took no time"),
    ],
)
def test_passes_that_cannot_be_are_damage(changed: dict[str, object], told: str, tmp_path: Path) -> None:
    (tmp_path / RANKS).write_text(json.dumps(json.loads(to_json(ONE.session)) | changed))
    with pytest.raises(UserError, match=rf"ranks\.json is damaged .*{told}"):
        read_ranks(tmp_path)


def test_a_folder_of_another_number_of_gpus_is_refused(
    simulated: SimulatedLaunch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(f"{ASKED} --gpus 1,2 --out out", monkeypatch) == 0
    capsys.readouterr()
    kept = Path("out/gpus-2/ranks.json").read_text()
    Path("out/gpus-2/ranks.json").write_text(Path("out/gpus-1/ranks.json").read_text())
    told = refused("report out", monkeypatch, capsys)
    assert "out/gpus-2/ranks.json is of 1 ranks, in the folder of 2; put back what was there, or remove out/gpus-2" in told
    Path("out/gpus-2/ranks.json").unlink()
    assert "out/gpus-2 has no ranks.json; put it back, or remove out/gpus-2" in refused("report out", monkeypatch, capsys)
    Path("out/gpus-2/ranks.json").write_text(kept)
    assert write_report(Path("out")).files == ("scaling.md",)


def test_divisions_are_compared_and_those_that_failed_are_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    points = SimulatedPoints(monkeypatch, ends={"tensor-4": WorkerDied("a worker died")})
    monkeypatch.setattr(compare, "carry_out", points.carry_out)
    out, work, variant = tmp_path / "out", simulated_workload(), parse("baseline")

    def request(resume: bool) -> carried_out.Divisions:
        divided = {2: parse("fast-pixels"), 4: parse("fast-pixels")}  # one that runs here
        return carried_out.Divisions(
            variant=variant,
            divided=divided,
            workload=work,
            plan=PLAN,
            noise_floors={},
            folder=out,
            command="evbench scaling",
            resume=resume,
            wait=True,
            now=lambda: "2026-01-01T00:00:00Z",
        )

    wanted = carried_out.asked(variant, work, PLAN, (2, 4), "2026-01-01T00:00:00Z", "evbench scaling")
    found = carried_out.divide(carried_out.begin(out, wanted, resume=False), request(resume=False), Messages())
    two, four = found.divided
    assert (two.gpus, four.gpus) == (2, 4)
    assert "tpot" in two.outcome.timings and not two.outcome.failed
    assert four.outcome.failed == "a worker died"
    assert carried_out.read(out) == found

    points.ends.clear()
    again = carried_out.divide(carried_out.begin(out, wanted, resume=True), request(resume=True), Messages())
    assert points.requests == [("tensor-2", False), ("tensor-4", False), ("tensor-4", True)]
    assert again.divided[0] == two and not again.divided[1].outcome.failed
    assert write_report(out).files == ("scaling.md",)
    assert "## The language model divided over GPUs" in (out / "scaling.md").read_text()


# Really.


@pytest.mark.slow
@pytest.mark.long
def test_one_and_two_ranks_answer_the_same_also_after_one_was_killed(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    place_clips(clips)
    quick = QUICK.removesuffix("--trace-tokens 0")
    asked = f"scaling baseline {least_model('video-llava')} {quick} --data clips --gpus 1,2 --out out"
    out = tmp_path / "out"
    with interruptible(asked, tmp_path) as running:
        wait_until(lambda: bool(blocks(out / "gpus-2", 1)), "a block of the second rank", running)
        os.kill(ranks_of(running.pid)[1], signal.SIGKILL)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("evbench: rank 1 ended with code -9: SIGKILL")
    kept = {rank: blocks(out / "gpus-2", rank) for rank in (0, 1)}

    done = evbench(f"{asked} --resume", tmp_path)
    assert done.returncode in (0, 6), done.stderr  # a machine that does other things disturbs its blocks
    for rank, before in kept.items():
        assert blocks(out / "gpus-2", rank)[: len(before)] == before
    content = json.loads((out / "scaling.json").read_text())
    one, two = content["spread"]
    assert [one["session"]["ranks"], two["session"]["ranks"]] == [1, 2]
    assert one["answers"] == two["answers"] and len(two["answers"]) == 4
    first, second = (timed(read_verified(out / name).baseline.runs) for name in ("gpus-1", "gpus-2"))
    assert {sample: set(tokens) for sample, tokens in first.items()} == {sample: set(tokens) for sample, tokens in second.items()}
    assert "2 of 2 measured" in done.stdout
    cores = [share["usage"]["cores"] for found in (one, two) for share in found["session"]["shares"]]
    assert len(cores) == 3 and all(0 < used < 64 for used in cores)
