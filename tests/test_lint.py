"""Mistakes in somebody else's table of stage times, and in results: each is found, and what is right is left alone."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from evbench import results
from evbench.api.schemas import SCHEMAS
from evbench.cli.console import MOST_LINES
from evbench.cli.main import main
from evbench.errors import UserError
from evbench.lint.examine import MOST_RESULT_BYTES, examine, of_table
from evbench.lint.finding import Finding, exit_code
from evbench.lint.read import MOST_BYTES, MOST_ROWS, read_table
from evbench.report.published import examine as examine_page
from tests.command import refused
from tests.examples import make_result, make_side
from tests.origin_table import PAGE, origin, written
from tests.schema_check import faults
from tests.test_damaged_results import HOSTILE, places
from tests.test_published import RIGHT

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "external-table.md").read_text(encoding="utf-8")


def lint(table: Any) -> tuple[Finding, ...]:
    return of_table(read_table(Path("table.json"), written(table)))


def lint_csv(*lines: str) -> tuple[Finding, ...]:
    return of_table(read_table(Path("table.csv"), "\n".join(lines).encode()))


def mistakes(found: tuple[Finding, ...]) -> list[str]:
    return [finding.line() for finding in found if finding.kind == "mistake"]


# The published comparison.

OF_STATEMENTS: dict[int, tuple[str, str]] = {
    1: ("speedup of load 8.1x", "46.7x"),
    2: ("speedup of total 5.1x", "3.15x"),
    3: ("load is 73 % of the speedup", "is 33 %"),
    4: ("Video-LLaVA: generate 2.0 s", "take 2.50 s"),
    5: ("Video-LLaVA: total 3.06 s; load + preprocess + vision + generate", "2.77 s"),
    6: ("generate is 75 % of the total", "is 65 %"),
    7: ("EventGPT: total 0.97 s", "1.02 s"),
    8: ("speedup of generate 2.6x", "2.22x"),
    14: ("formula of tokens per pass", "leave 1.13x"),
    15: ("speedup of total as this side's time over the baseline's", "0.317x"),
    17: ("all samples 600 s", "612 s"),
    19: ("vision 0.0 s", "at most 50.0 ms"),
    20: ("18 runs of 200", "182 are missing"),
    23: ("dtype float16 and bfloat16", "different work"),
}
"""Number of a statement of the published comparison -> what lint says is written, and what it computes."""
SEEN_ELSEWHERE = {9, 10, 11, 12, 13, 16, 18, 21, 22, 24}
"""Statements about what no table of stage times has: sizes, shapes, texts, dates, memory, the reasons of a difference."""


def test_every_statement_about_times_is_looked_at() -> None:
    assert OF_STATEMENTS.keys() | SEEN_ELSEWHERE == set(range(1, len(PAGE.statements) + 1))
    verdicts = {number: finding.verdict for number, finding in examine_page(PAGE, {}).items()}
    assert {verdicts[number] for number in OF_STATEMENTS.keys() - {19}} == {"does not hold"}


@pytest.mark.parametrize("number", OF_STATEMENTS)
def test_each_contradiction_of_the_published_table_is_found_by_computation(number: int) -> None:
    stated, computed = OF_STATEMENTS[number]
    (line,) = [line for line in mistakes(lint(origin())) if stated in line]
    assert computed in line


BEGINNINGS = {
    1: "speedup of load", 2: "speedup of total 5.1x", 3: "load is 73 %", 4: "Video-LLaVA: generate 2", 5: "Video-LLaVA: total",
    6: "generate is 75 %", 7: "and with the other stages", 8: "speedup of generate", 17: "all samples", 20: "runs of 200",
    23: "and bfloat16",
}  # fmt: skip
"""Number of a statement -> what no line has any more where it holds."""


@pytest.mark.parametrize("number", BEGINNINGS)
def test_with_the_right_figure_it_is_not_found(number: int) -> None:
    """The figures with which the statement holds are those of the test of the statements."""
    right = {"video_most_for_all": "612"} if number == 17 else RIGHT[number]
    before, after = (mistakes(lint(table)) for table in (origin(), origin(**right)))
    assert any(BEGINNINGS[number] in line for line in before)
    assert not any(BEGINNINGS[number] in line for line in after)


def test_what_else_is_found_of_it_is_named_here() -> None:
    found = lint(origin())
    stated = [stated for stated, _ in OF_STATEMENTS.values()]
    others = [line for line in mistakes(found) if not any(text in line for text in stated)]
    assert [re.split("; ", line)[0] for line in others] == [
        "mistake: EventGPT against Video-LLaVA: generate is 27 % of the speedup",
        "mistake: Video-LLaVA and EventGPT: 102.4 and 45.5 new tokens",
        "mistake: Video-LLaVA and EventGPT: measured one after the other",
        "mistake: EventGPT: 0 runs",
    ]
    assert not [line for line in mistakes(found) if "load is 23 %" in line or "preprocess is 2 %" in line], "these shares are right"
    told = [finding.line() for finding in found if finding.kind == "not told"]
    assert told == ["not told: Video-LLaVA and EventGPT: do_sample or temperature", "not told: EventGPT: warmup_runs"]
    assert exit_code(found) == 6


def test_it_fits_the_schema() -> None:
    as_json = json.loads(written(origin()))
    assert not list(faults(SCHEMAS["external"](), as_json))
    for wrong in ({"rows": 1}, {}, as_json | {"more": 1}, {"rows": [{"name": "a"}]}, {"rows": [{"name": "a", "times": {"load_s": "1"}}]}):
        assert list(faults(SCHEMAS["external"](), wrong))


# Single rules, on tables that have one mistake at most.

PROTOCOL: dict[str, Any] = {
    "new_tokens": 50, "do_sample": False, "warmup_runs": 5, "runs": 20, "order": "interleaved", "dtype": "bfloat16",
}  # fmt: skip
TIMES = {"load_s": Decimal("0.50"), "generate_s": Decimal("1.50"), "total_s": Decimal("2.00")}
HALF = {"load_s": Decimal("0.25"), "generate_s": Decimal("0.75"), "total_s": Decimal("1.00")}


def table(before: dict[str, Any] | None = None, after: dict[str, Any] | None = None) -> Any:
    """Without a mistake, but for what is given here."""
    rows = [{"name": "before", "times": TIMES} | PROTOCOL | (before or {}), {"name": "after", "times": HALF} | PROTOCOL | (after or {})]
    return {"source": "here", "rows": rows}


def claim(value: str | None, formula: str | None = None, of: str = "total") -> dict[str, Any]:
    return {"speedups": [{"of": of, "value": None if value is None else Decimal(value), "formula": formula}]}


@pytest.mark.parametrize(
    "after",
    [
        {},
        claim("2.0"),
        claim("2", "ratio of means"),
        claim("1.99"),  # within the rounding of the times
        claim("2.0", of="load"),
        {"shares": {"load": 25}, "saved_shares": {"load": 25, "generate": 75}},
        {"tokens_per_second": Decimal("66.7")},
        {"tokens_per_second": 50},
        {"times": HALF | {"tpot_ms": Decimal("14.1")}},
        {"times": HALF | {"total_s": Decimal("1.009")}},  # a call between two stages
        {"times": HALF | {"prefill_s": Decimal("0.1"), "decode_s": Decimal("0.65"), "ttft_s": Decimal("0.35")}},
        {"temperature": Decimal("0.7")},  # greedy all the same
        {"samples": 20, "times": HALF | {"all_samples_s": 20}},
        {"statistic": "mean"},
    ],
)
def test_what_is_right_is_left_alone(after: dict[str, Any]) -> None:
    assert not lint(table(after=after))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({"new_tokens": 40}, "before and after: 50 and 40 new tokens; 1.25x as many: generate takes 2.00x as long, over its tokens 1.60x"),
        ({"do_sample": True}, "after: do_sample true; another run gives other tokens"),
        ({"do_sample": None, "temperature": Decimal("0.6")}, "after: temperature 0.6"),
        ({"warmup_runs": 0}, "after: 0 warm-up runs"),
        ({"order": "one after the other"}, "before and after: measured one after the other"),
        ({"dtype": "float16"}, "before and after: dtype bfloat16 and float16"),
        ({"times": HALF | {"prefill_s": Decimal("1.0")}}, "after: prefill 1.0 s; generate 0.75 s, of which it is a part, is shorter"),
        ({"times": HALF | {"ttft_s": Decimal("1.1")}}, "after: ttft 1.1 s; total 1.00 s, of which it is a part, is shorter"),
        ({"runs": 1}, "after: 1 run; its scatter is not known"),
        ({"samples": 30}, "after: 20 runs of 30; 10 are missing"),
        ({"times": HALF | {"total_s": Decimal("0.9")}}, "total 0.9 s; load + generate are 1.00 s (0.99 - 1.01 s by rounding), 100 ms more"),
        ({"times": HALF | {"total_s": Decimal("1.1")}}, "100 ms are in no stage"),
        ({"times": HALF | {"vision_ms": 0}}, "after: vision 0 ms; no stage takes no time, at most 500 µs by rounding"),
        ({"times": HALF | {"tpot_ms": Decimal("15.0")}}, "after: tpot 15.0 ms; generate 0.75 s over 50 new tokens is 15.0 ms"),
        ({"times": HALF | {"tpot_ms": 20}}, "after: generate 0.75 s; 50 new tokens of tpot 20 ms take 980 ms"),
        ({"tokens_per_second": 90}, "after: 90 tokens per second; new tokens over generate is 66.7, new tokens over total is 50.0"),
        ({"shares": {"load": 50}}, "after: load is 50 % of the total; load 0.25 s of total 1.00 s is 25 %"),
        ({"saved_shares": {"load": 50}}, "load is 50 % of the speedup; 0.50 s less 0.25 s, of 2.00 s less 1.00 s, is 25 %"),
        ({"samples": 20, "times": HALF | {"all_samples_s": 30}}, "after: all samples 30 s; 20 times total 1.00 s is 20.0 s"),
        (claim("3.0"), "speedup of total 3.0x; 2.00 s over 1.00 s is 2x (1.99 - 2.02 by rounding); give"),
        (claim("0.5"), "0.5x is the inverse (0.50x)"),
        (claim("2.0", "mean of ratios"), "speedup of total 2.0x as the average of ratios"),
        (claim("0.5", "time over baseline"), "that is 0.5x (0.496 - 0.504 by rounding), the inverse of a speedup"),
        (claim("4.0", "other"), "speedup of total 4.0x by a formula of its own; a speedup is a ratio of times"),
        (claim(None, "tokens per pass") | {"draft_tokens": 5}, "5 drafted tokens give 6 tokens per pass at best"),
        (
            claim("3.36", of="speculative") | {"draft_tokens": 4, "acceptance_rate": Decimal("0.8")},
            "4 drafted tokens give 3.36 tokens per pass, which has no time in it",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_follows(after: dict[str, Any], told: str) -> None:
    (line,) = mistakes(lint(table(after=after)))
    assert told in line


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({"warmup_runs": None}, "after: warmup_runs"),
        ({"new_tokens": None}, "after: new_tokens"),
        (claim("2.0", "ratio of medians"), "after against before: medians of both sides, for the speedup of total 2.0x"),
        (claim("2.0", "geometric mean of ratios"), "the runs, row by row"),
        (claim("2.0", of="vision"), "vision of both sides, for the speedup of vision 2.0x"),
        (claim("2.0", of="speculative"), "draft_tokens, for the speedup of speculative 2.0x"),
        ({"shares": {"vision": 10}}, "after: vision or total, of which 10 % are written"),
        (
            {"statistic": "median", "times": HALF | {"total_s": Decimal("1.2")}},
            "means: no sum, product or share follows from medians",
        ),
        ({"times": HALF | {"all_samples_s": 20}}, "after: samples or total, for all samples 20 s"),
        ({"new_tokens": None, "tokens_per_second": 20}, "or tpot, for 20 tokens per second"),
        ({"saved_shares": {"vision": 10}}, "vision and total of both sides"),
        ({"saved_shares": {"load": 10}, "times": HALF | {"load_s": 1, "total_s": 2}}, "a difference of total that is sure"),
    ],
)
def test_what_is_not_told_is_no_mistake(after: dict[str, Any], told: str) -> None:
    found = lint(table(after=after))
    assert any(told in finding.line() and finding.kind == "not told" for finding in found)
    if "saved_shares" not in after:
        assert exit_code(found) == 0


def test_the_order_may_be_told_by_one_side_for_all() -> None:
    assert not lint(table(after={"order": None}))
    assert "not told: before and after: order" in [finding.line() for finding in lint(table({"order": None}, {"order": None}))]


def test_medians_are_held_against_medians() -> None:
    of_medians = claim("3.0", "ratio of medians") | {"statistic": "median"}
    (line,) = mistakes(lint(table({"statistic": "median"}, of_medians)))
    assert "speedup of total 3.0x; 2.00 s over 1.00 s is 2x" in line


def test_a_mean_is_not_held_against_a_median() -> None:
    (line,) = mistakes(lint(table({"statistic": "median"}, {"statistic": "mean"})))
    assert "before and after: statistic median and mean; a few slow runs move the mean" in line


def test_a_side_may_name_its_baseline() -> None:
    content = table(after=claim("2.0"))
    third = {"name": "third", "times": HALF, **PROTOCOL, "baseline": "after", **claim("1.0")}
    content["rows"].append(third)
    assert not lint(content)
    third["speedups"] = claim("2.0")["speedups"]
    assert "third against after" in mistakes(lint(content))[0]
    content["rows"][0] |= claim("2.0")
    assert "not told: before: the side that its speedup is against" in [finding.line() for finding in lint(content)]


RUNS = (
    "name,total_s,new_tokens,do_sample,warmup_runs,order,dtype,speedup,speedup_formula",
    "a,1.000,10,no,3,interleaved,f32,,",
    "a,4.000,10,no,3,interleaved,f32,,",
    "b,2.000,10,no,3,interleaved,f32,1.25,",
    "b,2.000,10,no,3,interleaved,f32,,",
)


def test_rows_of_one_name_are_runs_and_averages_of_ratios_are_recognized() -> None:
    """(1/2 + 4/2) / 2 is 1.25 as well as 5/4: here both agree, and with other runs they do not."""
    assert not mistakes(lint_csv(*RUNS))
    other = [line.replace("b,2.000", "b,1.000", 1) if number == 3 else line for number, line in enumerate(RUNS)]
    (line,) = mistakes(lint_csv(*(text.replace("1.25", "1.50") for text in other)))
    assert "2.50 s on average over 1.50 s on average is 1.67x" in line
    assert "1.50x is the average of the ratios of the runs (1.50x)" in line


def test_a_run_is_named_by_its_line() -> None:
    lines = ("name,load_s,generate_s,total_s", "a,1.0,1.0,2.0", "", "a,1.0,1.0,3.0", "b,1.0,1.0,2.0")
    (line,) = mistakes(lint_csv(*lines))
    assert line.startswith("mistake: a, line 4: total 3.0 s; load + generate are 2.00 s")


def test_an_average_of_ratios_that_is_told_is_computed() -> None:
    (line,) = mistakes(lint_csv(*RUNS[:3], f"{RUNS[3]}mean of ratios", RUNS[4]))
    assert "speedup of total 1.25x as the average of ratios; 2.50 s on average over 2.00 s on average is 1.25x" in line
    assert "the average of the ratios of its runs is 1.25x; give the ratio of the means" in line


def test_unequal_runs_of_equal_mean_length_are_found() -> None:
    (line,) = mistakes(lint_csv(*RUNS[:3], RUNS[3].replace(",10,", ",9,"), RUNS[4].replace(",10,", ",11,")))
    assert "10 and 9 to 11 new tokens" in line


def side(rng: random.Random, name: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds that are true of each other, and the row that they give, rounded to as many digits as somebody likes."""
    true = {stage: rng.uniform(0.005, 0.5) for stage in ("load", "preprocess", "vision", "prefill")}
    tokens, tpot = rng.randint(20, 100), rng.uniform(0.002, 0.03)
    true["prefill"] += 3 * tpot
    true["generate"] = true["prefill"] + (tokens - 1) * tpot
    true["total"] = sum(true[stage] for stage in ("load", "preprocess", "vision", "generate")) * rng.uniform(1, 1.005)

    def rounded(value: float, least: int) -> Decimal:
        return Decimal(f"{value:.{rng.randint(least, 12)}f}")

    times = {f"{stage}_s": rounded(seconds, 3) for stage, seconds in true.items() if stage != "prefill" or rng.random() < 0.5}
    row = PROTOCOL | {"name": name, "times": times | {"tpot_ms": rounded(tpot * 1e3, 1)}, "new_tokens": tokens, "samples": 20}
    row["shares"] = {stage: rounded(100 * true[stage] / true["total"], 0) for stage in ("load", "generate")}
    row["tokens_per_second"] = rounded(rng.choice((tokens / true["generate"], tokens / true["total"], 1 / tpot)), 1)
    row["times"]["all_samples_s"] = rounded(20 * true["total"], 0)
    return true, row


def test_rounding_alone_is_never_a_mistake() -> None:
    rng = random.Random(3)
    for _ in range(500):
        (one, before), (other, after) = side(rng, "before"), side(rng, "after")
        after["speedups"] = [
            {"of": of, "value": Decimal(f"{one[of] / other[of]:.{rng.randint(1, 4)}f}"), "formula": rng.choice((None, "ratio of means"))}
            for of in ("total", "load", "generate")
        ]
        saved = one["total"] - other["total"]
        after["saved_shares"] = {
            stage: Decimal(f"{share:.0f}") for stage in ("load", "vision") if (share := 100 * (one[stage] - other[stage]) / saved) > 1
        }
        found = mistakes(lint({"rows": [before, after]}))
        assert not [line for line in found if "new tokens; " not in line or "as many" not in line], found


def _planted(table: Any, what: str) -> str:
    """Make one figure wrong by half. Returns what the line about it has."""
    row = table["rows"][1]
    if what in ("total_s", "all_samples_s"):
        row["times"][what] *= Decimal("1.5")
        return what.removesuffix("_s").replace("_", " ")
    if what == "generate_s":
        row["times"][what] /= 2
        return "generate"
    if what == "tokens_per_second":
        row[what] *= Decimal("3.7")
        return "tokens per second"
    if what == "speedup":
        row["speedups"] = [{"of": "vision", "value": 1000}]
        return "speedup of vision 1000x"
    row["shares"]["load"] = row["shares"]["load"] / 2 + 50
    return "of the total"


@pytest.mark.parametrize("what", ["total_s", "all_samples_s", "generate_s", "tokens_per_second", "speedup", "shares"])
def test_what_is_wrong_by_half_is_always_found(what: str) -> None:
    rng = random.Random(4)
    for _ in range(100):
        content = {"rows": [side(rng, "before")[1], side(rng, "after")[1]]}
        named = _planted(content, what)
        assert [line for line in mistakes(lint(content)) if line.startswith("mistake: after") and named in line], content


# Files.


def test_both_examples_of_the_document_say_the_same() -> None:
    (as_json,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    (as_csv,) = re.findall(r"```csv\n(.*?)```", DOCUMENT, re.DOTALL)
    assert not list(faults(SCHEMAS["external"](), json.loads(as_json)))
    one, other = read_table(Path("a.json"), as_json.encode()), read_table(Path("a.csv"), as_csv.encode())
    assert one.table.rows == other.table.rows and not one.unread and not other.unread
    found = mistakes(of_table(one))
    assert [re.split("; ", line)[0] for line in found] == [
        "mistake: before: total 3.06 s",
        "mistake: after against before: speedup of total 5.1x",
        "mistake: before and after: 102 and 46 new tokens",
    ]


def test_every_field_of_the_format_is_in_the_document() -> None:
    for fields in (SCHEMAS["external"]()["$defs"]["Row"], SCHEMAS["external"]()):
        assert not [name for name in fields["properties"] if f"`{name}`" not in DOCUMENT and f'"{name}"' not in DOCUMENT]


def test_what_is_not_of_the_format_is_named() -> None:
    found = lint_csv("name,total_s,gpu,load,tokens_per_s,", "a,1.0,H200,1,50,")
    assert "tokens_per" not in " ".join(mistakes(found))
    notes = [finding.line() for finding in found if finding.kind == "note"]
    assert notes == [f"note: not read: the column {name!r}; it is not of the format" for name in ("gpu", "load", "tokens_per_s", "")]
    content = table(after={"gpu": "H200", "times": HALF | {"vision": 1}} | claim("2.0"))
    content["more"], content["rows"][1]["speedups"][0]["why"] = 1, "because"
    notes = [finding.written for finding in lint(content) if finding.kind == "note"]
    assert notes == [
        "the table: the field 'more'", "rows[1]: the field 'gpu'", "rows[1].times['vision'], which has no unit",
        "rows[1].speedups[0]: the field 'why'",
    ]  # fmt: skip


ROW = '{"name": "a", "times": {"load_s": %s}}'
WRONG: dict[str, str] = {
    "": "Expecting value",
    "[]": "the table is [], where an object with the fields rows, source, version is expected",
    '{"rows": []}': "it has 0 rows; give 1 to 10,000",
    '{"rows": {}}': "the table.rows is {}, where a list is expected",
    '{"rows": [1]}': "the table.rows[0] is 1, where an object",
    '{"rows": [{"name": "a"}]}': "the table.rows[0] lacks the field 'times'",
    '{"rows": [' + ROW % "NaN" + "]}": "the table.rows[0].times['load_s'] is NaN, where a finite number is expected",
    '{"rows": [' + ROW % "-Infinity" + "]}": "is -Infinity, where a finite number is expected",
    '{"rows": [' + ROW % "-0.5" + "]}": "rows[0], load_s is -0.5; it is 0 or more, and less than 1,000,000,000",
    '{"rows": [' + ROW % "1e9" + "]}": "rows[0], load_s is 1E+9; it is 0 or more",
    '{"rows": [' + ROW % "0e99" + "]}": "too few digits",
    '{"rows": [' + ROW % "1e99999999999999999999" + "]}": "1e999999999999999999 is no number that can be read",
    '{"rows": [' + ROW % ("9" * 5000) + "]}": "integer string conversion",
    '{"rows": [' + ROW % '"1.0"' + "]}": "is '1.0', where a finite number is expected",
    '{"rows": [' + ROW % "true" + "]}": "is True, where a finite number is expected",
    '{"rows": [{"name": "a", "name": "b", "times": {}}]}': "'name' stands twice in one object",
    '{"rows": [{"name": "a", "times": {"load_s": 1, "load_ms": 1000}}]}': "rows[0] gives one time in two units",
    '{"rows": [{"name": "", "times": {}}]}': "rows[0] has a name of 0 characters",
    '{"rows": [{"name": "a", "times": {}, "baseline": "b"}]}': "rows[0] has the baseline 'b', and no row is called so",
    '{"rows": [{"name": "a", "times": {}, "runs": -1}]}': "rows[0], runs is -1",
    '{"rows": [{"name": "a", "times": {}, "acceptance_rate": 1.5}]}': "rows[0], acceptance_rate is 1.5",
    '{"rows": [{"name": "a", "times": {}, "draft_tokens": 100000}]}': "rows[0], draft_tokens is 100000",
    '{"rows": [{"name": "a", "times": {}, "order": "random"}]}': "is 'random', where interleaved or one after the other is expected",
    '{"rows": [{"name": "a", "times": {}, "speedups": [{"of": "total", "value": -1}]}]}': "rows[0], speedup of total is -1",
    '{"rows": [{"name": "\\ud800", "times": {}}]}': "surrogates not allowed",
    "[" * 100_000: "recursion",
}
WRONG_CSV = {
    "": "its first line has no column 'name'",
    "load_s\n1": "its first line has no column 'name'",
    "name,load_s,load_s\na,1,1": "has the column 'load_s' twice",
    "name,load_s\n": "it has 0 rows; give 1 to 10,000",
    "name,load_s\na": "line 2 has 1 cells, and the first line 2",
    "name,load_s\na,nan": "line 2.times['load_s'] is NaN, where a finite number is expected",
    "name,load_s\na,fast": "line 2.times['load_s'] is 'fast', where a finite number is expected",
    "name,load_s\na,-1": "line 2, load_s is -1",
    "name,do_sample\na,perhaps": "line 2.do_sample is 'perhaps', where true or false is expected",
    "name,runs\na,1.5": "line 2.runs is '1.5', where a whole number is expected",
    "name,order\na,both": "line 2.order is 'both', where interleaved or",
    'name,load_s\n"a,1': "unexpected end of data",
    "name,load_s\na,1\x00": "line 2.times['load_s']",
    "name,load_s\n" + "a" * 200_000 + ",1": "field larger than field limit",
}


@pytest.mark.parametrize(("content", "told"), WRONG.items(), ids=range(len(WRONG)))
def test_a_table_that_cannot_be_is_refused_with_its_place(content: str, told: str) -> None:
    with pytest.raises(UserError, match=f"^table.json is no table of stage times: .*{re.escape(told)}"):
        read_table(Path("table.json"), content.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(("content", "told"), WRONG_CSV.items(), ids=range(len(WRONG_CSV)))
def test_a_csv_that_cannot_be_is_refused_with_its_line(content: str, told: str) -> None:
    with pytest.raises(UserError, match=f"^table.csv is no table of stage times: .*{re.escape(told)}"):
        read_table(Path("table.csv"), content.encode())


def test_what_is_no_text_is_refused() -> None:
    for content in (b"\xff\xfe\x00", b"\x80\x04\x95pickle"):
        with pytest.raises(UserError, match="is no table of stage times"):
            read_table(Path("table.json"), content)


def test_whatever_stands_in_a_table_is_read_or_refused_in_one_line() -> None:
    rng, whole = random.Random(2), json.loads(written(origin()))
    refusals = 0
    for place in places(whole) * 2:
        content = copy.deepcopy(whole)
        inner = content
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = rng.choice(HOSTILE)
        try:
            assert all("\n" not in finding.line() for finding in lint(content))
        except UserError as error:
            refusals += 1
            assert "\n" not in str(error)
    assert refusals > 20


def test_many_names_twice_are_refused_at_once() -> None:
    names = ", ".join(f'"{number}": 0' for number in range(60_000))
    with pytest.raises(UserError, match="'59999' stands twice"):
        read_table(Path("table.json"), f'{{{names}, "59999": 0}}'.encode())


def test_a_table_of_the_largest_size_is_looked_at_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, head = tmp_path / "table.csv", "name,load_s,total_s\n"
    file.write_text(head + "".join(f"{number},1,9\n" for number in range(MOST_ROWS + 1)))
    assert "it has 10,001 rows" in refused(f"lint {file}", monkeypatch, capsys)
    file.write_text(head + "".join(f"{number},1,9\n" for number in range(MOST_ROWS)))
    started = time.monotonic()
    assert told([str(file)], monkeypatch, capsys)[0] == 6
    assert time.monotonic() - started < 30


# Results of evbench.


def test_a_result_is_told_what_evbench_says_of_it(tmp_path: Path) -> None:
    results.write(make_result(), tmp_path / "result.json")
    found = examine(tmp_path)
    assert found == examine(tmp_path / "result.json")
    assert "NOT_VERIFIED" in [finding.where for finding in found if finding.kind == "not told"]


def test_unequal_work_of_a_result_is_a_mistake(tmp_path: Path) -> None:
    runs = tuple(replace(run, work=replace(run.work, new_tokens=9)) for run in make_side().runs)
    other = replace(make_side(variant="optimized"), runs=runs)
    results.write(make_result(optimized=other), tmp_path / "other.json")
    found = examine(tmp_path / "other.json")
    (line,) = [line for line in mistakes(found) if "INVALID" in line]
    assert "the two sides did different work: new_tokens" in line
    assert "choose variants that keep frames, prompt and tokens as they are" in line
    assert exit_code(found) == 6


def test_a_result_without_warm_up_is_a_mistake(tmp_path: Path) -> None:
    result = make_result()
    without = replace(result.baseline, runs=tuple(run for run in result.baseline.runs if run.kind != "warmup"))
    results.write(replace(result, baseline=without), tmp_path / "result.json")
    assert [line for line in mistakes(examine(tmp_path)) if line.startswith("mistake: baseline: no warm-up run is recorded")]


def test_recorded_results_have_the_mistakes_of_their_flags() -> None:
    for folder, flags in (("cpu/video-llava-small", set()), ("h200/eventgpt-7b", {"NOT_STEADY"}), ("h200/ready-made-7b", set())):
        found = examine(ROOT / "profiles" / folder)
        assert {finding.where for finding in found if finding.kind == "mistake"} == flags
        assert exit_code(found) == (6 if flags else 0)


# The command.


def told(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    monkeypatch.setattr(sys, "argv", ["evbench", "lint", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    output = capsys.readouterr()
    assert not output.err
    return int(caught.value.code or 0), output.out.splitlines()


def test_the_command_ends_with_the_number_of_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.json"
    file.write_bytes(written(origin()))
    monkeypatch.setattr("evbench.cli.console.screen.width", 240)
    code, lines = told([str(file)], monkeypatch, capsys)
    assert (code, lines[-1]) == (6, "exit 6: 18 mistakes, 2 not told")
    assert len(lines) == 21
    file.write_bytes(written(table()))
    assert told([str(file)], monkeypatch, capsys) == (0, ["exit 0: no mistakes"])


def test_of_many_lines_the_screen_has_40_and_details_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.csv"
    file.write_text("name,load_s,total_s\n" + "\x1b[31ma,1.0,2.0\n" * 100)
    monkeypatch.setattr("evbench.cli.console.screen.width", 140)
    code, lines = told([str(file)], monkeypatch, capsys)
    assert code == 6 and len(lines) <= MOST_LINES and "more lines; --details has them" in lines[-2]
    code, whole = told([str(file), "--details"], monkeypatch, capsys)
    assert len(whole) > 100 and whole[-1] == lines[-1] and "\x1b" not in "".join(whole)


def test_what_cannot_be_linted_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "gone.json: No such file" in refused("lint gone.json", monkeypatch, capsys)
    assert "has no result.json; give the folder" in refused("lint .", monkeypatch, capsys)
    assert "/dev/zero is no file" in refused("lint /dev/zero", monkeypatch, capsys)
    assert "FILE '' is an empty path" in refused("lint ''", monkeypatch, capsys)
    (tmp_path / "large.json").write_bytes(b" " * (MOST_BYTES + 1))
    assert "has more than 1 MiB" in refused("lint large.json", monkeypatch, capsys)
    (tmp_path / "other.json").write_text('{"sessions": 1, "baseline": 1}')
    assert "is not a result of evbench" in refused("lint other.json", monkeypatch, capsys)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "result.json")
    assert "pipe/result.json is no file" in refused("lint pipe", monkeypatch, capsys)
    with (tmp_path / "result.json").open("wb") as large:
        large.truncate(MOST_RESULT_BYTES + 1)
    assert "result.json has more than 64 MiB" in refused("lint .", monkeypatch, capsys)
