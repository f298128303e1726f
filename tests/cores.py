"""Several test processes beside each other, where some of them measure."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def keep_to_a_share_of_the_cores(worker: str, workers: int) -> None:
    """For one of several test processes at the same time: neither it nor what it starts disturbs what another one measures.

    evbench looks at, and tells of, the cores that it may use; and it keeps two measurements on one machine apart by a lock in the folder
    for temporary files. With cores of its own, each test process has such a folder of its own.
    """
    number, cores = int(worker.removeprefix("gw")), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[number % len(cores) :: workers] or cores)
    common = Path(tempfile.gettempdir())
    own = common / f"evbench-tests-{os.getuid()}-{worker}"
    own.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)
    # What one has compiled the other need not compile again.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(common / f"evbench-tests-{os.getuid()}-compiled"))
