#!/bin/sh
# Public corpora that people expect, as files that curate, tokenize and train_olmo read:
#
#   data/download.sh NAME [DIR]             into DIR/documents; DIR is data/corpora/NAME if not given
#
#   tiny_shakespeare    1.1 MB   text: Shakespeare's plays in one file; --data DIR/documents/input.txt trains on its bytes
#   tinystories         2.3 GB   text: stories of Eldan and Li (2023); --separator '<|endoftext|>' stands between them
#   tinystories_valid   23 MB    its validation stories
#   c4 [N]              0.3 GB each   JSON lines: the first N (default 1) of 1024 shards of C4's English part
#   c4_valid            40 MB    the first of 8 shards of its validation part
#   dolma [N]           some 160 MB each   JSON lines: the first N (default 1) of 103 files of Dolma's v1.6 sample
#
# (N stands after the name: data/download.sh c4 4.) Needs curl. A file that was cut off is gone on with; it has its name only
# when all of it has arrived, and, where its SHA-256 is known here, it is the right one. Gzip files are tested. The addresses
# are those of the corpora's public pages, UNVERIFIED: the script was tried with a local server in their place.
set -eu

fail() { echo "error: $*" >&2; exit 1; }
usage='usage: data/download.sh tiny_shakespeare|tinystories|tinystories_valid|c4 [N]|c4_valid|dolma [N] [DIR]'

[ $# -ge 1 ] || fail "$usage"
name=$1
shift
n=1
case $name in c4|dolma) case ${1-} in [1-9]|[1-9]*[0-9]) n=$1; shift ;; esac ;; esac
case $n in *[!0-9]*) fail "$n: expected a number of files; $usage" ;; esac
[ $# -le 1 ] || fail "expected at most one directory; $usage"
case ${1-} in -*) fail "$1: there is no such option; $usage" ;; esac
to=${1:-$(dirname "$0")/corpora/$name}/documents
command -v curl >/dev/null || fail "curl is not installed; on Debian or Ubuntu: apt install curl"

fetch() { curl -fL --retry 2 --connect-timeout 20 -C - -o "$part" "$1"; }
# get ADDRESS NAME [SHA-256]
get() {
    [ ! -f "$to/$2" ] || { echo "$to/$2: is there already"; return; }
    part=$to/.$2.part
    fetch "$1" || case $? in                                # 22, 33, 36: the server cannot go on from here
        22|33|36) rm -f "$part"; fetch "$1" ;;
        *) false ;;
    esac || fail "$1: fetching it failed; what has arrived is kept, and the same command goes on from there"
    if [ -n "${3-}" ]; then
        found=$(sha256sum "$part" | cut -d ' ' -f 1)
        [ "$found" = "$3" ] || { rm -f "$part"; fail "$1: expected SHA-256 $3, found $found; nothing of it is kept"; }
    fi
    case $2 in *.gz) gzip -t "$part" 2>/dev/null || { rm -f "$part"; fail "$1: is no whole gzip file; nothing of it is kept"; } ;; esac
    mv "$part" "$to/$2" || fail "$to/$2: cannot be written"
    echo "$to/$2"
}
# shards N LAST FORMAT NAME: the first N of LAST + 1, whose number goes into the address
shards() {
    [ "$1" -le $(($2 + 1)) ] || fail "$name has $(($2 + 1)) files, not $1"
    i=0
    while [ $i -lt "$1" ]; do
        get "$(printf "$3" $i)" "$(printf "$4" $i)"
        i=$((i + 1))
    done
}

make_directory() { mkdir -p "$to" || fail "$to: cannot be made"; }
hub=https://huggingface.co/datasets
case $name in
    tiny_shakespeare)
        make_directory
        get https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt input.txt \
            86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed ;;
    tinystories) make_directory; get $hub/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-train.txt TinyStoriesV2-GPT4-train.txt ;;
    tinystories_valid) make_directory; get $hub/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt TinyStoriesV2-GPT4-valid.txt ;;
    c4) make_directory; shards "$n" 1023 "$hub/allenai/c4/resolve/main/en/c4-train.%05d-of-01024.json.gz" c4-train.%05d-of-01024.json.gz ;;
    c4_valid) make_directory; shards 1 7 "$hub/allenai/c4/resolve/main/en/c4-validation.%05d-of-00008.json.gz" c4-validation.%05d-of-00008.json.gz ;;
    dolma) make_directory; shards "$n" 102 https://olmo-data.org/dolma-v1_6-8B-sample/v1_5r2_sample-%04d.json.gz v1_5r2_sample-%04d.json.gz ;;
    *) fail "$name: there is no such corpus; $usage" ;;
esac
