#!/bin/bash
# Installs the command, its man page, its completions and its licence below a folder: tree.sh INGOT FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ingot=$1 folder=$2
put() { # put FILE: standard input
    mkdir -p "$(dirname "$folder/$1")"
    cat >"$folder/$1"
    chmod 644 "$folder/$1"
}
mkdir -p "$folder/bin"
install -m 755 "$ingot" "$folder/bin/ingot"
"$here/manual.sh" "$ingot" | gzip -9n | put share/man/man1/ingot.1.gz
"$ingot" --generate-completion-script bash | put share/bash-completion/completions/ingot
"$ingot" --generate-completion-script zsh | put share/zsh/site-functions/_ingot
"$ingot" --generate-completion-script fish | put share/fish/vendor_completions.d/ingot.fish
put share/doc/ingot/copyright <"$here/../../LICENSE"
