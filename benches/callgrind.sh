#!/bin/sh
# Counts the instructions per operation of the hot paths, in user space, and prints a Markdown table. Each figure
# is the difference of two counts which differ only in the number of operations. So it hardly depends on the
# machine or its load. Needs cargo and valgrind.
#
#     benches/callgrind.sh [PATH ...]
set -eu
cd "$(dirname "$0")/.."

binary=$(cargo bench --bench hot --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
out=$(mktemp)
trap 'rm -f "$out"' EXIT

count() {
    valgrind --tool=callgrind --callgrind-out-file="$out" "$binary" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : *//p'
}

echo "| hot path | instructions per operation |"
echo "| --- | --- |"
for path in ${@:-channel resident spilled reader reader-spilled append}; do
    few=256
    many=2304
    echo "| $path | $((($(count "$path" $many) - $(count "$path" $few)) / (many - few))) |"
done
