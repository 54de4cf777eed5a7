#!/usr/bin/env bash
# The same arrays and metadata are other bytes of a .safetensors file in every process.
#
# Versions: safetensors 0.8.0, numpy 2.4.1.
# Guess: equal arrays and equal metadata give equal files, so that a hash of the file tells
#   whether two runs ended with the same parameters.
# Seen: with four entries of metadata, twelve processes write several different files, which
#   differ in the order of the entries in the head alone; within a process calls may differ,
#   too. Without metadata, or with one entry, all are equal.
# It matters to anyone who compares checkpoints by checksums or caches by content. Put what
# is to be said into one entry, as JSON.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "safetensors==0.8.0" "numpy==2.4.1"
cat > "$folder/save.py" <<'PYTHON'
import hashlib
import json
import sys

import numpy as np
from safetensors.numpy import save

data = save({"w": np.ones(2, np.float32)}, json.loads(sys.argv[1]))
print(hashlib.sha256(data).hexdigest()[:12])
PYTHON
many='{"seed": "0", "method": "mgda", "steps": "100", "tasks": "left right"}'
one='{"about": "mgda"}'
files() { for _ in $(seq 12); do "$folder/venv/bin/python" "$folder/save.py" "$1"; done | sort -u | wc -l; }
several=$(files "$many")
single=$(files "$one")
none=$(files '{}')
echo "different files of twelve: $several with four entries, $single with one, $none with none"
[ "$several" -gt 1 ] && [ "$single" -eq 1 ] && [ "$none" -eq 1 ]
