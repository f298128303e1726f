"""The command as a person uses it: what it says, what it refuses, its exit code."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

import evbench as evbench_api
from evbench import results
from evbench.cli.console import MOST_LINES
from evbench.cli.main import main
from evbench.machine.lock import exclusive
from evbench.pipelines.load import video
from evbench.pipelines.registry import MODELS, SHIPPED
from evbench.report.variants import choices_of
from evbench.results import STAGES
from evbench.session import compare
from evbench.session.request import ComparisonRequest
from evbench.session.session_folder import RUNS
from evbench.variants.named import VARIANTS
from evbench.verdict.judge import judge
from tests.command import evbench, refused
from tests.examples import MACHINE, make_result, make_session, make_side
from tests.simulation import Noise, SimulatedMachine, simulate

RECORDED = str(Path(__file__).parent.parent / "profiles" / "cpu" / "video-llava-small")
COMPARE = "compare --baseline baseline --optimized optimized --device cpu"


@pytest.mark.parametrize("command", ["diff {0} {0}", "open {0}"])
def test_what_is_no_trace_is_told_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trace.json.gz"
    file.write_bytes(b"")
    for name in (file, tmp_path / "gone.json.gz", tmp_path):
        assert str(name) in refused(command.format(name), monkeypatch, capsys)


@pytest.mark.parametrize(("faster", "code"), [(1.0, 0), (1.03, 6)])
def test_noise_floors_are_kept_and_heeded(
    faster: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of a machine on which the self-test fails: it needs them most. Here its clock is simulated."""
    machine = SimulatedMachine(3, Noise(processes=0.01), faster)
    requests: list[ComparisonRequest] = []

    def simulated(request: ComparisonRequest, listener: object) -> compare.JudgedResult:
        requests.append(request)
        result = simulate(machine, request.plan)
        return compare.JudgedResult(result, judge(result))

    (tmp_path / "out").mkdir()
    # By this name: what imports the function for good is imported before, else it would keep the simulated one.
    monkeypatch.setattr("evbench.cli.selftest.compare.carry_out", simulated)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["evbench", *f"selftest --preset tiny --device cpu --repetitions 12 --out {tmp_path}/out".split()])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    told = capsys.readouterr().out
    assert ("Passed: " in told) == (code == 0)
    assert ("**Passed: " in (tmp_path / "out" / "selftest.md").read_text()) == (code == 0)
    assert (requests[0].plan.blocks, requests[0].plan.invocations) == (12 * 12, 12 * 4)
    (floor,) = json.loads((tmp_path / "evbench" / "noise-floors.json").read_text())
    assert floor["work"] == "video-llava tiny on cpu, 72 new tokens"
    assert set(floor["smallest"]) == {"end-to-end", *STAGES, "ttft", "prefill", "tpot"}
    assert floor["smallest"]["end-to-end"] > (0.005 if code == 0 else 0.03)


def test_results_of_other_machines_are_compared_only_if_allowed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = make_session(machine=replace(MACHINE, cpu="Other CPU", packages={"torch": "2.15"}))
    results.write(make_result(), tmp_path / "here.json")
    later = replace(
        make_result(
            sessions=(replace(there, started="2027-01-01T00:00:00Z"),), baseline=replace(make_side(), session="2027-01-01T00:00:00Z")
        )
    )
    results.write(later, tmp_path / "there.json")
    asked = "compare --baseline here.json --optimized there.json --out out"
    monkeypatch.chdir(tmp_path)
    told = refused(asked, monkeypatch, capsys)
    assert "cpu: CPU and Other CPU; torch: 2.14 and 2.15" in told
    assert "--allow cpu --allow torch" in told
    refused(f"{asked} --allow cpu", monkeypatch, capsys)
    assert "unknown --allow 'cup'; did you mean 'cpu'?" in refused(f"{asked} --allow cup", monkeypatch, capsys)
    assert "unknown --allow ''; there is " in refused(f"{asked} --allow cpu --allow torch --allow ''", monkeypatch, capsys)
    allowed = evbench(f"{asked} --allow cpu --allow torch", tmp_path)
    assert allowed.returncode == 4
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "on Other CPU" in report
    assert "cpu: CPU and Other CPU; torch: 2.14 and 2.15" in report
    assert allowed.stdout.splitlines()[-1] == "exit 4: INCONCLUSIVE"


def test_the_version_is_told_at_once(tmp_path: Path) -> None:
    told = evbench("--version", tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert re.fullmatch(r"evbench \d+\.\d+\.\d+, Python 3\.\d+\.\w+, torch \S+, transformers \S+\n", told.stdout)
    assert "Is an optimized video-language model really faster" in evbench("--help", tmp_path).stdout


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("width", "most_lines"), [(60, 48), (80, MOST_LINES), (140, MOST_LINES)])
def test_variants_fit_on_a_screen_with_every_name_whole(model: str, width: int, most_lines: int, tmp_path: Path) -> None:
    told = evbench(f"variants --model {model} --device cpu", tmp_path, COLUMNS=str(width))
    assert told.returncode == 0
    assert sum(-(-max(len(line), 1) // width) for line in told.stdout.splitlines()) <= most_lines
    words = set(re.findall(r"[\w-]+", told.stdout))
    offered = choices_of(model)
    assert words >= {*VARIANTS, *offered, *(choice for choices in offered.values() for choice in choices)}
    assert "optimized-gpu* " in told.stdout
    assert "* needs an NVIDIA GPU, and the run is on the CPU" in " ".join(told.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_variants_are_those_of_the_model(tmp_path: Path) -> None:
    """A part that it does not have is not listed, nor a choice for input that it does not take."""
    assert not {"render", "pooling"} & choices_of("video-llava").keys()
    assert set(choices_of("eventgpt")["prefetch"]) == {"off", "on"}
    for details in ("", " --details"):
        of_video, of_events = (evbench(f"variants --model {model} --device cpu{details}", tmp_path).stdout for model in SHIPPED)
        assert "pooling" not in of_video and "vectorised" not in of_video and "batched" in of_video
        assert "pooling" in of_events and "a video" not in of_events


def test_variants_in_detail_say_what_each_choice_means(tmp_path: Path) -> None:
    for width in (60, 140):
        told = evbench("variants --device cpu --details", tmp_path, COLUMNS=str(width)).stdout
        assert "optimized-gpu*" in told and "generate=transformers-static " in told
        assert "scaled_dot" in told and "…" not in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("compare --baseline basline --optimized optimized", "did you mean 'baseline'?"),
        ("compare --baseline baseline --optimized optimized+visoin=eager", "did you mean 'vision'?"),
        (f"{COMPARE} --model video-lava", "did you mean 'video-llava'?"),
        (f"{COMPARE} --preset huge", "there is small, tiny, 7b, 7b-random."),
        (f"{COMPARE} --frame-policy exclusive", "did you mean 'inclusive'?"),
        (f"{COMPARE} --model eventgpt --frame-policy stride", "--model eventgpt takes event images: it would have no effect; leave it out"),
        (f"{COMPARE} --model eventgpt --frames 4", "--frames is of the frames of a video, and --model eventgpt takes event images"),
        (f"{COMPARE} --frames 0", "--frames 0 is out of range; give 1 to 1,024"),
        (f"{COMPARE} --frames many", "--frames 'many' is no whole number; give one"),
        (f"{COMPARE} --frames 500", "scene.mp4 has 20 frames and the model is given 500; give a longer clip, or fewer --frames"),
        ("run baseline --model eventgpt --frame-policy stride", "--frame-policy is of the frames of a video"),
        (f"{COMPARE} --preset tiny --weights .", "exclude each other"),
        (f"{COMPARE} --events .", "--events is not for --model video-llava"),
        (f"{COMPARE} --model eventgpt --video a.mp4", "--video is not for --model eventgpt"),
        (f"{COMPARE} --event-window 0:50ms", "--event-window is for raw events, and"),
        (f"{COMPARE} --model eventgpt --event-limit none --event-size own", "--event-limit and --event-size are for raw events, and"),
        (f"{COMPARE} --model eventgpt --events a.npz", "a.npz: no such file; give a file of raw events"),
        (
            f"{COMPARE} --model eventgpt --events a.npz --events b",
            "a.npz holds raw events and b holds event images; give samples of one kind",
        ),
        (f"{COMPARE} --model eventgpt --events a.npz --event-window 50", "--event-window '50' cannot be read; write START:LENGTH"),
        (f"{COMPARE} --model eventgpt --events a.npz --event-window 0:0ms", "--event-window '0:0ms' cannot be read"),
        (
            f"{COMPARE} --model eventgpt --events a.npz --event-limit 0.1s",
            "--event-limit '0.1s' cannot be read; write a time such as 100ms",
        ),
        (f"{COMPARE} --model eventgpt --events a.npz --event-size camera", "unknown --event-size 'camera'; there is own, sensor"),
        (f"{COMPARE} --model eventgpt --raw-events", "--raw-events is of the samples in --data, which is not given"),
        (f"{COMPARE} --data . --raw-events", "--raw-events is not for --model video-llava"),
        (f"{COMPARE} --weights none", "--weights none: no such folder"),
        (f"{COMPARE} --weights .", "has no readable config.json"),
        (f"{COMPARE} --device gpu", "unknown --device 'gpu'"),
        ("compare --baseline baseline --optimized optimized-gpu --device cpu", "needs an NVIDIA GPU, and the run is on the CPU"),
        (f"{COMPARE} --prompt 'look at <video>'", "contains a placeholder for pictures"),
        (f"{COMPARE} --video {'x' * 300}.mp4", "File name too long"),
        ("compare --baseline none/result.json --optimized optimized", "cannot read result none/result.json"),
        ("compare --baseline table.csv --optimized optimized", "cannot read result table.csv"),
        (f"{COMPARE} --precision 1", "--precision '1' is no share between 0 and 100 %"),
        (f"{COMPARE} --order abba", "unknown --order 'abba'"),
        (f"{COMPARE} --target generate", "--target 'generate' cannot be read"),
        (f"{COMPARE} --target eventgpt.generate<2s", "is of eventgpt, and video-llava is measured"),
        (f"{COMPARE} --fail-if slower", "--fail-if 'slower' cannot be read"),
        (f"{COMPARE} --resume", "--resume goes on with the session in --out"),
        (f"{COMPARE} --resume --out none", "cannot read none/session.json"),
        (f"{COMPARE} --data none", "--data none: no such folder; give one of scenes"),
        (f"{COMPARE} --limit 3", "unknown option --limit; it is now called --samples"),
        (f"{COMPARE} --data . --video a.mp4", "--video and --data exclude each other"),
        ("selftest --device cpu --plant loading:2%", "does not name a stage and a share"),
        ("selftest --device cpu --plant vision", "does not name a stage and a share"),
        ("selftest --device cpu --blocks 5", "--blocks 5 are too few for any interval"),
        (f"{COMPARE} --max-time inf", "--max-time inf is no number; give one"),
        (f"{COMPARE} --max-time 9", "--max-time is of the blocks that --precision adds, which is not given: it would have no effect"),
        (f"{COMPARE} --max-time -1 --precision 1%", "--max-time -1.0 is out of range; give 0 or more"),
        (f"{COMPARE} --modules --trace-tokens 0", "--modules is of the trace, and --trace-tokens 0 records none"),
        (f"{COMPARE} --order reload --invocations 2", "--order reload restarts them for each block: it would have no effect"),
        (f"{COMPARE} --allow torch", "unknown --allow 'torch' where no earlier results are given; there is cached, lossy."),
        (f"{COMPARE} --allow lossi", "unknown --allow 'lossi' where no earlier results are given; did you mean 'lossy'?"),
        (f"{COMPARE} --prompt ''", "--prompt '' asks nothing; give a question"),
        (f"{COMPARE} --prompt '  '", "asks nothing"),
        (f"{COMPARE} --blocks 0", "--blocks 0 is out of range; give 1 to 10,000"),
        (f"{COMPARE} --new-tokens 1025", "--new-tokens 1025 is out of range; give 1 to 1,024"),
        (f"{COMPARE} --throughput 1001", "--throughput 1001 is out of range; give 0 to 1,000"),
        (f"{COMPARE} --seed -1", "--seed -1 is out of range"),
        (f"{COMPARE} --blocks some", "--blocks 'some' is no whole number; give one. See: evbench compare --help"),
        (f"{COMPARE} --max-time some", "--max-time 'some' is no number; give one. See: evbench compare --help"),
        ("scenes make street --count 0", "--count 0 is out of range; give 1 to 100,000. See: evbench scenes make --help"),
        ("scenes make street --seconds nan", "--seconds nan is out of range; give 0.5 to 2"),
        ("frames clip.mp4 --count 10001", "--count 10001 is out of range; give 1 to 10,000"),
        ("selftest --plant vision:banana", "--plant 'vision:banana' does not name a stage and a share"),
        ("selftest --plant vision:-2%", "--plant 'vision:-2%' does not name"),
        ("report ''", "FOLDER '' is an empty path; give that of a file or folder"),
        ("open ''", "TRACE '' is an empty path"),
        ("merge ''", "FOLDER '' is an empty path"),
        ("diff a ''", "B '' is an empty path"),
        ("frames ''", "FILE '' is an empty path"),
        ("lint ''", "FILE '' is an empty path"),
        ("lint gone.csv", "gone.csv: No such file or directory; give a path that can be read"),
        ("lint .", ". has no result.json; give the folder of a comparison or run, or a table of stage times"),
        ("schema verdit", "no schema is called 'verdit'; did you mean 'verdict'?"),
        ("scenes make ''", "FOLDER '' is an empty path"),
        ("scenes show ''", "FOLDER '' is an empty path"),
        (f"{COMPARE} --video ''", "--video '' is an empty path"),
        (f"{COMPARE} --video a.mp4 --video=", "--video '' is an empty path"),
        (f"{COMPARE} --model eventgpt --events ''", "--events '' is an empty path"),
        (f"{COMPARE} --weights ''", "--weights '' is an empty path"),
        (f"{COMPARE} --data ''", "--data '' is an empty path"),
        (f"{COMPARE} --out ''", "--out '' is an empty path"),
        ("compare --baseline '' --optimized optimized", "unknown variant ''"),
        (f"{COMPARE} --starts 3", "unknown option --starts; it is now called --invocations. See: evbench compare --help"),
        (f"{COMPARE} --order in-turn", "unknown --order 'in-turn'; it is now called interleaved"),
        (f"{COMPARE} --order 'in turn'", "it is now called interleaved"),
        ("run optimized+feed=ahead --device cpu", "unknown part 'feed' in 'optimized+feed=ahead'; it is now called prefetch"),
        ("run optimized+prefetch=in-turn --device cpu", "it is now called off"),
        (f"{COMPARE} --block 3", "evbench compare takes no --block; did you mean --blocks? See: evbench compare --help"),
        ("compare --baseline baseline", "Missing option '--optimized'. See: evbench compare --help"),
        ("trace optimized --blocks 3", "evbench trace takes no --blocks; leave it out. See: evbench trace --help"),
        ("trace optimized --trace-tokens 0", "--trace-tokens 0 is no trace"),
        ("ladder --fail-if slower:2%", "evbench ladder takes no --fail-if"),
        ("compare-models --baseline video-llava --optimized eventgpt --video a.mp4", "evbench compare-models takes no --video"),
        ("selftest --precision 1%", "evbench selftest takes no --precision"),
        ("selftest --mutants --blocks 9", "--mutants times nothing: --blocks would have no effect; leave it out"),
        ("selftest --mutants --repetitions 9", "--mutants tries each fault once: --repetitions would have no effect"),
        ("comparee", "No such command 'comparee'. Did you mean 'compare', 'compare-models'? See: evbench --help"),
        ("scenes draw", "No such command 'draw'. See: evbench scenes --help"),
        ("--bogus", "evbench takes no --bogus"),
        ("run optimised --device cpu", "did you mean 'optimized'?"),
        ("run optimized+prefetch=onn --device cpu", "did you mean 'on'?"),
        ("run optimized+prefetch=batched --device cpu", "because that decoder takes one file at a time"),
        ("run optimized-gpu+prefetch=batched --device cpu", "prefill=eager+prefetch=on"),
        ("variants --model llava", "unknown --model 'llava'"),
        ("limits --model llava", "unknown --model 'llava'; did you mean 'video-llava'?"),
        ("limits --device cpu --preset 8b", "unknown --preset '8b'; did you mean '7b'?"),
        ("limits --device cpu --no-wait", "--no-wait is of a measurement, and --measure is not given: it would have no effect"),
        ("limits --seed 3", "evbench limits takes no --seed"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    arguments: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(arguments, monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == [], "refused before anything is made"


def test_an_interrupt_while_input_is_looked_at_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(path: Path) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "probe", interrupt)
    monkeypatch.setattr(sys, "argv", ["evbench", "run", "baseline", "--device", "cpu"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "evbench: interrupted\n")


def test_an_interrupt_while_earlier_results_are_compared_speaks_of_no_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Those that lie in the folder are of what was there before."""

    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    (tmp_path / RUNS).touch()
    monkeypatch.setattr(evbench_api, "compare", interrupt)
    monkeypatch.setattr(sys, "argv", ["evbench", "compare", "--baseline", RECORDED, "--optimized", RECORDED, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "evbench: interrupted\n")


def test_weights_of_the_other_model_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "video_llava"}')
    line = refused(f"{COMPARE} --model eventgpt --weights {tmp_path} --out {tmp_path}/out", monkeypatch, capsys)
    assert "is of model_type 'video_llava', --model eventgpt loads 'EventChat_llama'" in line
    assert not (tmp_path / "out").exists()


def test_a_broken_clip_is_refused_before_anything_is_made(
    broken_clip: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, told = broken_clip
    line = refused(f"{COMPARE} --video {path} --out {tmp_path}/out", monkeypatch, capsys)
    assert told in line
    assert str(path) in line
    assert not (tmp_path / "out").exists()


def test_a_session_that_is_not_there_is_refused_before_the_device_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with exclusive("cpu", wait=False, report=lambda text: None):
        line = refused(f"{COMPARE} --resume --out none", monkeypatch, capsys)
    assert "cannot read none/session.json" in line


def test_a_folder_that_cannot_be_written_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in refused(f"{COMPARE} --out {tmp_path}/file", monkeypatch, capsys)
    assert "which is a file, and results are written into a folder" in refused(f"{COMPARE} --out {tmp_path}/file/out", monkeypatch, capsys)
    told = "the folder /proc/evbench cannot be made: /proc takes no new folders; give another --out"
    for command in (f"{COMPARE} --blocks 6", "trace baseline --device cpu --preset tiny"):
        assert told in refused(f"{command} --out /proc/evbench", monkeypatch, capsys)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "runs.jsonl").write_text("{}\n")
    assert "holds an earlier session" in refused(f"{COMPARE} --out {tmp_path}/used", monkeypatch, capsys)
    assert (tmp_path / "used" / "runs.jsonl").read_text() == "{}\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.md").write_text("mine")
    assert "holds an earlier session" in refused(f"{COMPARE} --out {tmp_path}/mine", monkeypatch, capsys)
    assert (tmp_path / "mine" / "report.md").read_text() == "mine"


def test_a_model_that_cannot_fit_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from evbench.machine import machine as this_machine

    monkeypatch.setattr(this_machine, "_memory_bytes", lambda: 16 * 2**30)
    line = refused(f"{COMPARE} --preset 7b --out {tmp_path}/out", monkeypatch, capsys)
    assert "need 27 GiB, this machine has 16" in line
