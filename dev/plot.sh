#!/bin/sh
# Loss curves of one or several runs, as a PNG and here in the terminal, drawn by gnuplot:
#
#   dev/plot.sh out/metrics.jsonl                                      writes loss.png
#   dev/plot.sh -o depth.png layers2/metrics.jsonl layers4/metrics.jsonl
#
# Lines are train losses (a running mean over a hundredth of the run; one run alone also shows every step, pale), points
# are validation losses, and the dashed line is the loss of a perfect model, where every metrics.jsonl knows the same one.
# Runs are named after their directories. A run of DPO is drawn as its reward margin and accuracy.
set -eu

usage='usage: dev/plot.sh [-o loss.png] out/metrics.jsonl [more...]'
fail() { echo "error: $*" >&2; exit 1; }

png=loss.png
case ${1-} in
    -o) [ $# -ge 2 ] || fail "-o: expected the name of a PNG after it; $usage"; png=$2; shift 2 ;;
    -*) fail "$1: there is no such option; $usage" ;;
esac
[ $# -gt 0 ] || fail "expected at least one metrics.jsonl; $usage"
command -v gnuplot >/dev/null || fail "gnuplot is not installed; on Debian or Ubuntu: apt install gnuplot-nox"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Of DPO: the margin between the rewards of chosen and rejected answers, and the share of pairs that has one, over updates.
if grep -q '"train/DPOLoss":' "$1"; then
    awk -v to="$work/" '
    function value(key,    at) { at = index($0, "\"" key "\":"); return at ? substr($0, at + length(key) + 3) + 0 : "" }
    value("rewards/margins") != "" { print value("step"), value("rewards/margins"), value("rewards/accuracies") > (to "train") }
    value("eval/rewards/margins") != "" { print value("step"), value("eval/rewards/margins"), value("eval/rewards/accuracies") > (to "val") }' "$1"
    columns=$( (tput cols) 2>/dev/null) || columns=80
    held=''
    panel() {                                       # column, title, y range
        [ ! -f "$work/val" ] || held=", '$work/val' using 1:$1 with linespoints pointtype 7 title 'held out'"
        echo "set yrange [$3]; set ylabel '$2'; plot '$work/train' using 1:$1 with lines title 'each update'$held"
    }
    echo "set xlabel 'updates'; set key bottom right; set grid; set multiplot layout 2, 1; $(panel 2 'reward margin' '0:*'); $(panel 3 'accuracy' '0:1.05')
          unset multiplot" > "$work/panels"
    echo "set terminal pngcairo size 1200,900 font 'sans,14' background rgb 'white'; set output '$work/loss.png'; load '$work/panels'" > "$work/png"
    echo "set terminal dumb noenhanced size $columns, 32; load '$work/panels'" > "$work/dumb"
    gnuplot "$work/png" && cp "$work/loss.png" "$png" && gnuplot "$work/dumb" || fail "gnuplot could not draw $1"
    echo "wrote $png"
    exit
fi

# metrics.jsonl to three tables of "tokens loss": every step, the running mean, validation; and the floor, if there is one.
tables='
function value(key,    at) {                        # the number after "key":, or nothing
    at = index($0, "\"" key "\":")
    return at ? substr($0, at + length(key) + 3) + 0 : ""
}
/^{.*}$/ {
    tokens = value("throughput/total_tokens"); loss = value("train/CrossEntropyLoss")
    valid = value("eval/validation/CrossEntropyLoss"); floor = value("eval/validation/floor")
    if (tokens == "" || loss == "") next
    n++; x[n] = tokens; sum[n] = sum[n - 1] + loss
    print tokens, loss > (to "steps" run)
    if (valid != "") print tokens, valid > (to "validation" run)
    if (floor != "") print floor > (to "floor" run)
}
END {
    if (!n) exit 1
    for (i = 1; i <= n; i++) {
        half = int(n/200)                           # steps on either side; fewer at the start, which is steep,
        if (i - 1 < half) half = i - 1
        end = i + half; if (end > n) end = n        # and one-sided at the end, which is flat
        print x[i], (sum[end] - sum[i - half - 1])/(end - i + half + 1) > (to "mean" run)
    }
}'

run=0 lines='' points=''
for file in "$@"; do
    run=$((run + 1))
    [ -f "$file" ] && [ -r "$file" ] || fail "$file: cannot be read; expected a metrics.jsonl"
    awk -v to="$work/" -v run=$run "$tables" "$file" ||
        fail "$file: expected lines with \"throughput/total_tokens\" and \"train/CrossEntropyLoss\", found none"
    name=$(basename "$(cd "$(dirname "$file")" && pwd)" | tr "'" ' ')
    lines="$lines '$work/mean$run' using (\$1/unit):2 with lines linewidth width linetype $run title '$name',"
    [ ! -f "$work/validation$run" ] ||
        points="$points '$work/validation$run' using (\$1/unit):2 with points pointtype 7 pointsize size linetype $run title '$name, validation',"
done

# A floor holds for the data it was computed for: it is drawn where all runs have the same.
floor=''
for i in $(seq $run); do tail -n 1 "$work/floor$i" 2>/dev/null || echo none; done | sort -u >"$work/floors"
if [ "$(wc -l <"$work/floors")" -gt 1 ]; then echo 'note: these runs were not measured on the same data: no loss of a perfect model is drawn' >&2
elif [ "$(cat "$work/floors")" != none ]; then
    floor="$(cat "$work/floors") with lines linewidth width dashtype 2 linecolor rgb '#555555' title 'a perfect model'"
fi
pale=''                                             # only where the picture has room for it
[ $run -gt 1 ] || pale="'$work/steps1' using (\$1/unit):2 with lines linewidth 1 linecolor rgb '#bcd3ea' notitle,"

# The axes: tokens in a unit that suits them; losses from the first hundredth of the run on, for the start is steep.
last=$(cat "$work"/mean* | awk '$1 > x { x = $1 } END { print x }')
top=$(cat "$work"/mean* | awk -v last="$last" '$1 > last/100 && $2 > y { y = $2 } END { print y }')
case $(awk -v n="$last" 'BEGIN { print (n >= 2e9) + (n >= 2e6) + (n >= 2e4) }') in
    3) unit=1e9 tokens='billion tokens' ;; 2) unit=1e6 tokens='million tokens' ;; 1) unit=1e3 tokens='thousand tokens' ;; *) unit=1 tokens=tokens ;;
esac

cat > "$work/axes" <<END
unit = $unit
set xrange [0:$last/unit]
set yrange [*:$top*1.05]
set logscale y 2
set ytics format '%.3g'
set xlabel '$tokens'
set key top right
END

cat > "$work/png" <<END
set terminal pngcairo size 1200,720 font 'sans,14' background rgb 'white'
set output '$work/loss.png'
load '$work/axes'
set ylabel 'loss, nats per token'
set border 3 linecolor rgb '#555555'
set tics nomirror out
set grid linecolor rgb '#dddddd' linewidth 1 linetype 1
set key spacing 1.2 samplen 2
do for [i = 1:6] { set linetype i linecolor rgb word('#1f5fa8 #c8501e #2c8a4b #8a4fa3 #b8860b #3aa0a0', i) }
set linetype cycle 6
width = 2.2; size = 0.9
plot $pale $lines $points ${floor:-NaN notitle}
END
gnuplot "$work/png" 2>"$work/log" || fail "gnuplot: $(grep -v '^ *^*$' "$work/log" | tail -n 1)"
cp "$work/loss.png" "$png" 2>/dev/null || fail "$png: cannot be written"

columns=$( (tput cols) 2>/dev/null) || columns=80
cat > "$work/dumb" <<END
set terminal dumb noenhanced size $columns, 24
load '$work/axes'
set title 'loss, nats per token'
width = 1; size = 1
plot $lines $points ${floor:-NaN notitle}
END
gnuplot "$work/dumb" 2>"$work/log" || fail "gnuplot: $(tail -n 1 "$work/log")"
echo "wrote $png"
