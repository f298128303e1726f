"""Making a model: from a local checkpoint folder, or from a seed."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import safe_open
from torch import nn

from evbench.errors import UserError, first_line
from evbench.pipelines.checkpoints.folder import weight_files

LOADING_ERRORS = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, RuntimeError, ArithmeticError, StrictDataclassError,
)  # fmt: skip


class loading:
    """Turns what transformers raises for a broken folder into a UserError.

    It has no error of its own for that: a wrong field of a config ends in any of LOADING_ERRORS, wherever the field is first used. What
    its tokenizers refuse is an `Exception` and no more. The whole traceback goes to the worker's log; to a command, which has none, it
    does not.
    """

    def __init__(self, folder: Path, *, logged: bool = True) -> None:
        self._folder, self._logged = folder, logged

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, torch.OutOfMemoryError) or not (isinstance(error, LOADING_ERRORS) or kind is Exception):
            return
        assert error is not None
        if self._logged:
            traceback.print_exception(error)
        reason = f"{type(error).__name__}: {first_line(error)}"
        cure = "install that" if isinstance(error, ImportError) else "copy its config, tokenizer and processor files again"
        raise UserError(f"--weights {self._folder} cannot be loaded ({reason}); {cure}") from error


@torch.inference_mode()
def require_finite(folder: Path, model: nn.Module) -> None:
    """Raises UserError for a weight that is NaN or infinite: all that is computed with it would be, on both sides alike."""
    for name, parameter in model.named_parameters():
        wrong = int((~torch.isfinite(parameter)).sum())
        if wrong:
            of = f"{wrong:,} of {parameter.numel():,} numbers of {name} that are NaN or infinite"
            raise UserError(f"--weights {folder} holds {of}; copy the weights again")


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every stored tensor by name, one at a time."""
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118  not a dict
                yield name, stored.get_tensor(name)


def pretrained(kind: Any, folder: Path, implementation: str, dtype: torch.dtype) -> Any:
    """The network of a checkpoint folder, of a class of transformers, on the CPU.

    Args:
        implementation: of attention, by transformers' name.

    Raises:
        UserError: the folder is damaged, or has not the weights of this class.
    """
    with loading(folder):
        model, info = kind.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=implementation,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported below, with both shapes
            output_loading_info=True,
        )
    refuse_mismatch(folder, sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), sorted(info["mismatched_keys"]))
    require_finite(folder, model)
    return model


def refuse_mismatch(folder: Path, missing: list[str], unknown: list[str], mismatched: list[tuple[str, Any, Any]]) -> None:
    """Raises UserError unless every weight was found with its shape, and no other. Anything else is another model.

    Args:
        mismatched: (name, stored shape, expected shape).
    """

    def more(names: list[Any]) -> str:
        return f" and {len(names) - 1} more" if len(names) > 1 else ""

    if mismatched:
        name, stored, expected = mismatched[0]
        reason = (
            f"{name} has shape {list(stored)} and config.json asks for {list(expected)}{more(mismatched)}; use the config of these weights"
        )
    elif missing:
        reason = f"the weights lack {missing[0]}{more(missing)}; copy all files of the checkpoint"
    elif unknown:
        reason = f"the weights hold {unknown[0]}{more(unknown)}, which this network does not have; use the config of these weights"
    else:
        return
    raise UserError(f"--weights {folder}: {reason}")


@contextmanager
def seeded(seed: int, device: str, dtype: torch.dtype) -> Iterator[None]:
    """Inside, modules are made on `device` in `dtype`, with the same random weights each time."""
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def tokens_per_image(vision: Any) -> int:
    """Tokens that a CLIP tower of this configuration makes of an image: one for each patch, and the class token."""
    return int((vision.image_size // vision.patch_size) ** 2 + 1)


def layer_count(config: Any) -> int:
    """How many layers a tower or a language model has. Raises AttributeError if its config has no number of them."""
    return int(config.num_hidden_layers if hasattr(config, "num_hidden_layers") else config.depth)


def used_layers(config: Any) -> int:
    """How many layers of a model's tower its features need, by its config: all, if that chooses none.

    Raises:
        IndexError: the tower has fewer.
    """
    chosen = getattr(config, "vision_feature_layer", -1)
    states = range(layer_count(config.vision_config) + 1)  # hidden state 0 is the embedding
    return max(states[layer] for layer in ([chosen] if isinstance(chosen, int) else chosen))


def attention_name(vision: Any, text: Any) -> str:
    """The attention implementations that two configurations report."""
    return f"{vision._attn_implementation} (vision), {text._attn_implementation} (text)"


def heads(vision: Any, text: Any) -> list[tuple[int, int, int]]:
    """Of the tower and of the language model: (heads, key heads, size of a head)."""
    of_tower = vision.num_attention_heads, vision.num_attention_heads, vision.hidden_size // vision.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return [of_tower, (text.num_attention_heads, text.num_key_value_heads, size)]


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.inference_mode()
def fingerprint(model: nn.Module) -> str:
    """Hash over the names, shapes and bits of all weights: tells two models apart without copying them off the device.

    The bits are summed as integers, which gives the same on every device and in every order.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        bits = parameter.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[parameter.element_size()])
        digest.update(f"{name} {tuple(parameter.shape)} {bits.sum(dtype=torch.int64).item()}\n".encode())
    return digest.hexdigest()
