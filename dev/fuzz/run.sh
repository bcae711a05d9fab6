#!/usr/bin/env bash
# dev/fuzz/run.sh [SECONDS [HARNESS...]]: every parser under libFuzzer (clang, Debian: clang libclang-rt-14-dev), with ASan and
# UBSan. Seeds are dev/fuzz/seeds/HARNESS; what the fuzzer finds goes on in build/fuzz/HARNESS, so that a later run starts there.
# SEED=1: begins anew, with the inputs of that seed, 20,000 at most: the same ones on every machine, as far as it comes.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
names="$*"
[ -n "$names" ] || names=$(cd dev/fuzz && ls ./*.c | sed 's/^..//; s/\.c$//' | grep -v '^fuzz$')
libraries="icu-uc jansson libpcre2-8 libxxhash libzstd simdjson zlib"
mkdir -p build/fuzz
clang++ -O1 -g -std=c++17 -fsanitize=address,undefined -fno-sanitize=vptr -c -o build/fuzz/json.o data/json.cc
fuzz() {                                        # fuzz NAME: builds one harness, and runs it
    local name=$1 at=build/fuzz/$1
    [ -z "${SEED-}" ] || rm -rf "$at"
    mkdir -p "$at" dev/fuzz/seeds/"$name"
    clang -std=gnu11 -g -O1 -DICU -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wno-unknown-pragmas \
        $(pkg-config --cflags $libraries) -o "$at.bin" dev/fuzz/"$name".c build/fuzz/json.o $(pkg-config --libs $libraries) -lstdc++ -lm || return
    if ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16:allocator_release_to_os_interval_ms=-1 "$at.bin" -max_total_time="$seconds" \
        ${SEED:+-seed=$SEED -runs=20000} -rss_limit_mb=4000 -timeout="${TIMEOUT:-100}" -max_len=65536 -close_fd_mask=3 -artifact_prefix="$at-" "$at" dev/fuzz/seeds/"$name" >"$at.log" 2>&1
    then echo "$name, $seconds s: $(tail -n 1 "$at.log")"
    else tail -n 40 "$at.log"; echo "FAIL  $name: see $at.log"; return 1
    fi
}
export -f fuzz
export seconds libraries
printf '%s\n' $names | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}'          # fails if one does
