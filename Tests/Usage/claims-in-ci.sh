#!/bin/bash
# The third way of use: a CI job holds claims about the size and the error of an artifact.
. "$(dirname "$0")/common.sh"
export GITHUB_STEP_SUMMARY=$work/summary.md

status 0 "$INGOT" convert "$model" artifact --bits 4
# The first run measures and writes the claims; the next ones hold them.
status 0 "$INGOT" verify artifact --against "$model" --claims claims.json --update-baseline
status 0 "$INGOT" verify artifact --against "$model" --claims claims.json
last out.txt 'PASS'

# A worse artifact fails, in every format of the same run.
status 0 "$INGOT" convert "$model" worse --bits 3
status 1 "$INGOT" verify worse --against "$model" --claims claims.json \
    --junit claims.xml --sarif claims.sarif --json claims.report.json --markdown claims.md --html claims.html --github
contains out.txt '::error'
contains summary.md 'FAIL'
contains claims.md 'FAIL'
contains claims.html 'FAIL'
holds 'a["verdict"] == "FAIL"' claims.report.json
holds 'a["runs"][0]["results"]' claims.sarif
"$PYTHON" - claims.xml <<'EOF'
import sys, xml.etree.ElementTree as xml
suite = xml.parse(sys.argv[1]).getroot()
assert suite.findall(".//failure"), "no failure in the JUnit report"
EOF
status 1 "$INGOT" verify worse --against "$model" --claims claims.json
last out.txt 'FAIL'

# A better artifact passes: claims are limits, not copies.
status 0 "$INGOT" convert "$model" better --bits 4 --codec rans
status 0 "$INGOT" verify better --against "$model" --claims claims.json

# The wrong model fails, a comparison without anything that could fail does not pass, damage wins over everything.
status 0 "$INGOT" convert "$model/bf16" other --bits 4
status 1 "$INGOT" verify other --against "$model"
last out.txt 'FAIL'
status 0 "$INGOT" verify "$model/fp32" --against "$model/fp32"
last out.txt 'COMPARED'
status 0 "$INGOT" export better plain --to safetensors --dtype bf16
status 1 "$INGOT" verify plain --against "$model" --max-relative-mse 1e-4
last out.txt 'FAIL'
status 0 "$INGOT" verify plain --against "$model" --max-relative-mse 0.02
last out.txt 'PASS'
shard=$(find artifact -name '*.safetensors' | sort | head -n 1)
printf '\x55' | dd of="$shard" bs=1 seek=1000000 conv=notrunc status=none
status 65 "$INGOT" verify artifact --against "$model" --claims claims.json --junit damaged.xml
contains damaged.xml 'failure'

# Nothing is published that does not hold what is claimed.
status 1 "$INGOT" convert "$model" refused --bits 3 --claims claims.json
[ ! -e refused ] || fail 'an artifact that fails its claims was published'
echo 'claims in CI: as documented'
