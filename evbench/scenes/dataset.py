"""A folder of scenes: for each an MP4, the events of an event camera, five event images and the captions, listed in dataset.json.

The keys of an entry are those of the set that EventGPT's one-second clips came in (models of xifan-zhang's benchmark): id, split,
event_data, video_data and mp4_data, event_image, conversations. `event_conversations` holds the captions without colours and time of day,
and `scene` what was drawn.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import multiprocessing
import os
import platform
import signal
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from evbench.encoding import write_whole
from evbench.errors import UserError, not_made
from evbench.parent_death import end_with
from evbench.pipelines.load.event_images import vectorised
from evbench.pipelines.load.event_stream import EventStream
from evbench.scenes import event_camera
from evbench.scenes.captions import QUESTIONS, describe
from evbench.scenes.draw import draw
from evbench.scenes.index import INDEX
from evbench.scenes.pack import pack
from evbench.scenes.world import Scene, imagine

FRAMES_PER_SECOND = 20
FRAMES_AT_ONCE = 5
ENCODER = {"crf": "23", "preset": "veryfast"}
if platform.machine() == "x86_64":
    # The AVX-512 code of x264 (in PyAV 18.1's wheel) writes other bytes from run to run for the same frames; this one does not.
    ENCODER["x264-params"] = "asm=SSE4.2"
_MALLOPT_TRIM_THRESHOLD, _MALLOPT_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
PARTS = ("mp4", "events", "event_images")
"""Folders in the folder of a set."""
_KEPT = f"The scenes that are done are kept, and listed in {INDEX}"


@dataclass(frozen=True)
class DatasetSpec:
    """The scenes of a folder: how many, how long, and from which seed."""

    folder: Path
    seed: int
    count: int
    seconds: float
    width: int
    height: int


def open_folder(spec: DatasetSpec) -> None:
    """Make the folder. Raises UserError if it holds a set already, or something else, or cannot be made."""
    if (spec.folder / INDEX).exists():
        raise UserError(f"{spec.folder} holds scenes already; give another folder, or remove it")
    if spec.folder.is_dir() and (others := sorted({path.name for path in spec.folder.iterdir()} - {*PARTS})):
        raise UserError(f"{spec.folder} is not empty ({others[0]}), and its files would be mixed with the scenes; give a new folder")
    try:
        for part in PARTS:
            (spec.folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{not_made(spec.folder, error)}; give another") from error


def make(spec: DatasetSpec, workers: int) -> Generator[int]:
    """Make all scenes, `workers` at a time, and yield how many are done. dataset.json lists those that are done, also after a stop.

    A spec gives equal bytes with equal versions, whatever the number of workers.

    Raises:
        UserError: the folder cannot be written, or a worker was killed.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_alone, initargs=(os.getpid(),))
    running: list[Future[dict[str, Any]]] = []
    try:
        with _interrupts_held_back():
            running += [pool.submit(make_one, spec, index) for index in range(spec.count)]
        for done, future in enumerate(as_completed(running), 1):
            future.result()
            yield done
    except BrokenProcessPool as error:
        raise UserError(f"a worker was killed, for want of memory perhaps; give fewer --workers or a smaller --size. {_KEPT}") from error
    except OSError as error:
        raise UserError(f"cannot write to {spec.folder} ({error.strerror}); make room, or give another folder. {_KEPT}") from error
    finally:
        _keep(spec.folder, running)
        if not all(future.done() for future in running):
            for child in multiprocessing.active_children():
                child.kill()
        pool.shutdown(cancel_futures=True)


def _keep(folder: Path, running: list[Future[dict[str, Any]]]) -> None:
    """List the scenes that are done. Raises UserError if even that cannot be written."""
    ended = [future for future in running if future.done() and not future.cancelled() and future.exception() is None]
    if ended:
        try:
            write_whole(folder / INDEX, json.dumps([future.result() for future in ended], indent=1) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {folder / INDEX} ({error.strerror}); make room, or give another folder") from error


def make_one(spec: DatasetSpec, index: int) -> dict[str, Any]:
    """Make one scene's files. Returns its entry, with paths relative to the folder."""
    scene = imagine(spec.seed, index)
    name = scene.name
    clip, stream, images = f"mp4/{name}.mp4", f"events/{name}.npz", f"event_images/{name}"
    write_clip(spec.folder / clip, scene, spec.seconds, spec.width, spec.height)
    events = event_camera.watch(scene, spec.seconds, (spec.seed, index, 1))
    height, width = event_camera.HEIGHT, event_camera.WIDTH
    np.savez_compressed(spec.folder / stream, x=events.x, y=events.y, t=events.t, p=events.p, height=height, width=width)
    files = write_event_images(spec.folder / images, events)
    return {
        "id": name,
        "split": "test",
        "event_data": stream,
        "video_data": clip,
        "mp4_data": clip,
        "event_image": [f"{images}/{file}" for file in files],
        "conversations": _conversations(scene, colours=True),
        "event_conversations": _conversations(scene, colours=False),
        "scene": dataclasses.asdict(scene),
    }


def write_clip(path: Path, scene: Scene, seconds: float, width: int, height: int) -> None:
    """An MP4 of a scene: H.264 at 20 frames a second, 4:2:0, BT.709 limited range, and tagged as that."""
    packed = pack([scene], "cpu")
    count = round(seconds * FRAMES_PER_SECOND)
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for start in range(0, count, FRAMES_AT_ONCE):
            times = torch.arange(start, min(start + FRAMES_AT_ONCE, count)) / FRAMES_PER_SECOND
            frames = draw(packed, times, seconds, height, width)[0].permute(1, 2, 3, 0)  # [frames, height, width, 3]
            for offset, pixels in enumerate(frames.add(0.5).clamp_(0, 255).to(torch.uint8).numpy()):
                rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                yuv = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
                yuv.pts = start + offset
                container.mux(stream.encode(yuv))
        container.mux(stream.encode())


def write_event_images(folder: Path, events: EventStream) -> list[str]:
    """Five event images of equal event count, as PNG. Returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for index, image in enumerate(vectorised(events, "sensor").pixels):
        names.append(f"{index}.png")
        Image.fromarray(np.asarray(image)).save(folder / names[-1])
    return names


def _conversations(scene: Scene, *, colours: bool) -> list[dict[str, str]]:
    turns = []
    for register, question in QUESTIONS.items():
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": describe(scene, register, colours=colours)}]
    return turns


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C, and what has the same effect, comes through afterwards. Processes that are started inside never see it: a child has the
    signals blocked that its parent had.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _alone(parent: int) -> None:
    """A worker draws on one core, and ends with its parent, given by its process number."""
    end_with(parent)
    torch.set_num_threads(1)
    if platform.libc_ver()[0] == "glibc":
        # Keep the memory of large tensors: by default each goes back to the kernel, which clears it again for the next. A quarter
        # of the time went there.
        library = ctypes.CDLL(None)
        library.mallopt(_MALLOPT_MMAP_THRESHOLD, 2**30)
        library.mallopt(_MALLOPT_TRIM_THRESHOLD, 2**31 - 1)
