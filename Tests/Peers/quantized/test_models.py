"""Tiny Llamas that a peer quantized, as the peer's own runtime runs them, against `ingot evaluate` on the same files.

Three bounds for each: the loss and the divergence from the unquantized model are those of the runtime, relatively within LOSS and
FROM_ORIGINAL (measured: below 2e-7 and 2e-6), and the divergence from the peer's decoded weights, saved plainly, is below DIVERGENCE
nats a token (measured: 0). `test_one_scale_matters` shows what they are worth: two scales of one matrix swapped break each.
"""

import copy
import json
import math
import re
import shutil
from types import SimpleNamespace

import mlx.core as mx
import mlx_lm.utils
import pytest
import torch
import transformers
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from mlx.utils import tree_flatten
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import fixtures_compressed
import fixtures_fp8
import fixtures_mlx
from test_evaluate import CONTEXT, distributions, evaluate, ids  # noqa: F401 (ids is a fixture of pytest)

SIZES = dict(vocab_size=700, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.2, tie_word_embeddings=False)
LOSS, FROM_ORIGINAL, DIVERGENCE = 2e-6, 2e-5, 1e-9
MATRICES = ("model.layers.1.mlp.down_proj", "model.layers.1.block_sparse_moe.experts.2.w2")


def original(path, kind):
    torch.manual_seed(8)
    if kind.endswith("mixtral"):
        settings = transformers.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)
    else:
        settings = transformers.LlamaConfig(**SIZES)
    model = transformers.AutoModelForCausalLM.from_config(settings, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(path)
    return model


def load(path, **more):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", **more)
    return model.eval()


# --- What each peer makes and how it runs it ----------------------------------------------------------------------------------


def make_compressed(weights, format=None):
    def make(model, path):
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
        own = copy.deepcopy(model)
        compressor = fixtures_compressed.compress(own, [scheme], format)
        own.save_pretrained(path)
        compressor.update_config(str(path))
    return make


def run_compressed(path):
    return load(path, quantization_config=transformers.CompressedTensorsConfig(dequantize=True))


def make_fp8(model, path):
    """As DeepSeek's checkpoints: blocks of 128 x 128, also where a matrix has fewer rows, experts one by one."""
    model.save_pretrained(path)
    tensors = load_file(path / "model.safetensors")
    for name in [name for name in tensors if re.search(r"(proj|experts\.\d+\.w\d)\.weight$", name)]:
        tensors[name], tensors[f"{name}_scale_inv"] = fixtures_fp8.quantize_cut(tensors[name], (128, 128), torch.float8_e4m3fn)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    settings(path, quantization_config=transformers.FineGrainedFP8Config(modules_to_not_convert=["lm_head", "gate"]).to_dict())


def run_fp8(path):
    return load(path, quantization_config=transformers.FineGrainedFP8Config(dequantize=True))


def make_bitsandbytes(**stated):
    def make(model, path):
        model.save_pretrained(path / "plain")
        load(path / "plain", quantization_config=transformers.BitsAndBytesConfig(**stated)).save_pretrained(path)
        shutil.rmtree(path / "plain")
    return make


def run_bitsandbytes(path):
    return load(path).dequantize()


def make_mlx(**how):
    def make(model, path):
        model.save_pretrained(path)
        with mx.stream(mx.cpu):
            own, stated = mlx_lm.utils.load_model(path)
            own, stated = mlx_lm.utils.quantize_model(own, stated, how.get("group_size"), how.get("bits"), how.get("mode", "affine"))
            for file in path.glob("model*"):
                file.unlink()
            mlx_lm.utils.save_model(path, own)
            mlx_lm.utils.save_config(stated, path / "config.json")
    return make


class Mlx:
    """A model of mlx-lm that answers as one of transformers. It multiplies by the codes themselves."""

    def __init__(self, path):
        mx.set_default_device(mx.cpu)
        self.model, self.settings = mlx_lm.utils.load_model(path)

    def __call__(self, ids):
        return SimpleNamespace(logits=fixtures_mlx.to_torch(self.model(mx.array(ids.numpy())).astype(mx.float32)))

    def state_dict(self):
        decoded = dict(tree_flatten(mlx_lm.utils.dequantize_model(self.model).parameters()))
        return {name: fixtures_mlx.to_torch(value).float() for name, value in decoded.items()}


def settings(path, **more):
    found = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**found, **more}, default=lambda value: getattr(value, "value", str(value))))


INTEGERS = fixtures_compressed.integers
FP8 = dict(num_bits=8, type="float", symmetric=True, strategy="channel")
KINDS = {
    "compressed-int4": (make_compressed(INTEGERS(4, True)), run_compressed, "weight_scale"),
    "compressed-int4-asymmetric": (make_compressed(INTEGERS(4, False)), run_compressed, "weight_scale"),
    "compressed-int8": (make_compressed(INTEGERS(8, True, "channel")), run_compressed, "weight_scale"),
    "compressed-fp8": (make_compressed(FP8, "float-quantized"), run_compressed, "weight_scale"),
    "compressed-nvfp4": (make_compressed(fixtures_compressed.NVFP4), run_compressed, "weight_scale"),
    "fp8-blocks": (make_fp8, run_fp8, "weight_scale_inv"),
    "fp8-blocks-mixtral": (make_fp8, run_fp8, "weight_scale_inv"),
    "bitsandbytes-nf4": (make_bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
                         run_bitsandbytes, "weight.absmax"),
    "bitsandbytes-int8": (make_bitsandbytes(load_in_8bit=True), run_bitsandbytes, "SCB"),
    "mlx-affine": (make_mlx(group_size=64, bits=4), Mlx, "scales"),
    "mlx-affine-3": (make_mlx(group_size=32, bits=3), Mlx, "scales"),
    "mlx-mxfp4": (make_mlx(mode="mxfp4"), Mlx, "scales"),
    "mlx-nvfp4": (make_mlx(mode="nvfp4"), Mlx, "scales"),
}


def swap(source, target, part):
    """A copy of a checkpoint in which the smallest and the largest scale of one matrix have changed places."""
    shutil.copytree(source, target)
    file = next(target.glob("model*.safetensors"))
    with safe_open(str(file), "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(str(file))
    name = next(f"{matrix}.{part}" for matrix in MATRICES if f"{matrix}.{part}" in tensors)
    scales = tensors[name].clone().reshape(-1)
    order = scales.float().abs()
    low, high = int(order.argmin()), int(order.argmax())
    scales[[low, high]] = scales[[high, low]]
    tensors[name] = scales.reshape(tensors[name].shape)
    save_file(tensors, str(file), metadata=metadata)


def loss_of(logs, targets):
    return -logs.gather(1, targets[:, None]).mean().item()


def divergence(reference, own):
    return (reference.exp() * (reference - own)).sum(1).mean().item()


@pytest.mark.parametrize("kind", KINDS)
def test_runs_as_its_own_runtime(tmp_path, ids, kind):  # noqa: F811
    path, tokens = ids
    make, run, _ = KINDS[kind]
    model = original(tmp_path / "original", kind)
    other, _ = distributions(model, tokens)
    make(model, tmp_path / "quantized")
    peer = run(tmp_path / "quantized")
    own, targets = distributions(peer, tokens)
    model.load_state_dict(peer.state_dict())
    model.save_pretrained(tmp_path / "plain")
    found = evaluate(tmp_path / "quantized", "--against", tmp_path / "original", "--ids", path, "--context", CONTEXT)
    assert math.log(found["perplexity"]["value"]) == pytest.approx(loss_of(own, targets), rel=LOSS)
    assert found["kl"]["value"] == pytest.approx(divergence(other, own), rel=FROM_ORIGINAL)
    found = evaluate(tmp_path / "quantized", "--against", tmp_path / "plain", "--ids", path, "--context", CONTEXT)
    assert abs(found["kl"]["value"]) < DIVERGENCE and found["top1"]["value"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_scale_matters(tmp_path, ids, kind):  # noqa: F811
    """Two swapped scales of one matrix do more than five times each bound, and 100,000 times that of the divergence."""
    _, tokens = ids
    make, run, part = KINDS[kind]
    model = original(tmp_path / "original", kind)
    other, targets = distributions(model, tokens)
    make(model, tmp_path / "quantized")
    swap(tmp_path / "quantized", tmp_path / "swapped", part)
    right, _ = distributions(run(tmp_path / "quantized"), tokens)
    wrong, _ = distributions(run(tmp_path / "swapped"), tokens)
    loss = abs(loss_of(wrong, targets) / loss_of(right, targets) - 1)
    change = abs(divergence(other, wrong) / divergence(other, right) - 1)
    assert divergence(right, wrong) > 100_000 * DIVERGENCE and loss > 5 * LOSS and change > 5 * FROM_ORIGINAL
