"""gpt-fast's decode loop as a rival: evbench's Video-LLaVA in its network, the same weights and prompt, timed into a table.

git clone https://github.com/meta-pytorch/gpt-fast
python examples/gpt_fast_baseline.py --gpt-fast gpt-fast --preset 7b --out table.json
evbench compare --baseline table.json --optimized optimized --preset 7b

Of the clone, model.py and generate.py are imported and run as they are. evbench's baseline decodes and encodes the frames; what is timed
begins with the prompt's embeddings and ends with the answer's token ids on the host. As evbench does without --stop-at-end, gpt-fast
generates all the tokens that it is asked for, whatever they are.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

import evbench

COMPILED = {"none": "gpt-fast-not-compiled", "decode": "gpt-fast", "all": "gpt-fast-compiled-prefill"}
"""What is compiled -> name of the side."""
GREEDY = {"temperature": 1.0, "top_k": 1}
"""gpt-fast always draws. With top_k=1 all but the likeliest token have probability 0; of several that are exactly as likely it draws one,
where evbench takes the first."""
FILES = ("model.py", "generate.py")
NEEDED = {"model": ("ModelArgs", "Transformer"), "generate": ("prefill", "decode_one_token", "generate")}


def imported(clone: Path) -> tuple[ModuleType, ModuleType]:
    """model.py and generate.py of a clone. Raises UserError if they are not there, or do not fit this torch."""
    if missing := next((name for name in FILES if not (clone / name).is_file()), None):
        raise evbench.UserError(f"--gpt-fast {clone} has no {missing}; give the folder of a clone of github.com/meta-pytorch/gpt-fast")
    # It imports libraries for text, of which nothing is needed here: tokens come from embeddings, and are compared as ids.
    tokenizer: Any = ModuleType("tokenizer")
    tokenizer.get_tokenizer = None
    sys.modules["tokenizer"] = tokenizer
    sys.path.insert(0, str(clone.resolve()))
    try:
        network, module = importlib.import_module("model"), importlib.import_module("generate")
    except (ImportError, AttributeError, SyntaxError) as error:
        raise evbench.UserError(f"--gpt-fast {clone} does not fit torch {torch.__version__}: {error}; take another commit of it") from error
    for found in (network, module):
        if lacking := next((name for name in NEEDED[found.__name__] if not hasattr(found, name)), None):
            raise evbench.UserError(
                f"--gpt-fast {clone}: {found.__name__}.py has no {lacking}; give a clone of gpt-fast, or take another commit"
            )
    return network, module


def in_pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """[heads x size, hidden] of queries or keys: rows in the order in which gpt-fast's rotary embedding turns neighbours.

    transformers' turns a value of a head's first half with the one at the same place of its second half.
    """
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def converted(decoder: Any, head: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of transformers' LlamaModel and its head by gpt-fast's names. All but those of queries, keys and values are shared."""
    config = decoder.config
    found = {"tok_embeddings.weight": decoder.embed_tokens.weight, "norm.weight": decoder.norm.weight, "output.weight": head.weight}
    for number, layer in enumerate(decoder.layers):
        attention, mlp = layer.self_attn, layer.mlp
        queries = in_pairs(attention.q_proj.weight, config.num_attention_heads)
        keys = in_pairs(attention.k_proj.weight, config.num_key_value_heads)
        named = {
            "attention.wqkv": torch.cat([queries, keys, attention.v_proj.weight]),
            "attention.wo": attention.o_proj.weight,
            "attention_norm": layer.input_layernorm.weight,
            "feed_forward.w1": mlp.gate_proj.weight,
            "feed_forward.w2": mlp.down_proj.weight,
            "feed_forward.w3": mlp.up_proj.weight,
            "ffn_norm": layer.post_attention_layernorm.weight,
        }
        found |= {f"layers.{number}.{name}.weight": weight for name, weight in named.items()}
    return {name: weight.detach() for name, weight in found.items()}


class Prompted(nn.Module):
    """Embeds a token; in the place of a whole prompt's tokens it gives the embeddings that evbench made of question and frames."""

    def __init__(self, embedding: nn.Module, prompt: torch.Tensor) -> None:
        super().__init__()
        self.embedding = embedding
        self.register_buffer("prompt", prompt)  # [1, prompt, hidden]

    def forward(self, tokens: torch.Tensor) -> Any:
        # tokens: [1, length]
        return self.embedding(tokens) if tokens.shape[1] == 1 else self.prompt


@torch.no_grad()
def filled(network: ModuleType, pipeline: Any, path: Path) -> Any:
    """gpt-fast's Transformer with the pipeline's language model in it, and the prompt of a clip in front of it."""
    features, config = path, pipeline.decoder.config
    for stage in (pipeline.load, pipeline.preprocess, pipeline.vision):
        features, _ = stage(features)
    shapes = {
        "block_size": config.max_position_embeddings,
        "vocab_size": config.vocab_size,
        "n_layer": config.num_hidden_layers,
        "n_head": config.num_attention_heads,
        "n_local_heads": config.num_key_value_heads,
        "dim": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "rope_base": config.rope_parameters["rope_theta"],
        "norm_eps": config.rms_norm_eps,
    }
    try:
        arguments = network.ModelArgs(**shapes)
    except TypeError as error:
        raise evbench.UserError(f"--gpt-fast: its model.py does not fit this script: {error}; take another commit of it") from error
    with torch.device("meta"):
        model = network.Transformer(arguments)
    model.load_state_dict(converted(pipeline.decoder, pipeline.model.lm_head), assign=True)
    # The stages return tensors of inference mode, which nothing compiled takes: a copy is none.
    model.tok_embeddings = Prompted(model.tok_embeddings, pipeline.embeddings(features).clone())
    return model.eval()


class Loop:
    """gpt-fast's `generate`, with a moment kept behind its prefill and behind each decode step."""

    def __init__(self, module: Any, model: Any, compiled: str, device: str) -> None:
        self.module, self.model, self.device = module, model, device
        if compiled != "none":  # as its main() does
            module.decode_one_token = torch.compile(module.decode_one_token, mode="reduce-overhead", fullgraph=True)
        prefill = torch.compile(module.prefill, fullgraph=True, dynamic=True) if compiled == "all" else module.prefill

        def followed(*arguments: Any, **named: Any) -> Any:
            token = prefill(*arguments, **named)
            self.moments.append(self.moment())
            return token

        module.prefill = followed

    def __call__(self, new_tokens: int) -> tuple[list[int], dict[str, float]]:
        """Token ids, and the times of a row."""
        length = self.model.tok_embeddings.prompt.shape[1]
        unread = torch.zeros(length, dtype=torch.int, device=self.device)
        self.synchronize()
        started, self.moments = time.perf_counter_ns(), [self.moment()]
        sequence, _ = self.module.generate(
            self.model, unread, new_tokens, 1, interactive=False, draft_model=None, callback=self.follow, **GREEDY
        )
        tokens = sequence[0, length:].tolist()
        self.synchronize()
        generate = (time.perf_counter_ns() - started) / 1e6
        prefill, decode = self.between(*self.moments[:2]), self.between(self.moments[1], self.moments[-1])
        times = {"generate_ms": generate, "prefill_ms": prefill, "decode_ms": decode, "tpot_ms": decode / (new_tokens - 1)}
        return tokens, {name: round(value, 4) for name, value in times.items()}

    def follow(self, token: torch.Tensor) -> None:
        self.moments.append(self.moment())

    def moment(self) -> Any:
        """Now, as the device will reach it."""
        if self.device == "cpu":
            return time.perf_counter_ns()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        """Milliseconds."""
        return (end - start) / 1e6 if self.device == "cpu" else float(start.elapsed_time(end))

    def synchronize(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def require_writable(out: Path) -> None:
    """Look before anything is measured, and replace nothing. Raises UserError."""
    try:
        out.open("x", encoding="utf-8").close()
    except FileExistsError as error:
        raise evbench.UserError(f"--out {out} is there already; remove it, or give another name") from error
    except OSError as error:
        raise evbench.UserError(f"--out {out} cannot be written ({error.strerror}); give a file in a folder that exists") from error
    out.unlink()


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The table: a row for each run. Raises UserError for what cannot be used."""
    if options.runs < 1 or options.warmup < 1 or options.new_tokens < 2:
        raise evbench.UserError("--runs and --warmup are 1 or more, since the first run compiles, and --new-tokens 2 or more")
    require_writable(options.out)
    network, module = imported(options.gpt_fast)
    pipeline, workload = evbench.build(
        "baseline", preset=options.preset, dtype=options.dtype, device=options.device, new_tokens=options.new_tokens
    )
    model = filled(network, pipeline, Path(workload.samples[0].path))
    del pipeline  # gpt-fast's network shares what it needs of its memory
    compiled = options.compile or ("decode" if workload.device == "cuda" else "none")
    loop = Loop(module, model, compiled, workload.device)
    torch.manual_seed(0)
    rows = []
    for number in range(-options.warmup, options.runs):
        tokens, times = loop(options.new_tokens)
        print(f"{'warm-up' if number < 0 else 'run'} {number}: {times}", file=sys.stderr, flush=True)
        row = {"name": COMPILED[compiled], "times": times, "new_tokens": len(tokens), "tokens": [tokens], "do_sample": False}
        rows.append(row | {"warmup_runs": options.warmup, "dtype": workload.dtype})
    hashes = ", ".join(f"{name} {hashlib.sha256((options.gpt_fast / name).read_bytes()).hexdigest()[:12]}" for name in FILES)
    where = torch.cuda.get_device_name() if workload.device == "cuda" else "CPU"
    of_prompt = f"{workload.preset} of {workload.model}, a prompt of {model.tok_embeddings.prompt.shape[1]} tokens"
    source = f"gpt-fast ({hashes}), compiled: {compiled}; torch {torch.__version__}, {where}; {of_prompt}"
    return {"version": 1, "source": source, "rows": rows[options.warmup :]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time gpt-fast's decode loop over evbench's Video-LLaVA.")
    parser.add_argument("--gpt-fast", type=Path, required=True, metavar="DIR", help="a clone of github.com/meta-pytorch/gpt-fast")
    parser.add_argument("--preset", default="small", help="as of evbench run: small, 7b, tiny or 7b-random")
    parser.add_argument("--dtype", help="bfloat16 (default on a GPU) or float32 (default on a CPU)")
    parser.add_argument("--device", default="auto", help="cuda, cpu, or auto: the GPU if there is one")
    parser.add_argument("--new-tokens", type=int, default=72)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3, help="runs before the first that counts; the first of all compiles")
    parser.add_argument(
        "--compile",
        choices=COMPILED,
        help="decode: as gpt-fast's --compile (default on a GPU). all: with its --compile_prefill. none: nothing (default on a CPU, where "
        "torch 2.14 does not compile its attention of one token)",
    )
    parser.add_argument("--out", type=Path, default=Path("table.json"))
    options = parser.parse_args()
    try:
        table = measured(options)
    except evbench.UserError as error:
        print(f"gpt_fast_baseline: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("gpt_fast_baseline: interrupted; nothing is written", file=sys.stderr)
        sys.exit(130)
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"Written to {options.out}")


if __name__ == "__main__":
    main()
