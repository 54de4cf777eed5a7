#!/usr/bin/env bash
# grain that is imported for the first time under absl's flagsaver can't be used afterwards.
#
# Versions: grain 0.2.18, absl-py 2.5.1.
# Guess: an import is an import: where it happens first makes no difference to a library that
#   is no command.
# Seen: grain defines absl flags when it is imported, and looks them up when a data set is
#   read. flagsaver puts the flags of before back when its block ends, and takes away those that
#   were defined inside. grain stays imported, its flags are gone, and the next iterator ends
#   in an AttributeError of a flag that nobody set. Imported before the block, it works.
# It matters to tests that run absl commands one after another in a process, the first of
# which imports grain only when it streams.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "grain==0.2.18" "absl-py==2.5.1"
cat > "$folder/read.py" <<'PYTHON'
import sys

from absl import flags
from absl.testing import flagsaver

if sys.argv[1] == "before":
    import grain
with flagsaver.flagsaver():
    import grain
flags.FLAGS(["read"])
samples = grain.MapDataset.range(8).batch(2).to_iter_dataset()
try:
    found = next(iter(samples)).tolist()
except AttributeError as error:
    found = f"AttributeError: {error}"
print(f"imported {sys.argv[1]}: {found}")
PYTHON
before=$("$folder/venv/bin/python" "$folder/read.py" before)
inside=$("$folder/venv/bin/python" "$folder/read.py" inside)
printf '%s\n%s\n' "$before" "$inside"
[[ $before == *"[0, 1]"* ]] || { echo "this has changed" >&2; exit 1; }
[[ $inside == *AttributeError* ]] || { echo "this has changed" >&2; exit 1; }
