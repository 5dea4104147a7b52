#!/bin/sh
# Packs the command and the window, and runs both with an empty environment. In a Python that has
# ".[cpu,audio]" and bundling/requirements.txt: sh bundling/check.sh [OUT]
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
out="${1:-dist}"
sample="$PWD/models/demo/samples/train.flac"
said="the train to boston leaves at nine fifty"

for spec in cli desktop; do
    "$python" -m PyInstaller --noconfirm --log-level ERROR --distpath "$out" \
        --workpath "$out/build" "bundling/$spec.spec"
done
for folder in kyutai-onnx kyutai-desktop; do
    found=$(find "$out/$folder" \( -iname 'torch*' -o -iname 'libtorch*' -o -name 'libasound*' \))
    test -z "$found" || { echo "$folder holds what it must not: $found"; exit 1; }
    test -n "$(find "$out/$folder" -name '*.tar.xz')" || { echo "$folder lacks templates"; exit 1; }
    size=$(du -sm "$out/$folder" | cut -f1)
    test "$size" -lt 150 || { echo "$folder: $size MB are too many"; exit 1; }
    echo "$folder: $size MB, no torch"
done

out="$(cd "$out" && pwd)"
cd /
words=$(env -i "$out/kyutai-onnx/kyutai-onnx" transcribe -q "$sample")
test "$words" = "$said" || { echo "the packed command printed: $words"; exit 1; }
echo "the packed command printed: $words"

command -v Xvfb >/dev/null || { echo "skipped: the window (no Xvfb)"; exit 0; }
number=${DISPLAY_NUMBER:-96}
Xvfb ":$number" -screen 0 800x480x24 2>/dev/null &
screen=$!
trap 'kill $screen' EXIT
sleep 2
written=$(mktemp)
env -i DISPLAY=":$number" "$out/kyutai-desktop/kyutai-desktop" --file "$sample" --save "$written"
test "$(cat "$written")" = "$said" || { echo "the packed window wrote: $(cat "$written")"; exit 1; }
echo "the packed window wrote: $(cat "$written")"
rm "$written"
