"""Video decode on the GPU through NVIDIA DALI (NVDEC)."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch

from evbench import colours
from evbench.errors import UserError, first_line
from evbench.pipelines.compute.side_stream import SideStream
from evbench.pipelines.load.needed import needed
from evbench.pipelines.load.rewritten import FILTERS, Coded, coded_picture, rewritten
from evbench.pipelines.load.rounding import rounding
from evbench.pipelines.load.streams import Demuxed, clip_stream, headers
from evbench.pipelines.load.video import SKIM, Clip, Frames, describe, opened
from evbench.stages import BATCH

DALI = f"DALI {importlib.metadata.version('nvidia-dali-cuda130')}"
BT709, UNSPECIFIED, BT470BG, SMPTE170M = 1, 2, 5, 6
"""Matrix coefficients, ITU-T H.273 table 4."""
DEPARTS = {False: (0.90, -0.56, 1.18), True: (0.51, -0.19, 0.81)}
"""Levels of red, green and blue that DALI 2.4's conversion is off, by whether the video is of full range. Means over clips of four codecs,
on an H200; nearly all of it is what half a level of colour difference makes."""


@dataclass(frozen=True)
class DecodeRequest:
    """One clip, and the frames of it that are wanted."""

    path: Path
    clip: Clip
    indices: tuple[int, ...]
    encoded: npt.NDArray[np.uint8]
    """DALI's input: the bytes of a video file. Frames may have more rows and columns than are shown, and some may be left out."""
    positions: npt.NDArray[np.int32]
    """[frames]: indices of the wanted ones among those of `encoded`."""
    repair: colours.Affine
    """RGB as DALI will make it -> as PyAV does."""


class DecodeError(Exception):
    """What DALI says of clips that it cannot decode."""


class DaliDecoder:
    """Keeps its DALI pipelines, one for each size of batch: building one costs more than decoding a clip.

    Any thread may call it, one at a time.
    """

    def __init__(self) -> None:
        self._pipelines: dict[int, Any] = {}
        self._copies: Copies | None = None
        self._version = f"{DALI} NVDEC"

    def __call__(self, path: Path, count: int, policy: str) -> Frames:
        request = decode_request(path, count, policy)
        try:
            (frames,) = self._run([request], 1)
        except DecodeError as error:
            raise UserError(f"{path}: DALI cannot decode it ({error}); use decode=threaded") from error
        return frames

    def many(self, paths: Sequence[Path], count: int, policy: str) -> list[Frames]:
        """All of them, in order; up to `BATCH` go through one run of a pipeline.

        Raises:
            UserError: a clip cannot be decoded; it is named.
        """
        requests = [decode_request(path, count, policy) for path in paths]
        batches = (requests[start : start + BATCH] for start in range(0, len(requests), BATCH))
        return [frames for batch in batches for frames in self._run_together(batch, count, policy)]

    def _run_together(self, requests: Sequence[DecodeRequest], count: int, policy: str) -> list[Frames]:
        try:
            return self._run(requests, BATCH)
        except DecodeError as error:
            # DALI does not say which clip it is. Alone, the one at fault is refused by its name.
            for request in requests:
                self(request.path, count, policy)
            named = ", ".join(str(request.path) for request in requests)
            raise UserError(f"{named}: DALI cannot decode them in one call ({error}), though one by one; use prefetch=on") from error

    def _run(self, requests: Sequence[DecodeRequest], batch: int) -> list[Frames]:
        """No more clips than `batch`. Raises DecodeError."""
        if self._copies is None:
            self._copies = Copies()
        self._copies.wait()  # DALI reuses its buffers
        if batch not in self._pipelines:
            self._pipelines[batch] = _build(batch)
        try:
            (output,) = self._pipelines[batch].run(
                encoded=[request.encoded for request in requests], frames=[request.positions for request in requests]
            )
        except RuntimeError as error:
            del self._pipelines[batch]  # DALI refuses to run a pipeline again that has failed
            raise DecodeError(reason(error)) from error
        pictures = self._copies.take(output, [(request.clip.height, request.clip.width) for request in requests])
        return [_frames(request, pixels, self._version) for request, pixels in zip(requests, pictures, strict=True)]


def _frames(request: DecodeRequest, pixels: torch.Tensor, version: str) -> Frames:
    seconds = tuple(request.clip.seconds[index] for index in request.indices)
    return Frames(pixels, request.indices, seconds, version, request.repair)


class Copies:
    """Copies pictures out of DALI's buffers, on a separate CUDA stream.

    If a copy waited for what the model still has to compute, DALI, called in another thread, might already decode the next sample into
    the same buffer.
    """

    def __init__(self) -> None:
        self._aside = SideStream()
        self._held: Any = None

    def wait(self) -> None:
        """Until the buffers may be written again."""
        self._aside.wait()
        self._held = None

    def take(self, output: Any, sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        """Of each sample [..., height, width, 3] uint8, for whatever is put onto the caller's current stream from now on.

        Args:
            output: what a DALI pipeline returned.
            sizes: height and width of each sample, as it is shown.
        """
        self._held = output  # without it DALI would give the memory to another pipeline while it is still copied
        return self._aside.run(lambda: copied(output, sizes))


def copied(output: Any, sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
    """The samples of a DALI pipeline's output as they are shown, in new memory."""
    samples = (torch.utils.dlpack.from_dlpack(output[place]) for place in range(len(sizes)))
    shown = (pixels[..., :height, :width, :] for pixels, (height, width) in zip(samples, sizes, strict=True))
    return [pixels.clone(memory_format=torch.contiguous_format) for pixels in shown]


def decode_request(path: Path, count: int, policy: str) -> DecodeRequest:
    """Raises UserError if the clip is no video, too short, or none for DALI."""
    with opened(path, **SKIM) as container:
        demuxed = clip_stream(path, container)
        clip = describe(path, demuxed)
        indices = tuple(clip.choose(path, count, policy))
        coded = coded_picture(path, demuxed.stream)
        if reason := obstacle(clip, coded):
            raise UserError(f"{path} {reason}; use decode=threaded")
        encoded, positions = _encoded(path, demuxed, clip, coded, indices)
    numbers = np.array(positions, np.int32)
    return DecodeRequest(path, clip, indices, np.frombuffer(bytearray(encoded), np.uint8), numbers, repair(clip.colorspace, coded))


def _encoded(path: Path, demuxed: Demuxed, clip: Clip, coded: Coded, indices: Sequence[int]) -> tuple[bytes, Sequence[int]]:
    """DALI's input for a clip, and the indices of the wanted frames in it. Raises UserError."""
    wanted = [clip.ticks[index] for index in indices]
    kept = needed(clip.codec, headers(demuxed.stream), demuxed.packets, wanted)
    cropped = clip.codec in FILTERS and (coded.height, coded.width) != (clip.height, clip.width)
    alone = demuxed.streams == 1  # DALI has a choice of its own
    if cropped or not alone or len(kept) < len(demuxed.packets):
        positions = {tick: place for place, tick in enumerate(sorted(packet.pts for packet in kept if packet.pts is not None))}
        try:
            return rewritten(demuxed.stream, kept, coded if cropped else None), [positions[tick] for tick in wanted]
        except (av.FFmpegError, ValueError) as error:  # ValueError: MP4 has no place for the codec
            if cropped or not alone:
                failure = f"FFmpeg cannot write its video alone and without the cropping, as DALI needs it ({first_line(error)})"
                raise UserError(f"{path}: {failure}; use decode=threaded") from error
    return path.read_bytes(), indices


@functools.cache
def repair(colorspace: int, coded: Coded) -> colours.Affine:
    """RGB as DALI 2.4 converts it -> as PyAV does. Without it the model would get other colours.

    DALI uses the matrix of BT.601 whatever the stream says. Both conversions are linear and share the scaling of limited range: only
    colours that were clipped stay wrong, and edges of colour, which DALI interpolates.
    """
    meant = colours.BT709 if colorspace == BT709 else colours.BT601
    matrix = colours.conversion(meant, colours.BT601)
    shift = rounding(coded.pixel_format, meant, colorspace, coded.full) - matrix @ DEPARTS[coded.full]
    return np.column_stack([matrix, shift])


def obstacle(clip: Clip, coded: Coded) -> str | None:
    """Why DALI would give other frames or colours than a player shows, or None. Known without decoding.

    From DALI 2.4 (dali/operators/video: frames_decoder_base.cc, frames_decoder_gpu.cc) and NVIDIA's decoder interface (cuviddec.h there).
    """
    if clip.colorspace not in (BT709, UNSPECIFIED, BT470BG, SMPTE170M):
        return f"has colour matrix {clip.colorspace}, and decode=dali knows BT.601 and BT.709"
    if clip.hidden:  # its index holds every packet with a time of 0 or later, whether it is to be shown or not
        return f"hides {clip.hidden} frames by an edit list, and DALI counts hidden frames too"
    if clip.leading:  # NVDEC decodes them against frames that are not there
        return f"begins with {clip.leading} frames that refer to frames before its start, and DALI does not report that they are damaged"
    if "420" not in coded.pixel_format:  # its conversion to RGB reads NV12
        return f"is {coded.pixel_format}, and DALI reads 4:2:0 only"
    if clip.codec == "h264" and coded.pixel_format not in ("yuv420p", "yuvj420p"):  # bit_depth_luma_minus8 "must be 0"
        return f"is H.264 in {coded.pixel_format}, and NVDEC decodes H.264 in 8 bit only"
    if clip.height % 2 or clip.width % 2:  # ulTargetWidth "should be aligned to 2"
        return f"is of {clip.width}x{clip.height} pixels, and NVDEC writes pictures with even edges only"
    if clip.codec not in FILTERS and clip.height % 4:  # seen with DALI 2.4 at 186 rows, not at 188, nor where cropping was left out
        return f"is {clip.height} pixels high, and DALI misplaces the colours where half the height is odd"
    return None


def reason(error: RuntimeError) -> str:
    """What DALI says is wrong: it stands below the traceback of the pipeline."""
    _, _, below = str(error).partition("encountered:")
    return first_line(RuntimeError(below)) if below.strip() else first_line(error)


def _build(batch: int) -> Any:
    """A pipeline for up to `batch` clips at a time: an external source takes fewer too (nvidia/dali/external_source.py)."""
    from nvidia.dali import fn, pipeline_def, types

    # A deeper queue would ask for the next clip before it is known, and end the pipeline for want of one. Each clip of a batch is
    # decoded in a thread.
    @pipeline_def(batch_size=batch, num_threads=max(2, batch), device_id=torch.cuda.current_device(), prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
    def decode() -> Any:
        encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
        frames = fn.external_source(name="frames", dtype=types.INT32, ndim=1)
        return fn.decoders.video(encoded, device="mixed", frames=frames)

    pipeline = decode()
    pipeline.build()
    return pipeline
