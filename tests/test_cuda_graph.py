"""Launches of a CUDA graph, and how many of them the host is ahead of the GPU."""

from __future__ import annotations

import pytest
import torch

from evbench.pipelines.compute import cuda_graph


@pytest.mark.parametrize("launches", [3, cuda_graph.AHEAD, 10])
def test_each_launch_waits_for_the_one_so_many_in_front_of_it(launches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        recorded = -1

        def record(self) -> None:
            self.recorded = sum(what == "launch" for what in done) - 1

        def synchronize(self) -> None:
            if self.recorded >= 0:
                done.append(f"wait for {self.recorded}")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    launch = cuda_graph.paced(lambda: done.append("launch"))
    for _ in range(launches):
        launch()
    expected = []
    for number in range(launches):
        expected += [f"wait for {number - cuda_graph.AHEAD}"] if number >= cuda_graph.AHEAD else []
        expected += ["launch"]
    assert done == expected


@pytest.mark.gpu
def test_on_a_gpu_each_launch_of_a_graph_does_its_work_once() -> None:
    count = torch.zeros(1, device="cuda")

    def work() -> None:
        count.add_(1)

    launch = cuda_graph.paced(cuda_graph.captured(work))
    count.zero_()
    for _ in range(100):
        launch()
    assert count.item() == 100
