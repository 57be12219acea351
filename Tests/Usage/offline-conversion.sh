#!/bin/bash
# The first way of use: an engineer converts a checkpoint on one machine and ships it.
. "$(dirname "$0")/common.sh"

# What will it take? The plan, and what comes of it.
status 0 "$INGOT" plan "$model" --bits 4 --format json
mv out.txt plan.json
status 0 "$INGOT" convert "$model" four --bits 4 --format json
mv out.txt convert.json
holds 'a["weights"] == b["weights"] and abs(a["output_bytes"] / b["output_bytes"] - 1) < 0.01' plan.json convert.json
holds 'b["bits_per_weight"] < 4.5 and b["reduction"] > 0.7' plan.json convert.json
status 73 "$INGOT" convert "$model" four --bits 4
contains err.txt 'the output exists'

# Is it what it says? Every byte, every error.
status 0 "$INGOT" verify four --against "$model"
last out.txt 'PASS'

# A size that must hold: everything that is shipped fits.
status 0 "$INGOT" convert "$model" small --target-size 2500kB
[ "$(bytes small)" -le 2500000 ] || fail "$(bytes small) bytes where 2500000 were asked"
status 64 "$INGOT" convert "$model" none --target-size 600kB
[ ! -e none ] || fail 'a goal that cannot be met left an output'

# One tensor kept, one with more bits.
status 0 "$INGOT" convert "$model" chosen --bits 3 --keep '*.0.mlp.down_proj.weight' --bits-for '*.q_proj.weight=6' --format json
mv out.txt chosen.json
holds '"model.layers.0.mlp.down_proj.weight" in [t["name"] for t in a["kept"]]' chosen.json
holds 'all((5.5 < t["bits_per_weight"] < 6.1) == t["name"].endswith("q_proj.weight") for t in a["tensors"] if "layers" in t["name"])' chosen.json

# Little disk: each shard of the source goes when its output is proved.
cp -r "$model" copy
rm -r copy/bf16 copy/fp32 copy/training copy/LICENSES
status 0 "$INGOT" convert copy consumed --bits 4 --consume-source
[ -z "$(find copy -name '*.safetensors')" ] || fail 'shards of the source are still there'
for shard in four/*.safetensors; do cmp "$shard" "consumed/$(basename "$shard")"; done

# What runtimes load: plain tensors with the error of the certificate.
status 0 "$INGOT" verify four --format json --against "$model"
mv out.txt verify.json
status 0 "$INGOT" export four plain --to safetensors --dtype f32
"$PYTHON" - "$model" plain verify.json <<'EOF'
import json, pathlib, sys
import numpy as np
from safetensors import safe_open

def load(path):
    tensors = {}
    for shard in sorted(pathlib.Path(path).glob("*.safetensors")):
        with safe_open(shard, "np") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}
    return tensors

source, plain = load(sys.argv[1]), load(sys.argv[2])
assert source.keys() == plain.keys(), source.keys() ^ plain.keys()
for tensor in json.load(open(sys.argv[3]))["tensors"]:
    before, after = (side[tensor["name"]].astype(np.float64) for side in (source, plain))
    assert before.shape == after.shape
    error = float(((before - after) ** 2).sum() / (before**2).sum())
    claimed = tensor["certificate"]["relative_mse"]
    assert abs(error - claimed) <= 1e-9 * claimed, (tensor["name"], error, claimed)
EOF
echo 'offline conversion: as documented'
