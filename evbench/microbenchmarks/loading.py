"""Which part of loading a clip is the video decoder's work, and which is set-up.

    python -m evbench.microbenchmarks.loading --decoder dali

Of each decoder: the load of a clip as the stage does it; the time that a frame takes, as the slope over long clips, where set-up falls out;
and how many clips a second several loads at once come to, against so many decoders of the GPU at the rate of one. The engine's part of a
load is that of the frames that have to be decoded for those that the model gets. The physical floor of `load` in a report is another thing:
the writing of the pixels alone.

The long clips show the pictures of the clip forwards and backwards, coded as `evbench scenes make` codes them, in one group of pictures.
A second kind has no B-frames: then no frame comes out of the decoder before it is shown, and DALI, which waits for each picture that it
takes out, takes out only what is asked for. This is the engine's rate without such waiting. If all of it is asked for, it says what taking
out a picture costs.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.script import require_writable, run, write_json
from evbench.doctor import nvdec
from evbench.errors import UserError, first_line
from evbench.inputs import sample
from evbench.inputs.decoders import choose_decoders
from evbench.machine import cores
from evbench.machine import machine as this_machine
from evbench.microbenchmarks import long_clips
from evbench.microbenchmarks.decoded_frames import Count, necessary, up_to_last, whole
from evbench.microbenchmarks.long_clips import LIKE_THE_CLIP, WITHOUT_B_FRAMES
from evbench.models import VIDEO_FRAMES
from evbench.pipelines.load import decoders
from evbench.pipelines.load.video import DecodeMany, Decoder, probe, require_policy
from evbench.report.units import format_range, format_ratio, format_seconds, format_signed
from evbench.results import Machine
from evbench.stages import BATCH
from evbench.verdict.lines import Bounded, fit
from evbench.verdict.statistics import median_interval
from evbench.worker.instruments import synchronizer

LENGTHS, THREADS = (64, 256, 1024), (1, 2, 4, 7)
ROUNDS, WARM_UPS = 6, 2
"""Of what takes long: of fewer rounds the median has no interval."""
LOADS = 4
"""Of each thread in a round."""
AIM = 1.3
"""Load over the engine's part, at most."""


@dataclass(frozen=True)
class Rate:
    """A straight line through the times of long clips."""

    coding: str
    """One of long_clips.CODINGS."""
    lengths: tuple[int, ...]
    """Frames of the clips."""
    decoded: tuple[int, ...]
    """Of them those that are decoded."""
    seconds: tuple[float, ...]
    """Median of a load of each."""
    frame_seconds: Bounded
    """Slope: time that a decoded frame takes."""
    set_up_seconds: Bounded
    """Intercept: a load of no frames."""
    farthest: float
    """Largest distance of a load from the line, as a share of its time."""


@dataclass(frozen=True)
class AtOnce:
    """Several loads at the same time."""

    threads: int
    """Each with a decoder of its own."""
    batch: int
    """Clips that a thread gives to the decoder in one call."""
    clips_per_second: Bounded
    engines_clips_per_second: float
    """That the engines give which can be busy then, each at the rate of one, if there were no set-up."""


@dataclass(frozen=True)
class Loading:
    """What was measured of one decoder."""

    decoder: str
    """Choice of `decode`."""
    seconds: Bounded
    """Load of the clip: median, and its interval."""
    prepare_seconds: Bounded | None
    """Of it, what the host does to the file first. None where that is not separate."""
    decoded: int
    """Frames of the clip that are decoded for those that the model gets."""
    engines: int
    """Clips that can be decoded at the same time."""
    rates: tuple[Rate, ...]
    engine_seconds: Bounded
    """Engine's part: frames that are decoded times the time of one."""
    set_up_seconds: float
    """The rest of the load."""
    taken_seconds: Bounded
    """What a picture that is asked for takes beside its decoding: taken out of the decoder, converted, handed over. The set-up holds
    it once for each frame that the model gets."""
    ratio: Bounded
    """Load over the engine's part: 1 is a load without set-up."""
    at_once: tuple[AtOnce, ...]


@dataclass(frozen=True)
class Loadings:
    """All that was measured, and of what."""

    machine: Machine
    device: str
    clip: str
    codec: str
    height: int
    width: int
    clip_frames: int
    frames: int
    """That the model gets."""
    frame_policy: str
    loadings: tuple[Loading, ...]


def nvdec_engines() -> int:
    """Video decoders of the GPU that take the codec. Raises UserError if there is none, or the driver does not tell."""
    try:
        found = nvdec.decoders(nvdec.load())
    except OSError as error:
        raise UserError(f"the GPU's video decoders (NVDEC) cannot be asked: {first_line(error)}; evbench doctor says more") from error
    if "H.264" not in found:
        raise UserError("no video decoder of this GPU (NVDEC) takes H.264; give --decoder threaded")
    return found["H.264"]


def one_engine() -> int:
    """Of a decoder that takes all cores."""
    return 1


def prepare_for_dali(path: Path, count: int, policy: str) -> None:
    """Read the file, and write anew what DALI is given."""
    from evbench.pipelines.load.dali import decode_request

    decode_request(path, count, policy)


@dataclass(frozen=True)
class Way:
    """How a decoder goes about it."""

    decoded: Count
    engines: Callable[[], int]
    """How many clips can be decoded at the same time."""
    prepare: Callable[[Path, int, str], None] | None = None
    """What the host does to the file first, where that is separate."""


WAYS = {
    "plain": Way(whole, cores.usable),
    "threaded": Way(up_to_last, one_engine),
    "dali": Way(necessary, nvdec_engines, prepare_for_dali),
}
"""Choice of `decode` -> its way."""


@dataclass(frozen=True)
class Watch:
    """Times calls. All are arguments, so that tests need neither a GPU nor time."""

    wait: Callable[[], None]
    """Until the device is idle."""
    clock: Callable[[], int] = time.perf_counter_ns
    collect: Callable[[], object] = gc.collect
    """Before each call, so that no collection falls into it."""

    def __call__(self, call: Callable[[], object]) -> float:
        """Seconds."""
        self.collect()
        self.wait()
        start = self.clock()
        call()
        self.wait()
        return (self.clock() - start) / 1e9

    def median(self, call: Callable[[], object], calls: int) -> Bounded:
        """Of calls after the warm-up."""
        for _ in range(WARM_UPS):
            call()
        return median([self(call) for _ in range(calls)])


def median(values: Sequence[float]) -> Bounded:
    return Bounded(statistics.median(values), *(median_interval(values) or ()))


@dataclass(frozen=True)
class Question:
    """What is loaded, and how it is timed."""

    path: Path
    frames: int
    policy: str
    watch: Watch
    calls: int
    """Of the load of the clip by itself."""
    threads: tuple[int, ...]

    def load(self, decode: Callable[[Path, int, str], object], path: Path | None = None) -> Callable[[], object]:
        return partial(decode, path or self.path, self.frames, self.policy)


def measure(name: str, question: Question, long: dict[str, dict[int, Path]]) -> Loading:
    """Time one decoder.

    Args:
        long: kind of clip, that without B-frames among them -> number of frames -> clip, of two numbers at least.

    Raises:
        UserError: it cannot decode the clip, or longer clips do not take longer.
    """
    way, decode = WAYS[name], decoders.decoder(name)
    engines = way.engines()
    decoded = way.decoded(question.path, question.frames, question.policy)
    seconds = question.watch.median(question.load(decode), question.calls)
    prepare_seconds = None if way.prepare is None else question.watch.median(question.load(way.prepare), question.calls)
    rates = tuple(rate(coding, clips, decode, way, question) for coding, clips in long.items())
    engine = next(line for line in rates if line.coding == LIKE_THE_CLIP).frame_seconds.times(decoded)
    return Loading(
        name,
        seconds,
        prepare_seconds,
        decoded,
        engines,
        rates,
        engine,
        seconds.value - engine.value,
        taken_out(decode, long[WITHOUT_B_FRAMES], question),
        seconds.over(engine),
        tuple(at_once(name, question, engine.value, engines)),
    )


def rate(coding: str, clips: dict[int, Path], decode: Decoder, way: Way, question: Question) -> Rate:
    """Time of a frame. Clips of all lengths are loaded in turn, so that what drifts does not tell them apart."""
    decoded = {length: way.decoded(path, question.frames, question.policy) for length, path in clips.items()}
    loads = {length: question.load(decode, path) for length, path in clips.items()}
    for _ in range(WARM_UPS):
        loads[min(loads)]()
    rounds = [{length: question.watch(load) for length, load in loads.items()} for _ in range(ROUNDS)]
    line = fit([(decoded[length], seconds) for times in rounds for length, seconds in times.items()])
    if line is None or line.slope.value <= 0:
        lengths = " and ".join(map(str, clips))
        raise UserError(f"clips of {lengths} frames take equally long, so a frame's time is not seen; give --length farther apart")
    medians = tuple(statistics.median(times[length] for times in rounds) for length in clips)
    return Rate(coding, tuple(clips), tuple(decoded.values()), medians, line.slope, line.intercept, line.farthest)


def taken_out(decode: Decoder, clips: dict[int, Path], question: Question) -> Bounded:
    """Of a picture: all frames of the shortest clip are asked for, or as many as the model gets, the last one among them. All are decoded
    either way.
    """
    length = min(clips)
    some, every = (question.watch.median(partial(decode, clips[length], count, "inclusive"), ROUNDS) for count in (question.frames, length))
    return every.minus(some).times(1 / (length - question.frames))


def at_once(name: str, question: Question, engine_seconds: float, engines: int) -> Iterator[AtOnce]:
    """Loads in several threads, each with a decoder of its own; and several by one call, of a decoder that can."""
    for threads in question.threads:
        several = [question.load(decoders.decoder(name)) for _ in range(threads)]
        for load in several:
            load()  # each builds its pipeline here: DALI is not asked to build several at the same time
        with ThreadPoolExecutor(threads) as pool:
            found = _clips_per_second(partial(_in_threads, pool, several), threads * LOADS, question)
        yield AtOnce(threads, 1, found, min(threads, engines) / engine_seconds)
    many: DecodeMany | None = getattr(decoders.decoder(name), "many", None)
    if many is not None:
        found = _clips_per_second(partial(many, [question.path] * BATCH, question.frames, question.policy), BATCH, question)
        yield AtOnce(1, BATCH, found, min(BATCH, engines) / engine_seconds)


def _in_threads(pool: ThreadPoolExecutor, loads: Collection[Callable[[], object]]) -> None:
    def repeat(load: Callable[[], object]) -> None:
        for _ in range(LOADS):
            load()

    for _ in pool.map(repeat, loads):
        pass


def _clips_per_second(call: Callable[[], object], clips: int, question: Question) -> Bounded:
    seconds = question.watch.median(call, ROUNDS)
    return Bounded(clips, clips, clips).over(seconds)


def lines(found: Loadings) -> list[str]:
    """The result in words."""
    told = [f"{found.clip}: {found.codec}, {found.width}x{found.height}, {found.frames} of {found.clip_frames} frames, on {found.device}"]
    for one in found.loadings:
        host = f", of it the host before the decoder {format_seconds(one.prepare_seconds.value)}" if one.prepare_seconds else ""
        told.append(f"{one.decoder}: load {_seconds(one.seconds)}{host}; {one.decoded} frames are decoded")
        for line in one.rates:
            lengths = ", ".join(map(str, line.decoded))
            told.append(
                f"  {line.coding}: {_seconds(line.frame_seconds)} a frame and {format_signed(line.set_up_seconds.value)} for none, over "
                f"clips with {lengths} decoded frames; farthest from the line {line.farthest:.0%}"
            )
        verdict = "within" if one.ratio.value <= AIM else "above"
        taken = f"{format_signed(found.frames * one.taken_seconds.value)} for {found.frames} pictures that are taken out"
        parts = f"engine's part {_seconds(one.engine_seconds)}, set-up {format_signed(one.set_up_seconds)}, of it {taken}"
        told.append(f"  {parts}; load over engine's part {format_ratio(one.ratio.value)}, {verdict} the aim of {format_ratio(AIM)}")
        for some in one.at_once:
            share = some.clips_per_second.value / some.engines_clips_per_second
            how = f"{some.threads} at once" if some.batch == 1 else f"{some.batch} in one call"
            most = f"{min(some.threads * some.batch, one.engines)} of {one.engines} engines give {some.engines_clips_per_second:.1f}"
            told.append(f"  {how}: {some.clips_per_second.value:.1f} clips/s, {share:.0%} of what {most}")
    return told


def _seconds(one: Bounded) -> str:
    """With its interval, if it has one."""
    if one.low is None or one.high is None or one.low <= 0:
        return format_seconds(one.value)
    return f"{format_seconds(one.value)} (95 % CI {format_range(one.low, one.high)})"


def main(
    clip: Annotated[Path, typer.Option("--input", help="A clip of H.264.")] = sample.CLIP,
    frames: Annotated[int, typer.Option(min=2, max=10_000, help="That the model gets of it.")] = VIDEO_FRAMES,
    frame_policy: Annotated[str, typer.Option(help="inclusive or stride.")] = "inclusive",
    decoder: Annotated[
        list[str] | None, typer.Option(help="plain, threaded, or dali; can be given several times. Default: all that run here.")
    ] = None,
    length: Annotated[list[int] | None, typer.Option(min=1, max=100_000, help="Frames of a long clip; two at least.")] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, max=64, help="Loads at once. May be given several times.")] = None,
    calls: Annotated[int, typer.Option(min=1, help="Timed loads of the clip.")] = 20,
    out: Annotated[Path | None, typer.Option(help="File for the result, as JSON.")] = None,
) -> None:
    """Time the load of a clip, and say which part of it is the video decoder's work and which is set-up."""
    require_writable(out)
    require_policy(frame_policy)
    lengths = sorted(set(length or LENGTHS))
    if len(lengths) < 2 or lengths[0] <= frames:
        raise UserError(f"--length {' '.join(map(str, lengths))}: give two at least, all above the {frames} frames that the model gets")
    names = choose_decoders(decoder or ())
    seen = probe(clip)
    seen.choose(clip, frames, frame_policy)
    device = this_machine.choose_device("auto")
    question = Question(clip, frames, frame_policy, Watch(synchronizer(device)), calls, tuple(sorted(set(threads or THREADS))))
    with tempfile.TemporaryDirectory(prefix="evbench-loading-") as folder:
        long = long_clips.make(Path(folder), long_clips.pictures_of(clip), lengths)
        loadings = tuple(measure(name, question, long) for name in names)
    here, shown = this_machine.read(device), len(seen.seconds)
    found = Loadings(here, device, clip.name, seen.codec, seen.height, seen.width, shown, frames, frame_policy, loadings)
    for line in lines(found):
        typer.echo(line)
    write_json(out, found)


if __name__ == "__main__":
    run(main)
