"""The choices of loading: how a sample is decoded or rendered, and how far ahead of the other stages. Imports no torch."""

from __future__ import annotations

from evbench.choices import STREAM, Choice, Conflict, Evidence, Part

VIDEO, IMAGES, RAW = ("video",), ("event-images",), ("events",)

DALI_RUN = r"function:nvidia\.dali\.pipeline\.Pipeline\.run$"
FRAME_THREAD = r"thread:av:\w+:df"
"""FFmpeg's name for it (libavcodec/pthread_frame.c)."""
THREADED_DECODER = r"decoder:.* (AUTO|FRAME)$"

DECODE = Part(
    "decode",
    ("load",),
    {
        "plain": Choice(
            "PyAV with its default settings, the whole clip; event images one after the other with PIL",
            {"video": "evbench.pipelines.load.video:decode_plain", "event-images": "evbench.pipelines.load.png:read_plain"},
            (
                Evidence("load", "call of plain decoding", r"function:evbench\.pipelines\.load\.(video\.decode_plain|png\.read_plain)$"),
                Evidence("load", "decoder of FFmpeg", r"decoder:", kinds=VIDEO),
                Evidence("load", "decoder set to use a thread for each frame", THREADED_DECODER, "never", VIDEO),
                Evidence("load", "frame threads of FFmpeg", FRAME_THREAD, "never", VIDEO),
                Evidence("load", "images read in the main thread", r"function:evbench\.pipelines\.load\.png\._read$", "each frame", IMAGES),
                Evidence("load", "work in a pool's threads", r"pool:evbench\.pipelines\.", "never"),
            ),
        ),
        "threaded": Choice(
            "PyAV on all cores, no further than the last frame needed, converted in parallel; event images in parallel",
            {"video": "evbench.pipelines.load.video:decode_threaded", "event-images": "evbench.pipelines.load.png:read_threaded"},
            (
                Evidence(
                    "load", "call of threaded decoding",
                    r"function:evbench\.pipelines\.load\.(video\.decode_threaded|png\.read_threaded)$",
                ),
                Evidence("load", "decoder set to use a thread for each frame", THREADED_DECODER, kinds=VIDEO),
                Evidence("load", "frame threads of FFmpeg", rf"({FRAME_THREAD}|thread:dav1d)", kinds=VIDEO),
                Evidence(
                    "load", "frames converted in a pool's threads", r"pool:evbench\.pipelines\.load\.video\._convert$", "each frame", VIDEO
                ),
                Evidence("load", "images read in a pool's threads", r"pool:evbench\.pipelines\.load\.png\._read$", "each frame", IMAGES),
            ),
            risk="takes all cores, so it gains least where other work holds them; decoders with threads can lose or reorder frames: their "
            "indices and times are compared",
        ),
        "dali": Choice(
            "NVIDIA DALI: a clip on the GPU's video decoder, of H.264 without the frames that are neither asked for nor referred to; event "
            "images in one batch, their pixels on the GPU",
            {"video": "evbench.pipelines.load.dali:DaliDecoder", "event-images": "evbench.pipelines.load.dali_images:DaliImages"},
            (
                Evidence(
                    "load", "call of decoding with DALI",
                    r"function:evbench\.pipelines\.load\.(dali\.DaliDecoder|dali_images\.DaliImages)\.__call__$",
                ),
                Evidence("load", "run of a DALI pipeline", DALI_RUN),
                Evidence("load", "frames converted by DALI on the GPU", r"kernel:.*dali::VideoColorSpaceConversion", "each frame", VIDEO),
                Evidence("load", "decoder of FFmpeg", r"decoder:", "never", VIDEO),
                Evidence("load", "images read with PIL", r"(function|pool):evbench\.pipelines\.load\.png\._read$", "never", IMAGES),
            ),
            needs=("NVIDIA GPU", "NVIDIA DALI"),
            risk="its colours differ from FFmpeg's by more than two 8-bit levels in few pixels (OUTPUT_NEARLY); takes memory of the GPU; "
            "what it cannot decode is refused",
        ),
    },
    kinds=("video", "event-images"),
)  # fmt: skip

RENDERING = r"function:evbench\.pipelines\.load\.event_images\."
ON_GPU = r"kernel:(last_event|paint)_kernel"
PAINTING = r"kernel:paint_kernel"

RENDER = Part(
    "render",
    ("load", "preprocess"),
    {
        "loop": Choice(
            "event by event in Python, as published",
            "evbench.pipelines.load.event_images:loop",
            (
                Evidence("load", "call of the loop over events", RENDERING + r"loop$"),
                Evidence("load", "rendering with NumPy", RENDERING + r"vectorised$", "never"),
                Evidence("load", "rendering on the GPU", ON_GPU, "never"),
            ),
        ),
        "vectorised": Choice(
            "each slice's events at once, with NumPy",
            "evbench.pipelines.load.event_images:vectorised",
            (
                Evidence("load", "call of rendering with NumPy", RENDERING + r"vectorised$"),
                Evidence("load", "loop over events", RENDERING + r"loop$", "never"),
                Evidence("load", "rendering on the GPU", ON_GPU, "never"),
            ),
            risk="each pixel must show its last event, though all are painted at once: event images may differ in no pixel",
        ),
        "triton": Choice(
            "the events copied to the GPU as they are; there an atomic maximum finds each pixel's last event. Event images are painted by "
            "a second Triton kernel, and only where the preprocessing asks for them",
            "evbench.pipelines.load.event_painter:EventPainter",
            (
                Evidence(
                    "load", "call of rendering on the GPU", r"function:evbench\.pipelines\.load\.event_painter\.EventPainter\.__call__$"
                ),
                Evidence("load", "kernel that finds each pixel's last event", r"kernel:last_event_kernel"),
                Evidence("load", "kernel that paints", PAINTING, "never"),
                Evidence("preprocess", "kernel that paints", PAINTING, where={"preprocess": ("processor", "direct", "dali")}),
                Evidence("load", "rendering on the host", RENDERING + r"(loop|vectorised)$", "never"),
            ),
            needs=("NVIDIA GPU", "Triton"),
            risk="each pixel must show its last event, in whatever order threads run: event images may differ in no pixel",
        ),
    },
    kinds=("events",),
)  # fmt: skip

LOAD = r"evbench\.pipelines\.\w+\.\w+\.load$"
"""Of whichever model: its class stands in a module of evbench.pipelines itself."""
LOAD_MANY = r"evbench\.pipelines\.\w+\.\w+\._load_many$"
GENERATE = r"evbench\.pipelines\.\w+\.\w+\.generate$"

PREFETCH = Part(
    "prefetch",
    (STREAM,),
    {
        "off": Choice(
            "of several samples in a row (--throughput; no effect on a single one): each is loaded when the one before it is answered",
            "evbench.pipelines.load.prefetch:OFF",
            (
                Evidence(STREAM, "load in the main thread", rf"function:{LOAD}", "each sample"),
                Evidence(STREAM, "load in another thread", rf"pool:({LOAD}|{LOAD_MANY})", "never"),
                Evidence(STREAM, "load before the answer to the sample before", rf"early:({LOAD}|{LOAD_MANY})", "never"),
            ),
        ),
        "on": Choice(
            "of several samples in a row: the next two are loaded in a thread while one goes through the other stages",
            "evbench.pipelines.load.prefetch:ON",
            (
                Evidence(STREAM, "load in the prefetching thread", rf"pool:{LOAD}", "each sample"),
                Evidence(STREAM, "load before the answer to the sample before", rf"early:{LOAD}"),
                Evidence(STREAM, "load of several samples in one call", rf"(function|pool):{LOAD_MANY}", "never"),
                Evidence(STREAM, "load in the main thread", rf"function:{LOAD}", "never"),
            ),
            risk="samples that are loaded ahead take memory, and cores from the other stages",
        ),
        "batched": Choice(
            "of several samples in a row: loaded in a thread ahead of the other stages, up to eight by one call of the decoder",
            "evbench.pipelines.load.prefetch:BATCHED",
            (
                Evidence(STREAM, "load of several samples in one call, in the prefetching thread", rf"pool:{LOAD_MANY}"),
                Evidence(STREAM, "call of DALI for several clips", r"pool:evbench\.pipelines\.load\.dali\.DaliDecoder\._run_together$"),
                Evidence(STREAM, "such a load before the answer to the sample before", rf"early:{LOAD_MANY}"),
                Evidence(STREAM, "load of one sample", rf"(function|pool):{LOAD}", "never"),
                Evidence(STREAM, "load in the main thread", rf"function:{LOAD_MANY}", "never"),
            ),
            needs=("NVIDIA GPU", "NVIDIA DALI"),
            kinds=VIDEO,
            conflicts=(
                Conflict("decode", ("plain", "threaded"), "that decoder takes one file at a time, and decode=dali several"),
            ),
            risk="up to eight clips are in the GPU's memory at once",
        ),
    },
)  # fmt: skip
