"""Files from outside, and what is done to them to make them hostile: see tests/fuzz.py, which opens them."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from evbench import results
from evbench.cli.compare import compare_command
from evbench.cli.config import KEYS
from evbench.cli.later import LaterCommand
from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.inputs import listing, sample
from evbench.inputs import workload as workloads
from evbench.inputs.listing import Selection
from evbench.lint import beside
from evbench.lint.examine import examine
from evbench.machine import machine
from evbench.pipelines.checkpoints import folder as checkpoints
from evbench.pipelines.load import event_files, png, video
from evbench.plugins.use import forget_all, use
from evbench.report import traces as trace_tables
from evbench.report.comparison import describe
from evbench.report.render import to_markdown
from evbench.results import EventWindow
from evbench.scenes.captions import QUESTIONS
from evbench.scenes.index import caption, read_index
from evbench.session import compare, journal
from evbench.session.request import ComparisonRequest, request_header
from evbench.traces import breakdown, chrome, completeness
from evbench.traces.former_tracks import redrawn
from evbench.traces.timeline import Timeline
from evbench.verdict.judge import judge

Draw = Callable[[Any], Any]
"""Of hypothesis: strategy -> value."""
Files = Mapping[str, bytes]
"""Name -> content, of one input."""

WINDOW = EventWindow(0, None, None, "own")
EDITS = st.sampled_from((1, 1, 1, 2, 3, 6))
"""How many places of a file are changed: mostly one, or nothing behind the first check would be reached."""
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
"""Numbers at which a length or an offset goes wrong."""
NAMES = ("..", "../../etc/passwd", "/etc/passwd", "a\0b", "a\nb", "\x1b[31m", "file:///etc/passwd", "__class__", "%s%n", "é" * 300)
"""Texts that would be a path elsewhere, a command of a terminal, or not one line."""


# What is done to bytes, and to values of JSON.


@st.composite
def edited(draw: Draw, content: bytes) -> bytes:
    """Bytes with some overwritten, left out, doubled, moved or added; most often near the beginning, where headers are."""
    data = bytearray(content)
    for _ in range(draw(EDITS)):
        most = len(data) if draw(st.booleans()) else min(len(data), 512)
        place = draw(st.integers(0, most))
        match draw(st.sampled_from(("flip", "number", "cut", "leave out", "double", "add", "name"))):
            case "flip" if place < len(data):
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "number":
                width = draw(st.sampled_from((1, 2, 4, 8)))
                value = draw(st.sampled_from(INTERESTING)) % 2 ** (8 * width)
                data[place : place + width] = value.to_bytes(width, draw(st.sampled_from(("big", "little"))))
            case "cut":
                del data[place:]
            case "leave out":
                del data[place : place + draw(st.integers(1, 64))]
            case "double":
                part = data[place : place + draw(st.integers(1, 256))]
                data[place:place] = part * draw(st.integers(1, 4))
            case "name":
                data[place:place] = draw(st.sampled_from(NAMES)).encode()
            case _:
                data[place:place] = draw(st.binary(min_size=1, max_size=16))
    return bytes(data)


def values() -> st.SearchStrategy[Any]:
    """Of JSON, with what no file should have: also NaN, numbers of any size, and half surrogate pairs."""
    texts = st.one_of(st.sampled_from(NAMES), st.text(st.characters(), max_size=12))
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.sampled_from(INTERESTING), st.sampled_from((10**30, 10**400, -1)), st.floats(), texts
    )
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6)


def places(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of all values in the content, but itself; of long lists only some."""
    found = [place] if place else []
    if isinstance(content, dict):
        for name, value in content.items():
            found += places(value, (*place, name))
    if isinstance(content, list):
        for index in sorted({*range(min(3, len(content))), *range(len(content) // 2, len(content))[:1]}):
            found += places(content[index], (*place, index))
    return found


@st.composite
def changed(draw: Draw, content: Any) -> Any:
    """JSON of which some values are replaced, removed, doubled, or exchanged with another."""
    made = copy.deepcopy(content)
    for _ in range(draw(EDITS)):
        every = places(made)
        if not every:
            return draw(values())
        *way, last = draw(st.sampled_from(every))
        owner = made
        for step in way:
            owner = owner[step]
        match draw(st.sampled_from(("replace", "replace", "remove", "exchange", "double"))):
            case "remove":
                del owner[last]
            case "exchange":
                other = made
                for step in draw(st.sampled_from(every)):
                    other = other[step] if not isinstance(other, list) or step < len(other) else None
                    if other is None:
                        break
                owner[last] = copy.deepcopy(other)
            case "double" if isinstance(owner, list):
                owner.insert(last, copy.deepcopy(owner[last]))
            case _:
                owner[last] = draw(values())
    return made


@st.composite
def json_file(draw: Draw, content: bytes) -> bytes:
    """JSON whose values are changed, or whose text is."""
    if draw(st.integers(0, 3)) == 0:
        return draw(edited(content))  # type: ignore[no-any-return]
    return json.dumps(draw(changed(json.loads(content)))).encode()


@st.composite
def lines_file(draw: Draw, content: bytes) -> bytes:
    """Lines of JSON, one of which is changed, lost or doubled."""
    whole = content.splitlines()
    lines = list(whole)
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(("change", "lose", "double", "bytes")))
        if what == "change":
            lines[number] = draw(json_file(whole[min(number, len(whole) - 1)])).replace(b"\n", b" ")
        elif what == "double":
            lines.insert(number, lines[number])
        elif what == "lose" and len(lines) > 1:
            del lines[number]
        else:
            lines[number] = draw(edited(lines[number]))
    return b"\n".join(lines) + (b"\n" if draw(st.booleans()) else b"")


@st.composite
def zip_file(draw: Draw, content: bytes) -> bytes:
    """A zip whose members are changed and packed anew, so that no checksum keeps them from being read; or whose own bytes are."""
    if draw(st.integers(0, 2)) == 0:
        return draw(edited(content))  # type: ignore[no-any-return]
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(packed, "w") as after:
        for name in before.namelist():
            member = before.read(name)
            if draw(st.booleans()):
                member = draw(edited(member))
            after.writestr(draw(st.sampled_from(NAMES)).replace("\0", "") if draw(st.integers(0, 9)) == 0 else name, member)
    return packed.getvalue()


@st.composite
def toml_file(draw: Draw, content: bytes) -> bytes:
    """Lines of which some are changed, left out or added, mostly such as are known; or a file whose bytes are changed."""
    if draw(st.integers(0, 7)) == 0:
        return draw(edited(content))  # type: ignore[no-any-return]
    keys = st.sampled_from(KEYS) | st.sampled_from(("out", "resume", "plugin", "pipeline", "config")) | st.text(max_size=5)
    texts = st.sampled_from(NAMES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    quoted = texts.map(lambda text: json.dumps(text, ensure_ascii=False))
    plain = st.one_of(
        quoted, st.integers().map(str), st.floats().map(str), st.sampled_from(("true", "false", "1979-05-27", "{}", "{a = 1}", "inf", "[]"))
    )
    value = plain | st.lists(plain, max_size=3).map(lambda some: f"[{', '.join(some)}]")
    rows = content.decode().splitlines()
    for _ in range(draw(EDITS)):
        what = draw(st.sampled_from(("known", "known", "known", "leave out", "edit", "value", "add")))
        place = draw(st.integers(0, len(rows) - 1))
        key = rows[place].partition(" =")[0]
        if what == "known":
            known = draw(st.sampled_from(OTHER_LINES))
            rows = [row for row in rows if row.partition(" =")[0] != known.partition(" =")[0]] + [known]
        elif what == "leave out" and len(rows) > 1:
            del rows[place]
        elif what == "edit":
            rows[place] = draw(edited(rows[place].encode())).decode(errors="replace")
        else:
            rows[place] = f"{draw(keys) if what == 'add' else key} = {draw(value)}"
    return "\n".join(rows).encode()


@st.composite
def csv_file(draw: Draw, content: bytes) -> bytes:
    """Cells of which some are replaced; or a file whose bytes are changed."""
    if draw(st.integers(0, 3)) == 0:
        return draw(edited(content))  # type: ignore[no-any-return]
    rows = [line.split(",") for line in content.decode().splitlines()]
    cells = st.one_of(
        st.sampled_from(("nan", "-1", "1e400", "1e-400", "", '"', "0x10", "\u0661", "1_000", "inf", "true", *NAMES)),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=6),
    )
    for _ in range(draw(EDITS)):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(cells)
    return "\n".join(",".join(row) for row in rows).encode(errors="surrogatepass")


@st.composite
def trace_file(draw: Draw, content: bytes) -> bytes:
    """A trace whose events are changed, packed anew or not; or whose own bytes are."""
    if draw(st.integers(0, 4)) == 0:
        return draw(edited(content))  # type: ignore[no-any-return]
    text = draw(json_file(gzip.decompress(content)))
    return gzip.compress(text, 1) if draw(st.booleans()) else text


@st.composite
def manifest(draw: Draw, form: str) -> bytes:
    """Python whose names say of choices what cannot be. It is the user's own code, and run in a process of its own."""
    said = values() | st.sampled_from(("vision", "baseline", "optimized", "baseline+vision=mine", "load", "never", "function:x("))
    words = [draw(said) if draw(st.integers(0, 4)) == 0 else right for right in RIGHT]
    lines = form.format(*map(repr, words)).splitlines()
    if draw(st.booleans()):
        del lines[draw(st.integers(0, len(lines) - 1))]
    return "\n".join(lines).encode(errors="replace")


# What opens them, as the commands do.


def open_video(folder: Path) -> None:
    path = folder / "a.mp4"
    found = video.probe(path)
    found.choose(path, 8, "inclusive")
    one, other = (decode(path, 8, "inclusive") for decode in (video.decode_plain, video.decode_threaded))
    # What stands in for a damaged part of a picture depends on the threads: that is for the comparison of outputs to find.
    assert (one.indices, one.seconds, one.pixels.shape) == (other.indices, other.seconds, other.pixels.shape)


def open_events(folder: Path) -> None:
    """Also what evbench tries in a process of its own: here a crash shall be seen."""
    (path,) = folder.iterdir()
    for window in (WINDOW, replace(WINDOW, size="sensor", start=1000, length=20_000)):
        told = event_files._try(path, window)
        assert told.keys() <= {"pictures", "refused"}
    stream = event_files.read(path, WINDOW)
    assert len(stream.x) == len(stream.y) == len(stream.t) == len(stream.p)


def open_images(folder: Path) -> None:
    count, height, width = png.probe(folder)
    assert all(image.shape == (height, width, 3) for image in png.read_plain(folder).each()) and count


def open_checkpoint(folder: Path) -> None:
    workloads.require_checkpoint(folder, "video-llava")
    checkpoints.require_usual_names(checkpoints.weight_files(folder))


def open_result(folder: Path) -> None:
    result = results.read(folder)
    judgement = judge(result)
    to_json(judgement)
    to_markdown(describe(result, judgement), result.created, result.command).encode()


def open_journal(folder: Path) -> None:
    journal.read(folder)


def open_scenes(folder: Path) -> None:
    for named in _named_by_scenes():
        for name in (named["mp4_data"], named["event_data"], *named["event_image"]):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    for kind in listing.PARTS:
        for one in listing.read(folder, kind, colours=True, prompt="What?", selection=Selection()):
            assert one.path.resolve().is_relative_to(folder.resolve()), f"{one.path} is elsewhere"
    for entry in read_index(folder):
        for question in QUESTIONS.values():
            caption(entry, True, question)


def open_table(folder: Path) -> None:
    (path,) = folder.iterdir()
    for finding in examine(path):
        finding.line()
    for name in ("before", "after"):
        column = beside.of_table_side(f"{path}#{name}", "baseline")
        beside.to_markdown(beside.table(column, column), [beside.tokens_compared(column, column)], "now", "evbench compare").encode()


def open_trace(folder: Path) -> None:
    (path,) = folder.iterdir()
    trace = redrawn(chrome.read(path), path)
    timeline = Timeline(trace.events, path)
    sections = breakdown.sections(timeline, trace.events)
    completeness.stamp(completeness.again(timeline, trace))
    for tables in (trace_tables.where_the_time_went, trace_tables.families, trace_tables.gone_and_new):
        tables({"A": sections, "B": sections})


class Started(Exception):
    """All that is asked for was accepted."""


def open_config(folder: Path) -> None:
    """As `evbench compare --config FILE` does, up to the first worker; what is to be measured is written into its folder and read again."""

    def measure(request: ComparisonRequest, *unused: object) -> None:
        header = request_header(request.created, machine.read(request.device()), request.plan, request.variants, request.workloads)
        try:
            with journal.create(request.folder, header):
                assert journal.read_header(request.folder) == header
        except UserError as error:
            raise AssertionError(f"what was accepted cannot be recorded: {error}") from error
        raise Started

    before = sys.argv, compare.measure, machine.read
    sys.argv = ["evbench", "compare", "--config", str(folder / "evbench.toml"), "--out", str(folder / "out")]
    compare.measure, machine.read = measure, _machine  # type: ignore[assignment]
    try:
        with contextlib.redirect_stderr(io.StringIO()), _compare().make_context("evbench compare", sys.argv[2:]) as context:
            context.command.invoke(context)
    except Started:
        return
    except OSError as error:  # `main` tells it so
        raise UserError(f"{error.filename}: {error.strerror}") from None
    finally:
        sys.argv, compare.measure, machine.read = before
    raise AssertionError("it has ended without a session")


@cache
def _compare() -> Any:
    """The command, which takes longer to make than to call."""
    return LaterCommand("compare", callback=lambda: compare_command).loaded()


_machine = cache(machine.read)
"""What is installed here takes longer to find out than the rest."""


def open_plugin(folder: Path) -> None:
    try:
        use([folder / "mine.py"])
    finally:
        forget_all()


# All of them.


@dataclass(frozen=True)
class Target:
    """A kind of input."""

    made: Callable[[], list[Files]]
    """Whole ones, each of which can be opened."""
    change: Callable[[bytes], st.SearchStrategy[bytes]]
    opened: Callable[[Path], None]
    """Opens what is in a folder. Raises UserError."""
    changes: str = ""
    """Name of the file that is changed. Empty: any of them."""
    seconds: float = 20.0
    """That one may take."""
    share: float = 1.0
    """Of examples, where others have 1: each takes long."""
    starts_processes: bool = False
    """A file of the user's that is code is run in a process of its own."""


@cache
def _folder() -> Path:
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="evbench-test-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _videos() -> list[Files]:
    from tests.coded_clips import CLIPS, write

    wanted = ("unsaid-pyramid.mp4", "said-late.mp4", "said-open-gop.mkv", "mpeg2.ts", "mpeg4.mkv", "vp8-hidden.webm")
    return [{"a.mp4": write(clip, _folder()).read_bytes()} for clip in CLIPS if clip.name in wanted]


def _events(ending: str) -> Callable[[], list[Files]]:
    def made() -> list[Files]:
        from tests.event_examples import SAVE, make_events

        events: dict[str, Any] = dict(make_events(200))
        if ending == ".npz":
            events |= {"height": 60, "width": 80}
        return [{f"a{ending}": SAVE[ending](_folder() / f"a{ending}", events).read_bytes()}]

    return made


def _words() -> list[Files]:
    from tests import test_event_words as words
    from tests.cases import CASES

    every = [words.HIGH, words.LOW | 1, words.row(3), words.single(5), words.base(8), words.VECTOR12 | 0xFFF, words.VECTOR8 | 0xFF]
    evt3 = words.write(_folder() / "a.raw", 3, np.array(every * 8))
    return [{"a.raw": path.read_bytes()} for path in (evt3, CASES / "evt2_pre.raw")]


def _dat() -> list[Files]:
    from tests.test_event_words import dat

    return [{"a.dat": dat([*range(0, 2000, 10)])}]


def _images() -> list[Files]:
    from PIL import Image

    files = {}
    for number in range(2):
        with io.BytesIO() as stored:
            Image.new("RGB", (24, 16), (number, 200, 3)).save(stored, "PNG")
            files[f"{number}.png"] = stored.getvalue()
    return [files]


@cache
def _checkpoint() -> list[Files]:
    from tests.checkpoints import least

    return [{file.name: file.read_bytes() for file in least("video-llava").iterdir()}]


def _result() -> list[Files]:
    from tests.test_damaged_results import made

    return [{"result.json": json.dumps(made()).encode()}]


@cache
def _journal() -> list[Files]:
    from tests.simulation import PLAN, Noise, SimulatedMachine, header, run_simulated

    folder = _folder() / "journal"
    with journal.create(folder, header(replace(PLAN, blocks=2, throughput=2))) as opened:
        run_simulated(SimulatedMachine(1, Noise()), opened)
    return [{name: (folder / name).read_bytes() for name in ("session.json", "runs.jsonl")}]


def _scenes() -> list[Files]:
    turns = [{"from": "human" if place % 2 == 0 else "gpt", "value": text} for place, text in enumerate(_said())]
    entries = [
        {"id": f"{number:06}", "split": "test", **named, "conversations": turns, "event_conversations": turns}
        for number, named in enumerate(_named_by_scenes())
    ]
    return [{"dataset.json": json.dumps(entries).encode()}]


def _named_by_scenes() -> list[dict[str, Any]]:
    """Key -> files, of two scenes."""
    return [
        {
            "mp4_data": f"mp4/{number}.mp4",
            "event_data": f"events/{number}.npz",
            "event_image": [f"event_images/{number}/{place}.png" for place in range(5)],
        }
        for number in range(2)
    ]


def _said() -> list[str]:
    return [text for question in QUESTIONS.values() for text in (question, "A car.")]


def _tables() -> list[Files]:
    row = {"name": "before", "times": {"load_s": 0.70, "generate_s": 2.50, "total_s": 3.31, "ttft_ms": 910}, "statistic": "median",
           "runs": 200, "new_tokens": 3, "tokens": [[319, 4153, 491]], "shares": {"load": 21.1},
           "speedups": [{"of": "total", "value": 1.1, "formula": "ratio of means"}]}  # fmt: skip
    return [{"a.json": json.dumps({"version": 1, "source": "there", "rows": [row, {**row, "name": "after"}]}).encode()}]


def _csv_tables() -> list[Files]:
    head = "name,load_s,generate_s,total_s,new_tokens,do_sample,warmup_runs,runs,order,dtype,speedup,speedup_formula,share_load"
    rows = ("before,0.70,2.50,3.20,102,false,5,200,interleaved,float16,,,21.9", "after,0.1,0.9,1.0,46,no,5,200,,float16,3.2,other,")
    return [{"a.csv": "\n".join((head, *rows)).encode()}]


def _traces() -> list[Files]:
    from tests.traces import launched, stages

    events = [*stages(), *launched(7, 5, 20, 30), *launched(8, 115, 130, 20, "copy", bytes=64), *launched(9, 340, 350, 60)]
    header = {"schemaVersion": 1, "evbench": {"variant": "baseline", "plain": {"load": 0.0001}, "expected": {}}}
    return [{"a.json.gz": chrome.packed(chrome.Trace(header, events))}]


CONFIG = """baseline = "baseline"
optimized = "baseline+attention=eager"
device = "cpu"
blocks = 12
preset = "tiny"
new-tokens = 4
video = ["a.mp4"]
fail-if = ["slower:2%"]
max-time = 30
precision = "5%"
stop-at-end = true
"""
OTHER_LINES = (
    'baseline = "optimized+attention=eager"', 'optimized = "optimized"', 'optimized = "a.json#x"',
    'fail-if = ["vision.slower:5%", "slower:1%"]',
    "require-speedup = true", 'allow = ["cached", "lossy"]', 'target = ["video-llava.generate<2.5s", "memory<24GiB"]', 'model = "eventgpt"',
    'preset = "small"', 'weights = "."', 'video = ["a.mp4", "a.mp4"]', 'events = ["."]', 'event-window = "0:50"', 'event-limit = "50ms"',
    'data = "."', "raw-events = true", 'split = "test"', "samples = 1", "shuffle-seed = 3", "frames = 4", 'frame-policy = "inclusive"',
    'prompt = "What? [bold]"', "new-tokens = 1", "stop-at-end = false", 'device = "auto"', 'dtype = "float64"', "seed = 7", "blocks = 1",
    "invocations = 2", 'precision = "0.1%"', "max-time = 0.5", "warmup = 1", 'order = "reload"', "cold-files = true", "cold-compile = true",
    "throughput = 2", "deadline = 60", "trace-tokens = 0", "modules = true",
)  # fmt: skip
"""Lines of options, most of which can be."""
PLUGIN = """import evbench
from evbench import Evidence
@evbench.choice({0}, meaning={1}, name="mine", over={2}, kinds=[{3}], evidence=[Evidence({4}, "w", {5})])
def mine(pipeline): ...
VARIANTS = {{"mine": {6}}}
"""
RIGHT = ("vision", "m", "eager", "video", "vision", "function:x", "baseline+vision=mine")
"""What a plug-in that has no fault says in these places."""


TARGETS = {
    "MP4": Target(_videos, edited, open_video),
    "npz": Target(_events(".npz"), zip_file, open_events),
    "npy": Target(_events(".npy"), edited, open_events),
    "HDF5": Target(_events(".h5"), edited, open_events),
    "EVT": Target(_words, edited, open_events),
    "DAT": Target(_dat, edited, open_events),
    "PNG": Target(_images, edited, open_images),
    "safetensors": Target(_checkpoint, edited, open_checkpoint, "model.safetensors"),
    "config of a checkpoint": Target(_checkpoint, json_file, open_checkpoint, "config.json"),
    "result": Target(_result, json_file, open_result),
    "journal": Target(_journal, lines_file, open_journal, "runs.jsonl"),
    "header of a journal": Target(_journal, json_file, open_journal, "session.json"),
    "scenes": Target(_scenes, json_file, open_scenes),
    "TOML": Target(lambda: [{"evbench.toml": CONFIG.encode(), "a.mp4": sample.CLIP.read_bytes()}], toml_file, open_config, "evbench.toml"),
    "plug-in": Target(
        lambda: [{"mine.py": PLUGIN.format(*map(repr, RIGHT)).encode()}],
        lambda content: manifest(PLUGIN),
        open_plugin,
        share=0.05,
        starts_processes=True,
    ),
    "table": Target(_tables, json_file, open_table),
    "table in CSV": Target(_csv_tables, csv_file, open_table),
    "trace": Target(_traces, trace_file, open_trace),
}
"""Name -> what is opened."""
