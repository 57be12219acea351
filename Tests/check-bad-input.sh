#!/bin/bash
# Every row of the tables in Specs/threat-model.md has a test that names it, and every file and test named there exists.
set -euo pipefail
cd "$(dirname "$0")/.."
model=Specs/threat-model.md
failures=0
fail() {
    echo "bad input: $*" >&2
    failures=$((failures + 1))
}

mapfile -t rows < <(grep -oE '^\| [A-Z][0-9]{2} \|' "$model" | grep -oE '[A-Z][0-9]{2}' | sort)
[[ ${#rows[@]} -ge 70 ]] || fail "$model has only ${#rows[@]} rows"
[[ -z $(printf '%s\n' "${rows[@]}" | uniq -d) ]] || fail "a row stands twice: $(printf '%s\n' "${rows[@]}" | uniq -d | xargs)"
for table in S P G N Q M D V W C X T E; do
    # No pipe: a reader that ends early fails the writer, and with it the pipe.
    [[ " ${rows[*]}" == *" $table"* ]] || fail "$model has no table of $table rows"
done
for row in "${rows[@]}"; do
    grep -rqE "\b$row\b" Tests --include='*Tests.swift' --include='test_*.py' || fail "no test names $row"
done

# `Suite.test` in the document: a file of that suite with that test.
while IFS=. read -r suite test; do
    files=$(grep -rlE "(struct|enum|class) $suite\b" Tests --include='*Tests.swift' || true)
    [[ -n $files ]] || { fail "$model names the suite $suite, which is not there"; continue; }
    # shellcheck disable=SC2086
    grep -qE "func $test\b" $files || fail "$model names $suite.$test, which is not there"
done < <(grep -oE '`[A-Z][A-Za-z]+Tests\.[a-zA-Z]+`' "$model" | tr -d '`' | sort -u)
while IFS=: read -r file test; do
    path=$(find Tests/PythonDecoder Tests/Peers Tests/Peers/quantized -maxdepth 1 -name "$file")
    [[ -n $path ]] || { fail "$model names $file, which is not there"; continue; }
    grep -qE "def $test\b" "$path" || fail "$model names $file:$test, which is not there"
done < <(grep -oE '`test_[a-z_]+\.py:test_[a-z_]+`' "$model" | tr -d '`' | sort -u)

[[ $failures -eq 0 ]] || exit 1
echo "bad input: ${#rows[@]} rows, each with a test that names it"
