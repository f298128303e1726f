"""`evbench limits`, and the ceilings that it measures."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from evbench.cli.main import main
from evbench.pipelines.registry import MODELS
from evbench.pipelines.weights import trained
from evbench.report import limits as report
from evbench.results import Ceilings, Rates
from evbench.worker import limits
from evbench.worker.instruments import synchronizer
from tests.command import refused
from tests.test_costs import of_preset
from tests.test_mutants import workload

CEILINGS = Ceilings(read=4.0e12, copy=4.3e12, product={"float32": 50e12, "bfloat16": 790e12})


def told(arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["evbench", "limits", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    assert (ended.value.code, output.err) == (0, "")
    return output.out


def test_a_gpu_without_free_memory_is_measured_by_the_smallest_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch may have the memory for it in its pool. On the host here."""
    ones, sizes = torch.ones, list[int]()

    def on_host(*shape: int, dtype: torch.dtype, device: str) -> torch.Tensor:
        sizes.append(shape[0])
        return ones(*shape, dtype=dtype)

    monkeypatch.setattr(torch, "ones", on_host)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 2**30))
    monkeypatch.setattr(limits, "READ_BYTES", {"cuda": (2**12, 2**14)})
    monkeypatch.setattr(limits, "EDGES", {"cuda": (8,)})
    monkeypatch.setattr(limits, "SECONDS", 0.0)
    found = limits.measure_ceilings("cuda", time.perf_counter_ns, lambda: None)
    assert sizes == [2**12 // 4, 8, 8]
    assert found.read > 0


@pytest.mark.parametrize(("model", "preset"), [(name, preset) for name, model in MODELS.items() for preset in model.preset_names()])
def test_every_preset_is_told_without_its_weights(
    model: str, preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 7 billion weights, too."""
    printed = told(f"--model {model} --preset {preset} --device cpu --dtype bfloat16 --new-tokens 10", monkeypatch, capsys)
    _, work = of_preset(model, preset)
    assert work.prompt_tokens
    assert f"{model}, {preset}, in bfloat16: " in printed
    assert f"a prompt of {work.prompt_tokens:,} tokens; decode step at position {work.prompt_tokens + 5:,}, " in printed
    assert [line.split()[0] for line in printed.splitlines() if "FLOP " in line] == ["vision", "prefill", "decode"]
    assert "floor" not in printed, "nothing was measured"


def test_json_has_all_that_is_printed_and_what_it_was_computed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a lock of its own: nobody else's measurement is waited for
    found = json.loads(told("--preset tiny --device cpu --measure --json", monkeypatch, capsys))
    assert found["workload"]["preset"] == "tiny"
    assert found["machine"]["gpu"] is None
    assert (found["network"]["hidden"], found["work"]["visual_tokens"]) == (128, 2056)
    read = max(found["ceilings"]["read"], found["ceilings"]["copy"])
    product = max(found["ceilings"]["product"].values())
    assert list(found["costs"]) == list(found["floor_seconds"]) == ["vision", "prefill", "tpot"]
    for name, cost in found["costs"].items():
        assert found["floor_seconds"][name] == max(cost["operations"] / product, cost["bytes"] / read) > 0


def test_a_floor_is_told_with_what_it_is_bound_by() -> None:
    found = report.physical_limits(workload("video"), *of_preset("video-llava"), ceilings=CEILINGS)
    assert CEILINGS.rates() == Rates(4.3e12, 790e12)
    table = report.stages(found)
    assert table.columns == ("", "FLOPs", "bytes", "FLOPs per byte", "floor", "bound by")
    assert table.rows == (
        ("vision", "1.33 TFLOP", "641 MB", "2,072", "1.68 ms", "FLOPs"),
        ("prefill", "27.2 TFLOP", "14.3 GB", "1,902", "34.5 ms", "FLOPs"),
        ("decode step", "14.3 GFLOP", "14.3 GB", "1.00", "3.33 ms", "bytes"),
    )
    assert report.ceilings(CEILINGS).rows == (
        ("read", "4.00 TB/s"),
        ("copy, both ways counted", "4.30 TB/s"),
        ("product of matrices, float32", "50.0 TFLOP/s"),
        ("product of matrices, bfloat16", "790 TFLOP/s"),
    )


def test_what_is_stored_in_eight_bits_is_read_as_that() -> None:
    network, work = of_preset("video-llava")
    full, rounded, both = (
        report.physical_limits(workload("video"), network, work, stored=stored)
        for stored in (None, {"cache": "fp8"}, {"cache": "fp8", "quantization": "fp8"})
    )
    assert work.prompt_tokens and work.new_tokens
    in_cache = 2 * network.layers * network.key_heads * network.head_size * (work.prompt_tokens + work.new_tokens / 2)
    assert full.costs["tpot"].bytes - rounded.costs["tpot"].bytes == in_cache
    assert both.costs["tpot"].bytes < rounded.costs["tpot"].bytes
    assert both.costs["tpot"].operations == full.costs["tpot"].operations
    assert "layers of the language model in fp8, keys and values in fp8" in report.subject(both)


def test_a_choice_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown --cache 'fp9'; did you mean 'fp8'?" in refused("limits --device cpu --cache fp9", monkeypatch, capsys)


def test_a_ceiling_is_the_best_of_repeated_calls_on_the_given_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here each call takes a microsecond."""
    monkeypatch.setattr(limits, "SECONDS", 5e-6)
    now = 0

    def clock() -> int:
        nonlocal now
        now += 1000
        return now

    found = limits.measure_ceilings("cpu", clock, synchronizer("cpu"))
    assert found.read == pytest.approx(2**24 / 1e-6)
    assert found.copy == pytest.approx(2 * 2**24 / 1e-6)
    assert found.product == {name: pytest.approx(2 * 768**3 / 1e-6) for name in ("float32", "bfloat16")}


def test_a_model_whose_configuration_tells_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(MODELS, "video-llava", dataclasses.replace(MODELS["video-llava"], planned=""))
    assert "does not tell the shape of its network" in refused("limits --device cpu", monkeypatch, capsys)


@pytest.mark.parametrize("model", [name for name, model in MODELS.items() if model.planned])
def test_a_damaged_checkpoint_is_refused_in_one_line(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained(model)["small"], tmp_path / "weights")
    assert f"{model}, {folder}, in float32" in told(f"--model {model} --device cpu --weights {folder}", monkeypatch, capsys)
    (folder / "tokenizer.json").write_text("{}")
    line = refused(f"limits --model {model} --device cpu --weights {folder}", monkeypatch, capsys)
    assert line.startswith(f"evbench: --weights {folder} cannot be loaded (")


def test_a_device_without_room_for_the_measurement_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> NoReturn:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(limits, "measure_ceilings", full)
    assert "--measure needs 2 GB of the GPU's memory" in refused("limits --device cpu --measure", monkeypatch, capsys)
