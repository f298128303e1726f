"""The samples of one run, spread over the GPUs of a Ray cluster: see docs/many-samples.md.

In the same folder and the same Python on each machine, with Ray beside evbench (`python -m pip install ray`), where all machines see the
folder of the result:

    python examples/ray_cluster.py --ranks 16 spread optimized --preset 7b --data street
    python examples/ray_cluster.py --ranks 2 --cpu spread baseline --data street        # two processes without a GPU

The first word is the folder of the result, all others are those of `evbench run`. A rank that is lost is named, and all go on from what has
ended, on other machines if there are any. After an interrupt the same line goes on. Exit codes are those of `evbench run`.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

SAID = (1, 2, 130)
"""Exit codes of a rank that has said itself what is wrong: a fault, a user's mistake, an interrupt. Others are of the verdict."""
LOOK_SECONDS = 0.2
ENDING_SECONDS = 30
ROOM_SECONDS = 600
"""How long the cluster has to find room, or to start machines."""


def meeting_point() -> tuple[str, int]:
    """On the machine of rank 0: its address, and a port where the ranks meet."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return ray.util.get_node_ip_address(), probe.getsockname()[1]


def run_rank(command: Sequence[str], folder: str, place: dict[str, str]) -> int:
    """Run `evbench` as one rank. Returns its exit code, negative for a signal."""
    with subprocess.Popen(command, cwd=folder, env=os.environ | place) as rank:
        try:
            while rank.poll() is None:  # a call that waits inside of the system would not hear `ray.cancel`
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            rank.terminate()
            try:
                rank.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                rank.kill()
            raise
    return rank.returncode


def places(nodes: Sequence[str], address: str, port: int, cores: int, cpu: bool) -> list[dict[str, str]]:
    """What torch's launcher would have told each rank by its environment.

    Args:
        nodes: Ray's name of the machine of each rank.
    """
    numbers = {node: number for number, node in enumerate(dict.fromkeys(nodes))}
    before: Counter[str] = Counter()
    found = []
    for rank, node in enumerate(nodes):
        found.append(
            {
                "TORCHELASTIC_RUN_ID": "evbench",
                "RANK": str(rank),
                "WORLD_SIZE": str(len(nodes)),
                "GROUP_RANK": str(numbers[node]),
                "LOCAL_RANK": str(before[node] if cpu else 0),  # Ray shows each rank its own GPU alone
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": str(cores),
            }
        )
        before[node] += 1
    return found


def run_once(command: Sequence[str], group: PlacementGroup, cores: int, cpu: bool) -> tuple[int, str]:
    """All ranks, until they have ended or the first is lost, which ends the others.

    Returns:
        The exit code of rank 0, and nothing; or that of the rank that was lost, and what is said of it.
    """
    first, *others = [PlacementGroupSchedulingStrategy(group, bundle) for bundle in range(group.bundle_count)]
    address, port = ray.get(ray.remote(num_cpus=cores, scheduling_strategy=first)(meeting_point).remote())
    nodes = [node for _, node in sorted(placement_group_table(group)["bundles_to_node_id"].items())]
    running = {
        ray.remote(num_cpus=cores, num_gpus=0 if cpu else 1, max_retries=0, scheduling_strategy=where)(run_rank).remote(
            command, os.getcwd(), place
        ): rank
        for rank, (where, place) in enumerate(zip([first, *others], places(nodes, address, port, cores, cpu), strict=True))
    }
    verdict = 0
    try:
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            rank = running.pop(ended)
            try:
                code = ray.get(ended)
            except ray.exceptions.RayError as error:
                return 1, f"rank {rank} is gone: {str(error).splitlines()[0].partition('. ')[0]}"
            if code < 0 or code in SAID or (code and rank):
                return code, f"rank {rank} ended with code {code}"
            verdict = verdict or code
    finally:
        for task in running:
            ray.cancel(task)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=2 * ENDING_SECONDS)
    return verdict, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ranks", type=int, required=True, help="as many GPUs of the cluster, or processes")
    parser.add_argument("--cores", type=int, default=1, help="of each rank")
    parser.add_argument("--cpu", action="store_true", help="without GPUs")
    parser.add_argument("--again", type=int, default=2, help="how often to go on by itself after a rank was lost")
    parser.add_argument("folder", type=Path, help="of the result")
    parser.add_argument("run", nargs=argparse.REMAINDER, help="the variant, and options of `evbench run`")
    asked = parser.parse_args()
    ray.init()
    needs = {"CPU": asked.cores} | ({} if asked.cpu else {"GPU": 1})
    command = [sys.executable, "-m", "evbench", "run", *asked.run, "--out", str(asked.folder), *(["--device", "cpu"] if asked.cpu else [])]
    for left in range(asked.again, -1, -1):
        group = placement_group([needs] * asked.ranks)
        if not group.wait(ROOM_SECONDS):
            print(f"ray_cluster: {asked.ranks} ranks of {needs} each do not fit into the cluster, which has {ray.cluster_resources()}")
            return 2
        resume = ["--resume"] if (asked.folder / "ranks.json").is_file() else []
        code, lost = run_once([*command, *resume], group, asked.cores, asked.cpu)
        remove_placement_group(group)
        if not lost or code == 2:
            break
        print(f"ray_cluster: {lost}, and the others were ended; what had ended is in {asked.folder}" + ("; going on" if left else ""))
    return code if code >= 0 else 1


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        print("ray_cluster: interrupted; the same line goes on")
        code = 130
    sys.exit(code)
