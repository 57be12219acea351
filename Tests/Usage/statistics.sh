#!/bin/bash
# The second way of use: a researcher looks into the weights of a checkpoint and of what was made of it.
. "$(dirname "$0")/common.sh"

# The figures of every tensor, against numpy.
status 0 "$INGOT" inspect "$model" --format json
mv out.txt inspect.json
"$PYTHON" - "$model" inspect.json <<'EOF'
import json, pathlib, sys
import numpy as np
from safetensors import safe_open

weights = {}
for shard in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(shard, "np") as opened:
        weights |= {name: opened.get_tensor(name).astype(np.float64).ravel() for name in opened.keys()}
tensors = {tensor["name"]: tensor for tensor in json.load(open(sys.argv[2]))["tensors"]}
assert tensors.keys() == weights.keys()
for name, w in weights.items():
    found = tensors[name]["statistics"]
    d = w - w.mean()
    expected = {"min": w.min(), "max": w.max(), "mean": w.mean(), "std": w.std(), "zeros": (w == 0).sum(),
                "kurtosis": (d**4).mean() / (d**2).mean() ** 2, "skewness": (d**3).mean() / (d**2).mean() ** 1.5}
    for key, value in expected.items():
        assert abs(found[key] - value) <= 1e-9 * max(1, abs(value)), (name, key, found[key], value)
    for percent in (1, 5, 50, 95, 99, 99.9):
        value = np.percentile(w, percent, method="inverted_cdf")
        assert found["percentiles"][f"{percent:g}"] == value, (name, percent)
EOF

# Where do the bytes go, which tensors have the heaviest tails, what do the layers look like?
status 0 "$INGOT" inspect "$model"
contains out.txt 'every byte is accounted for'
status 0 "$INGOT" inspect "$model" --sort kurtosis --top 3 --format csv
[ "$(wc -l <out.txt)" = 4 ] || fail 'a title and three rows are expected'
status 0 "$INGOT" inspect "$model" --group-by layer --format json
holds 'sum(g["elements"] for g in a["groups"]) == a["elements"]' out.txt
status 0 "$INGOT" inspect "$model" --filter '*.norm.weight' --details
contains out.txt 'standard deviation'

# What quantization did: the same views of the result, and what changed most.
status 0 "$INGOT" convert "$model" three --bits 3
status 0 "$INGOT" inspect three --sort error --top 1 --format json
mv out.txt worst.json
holds 'len(a["tensors"]) == 1 and 0 < a["tensors"][0]["relative_mse"] < 0.5' worst.json
status 1 "$INGOT" diff "$model" three --format json
mv out.txt diff.json
holds 'a["schema"] == "ingot.diff"' diff.json
status 0 "$INGOT" diff "$model" "$model"
[ "$(wc -l <out.txt)" = 1 ] || fail 'identical checkpoints are told in one line'

# One page to send around: nothing in it is loaded from elsewhere.
status 0 "$INGOT" inspect three --format html --output page.html
! grep -qE '(src|href)="?https?:' page.html || fail 'the page loads something'
echo 'statistics: as documented'
