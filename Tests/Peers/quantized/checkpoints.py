"""Small checkpoints on disk: tensors in one file or several, a config.json, random weights, and values compared by bits."""

import json

import torch
from safetensors.torch import load_file, save_file

ATTENTION = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.0.mlp.down_proj"
EXPERT = "model.layers.0.mlp.experts.3.down_proj"

# Shapes [out, in] of the modules that most fixtures quantize. 160 is no multiple of 128, and a bias stays beside the first.
SHAPES = {ATTENTION: (96, 160), DOWN: (256, 384), EXPERT: (64, 96)}


def weights(shape, seed, dtype=torch.float32):
    """Normal weights whose rows have scales of their own, from 1/20 to 20, with a row of zeros and a constant row."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=generator) * torch.exp(torch.randn((*shape[:-1], 1), generator=generator))
    rows = found.reshape(-1, shape[-1])
    rows[1] = 0
    rows[2] = 0.75
    return found.to(dtype)


def random_bytes(shape, seed, low=0, high=256):
    return torch.randint(low, high, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def plain(dtype=torch.bfloat16):
    """Tensors that no scheme quantizes: an embedding, a norm, and the bias of the first module."""
    return {
        "model.embed_tokens.weight": weights((40, 160), 101, dtype),
        "model.norm.weight": weights((4, 40), 102, torch.float32).reshape(160),
        f"{ATTENTION}.bias": weights((4, 24), 103, dtype).reshape(96),
    }


def config(stated=None, dtype="bfloat16", **more):
    """A config.json of a Llama; `stated` is what its quantization_config says."""
    found = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": dtype, "hidden_size": 160,
             "num_hidden_layers": 1, "vocab_size": 40, **more}
    return found if stated is None else {**found, "quantization_config": stated}


def write(path, tensors, settings, shards=None, save=save_file, metadata=None):
    """Writes tensors into model.safetensors, or by `shards` (name -> number of its file, from 0) into several with an index."""
    path.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"} if metadata is None else metadata
    (path / "config.json").write_text(json.dumps(settings, indent=2, default=lambda value: getattr(value, "value", str(value))))
    tensors = {name: value.contiguous() if isinstance(value, torch.Tensor) else value for name, value in tensors.items()}
    if shards is None:
        save(tensors, str(path / "model.safetensors"), metadata=metadata)
        return
    count = max(map(shards, tensors)) + 1
    file = lambda number: f"model-{number + 1:05}-of-{count:05}.safetensors"  # noqa: E731
    for number in range(count):
        save({name: value for name, value in tensors.items() if shards(name) == number}, str(path / file(number)),
             metadata=metadata)
    (path / "model.safetensors.index.json").write_text(json.dumps({
        "metadata": {"total_size": sum(value.nbytes for value in tensors.values())},
        "weight_map": {name: file(shards(name)) for name in tensors}}))


def without_settings(path, make):
    """A fixture whose config.json says nothing of quantization, as that of a single file."""
    expected = make(path)
    found = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(
        {key: value for key, value in found.items() if key not in ("quantization", "quantization_config")}))
    return expected


def read(path):
    """All tensors of a directory. A name in two files is an error."""
    found = {}
    for file in sorted(path.glob("*.safetensors")):
        for name, value in load_file(str(file)).items():
            assert name not in found, name
            found[name] = value
    return found


def bits(tensor):
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().contiguous().reshape(-1).view(kinds[tensor.element_size()])


def differences(found, expected):
    """How many values have other bits; any NaN equals any NaN. Types and shapes must be equal."""
    assert (found.dtype, tuple(found.shape)) == (expected.dtype, tuple(expected.shape))
    unequal = bits(found) != bits(expected)
    if found.is_floating_point():
        unequal &= ~(found.reshape(-1).isnan() & expected.reshape(-1).isnan())
    return int(unequal.sum())


def same(found, expected):
    return differences(found, expected) == 0
