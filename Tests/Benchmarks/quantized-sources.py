"""How fast Ingot reads quantized checkpoints: MB of source per second of processor time, one job.

Makes a checkpoint of about 350 MB in each layout (random codes), and one with the names and shapes of DeepSeek-V3 in FP8 whose 163 shards are
sparse. Prints a row for each layout: `inspect` reads all weights and counts codes and scales, `export` decodes and writes, `verify` compares
with the export. The time is that of the processor, user and system, so that a slow disk does not count.

    .venv/bin/python Tests/Benchmarks/quantized-sources.py .build/release/ingot [directory]
"""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

ROWS, COLUMNS = 4096, 7168


def write(path, tensors, config=None):
    os.makedirs(path)
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + data.nbytes]}
        offset += data.nbytes
    text = json.dumps(header).encode()
    with open(f"{path}/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data.tobytes())
    if config is not None:
        with open(f"{path}/config.json", "w", encoding="utf-8") as file:
            json.dump(config, file)


def layouts():
    """Tensors of one module, how many modules make about 350 MB, and the configuration."""
    random = np.random.default_rng(1)
    weights = random.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    codes = np.clip(np.round(weights * 3) + 8, 0, 15).astype(np.uint8)
    nibbles = codes[:, 0::2] | codes[:, 1::2] << 4
    # E4M3 of normal weights: sign, exponent and three bits of fraction of |w| * 16.
    bits = (np.abs(weights) * 16).astype(np.float32).view(np.uint32)
    e4m3 = np.clip((bits >> 20).astype(np.int64) - (120 << 3), 0, 126).astype(np.uint8) | (weights < 0).astype(np.uint8) << 7

    def halves(*shape):
        return random.random(shape).astype(np.float16)

    def bfloats(*shape):
        return (random.random(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)

    state = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [ROWS, COLUMNS]}).encode()
    fp8 = {"torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    packed = {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 4}}}}}
    zeros = np.full((COLUMNS // 128, ROWS // 8), 0x77777777, dtype=np.int32)
    return {
        "FP8, blocks of 128 x 128": (12, fp8, {
            ".weight": ("F8_E4M3", (ROWS, COLUMNS), e4m3),
            ".weight_scale_inv": ("F32", (32, 56), random.random((32, 56)).astype(np.float32))}),
        "MXFP4 of gpt-oss": (24, None, {
            "_blocks": ("U8", (8, ROWS // 8, COLUMNS // 32, 16), nibbles),
            "_scales": ("U8", (8, ROWS // 8, COLUMNS // 32), random.integers(118, 124, (ROWS, COLUMNS // 32)).astype(np.uint8))}),
        "NVFP4 of compressed-tensors": (24, None, {
            ".weight_packed": ("U8", (ROWS, COLUMNS // 2), nibbles),
            ".weight_scale": ("F8_E4M3", (ROWS, COLUMNS // 16), random.integers(30, 100, (ROWS, COLUMNS // 16)).astype(np.uint8)),
            ".weight_global_scale": ("F32", (1,), np.array([321], dtype=np.float32))}),
        "compressed-tensors, int4, groups of 32": (24, packed, {
            ".weight_packed": ("I32", (ROWS, COLUMNS // 8), nibbles),
            ".weight_scale": ("BF16", (ROWS, COLUMNS // 32), bfloats(ROWS, COLUMNS // 32)),
            ".weight_shape": ("I64", (2,), np.array([ROWS, COLUMNS], dtype=np.int64))}),
        "GPTQ, 4 bits, groups of 128": (24, None, {
            ".qweight": ("I32", (COLUMNS // 8, ROWS), nibbles), ".scales": ("F16", (COLUMNS // 128, ROWS), halves(COLUMNS // 128, ROWS)),
            ".qzeros": ("I32", zeros.shape, zeros)}),
        "AWQ, groups of 128": (24, None, {
            ".qweight": ("I32", (COLUMNS, ROWS // 8), nibbles), ".scales": ("F16", (COLUMNS // 128, ROWS), halves(COLUMNS // 128, ROWS)),
            ".qzeros": ("I32", zeros.shape, zeros)}),
        "MLX, 4 bits, groups of 64": (24, {"quantization": {"bits": 4, "group_size": 64}}, {
            ".weight": ("U32", (ROWS, COLUMNS // 8), nibbles), ".scales": ("BF16", (ROWS, COLUMNS // 64), bfloats(ROWS, COLUMNS // 64)),
            ".biases": ("BF16", (ROWS, COLUMNS // 64), bfloats(ROWS, COLUMNS // 64))}),
        "bitsandbytes NF4": (24, None, {
            ".weight": ("U8", (ROWS * COLUMNS // 2, 1), nibbles),
            ".weight.absmax": ("F32", (ROWS * COLUMNS // 64,), random.random(ROWS * COLUMNS // 64).astype(np.float32)),
            ".weight.quant_map": ("F32", (16,), np.linspace(-1, 1, 16).astype(np.float32)),
            ".weight.quant_state.bitsandbytes__nf4": ("U8", (len(state),), np.frombuffer(state, np.uint8))}),
    }


def run(*command):
    """Seconds of wall time and of the processor, and peak memory in KiB."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def deepseek(path):
    """Sparse shards with the tensors of DeepSeek-V3 (its config.json: 61 layers, 256 experts), scales for blocks of 128 x 128."""
    tensors = []

    def plain(name, *shape):
        tensors.append((name, "BF16", shape, 2))

    def blocks(name, rows, columns):
        tensors.append((name + ".weight", "F8_E4M3", (rows, columns), 1))
        tensors.append((name + ".weight_scale_inv", "F32", (-(-rows // 128), -(-columns // 128)), 4))

    plain("model.embed_tokens.weight", 129280, 7168)
    for layer in range(61):
        name = f"model.layers.{layer}."
        for part, rows, columns in (("q_a_proj", 1536, 7168), ("q_b_proj", 24576, 1536), ("kv_a_proj_with_mqa", 576, 7168),
                                    ("kv_b_proj", 32768, 512), ("o_proj", 7168, 16384)):
            blocks(name + "self_attn." + part, rows, columns)
        for part, size in (("self_attn.q_a_layernorm", 1536), ("self_attn.kv_a_layernorm", 512), ("input_layernorm", 7168),
                           ("post_attention_layernorm", 7168)):
            plain(name + part + ".weight", size)
        experts, width = (["mlp"], 18432) if layer < 3 else ([f"mlp.experts.{e}" for e in range(256)] + ["mlp.shared_experts"], 2048)
        if layer >= 3:
            plain(name + "mlp.gate.weight", 256, 7168)
        for expert in experts:
            for part, rows, columns in (("gate_proj", width, 7168), ("up_proj", width, 7168), ("down_proj", 7168, width)):
                blocks(f"{name}{expert}.{part}", rows, columns)
    plain("model.norm.weight", 7168)
    plain("lm_head.weight", 129280, 7168)
    sizes = [int(np.prod(shape, dtype=np.int64)) * width for _, _, shape, width in tensors]
    total, done, shards = sum(sizes), 0, [[] for _ in range(163)]
    for tensor, size in zip(tensors, sizes):
        shards[min(162, done * 163 // total)].append((*tensor[:3], size))
        done += size
    os.makedirs(path)
    names = {}
    for number, shard in enumerate(shards):
        file_name, header, offset = f"model-{number + 1:05}-of-000163.safetensors", {}, 0
        for name, dtype, shape, size in shard:
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
            names[name] = file_name
        text = json.dumps(header).encode()
        with open(f"{path}/{file_name}", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + offset)
    for name, value in (("model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": names}), (
            "config.json", {"model_type": "deepseek_v3", "torch_dtype": "bfloat16", "num_hidden_layers": 61, "quantization_config": {
                "quant_method": "fp8", "weight_block_size": [128, 128]}})):
        with open(f"{path}/{name}", "w", encoding="utf-8") as file:
            json.dump(value, file)
    return len(tensors), total


def main():
    ingot = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as place:
        print("| source | MB | inspect | export | verify |\n|---|---|---|---|---|")
        for name, (count, config, module) in layouts().items():
            source, out = f"{place}/source", f"{place}/out"
            write(source, {f"model.layers.{layer}.mlp.up_proj{ending}": (dtype, shape, np.roll(data, layer) if data.ndim == 2 else data)
                           for layer in range(count) for ending, (dtype, shape, data) in module.items()}, config)
            size = os.path.getsize(f"{source}/model.safetensors") / 1e6
            one = ["--jobs", "1", "--quiet"]
            speeds = []
            for command in (["inspect", source], ["export", source, out], ["verify", out, "--against", source]):
                best = min(run(ingot, *command, *one, *(["--force"] if command[0] == "export" else []))[1] for _ in range(3))
                speeds.append(f"{size / best:.0f}")
            print(f"| {name} | {size:.0f} | {' | '.join(speeds)} |", flush=True)
            shutil.rmtree(source)
            shutil.rmtree(out)
        tensors, size = deepseek(f"{place}/deepseek")
        print(f"\nDeepSeek-V3 in FP8: {tensors} tensors, {size / 1e9:.0f} GB, 163 sparse shards\n\n| command | seconds | MiB |\n|---|---|---|")
        for command in (["inspect", f"{place}/deepseek", "--headers-only", "--quiet"], ["plan", f"{place}/deepseek", "--quiet"]):
            found = min(run(ingot, *command) for _ in range(3))
            print(f"| {command[0]} | {found[0]:.2f} | {found[2] / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main()
