"""A result file that is damaged, or that somebody has made up: it is read, or refused in one line. Never a traceback."""

from __future__ import annotations

import copy
import json
import random
import re
import shutil
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import evbench
from evbench import results
from evbench.cli.report import write_report
from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.results import Energy
from tests.command import refused
from tests.examples import make_trace
from tests.simulation import PLAN, Noise, SimulatedMachine, simulate

RECORDED = Path(__file__).parent / "recorded" / "former" / "result.json"
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 10**30, 0.0, 1e308, 5e-324, -0.5, "", "x", "baseline", "[/b]", "\x1b[31m", [], [0], {}, {"x": 1},
)  # fmt: skip


@cache
def _made() -> Any:
    """Content of a result with all that a result can have."""
    result = simulate(SimulatedMachine(1, Noise()), replace(PLAN, blocks=6, throughput=2), 2)
    assert result.optimized is not None
    sides = {
        side: replace(measured, trace=make_trace(f"trace-{side}.json.gz"), energy=Energy(10, 5.0, 200.0, 201.0, 50.0))
        for side, measured in result.variants().items()
    }
    return json.loads(to_json(replace(result, baseline=sides["baseline"], optimized=sides["optimized"])))


def made() -> Any:
    return copy.deepcopy(_made())


def places(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All values in the content, but itself; of long lists a few, so that what is rare is changed too."""
    found = [place] if place else []
    if isinstance(content, dict):
        for name, value in content.items():
            found += places(value, (*place, name))
    if isinstance(content, list):
        for index in dict.fromkeys((0, 1, len(content) // 2, len(content) - 1)):
            if 0 <= index < len(content):
                found += places(content[index], (*place, index))
    return found


def at(content: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        content = content[step]
    return content


def row_has(content: Any, place: tuple[Any, ...]) -> bool:
    for step in place:
        if (isinstance(content, dict) and step in content) or (isinstance(content, list) and isinstance(step, int) and step < len(content)):
            content = content[step]
        else:
            return False
    return True


def mutate(content: Any, every: list[tuple[Any, ...]], chance: random.Random) -> Any:
    """One value is removed, replaced, doubled, exchanged with another or changed a little; or that of all rows is replaced."""
    changed = copy.deepcopy(content)
    place = chance.choice(every)
    owner, last = at(changed, place[:-1]), place[-1]
    value = owner[last]
    rows = next((number for number, step in enumerate(place) if isinstance(step, int) and number < len(place) - 1), None)
    match chance.choice(("remove", "replace", "replace", "other", "double", "little", "rows")):
        case "rows" if rows is not None:
            given = chance.choice((*HOSTILE, 0, 1, None))
            for number in range(len(at(changed, place[:rows]))):
                row = (*place[:rows], number, *place[rows + 1 : -1])
                if row_has(changed, (*row, last)):
                    at(changed, row)[last] = given
        case "remove":
            del owner[last]
        case "other":
            owner[last] = copy.deepcopy(at(content, chance.choice(every)))
        case "double" if isinstance(owner, list):
            owner.insert(chance.randrange(len(owner) + 1), copy.deepcopy(value))
        case "little" if isinstance(value, int | float) and not isinstance(value, bool):
            owner[last] = value + chance.choice((-1, 1, 1000, -value))
        case "little" if isinstance(value, list) and value:
            owner[last] = value[: len(value) // 2]
        case "little" if isinstance(value, str):
            owner[last] = value[1:]
        case _:
            owner[last] = chance.choice(HOSTILE)
    return changed


def use(folder: Path, text: str, counted: Counter[str]) -> None:
    """As `evbench report`, and as both sides of `evbench compare`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "result.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        results.read(folder)
    except UserError as error:
        require_one_line(error)
        counted["refused when read"] += 1
        return
    try:
        write_report(folder)
        evbench.compare(folder, folder, folder=folder / "again")
        counted["read"] += 1
    except UserError as error:
        require_one_line(error)
        counted["refused when used"] += 1
        assert not (folder / "again").exists()


def require_one_line(error: UserError) -> None:
    assert str(error) and "\n" not in str(error)


def each(name: str, rows: str, value: Any) -> Any:
    """The content, with the same value in all rows of both sides."""
    content = made()
    for owner in (content["baseline"], content["optimized"], content["sessions"][0]):
        for row in owner.get(rows, ()):
            row[name] = value
    return content


FAULTS: dict[str, tuple[tuple[str, str, Any], str]] = {
    "no time": (("seconds", "runs", 0.0), r"a time of 0\.0 s is impossible"),
    "all times at the end of numbers": (("seconds", "runs", 1e308), r"a time of 1e\+308 s is impossible"),
    "a time without a float": (("seconds", "runs", 10**400), r"seconds is 10{79}\.\.\., which is more than 64 bits hold"),
    "a count without a float": (("turn", "runs", -(10**400)), r"turn is -10{78}\.\.\., which is more than 64 bits hold"),
    "a step that takes for ever": (("decode_step_seconds", "runs", [1e300]), r"a time of 1e\+300 s is impossible"),
    "no run with synchronization": (("stages", "runs", None), "block 0 has no runs with and without stage synchronization"),
    "all runs of one block": (("block", "runs", 0), r"the first run of turn 0 is of block 0, and only timed runs are of one"),
    "all blocks of one number": (("number", "blocks", 0), "two of its blocks have the same number"),
    "blocks of a sample too many": (("sample", "blocks", 2), "a block is of a sample that the workload does not have"),
    "blocks of the other sample": (("sample", "blocks", 0), r"the timed run of turn \d+ is of another sample than its block \d+"),
    "runs of a block too many": (("block", "runs", 999), r"the first run of turn 0 is of block 999, which its session does not have"),
    "runs of no block": (("block", "runs", None), r"the timed run of turn \d+ is of no block"),
    "throughput runs of no block": (("block", "throughput_runs", 99), "a throughput run is of a block that its session does not have"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_result_that_cannot_have_been_measured_is_refused(name: str, tmp_path: Path) -> None:
    content, told = FAULTS[name]
    (tmp_path / "result.json").write_text(json.dumps(each(*content)))
    with pytest.raises(UserError, match=rf"is not a result of evbench: .*({told})"):
        results.read(tmp_path)


PAIR = {"seen": {"load": 0.1}, "unseen": {"load": 0.1}}


@pytest.mark.parametrize("pairs", [[], [PAIR, {"seen": {"vision": 0.1}, "unseen": {"vision": 0.1}}]], ids=["none", "other timings"])
def test_a_check_for_caches_whose_pairs_cannot_be_compared_is_refused(pairs: list[Any], tmp_path: Path) -> None:
    content = made()
    content["baseline"]["cache_check"]["pairs"] = pairs
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is not a result of evbench: .*the pairs of a side, one at least, have the same timings"):
        results.read(tmp_path)


def test_a_result_without_blocks_is_refused_on_both_sides_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = made()
    content["sessions"][0]["blocks"] = []
    (tmp_path / "none.json").write_text(json.dumps(content))
    told = refused(f"compare --baseline {tmp_path}/none.json --optimized {tmp_path}/none.json --out {tmp_path}/out", monkeypatch, capsys)
    assert told == f"evbench: {tmp_path}/none.json is not a result of evbench: its session has no block"
    assert not (tmp_path / "out").exists()


IMPOSSIBLE: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "order of blocks": (("sessions", 0, "blocks", 1, "order"), "ABAB", "unknown order of interleaved blocks 'ABAB'; .* ABBA, BAAB"),
    "blocks of one side": (("sessions", 0, "blocks", 1, "order"), "AA", "unknown order of interleaved blocks 'AA'"),
    "model": (("baseline", "workload", "model"), "gpt", "unknown model 'gpt'; this evbench knows video-llava, eventgpt"),
    "model of the other side": (("optimized", "workload", "model"), "gpt", "optimized.workload.model names the unknown model 'gpt'"),
    "preset": (("baseline", "workload", "preset"), "huge", "unknown preset of video-llava 'huge'"),
    "kind": (("baseline", "workload", "kind"), "event-images", "unknown kind of input of video-llava 'event-images'"),
    "policy": (("baseline", "workload", "frame_policy"), "all", "unknown policy for a video 'all'; this evbench knows inclusive, stride"),
    "device": (("baseline", "workload", "device"), "tpu", "unknown device 'tpu'; this evbench knows cpu, cuda"),
    "type": (("baseline", "workload", "dtype"), "float3", "unknown type to compute in 'float3'"),
    "choice": (("baseline", "choices", "decode"), "nosuch", "baseline.choices.decode names the unknown choice for decode 'nosuch'"),
    "part": (("baseline", "choices", "nosuch"), "plain", "baseline.choices names the unknown part 'nosuch'"),
    "evidence of a part": (("optimized", "activations", 0, "part"), "nosuch", r"activations\[0\].part names the unknown part 'nosuch'"),
    "evidence of another choice": (
        ("optimized", "activations", 0), {"part": "decode", "choice": "dali", "active": True, "evidence": ""}, "choices has not chosen it",
    ),
    "escape codes in the name": (("baseline", "variant"), "a\x1b[31mb", "no variant has such characters in its name"),
    "a noise floor of nothing": (("rules", "noise_floors"), {"total": 0.1}, "unknown timing 'total'"),
    "a target of nothing": (("rules", "targets"), ["video-llava.total<1s"], r"rules.targets\[0\] is 'video-llava.total<1s', which demands"),
    "a target of the other model": (("rules", "targets"), ["eventgpt.tpot<1s"], r"rules.targets\[0\] is 'eventgpt.tpot<1s'"),
    "a demand of nothing": (("rules", "fail_if"), ["slower"], r"rules.fail_if\[0\] is 'slower', which demands nothing"),
    "created": (("created",), "yesterday", "created is 'yesterday', and no time in UTC such as 2026-01-31T12:00:00Z"),
    "created on a day": (("created",), "2026-01-01", "created is '2026-01-01', and no time in UTC"),
    "created elsewhere": (("created",), "2026-01-01T00:00:00+02:00", "no time in UTC"),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_result_that_names_what_there_is_not_is_refused_where_it_is_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, value, told = IMPOSSIBLE[name]
    content = made()
    for side in ("baseline", "optimized"):
        content[side]["activations"] = [{"part": "decode", "choice": "plain", "active": True, "evidence": ""}]
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "result.json").write_text(json.dumps(content))
    write_report(tmp_path / "whole")
    at(content, place[:-1])[place[-1]] = value
    (tmp_path / "result.json").write_text(json.dumps(content))
    for command in ("report {0}", "compare --baseline {0}/ --optimized {0}/ --out {0}/out"):
        line = refused(command.format(tmp_path), monkeypatch, capsys)
        assert re.search(told, line), line
        assert str(tmp_path) in line and "--" not in line.replace(str(tmp_path), "")
    assert not (tmp_path / "out").exists()


def test_what_would_act_on_a_terminal_is_not_in_the_report(tmp_path: Path) -> None:
    """Names of files and what a library said may have it, so that it is no reason to refuse a result."""
    content = made()
    for side in ("baseline", "optimized"):
        content[side]["workload"]["samples"][0]["path"] = "clip\x1b[31m.mp4"
        content[side]["workload"]["prompt"] = "What?\x1b[2J\nReally?"
        content[side]["runs"][-1]["text"] = "a\x9b31m"
    content["command"] = "evbench\x1b]0;title\x07"
    content["sessions"][0]["machine"]["cpu"] = "CPU\x1b[1m"
    (tmp_path / "result.json").write_text(json.dumps(content))
    write_report(tmp_path)
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "clip·[31m.mp4" in report
    assert [letter for letter in set(report) - {"\n"} if not letter.isprintable()] == []


@pytest.mark.slow
@pytest.mark.parametrize(("source", "number"), [("made", 40), ("recorded", 30)])
def test_a_changed_result_is_read_or_refused(source: str, number: int, tmp_path: Path) -> None:
    fuzz(source, number, 1, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("source", "number"), [("made", 1500), ("recorded", 500)])
def test_many_changed_results_are_read_or_refused(source: str, number: int, tmp_path: Path) -> None:
    fuzz(source, number, 2, tmp_path)


def fuzz(source: str, number: int, seed: int, folder: Path) -> None:
    content = made() if source == "made" else json.loads(RECORDED.read_text(encoding="utf-8"))
    every, chance, counted = places(content), random.Random(seed), Counter[str]()
    for _ in range(number):  # the one that fails stays in the folder
        use(folder / "out", json.dumps(mutate(content, every, chance)), counted)
    print(dict(counted))
    assert counted["read"] > number / 20 and counted["refused when read"] > number / 4, counted


def test_a_file_that_is_cut_off_or_has_other_bytes_is_read_or_refused(tmp_path: Path) -> None:
    whole, chance, counted = json.dumps(made()), random.Random(3), Counter[str]()
    for _ in range(60):
        place = chance.randrange(len(whole))
        text = whole[:place] if chance.random() < 0.3 else whole[:place] + chance.choice('{}[],:"0e-\\x\0é') + whole[place + 1 :]
        use(tmp_path / "out", text, counted)
    assert counted["refused when read"] > 30
