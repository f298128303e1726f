"""Faults to plant into an optimized variant, one at a time: each is a way to be fast and wrong, and evbench has to find it.

They are planted from outside, into what all pipelines have (`evbench.stages.Pipeline`): the stages, the modules of transformers, the decode
loop. What they change for the whole process (the cache of transformers, the resize) is changed in a worker that ends with its mutant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torchvision.transforms.v2 import functional
from transformers.cache_utils import Cache

from evbench.colours import CHANGES
from evbench.pipelines.generate import loops
from evbench.pipelines.load import event_files, video
from evbench.pipelines.load.event_images import SLICES
from evbench.pipelines.load.event_stream import EventStream
from evbench.pipelines.preprocess import pixels
from evbench.pipelines.registry import MODELS
from evbench.results import STAGES, Delay
from evbench.stages import Generation, Mark, Pipeline, Stages


def plant(delay: Delay, pipeline: Stages[Any, Any, Any], synchronize: Callable[[], None]) -> None:
    """Put the delay into the pipeline."""
    assert delay.stage in STAGES
    stage = getattr(pipeline, delay.stage)

    def slower(*arguments: Any) -> Any:
        start = time.perf_counter()
        done = stage(*arguments)
        synchronize()  # what the device still does is part of the time
        until = time.perf_counter() + delay.share * (time.perf_counter() - start)
        # time.sleep comes back up to a tenth of a millisecond late, which is more than a share of a short stage.
        while time.perf_counter() < until:
            pass
        return done

    setattr(pipeline, delay.stage, slower)


AnyPipeline = Pipeline[Any, Any, Any]
Plant = Callable[[AnyPipeline, Sequence[Path]], None]
"""(pipeline, paths of all samples)."""


@dataclass(frozen=True)
class Mutant:
    """One fault; or, if it is harmless, another way to compute the same output, which must not be reported as one."""

    meaning: str
    stage: str
    """The first whose output changes."""
    plant: Plant
    kinds: tuple[str, ...] = ()
    """Of input that it can be planted for. Empty: all."""
    trait: str = ""
    """Of `evbench.models.Model.traits`: what a model must have for it. Empty: nothing."""
    samples: int = 1
    """How many are needed to see it."""
    harmless: bool = False

    def can_be_planted(self, model: str, kind: str) -> bool:
        """Into a pipeline of this model, with such input."""
        return (not self.kinds or kind in self.kinds) and (not self.trait or self.trait in MODELS[model].traits)


# Frames.


def _frames(change: Callable[[Any], Any]) -> Plant:
    """Other frames, under the indices of the right ones."""

    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        _wrap(pipeline, "load", lambda loaded: loaded.holding(change(_array(loaded.values()))))

    return plant


def _array(values: Any) -> Any:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def _wrap(pipeline: AnyPipeline, stage: str, change: Callable[[Any], Any]) -> None:
    original = getattr(pipeline, stage)

    def changed(*arguments: Any) -> Any:
        output, work = original(*arguments)
        return change(output), work

    _replace(pipeline, **{stage: changed})


def _replace(pipeline: AnyPipeline, **stages: Callable[..., Any]) -> None:
    for name, stage in stages.items():
        setattr(pipeline, name, stage)


def _next_frame(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    right = pipeline.load
    policies = dict(video.POLICIES)

    def later(policy: Callable[[int, int], list[int]]) -> Callable[[int, int], list[int]]:
        return lambda total, count: [min(index + 1, total - 1) for index in policy(total, count)]

    def load(path: Path) -> Any:
        output, work = right(path)
        video.POLICIES.update({name: later(policy) for name, policy in policies.items()})
        shifted, _ = right(path)
        video.POLICIES.update(policies)
        return output.holding(_array(shifted.values())), work

    _replace(pipeline, load=load)


def _repeated(frames: Any) -> Any:
    changed = frames.copy()
    changed[len(changed) // 2] = changed[len(changed) // 2 - 1]
    return changed


def _recoloured(name: str) -> Plant:
    change = CHANGES[name]
    return _frames(lambda frames: np.clip(np.rint(change(frames.astype(np.float64))), 0, 255).astype(np.uint8))


# Raw events.


def _reordered(order: Callable[[EventStream, npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.int64]]) -> Plant:
    """The events of each slice in another order: (stream, slice of each event, number of each event) -> the numbers in the new order."""

    def change(stream: EventStream) -> EventStream:
        number = np.arange(len(stream.x))
        numbers = order(stream, np.minimum(number // (len(number) // SLICES), SLICES - 1), number)
        return replace(stream, x=stream.x[numbers], y=stream.y[numbers], p=stream.p[numbers])

    return _events(change)


def _events(change: Callable[[EventStream], EventStream]) -> Plant:
    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        read = event_files.read
        event_files.read = lambda path, window: change(read(path, window))

    return plant


# Pixel values.


def _normalised_otherwise(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Plant:
    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        right = pixels.Recipe.of(pipeline.image_processor)
        numbers = (right.mean, right.std, mean or right.mean, std or right.std)

        def change(inputs: Any) -> Any:
            values = inputs.values()
            right_mean, right_std, mean, std = (torch.tensor(one, device=values.device).view(3, 1, 1) for one in numbers)
            return inputs.holding(((values.float() * right_std + right_mean - mean) / std).to(values.dtype))

        _wrap(pipeline, "preprocess", change)

    return plant


def _bilinear(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    class Bilinear:
        InterpolationMode = functional.InterpolationMode

        @staticmethod
        def resize(images: torch.Tensor, size: list[int], **usual: Any) -> torch.Tensor:
            resized: torch.Tensor = functional.resize(images, size, interpolation=functional.InterpolationMode.BILINEAR, antialias=False)
            return resized

    pixels.functional = Bilinear  # type: ignore[attr-defined]


# The vision tower.


def _last_layer_dropped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    _last_used(pipeline).register_forward_hook(lambda layer, inputs, output: inputs[0])


def _next_layer_too(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    layers, used = pipeline.tower.encoder.layers, pipeline.used_layers
    following = layers[used]
    layers[used - 1].register_forward_hook(lambda layer, inputs, output: following(output, attention_mask=None))


def _last_used(pipeline: AnyPipeline) -> nn.Module:
    layer: nn.Module = pipeline.tower.encoder.layers[pipeline.used_layers - 1]
    return layer


def _class_token_dropped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """The number of tokens stays: the last one is repeated."""

    def change(features: Any) -> Any:
        values = features.values()
        return features.holding(torch.cat([values[..., 1:, :], values[..., -1:, :]], dim=-2))

    _wrap(pipeline, "vision", change)


# The language model.


def _attention_modules(pipeline: AnyPipeline) -> list[Any]:
    return [layer.self_attn for layer in pipeline.decoder.layers]


def _sees_the_next(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    def mask(module: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
        hidden = inputs[0] if inputs else named["hidden_states"]
        length = hidden.shape[1]
        if length == 1:
            return None
        seen = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril(diagonal=1)
        return inputs, named | {"attention_mask": seen[None, None]}

    for module in _attention_modules(pipeline):
        module.register_forward_pre_hook(mask, with_kwargs=True)


def _positions_shifted(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """In the steps only: rotary positions are relative, and a shift of all of them changes nothing."""

    def shift(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        hidden, positions = (*inputs, *named.values())
        return (hidden, positions + (1 if hidden.shape[1] == 1 else 0)), {}

    pipeline.decoder.rotary_emb.register_forward_pre_hook(shift, with_kwargs=True)


def _slot_not_written(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Of the first layer, what each step should have stored."""
    update = Cache.update

    def forgetful(cache: Any, keys: torch.Tensor, values: torch.Tensor, layer: int, *arguments: Any, **named: Any) -> Any:
        if layer == 0 and keys.shape[-2] == 1:
            keys, values = torch.zeros_like(keys), torch.zeros_like(values)
        return update(cache, keys, values, layer, *arguments, **named)

    Cache.update = forgetful


def _head_scaled(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    modules = _attention_modules(pipeline)
    module = modules[len(modules) // 2]
    width = module.head_dim

    def scale(layer: nn.Module, inputs: Any) -> Any:
        (heads,) = inputs
        return (torch.cat([heads[..., :width] * 1.01, heads[..., width:]], dim=-1),)

    module.o_proj.register_forward_pre_hook(scale)


def _scale_wrong(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """By the square root of the whole width instead of a head's, in one layer."""
    module = _attention_modules(pipeline)[0]
    module.scaling = (module.head_dim * module.config.num_attention_heads) ** -0.5


def _eight_bits(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Weights rounded to float8, each matrix with a separate scale, as such checkpoints have it."""
    with torch.no_grad():
        for module in pipeline.decoder.modules():
            if isinstance(module, nn.Linear):
                scale = module.weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
                module.weight.copy_((module.weight / scale).to(torch.float8_e4m3fn).to(module.weight.dtype) * scale)


# Decoding.


def _one_token_less(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    right = pipeline.generate
    _replace(pipeline, generate=lambda features, new_tokens, mark: right(features, max(1, new_tokens - 1), mark))


def _sampled(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    step = loops.StaticLoop._next

    def sampled(loop: Any, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
        logits, _ = step(loop, embeddings, positions, cache)
        return logits, torch.multinomial(logits[:, 0].float().softmax(dim=-1), 1)

    loops.StaticLoop._next = sampled  # type: ignore[method-assign, assignment]


def _answers_swapped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Each sample gets the answer to another."""
    load, right = pipeline.load, pipeline.generate
    asked: list[Path] = []

    def remember(path: Path) -> Any:
        asked[:] = [path]
        return load(path)

    def swapped(features: Any, new_tokens: int, mark: Mark) -> tuple[Generation, Any]:
        _, work = right(features, new_tokens, mark)
        other = paths[(paths.index(asked[0]) + 1) % len(paths)]
        loaded, _ = load(other)
        seen, _ = pipeline.vision(pipeline.preprocess(loaded)[0])
        return right(seen, new_tokens, mark)[0], work

    _replace(pipeline, load=remember, generate=swapped)


# What is no fault.


def _math_attention(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """torch's scaled_dot_product_attention has several kernels, and heeds this also on a CPU."""
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


MUTANTS: dict[str, Mutant] = {
    "frame + 1": Mutant("each frame is the one after the right one", "load", _next_frame, ("video",)),
    "frames reversed": Mutant("the last frame first", "load", _frames(lambda frames: frames[::-1].copy())),
    "one frame repeated": Mutant("in the place of the one after it", "load", _frames(_repeated)),
    "BGR": Mutant("red and blue exchanged", "load", _recoloured("red and blue exchanged")),
    # Its frames are no further apart than those of two decoders: it is the model's input that gives it away.
    "BT.601 for BT.709": Mutant("the other colour matrix", "preprocess", _recoloured("BT.601 taken for BT.709"), ("video",)),
    "full for limited range": Mutant("16 - 235 stretched to 0 - 255 once too often", "load", _recoloured("full range taken for limited"),
                                     ("video",)),
    "first event wins": Mutant("of each pixel, for the last", "load",
                               _reordered(lambda stream, part, number: np.lexsort((-number, part))), ("events",)),
    "darker painted last": Mutant("all events of a slice that are brighter, then all that are darker", "load",
                                  _reordered(lambda stream, part, number: np.lexsort((number, stream.p == 0, part))), ("events",)),
    "polarity swapped": Mutant("darker for brighter", "load",
                               _events(lambda stream: replace(stream, p=(stream.p == 0).astype(np.uint8))), ("events",)),
    "wrong mean": Mutant("that of ImageNet", "preprocess", _normalised_otherwise((0.485, 0.456, 0.406), None)),
    "wrong std": Mutant("that of ImageNet", "preprocess", _normalised_otherwise(None, (0.229, 0.224, 0.225))),
    "bilinear": Mutant("without antialias, for bicubic", "preprocess", _bilinear),
    "last vision layer dropped": Mutant("of those that are used", "vision", _last_layer_dropped),
    "feature layer -1": Mutant("for -2", "vision", _next_layer_too, trait="unused tower layer"),
    "class token dropped": Mutant("of each frame", "vision", _class_token_dropped, trait="class token"),
    "causal mask off by one": Mutant("each token of the prompt sees the next", "generate", _sees_the_next),
    "rotary offset + 1": Mutant("in the steps after the prompt", "generate", _positions_shifted),
    "cache slot not written": Mutant("by the steps, in the first layer", "generate", _slot_not_written),
    "one head scaled by 1.01": Mutant("in the middle layer", "generate", _head_scaled),
    "attention scale wrong": Mutant("of the whole width, in the first layer", "generate", _scale_wrong),
    "float8 called float": Mutant("weights of the language model rounded to eight bits", "generate", _eight_bits),
    "one token less": Mutant("than asked for", "generate", _one_token_less),
    "sampled": Mutant("for greedy", "generate", _sampled),
    "answers swapped": Mutant("of two samples", "generate", _answers_swapped, samples=2),
    "math attention": Mutant("scaled_dot_product_attention without its fused kernels", "vision", _math_attention, harmless=True),
}  # fmt: skip
