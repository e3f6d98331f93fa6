#!/usr/bin/env bash
# Runs the tests on a machine that has no idle core, and reports the tests that fail there. Such a test expects a
# thread to be fast, or another thread to be slow.
#
#     tests/loaded.sh [--loops N] [--runs M] [-- ARGUMENTS]
#
# N busy loops (default 8) run beside M runs of the tests (default 10). `cargo test` gets the ARGUMENTS.
set -euo pipefail
cd "$(dirname "$0")/.."

# The longest time of one run, in seconds. A test that hangs must not keep the machine busy for ever.
limit=3600
loops=8
runs=10

usage() {
    sed -n 's/^#     //p' "$0" >&2
    exit 2
}

while (($# > 0)); do
    case $1 in
        --loops | --runs)
            [[ ${2-} =~ ^[0-9]{1,3}$ ]] || usage
            printf -v "${1#--}" %d "$((10#$2))"
            shift 2
            ;;
        --)
            shift
            break
            ;;
        *) usage ;;
    esac
done
((runs > 0)) || usage

cargo test --locked --no-run "$@"

logs=$(mktemp -d)
printf 'the output of the runs that fail, or are interrupted: %s\n' "$logs"
# Each job is a process group: this ends the tests of a run, and the programs that these tests have started.
set -m
jobs=()
end() {
    trap - EXIT
    for job in "${jobs[@]}"; do
        kill -- "-$job" 2> /dev/null || true
    done
    # Bash reports here which jobs were ended by a signal.
    wait 2> /dev/null || true
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

for ((loop = 0; loop < loops; loop++)); do
    # A loop also ends if this script is gone, such as after SIGKILL.
    while kill -0 "$$" 2> /dev/null; do
        for ((turn = 0; turn < 10000; turn++)); do :; done
    done &
    jobs+=($!)
done

failed=0
for ((run = 1; run <= runs; run++)); do
    log=$logs/$run
    start=$SECONDS
    timeout --foreground "$limit" cargo test --locked --no-fail-fast "$@" > "$log" 2>&1 < /dev/null &
    jobs[loops]=$!
    status=0
    # `wait` returns at once when a signal arrives. Then the traps run.
    wait "${jobs[loops]}" || status=$?
    # The job may leave processes behind, above all if its time was up.
    kill -- "-${jobs[loops]}" 2> /dev/null || true
    if ((status == 0)); then
        printf 'run %s of %s passed in %s s\n' "$run" "$runs" "$((SECONDS - start))"
        rm "$log"
        continue
    fi
    failed=$((failed + 1))
    printf 'run %s of %s failed in %s s with status %s\n' "$run" "$runs" "$((SECONDS - start))" "$status"
    sed -n 's/^---- \(.*\) stdout ----$/\1/p' "$log" | sort -u > "$log.names"
    # A test that hangs or ends its process has no such line.
    [[ -s $log.names ]] || echo "no name, see the last lines of $log" > "$log.names"
    sed 's/^/    /' "$log.names"
done

printf '\n| test | failed runs, of %s beside %s busy loops |\n| --- | --- |\n' "$runs" "$loops"
if ((failed == 0)); then
    echo '| none | 0 |'
    rmdir "$logs"
    exit
fi
sort "$logs"/*.names | uniq -c | sort -rn | while read -r count name; do
    printf '| %s | %s |\n' "$name" "$count"
done
exit 1
