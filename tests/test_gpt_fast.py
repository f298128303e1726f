"""examples/gpt_fast_baseline.py, over a network that is written here with gpt-fast's interface."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import evbench
from evbench.lint.beside import of_table_side
from evbench.lint.examine import examine
from evbench.lint.read import read_table
from evbench.stages import run_stages

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "gpt_fast_baseline.py"
PAGE = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8")
MODEL = '''
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu


@dataclass
class ModelArgs:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    dim: int
    intermediate_size: int
    n_local_heads: int
    rope_base: float
    norm_eps: float


def turned(x, positions, base):
    """[1, length, heads, size]: each pair of neighbours is a complex number, which is turned."""
    angles = positions[:, None] / base ** (torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(-2)


class Norm(nn.Module):
    def __init__(self, size, epsilon):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(size)), epsilon

    def forward(self, x):
        return rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.size = config, config.dim // config.n_head
        self.wqkv = nn.Linear(config.dim, (config.n_head + 2 * config.n_local_heads) * self.size, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x, positions):
        heads, key_heads = self.config.n_head, self.config.n_local_heads
        found = self.wqkv(x).unflatten(-1, (-1, self.size)).split([heads, key_heads, key_heads], dim=2)
        queries, keys = (turned(one, positions, self.config.rope_base) for one in found[:2])
        if positions[0] == 0:
            self.kept = keys, found[2]
        else:
            self.kept = tuple(torch.cat(pair, dim=1) for pair in zip(self.kept, (keys, found[2])))
        attended = [one.transpose(1, 2) for one in (queries, *self.kept)]
        whole = scaled_dot_product_attention(*attended, is_causal=len(positions) > 1, enable_gqa=True)
        return self.wo(whole.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.w1, self.w3 = (nn.Linear(config.dim, config.intermediate_size, bias=False) for _ in range(2))
        self.w2 = nn.Linear(config.intermediate_size, config.dim, bias=False)

    def forward(self, x):
        return self.w2(silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention, self.feed_forward = Attention(config), FeedForward(config)
        self.attention_norm, self.ffn_norm = (Norm(config.dim, config.norm_eps) for _ in range(2))

    def forward(self, x, positions):
        x = x + self.attention(self.attention_norm(x), positions)
        return x + self.feed_forward(self.ffn_norm(x))


class Transformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm, self.output = Norm(config.dim, config.norm_eps), nn.Linear(config.dim, config.vocab_size, bias=False)

    def forward(self, tokens, positions):
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, positions)
        return self.output(self.norm(x))
'''
GENERATE = """
import torch
from model import Transformer
from tokenizer import get_tokenizer


def sample(logits, temperature, top_k):
    likeliest = logits[:, -1] / temperature
    return likeliest.topk(top_k).indices.int()


def prefill(model, tokens, positions, **sampling):
    return sample(model(tokens, positions), **sampling)


def decode_one_token(model, token, position, **sampling):
    return sample(model(token, position), **sampling)


@torch.no_grad()
def generate(model, prompt, max_new_tokens, batch_size, *, interactive, draft_model, callback, **sampling):
    length = len(prompt)
    found = [prefill(model, prompt[None], torch.arange(length), **sampling)]
    for position in range(length, length + max_new_tokens - 1):
        found.append(decode_one_token(model, found[-1], torch.tensor([position]), **sampling))
        callback(found[-1])
    return torch.cat([prompt[None], *found], dim=1), {}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "gpt-fast"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL, encoding="utf-8")
    (folder / "generate.py").write_text(GENERATE, encoding="utf-8")
    return folder


def of_file(path: Path) -> Any:
    """A module, in no list of those that are imported but while it is."""
    specification = importlib.util.spec_from_file_location(f"{path.stem}_of_test", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module  # dataclasses look there
    try:
        specification.loader.exec_module(module)
    finally:
        del sys.modules[module.__name__]
    return module


@pytest.fixture(scope="module")
def example() -> Any:
    return of_file(EXAMPLE)


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    given = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=given, capture_output=True, text=True, check=False, timeout=550)


@pytest.mark.slow
def test_gpt_fast_gives_the_tokens_of_the_baseline(clone: Path, tmp_path: Path) -> None:
    line, _ = (line.strip() for line in PAGE.splitlines() if line.startswith("    python examples/gpt_fast_baseline.py"))
    paths = {"DIR": str(clone), "table.json": str(tmp_path / "table.json")}
    _, *asked = [paths.get(word, word) for word in shlex.split(line)]
    done = run(*asked, "--preset", "small", "--device", "cpu", "--dtype", "float32", "--runs", "2", "--warmup", "1", "--new-tokens", "12")
    assert done.returncode == 0, done.stderr
    pipeline, workload = evbench.build("baseline", preset="small", device="cpu", dtype="float32", new_tokens=12)
    answer, work = run_stages(pipeline, Path(workload.samples[0].path), 12)
    table = tmp_path / "table.json"
    read = read_table(table, table.read_bytes())
    assert not read.unread and f"a prompt of {work.prompt_tokens} tokens" in read.table.source
    assert [row.tokens for row in read.table.rows] == [(answer.tokens,)] * 2 and len(set(answer.tokens)) > 5
    assert all(row.warmup_runs == 1 and row.dtype == "float32" and row.new_tokens == 12 for row in read.table.rows)
    assert [finding for finding in examine(table) if finding.kind != "note"] == []
    side = of_table_side(str(table), "baseline")
    assert side.of == "mean of 2" and side.tokens == (answer.tokens,) and set(side.texts) == {"generate", "prefill", "decode", "tpot"}


@pytest.mark.parametrize("key_heads", [4, 2])
def test_the_converted_network_computes_the_same(example: Any, clone: Path, key_heads: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50}
    # A large spread and a base of its own: what is taken wrongly shows in the logits.
    ours = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=key_heads, initializer_range=0.3, rope_theta=500.0)).eval()
    network = of_file(clone / "model.py")
    arguments = network.ModelArgs(64, 50, 2, 4, 64, 96, key_heads, ours.config.rope_parameters["rope_theta"], ours.config.rms_norm_eps)
    theirs = network.Transformer(arguments)
    weights = example.converted(ours.model, ours.lm_head)
    theirs.load_state_dict(weights, assign=True)
    tokens = torch.randint(50, (1, 33))
    with torch.no_grad():
        expected, found = ours(tokens).logits, theirs(tokens, torch.arange(33))
        projections = [(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj) for layer in ours.model.layers]
        as_they_are = [torch.cat([projection.weight for projection in of_layer]) for of_layer in projections]
        named = {f"layers.{number}.attention.wqkv.weight": weight for number, weight in enumerate(as_they_are)}
        theirs.load_state_dict(weights | named, assign=True)
        wrong = theirs(tokens, torch.arange(33))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (wrong - expected).abs().max() > 0.1, "rows in the order of transformers' rotary embedding"


def test_a_prompt_stands_in_for_its_tokens(example: Any) -> None:
    embedding, prompt = torch.nn.Embedding(9, 4), torch.randn(1, 5, 4)
    prompted = example.Prompted(embedding, prompt)
    assert prompted(torch.zeros(1, 5, dtype=torch.int)) is prompt
    assert torch.equal(prompted(torch.tensor([[7]])), embedding.weight[None, 7:8])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--gpt-fast", "nowhere"], "--gpt-fast nowhere has no model.py; give the folder of a clone of github.com/meta-pytorch/gpt-fast"),
        (["--gpt-fast", "old"], "--gpt-fast old does not fit torch"),
        (["--gpt-fast", "gpt-fast", "--runs", "0"], "--runs and --warmup are 1 or more"),
        (["--gpt-fast", "cut"], "--gpt-fast cut does not fit torch"),
        (["--gpt-fast", "other"], "--gpt-fast other: model.py has no ModelArgs; give a clone of gpt-fast"),
        (["--gpt-fast", "fewer", "--preset", "tiny"], "--gpt-fast: its model.py does not fit this script: "),
        (["--gpt-fast", "gpt-fast", "--out", "missing/table.json"], "--out missing/table.json cannot be written (No such file"),
        (["--gpt-fast", "gpt-fast", "--out", "old"], "--out old is there already; remove it, or give another name"),
        (["--gpt-fast", "gpt-fast", "--out", "old/model.py"], "--out old/model.py is there already; remove it, or give another name"),
        (["--gpt-fast", "gpt-fast", "--out", "/proc/table.json"], "--out /proc/table.json cannot be written"),
        (["--gpt-fast", "gpt-fast", "--preset", "smal"], "unknown --preset 'smal'"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    example: Any,
    clone: Path,
    tmp_path: Path,
    options: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model.py").write_text("import torch\ntorch._no_such_setting.on = True\n", encoding="utf-8")
    (tmp_path / "old" / "generate.py").write_text("", encoding="utf-8")
    for name, content in (("other", "x = 1\n"), ("fewer", "class Transformer: ...\nclass ModelArgs: ...\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.py").write_text(content, encoding="utf-8")
        (tmp_path / name / "generate.py").write_text("prefill = decode_one_token = generate = None\n", encoding="utf-8")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "model.py").write_text("import torch\ndef prefill(\n", encoding="utf-8")
    (tmp_path / "cut" / "generate.py").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [EXAMPLE.name, *options, "--device", "cpu"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with monkeypatch.context() as modules, pytest.raises(SystemExit) as ended:
        for name in ("model", "generate", "tokenizer"):  # put, and taken away: what the example imports by these names is left nowhere
            modules.setitem(sys.modules, name, sys)
            modules.delitem(sys.modules, name)
        example.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpt_fast_baseline: ") and reason in line
    assert not (tmp_path / "table.json").exists() and "generate" not in sys.modules
