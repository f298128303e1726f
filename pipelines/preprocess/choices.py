"""The choices of preprocessing. Imports no torch."""

from __future__ import annotations

from evbench.choices import GPU, Choice, Evidence, Part

PROCESSOR = r"function:transformers\.[\w.]*(Image|Video)Processor\w*\.preprocess$"
DIRECT = r"function:evbench\.pipelines\.preprocess\.pixels\.pixel_values$"
RESIZE = r"op:aten::_upsample"

PREPROCESS = Part(
    "preprocess",
    ("preprocess",),
    {
        "processor": Choice(
            "the Hugging Face processor, then a copy to the model's device",
            "evbench.pipelines.preprocess.preprocessors:processor",
            (
                Evidence("preprocess", "call of transformers' processor", PROCESSOR),
                Evidence("preprocess", "call of direct preprocessing", DIRECT, "never"),
            ),
        ),
        "processor-gpu": Choice(
            "the Hugging Face processor on the model's device",
            "evbench.pipelines.preprocess.preprocessors:processor_gpu",
            (
                Evidence("preprocess", "call of transformers' processor", PROCESSOR),
                Evidence("preprocess", "resize on the GPU", r"kernel:.*upsample_gen2d_aa"),
                Evidence("preprocess", "call of direct preprocessing", DIRECT, "never"),
            ),
            needs=("NVIDIA GPU",),
            risk="resized by another kernel than on the CPU, which may round otherwise",
        ),
        "direct": Choice(
            "the processor's resize, crop and normalisation on the decoder's memory, on the model's device; the prompt's visual "
            "placeholders are counted instead of spelled out",
            "evbench.pipelines.preprocess.preprocessors:direct",
            (
                Evidence("preprocess", "call of direct preprocessing", DIRECT),
                Evidence("preprocess", "bicubic resize", r"op:aten::_upsample_bicubic2d_aa$"),
                Evidence("preprocess", "resize on the GPU", r"kernel:.*upsample_gen2d_aa", devices=GPU),
                Evidence("preprocess", "call of transformers' processor", PROCESSOR, "never"),
            ),
            risk="code of its own in the place of transformers': another mean, filter or order of colours would be hard to see, and is "
            "planted as a fault",
        ),
        "dali": Choice(
            "resized, cropped and normalised by an NVIDIA DALI pipeline; the question is tokenized once and kept",
            "evbench.pipelines.preprocess.preprocessors:dali",
            (
                Evidence(
                    "preprocess", "call of DALI's preprocessing",
                    r"function:evbench\.pipelines\.preprocess\.dali_pixels\.DaliValues\.__call__$",
                ),
                Evidence("preprocess", "run of a DALI pipeline", r"function:nvidia\.dali\.pipeline\.Pipeline\.run$"),
                Evidence("preprocess", "kernels of DALI", r"kernel:.*dali::"),
                Evidence("preprocess", "resize of torch", RESIZE, "never"),
                Evidence("preprocess", "call of transformers' processor", PROCESSOR, "never"),
            ),
            needs=("NVIDIA GPU", "NVIDIA DALI"),
            risk="filters of another library; and the time of tokenizing is in the first run only",
        ),
        "triton": Choice(
            "one Triton kernel from the frames' bytes, or with render=triton from each pixel's last event, to the model's input, another "
            "colour matrix included; the question is tokenized once and kept",
            "evbench.pipelines.preprocess.preprocessors:triton",
            (
                Evidence(
                    "preprocess", "call of the fused preprocessing",
                    r"function:evbench\.pipelines\.preprocess\.replayed\.FusedImages\.__call__$",
                ),
                Evidence("preprocess", "its kernel", r"kernel:pixel_values_kernel", kinds=("video", "event-images")),
                Evidence(
                    "preprocess", "its kernel", r"kernel:pixel_values_kernel",
                    kinds=("events",), where={"render": ("loop", "vectorised")},
                ),
                Evidence(
                    "preprocess", "kernel for last events", r"kernel:values_of_maps_kernel",
                    kinds=("events",), where={"render": ("triton",)},
                ),
                Evidence("preprocess", "kernel that paints event images for it", r"kernel:paint_kernel", "never", ("events",)),
                Evidence("preprocess", "resize of torch", RESIZE, "never"),
                Evidence("preprocess", "call of transformers' processor", PROCESSOR, "never"),
            ),
            needs=("NVIDIA GPU", "Triton"),
            risk="code of its own in the place of transformers'; and the time of tokenizing is in the first run only",
        ),
        "exact": Choice(
            "in double precision, with no rounding between the steps",
            "evbench.pipelines.preprocess.preprocessors:exact",
            (),
            hidden=True,
        ),
    },
)  # fmt: skip
