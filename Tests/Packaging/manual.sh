#!/bin/bash
# Prints the man page of a command, made from its help: manual.sh INGOT
set -euo pipefail
ingot=$1
version=$("$ingot" --version | cut -d ' ' -f 2)

# Help as text that troff leaves as it is.
text() { sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\&&/" -e 's/-/\\-/g'; }

echo ".TH INGOT 1 \"\" \"ingot $version\" \"User Commands\""
echo ".SH NAME"
echo "ingot \\- $("$ingot" help | sed -n 's/^OVERVIEW: //p' | text)"
echo ".SH SYNOPSIS"
echo ".B ingot"
echo "VERB [arguments] [options]"
echo ".SH DESCRIPTION"
echo ".nf"
"$ingot" help | sed -e '/^OVERVIEW: /d' -e '/^USAGE: /d' -e '/^OPTIONS:/,$d' | text
echo ".fi"
for verb in convert plan inspect verify diff export tokenize; do
    echo ".SH INGOT ${verb^^}"
    echo ".nf"
    COLUMNS=80 "$ingot" help "$verb" | sed -e 's/^OVERVIEW: //' -e '/^OPTIONS:/,$d' | text
    echo ".fi"
done
