"""`evbench acceptance`: a target's answers, and a drafter along them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.pipelines.generate.vocabulary import require_one_vocabulary
from evbench.session import acceptance as session
from evbench.session.acceptance import Answer, Speaker, answers
from evbench.variants.named import parse
from evbench.verdict.speculation import acceptance, blocks, forced, replay
from evbench.worker.messages import BuildRequest, Said, SayRequest
from tests.command import evbench, refused
from tests.test_mutants import workload

COMMAND = "acceptance --target video-llava"


class Simulated:
    """A worker that says the same of each sample, and what was asked of it."""

    asked: list[tuple[str, SayRequest]]

    def __init__(self, build: BuildRequest, log: Path, deadline: float) -> None:
        self.model = build.workload.model

    def __enter__(self) -> Simulated:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def built(self) -> None:
        pass

    def vocabulary(self) -> tuple[str, ...]:
        return ("<pad>", "a", "b", "c") if self.model == "video-llava" else ("<pad>", "a", "b")

    def say(self, request: SayRequest) -> Said:
        Simulated.asked.append((self.model, request))
        own = (3, 1, 2) if self.model == "video-llava" else (1, 2, 1)
        return Said((7, 8), request.forced or own, own, ((5,) * request.drafts,) * 3 if request.drafts else ())


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    Simulated.asked = []
    monkeypatch.setattr(session, "Worker", Simulated)


def speaker(kind: Any, samples: int = 2) -> Speaker:
    asked = workload(kind)
    return Speaker(parse("baseline"), replace(asked, samples=asked.samples * samples))


class Quiet:
    def step(self, activity: str, done: int, total: int) -> None: ...

    def message(self, text: str) -> None: ...


def test_the_drafter_is_asked_along_the_answers_and_for_one_of_its_own(simulated: None, tmp_path: Path) -> None:
    kept: list[list[Answer]] = []
    found = answers(speaker("video"), speaker("event-images"), tmp_path, True, Quiet(), lambda so_far: kept.append(list(so_far)))
    assert found == [Answer(Path(speaker("video").workload.samples[0].path).name, (), (3, 1, 2), (1, 2, 1), (1, 2, 1))] * 2
    of_target = [("video-llava", SayRequest(0)), ("video-llava", SayRequest(1))]
    of_drafter = [("eventgpt", SayRequest(one, forced, words)) for one in (0, 1) for forced, words in (((3, 1, 2), 3), (None, None))]
    assert Simulated.asked == of_target + of_drafter
    assert [len(so_far) for so_far in kept] == [1, 2, 2, 2], "nothing that was said is lost"
    assert [bool(answer.predicted) for answer in kept[2]] == [True, False]


def test_the_devices_of_both_models_are_held(simulated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drafter that is divided works on more of them than the target."""
    held: list[list[str]] = []

    @contextmanager
    def hold(device: str, wait: bool, listener: object, variants: Sequence[Variant]) -> Iterator[None]:
        held.append([variant.name for variant in variants])
        yield

    monkeypatch.setattr(session, "exclusive_device", hold)
    drafter = replace(speaker("event-images", 1), variant=parse("optimized-gpu+parallel=tensor-2"))
    answers(speaker("video", 1), drafter, tmp_path, True, Quiet(), lambda so_far: None)
    assert held == [["baseline", "optimized-gpu+parallel=tensor-2"]]


def test_a_drafter_that_is_no_model_is_not_started(simulated: None, tmp_path: Path) -> None:
    found = answers(speaker("video", 1), None, tmp_path, True, Quiet(), lambda so_far: None)
    assert (found[0].prompt, found[0].tokens, found[0].predicted) == ((7, 8), (3, 1, 2), ())
    assert {model for model, _ in Simulated.asked} == {"video-llava"}


def test_a_head_of_the_target_is_asked_with_its_answers(simulated: None, tmp_path: Path) -> None:
    found = answers(speaker("video", 1), None, tmp_path, True, Quiet(), lambda so_far: None, by_head=2)
    assert (found[0].prompt, found[0].tokens, found[0].drafts) == ((), (3, 1, 2), ((5, 5),) * 3), "the prompt is nothing to it"
    assert Simulated.asked == [("video-llava", SayRequest(0, drafts=2))]


def test_two_vocabularies_must_agree_on_what_they_share() -> None:
    assert require_one_vocabulary(("a", "b", "c"), ("a", "b")) == 2
    with pytest.raises(UserError, match="token 1 is 'b' for the target and 'x' for the drafter; give two models of one vocabulary"):
        require_one_vocabulary(("a", "b", "c"), ("a", "x"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--draft eventgpt", "give --data a folder that `evbench scenes make` has made, or a list in JSON"),
        ("--draft video-llava --data none", "unknown --draft 'video-llava'; there is eventgpt, small, prompt-lookup, head"),
        ("--draft smal --data none", "did you mean 'small'?"),
        ("--draft eventgpt --data none", "--data none: no such folder"),
        ("--draft eventgpt --data none --blocks 6", "evbench acceptance takes no --blocks; leave it out"),
        ("--draft eventgpt --data none --event-window 0:50ms", "evbench acceptance takes no --event-window; leave it out"),
        ("--draft eventgpt --data none --gamma 0", "--gamma"),
        ("--draft eventgpt --data none --new-tokens 2", "--new-tokens 2 leaves nothing to draft; give 3 at least"),
        (
            "--draft head --data none --draft-variant baseline",
            "--draft head is no model: --draft-variant would have no effect; leave it out",
        ),
        ("--draft prompt-lookup --data none --draft-variant baseline", "is no model: --draft-variant would have no effect; leave it out"),
        ("--draft eventgpt --data none --target-variant nosuch", "unknown variant 'nosuch'"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    options: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(f"{COMMAND} {options}", monkeypatch, capsys)


@pytest.mark.slow
def test_on_this_machine_drafts_are_counted(scenes: Path) -> None:
    done = evbench(f"{COMMAND} --draft eventgpt --data set --new-tokens 12 --gamma 3 --device cpu --out out", scenes)
    assert done.returncode == 0, done.stderr
    assert "Written to out: acceptance.md, acceptance.json" in done.stdout
    assert "It is no acceptance rate." in done.stdout
    told = json.loads((scenes / "out" / "acceptance.json").read_text())
    rows = told["answers"]
    assert (told["target"]["workload"]["model"], told["draft"], len(rows)) == ("video-llava", "eventgpt", 2)
    assert str(scenes) not in json.dumps(told)
    assert "Drafter: eventgpt, small, float32 on cpu, variant baseline" in done.stdout
    assert "2 answers with 24 tokens; intervals need 6" in done.stdout
    assert all(len(row["tokens"]) == len(row["predicted"]) == 12 for row in rows)
    found = acceptance([replay(row["tokens"], forced(row["predicted"]), 3) for row in rows], 3, range(len(rows)))
    report = (scenes / "out" / "acceptance.md").read_text()
    assert found.accepted is not None
    assert f"| 3 | {found.passes} | {found.accepted.value:.1%} | - | {found.tokens_per_pass.value:.2f} | - |" in report
    again = evbench(f"{COMMAND} --draft prompt-lookup --data set --new-tokens 12 --gamma 2 --device cpu --out lookup", scenes)
    assert again.returncode == 0, again.stderr
    assert [row["tokens"] for row in json.loads((scenes / "lookup" / "acceptance.json").read_text())["answers"]] == [
        row["tokens"] for row in rows
    ]
    head = evbench(f"{COMMAND} --draft head --data set --new-tokens 12 --gamma 2 --device cpu --out head", scenes)
    assert head.returncode == 0, head.stderr
    assert "Drafted is what a head of one layer says" in head.stdout
    by_head = json.loads((scenes / "head" / "acceptance.json").read_text())["answers"]
    assert [row["tokens"] for row in by_head] == [row["tokens"] for row in rows]
    assert all([len(block) for block in row["drafts"]] == [2] * 12 and not row["prompt"] for row in by_head)
    counted = acceptance([replay(row["tokens"], blocks(row["drafts"]), 2) for row in by_head], 2, range(len(by_head)))
    assert f"| {counted.tokens_per_pass.value:.2f} |" in (scenes / "head" / "acceptance.md").read_text()
    assert counted.tokens_per_pass.value > 2
    itself = evbench(f"{COMMAND} --draft small --data set --device cpu --out itself", scenes)
    assert itself.returncode == 2
    assert "is the target itself" in itself.stderr


@pytest.mark.long
def test_a_worker_that_has_no_head_is_told_in_one_line(scenes: Path) -> None:
    none = evbench(f"{COMMAND} --draft head --data set --preset tiny --device cpu --out none", scenes)
    assert none.returncode == 2
    assert "the random weights of --preset tiny have no head that drafts for them" in none.stderr.splitlines()[-1]
