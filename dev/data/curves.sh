#!/bin/sh
# The story generator and a real corpus side by side: two runs' losses in one picture, in nats per byte over bytes seen.
#
#   dev/data/curves.sh STORIES/metrics.jsonl REAL/metrics.jsonl BYTES_PER_TOKEN [curves.png]
#
# A loss is per token: a token of the stories is a byte, one of the real corpus is BYTES_PER_TOKEN of them (`data/tokenize`
# prints it). Lines are the train losses, each the mean of a hundredth of the run; points are validation losses.
set -eu

fail() { echo "error: $*" >&2; exit 1; }
[ $# -ge 3 ] && [ -f "$1" ] && [ -f "$2" ] || fail "usage: dev/data/curves.sh STORIES/metrics.jsonl REAL/metrics.jsonl BYTES_PER_TOKEN [curves.png]"
command -v gnuplot >/dev/null || fail "gnuplot is not installed; on Debian or Ubuntu: apt install gnuplot-nox"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# metrics.jsonl to "bytes nats_per_byte": train, validation, floor
table() {
    awk -v to="$work/$1" -v per="$3" '
        function value(key,    at) { at = index($0, "\"" key "\":"); return at ? substr($0, at + length(key) + 3) + 0 : "" }
        { x[++n] = value("throughput/total_tokens")*per; sum[n] = sum[n - 1] + value("train/CrossEntropyLoss")/per
          if ((v = value("eval/validation/CrossEntropyLoss")) != "") print x[n]/1e6, v/per > (to ".validation")
          if ((f = value("eval/validation/floor")) != "") floor = f/per }
        END { step = int(n/100) + 1
              for (i = step; i <= n; i += step) print x[i]/1e6, (sum[i] - sum[i - step])/step > (to ".train")
              if (floor) print floor > (to ".floor") }' "$2"
}
table stories "$1" 1
table real "$2" "$3"
cat > "$work/plot" <<END
set terminal pngcairo size 1200,720 font 'sans,14' background rgb 'white'
set output '$work/curves.png'
set logscale xy
set xlabel 'million bytes of text seen'
set ylabel 'loss, nats per byte'
set border 3 linecolor rgb '#555555'
set tics nomirror out
set grid linecolor rgb '#dddddd' linewidth 1 linetype 1
set key outside top center horizontal samplen 2
set yrange [0.15:4]
set ytics (0.2, 0.5, 1, 2, 4)
set format x '%g'
floor = $(cat "$work/stories.floor")
plot '$work/real.train' with lines linewidth 2.2 linecolor rgb '#c8501e' title 'Debian, BPE tokens', \
     '$work/real.validation' with points pointtype 7 linecolor rgb '#c8501e' title 'validation', \
     '$work/stories.train' with lines linewidth 2.2 linecolor rgb '#1f5fa8' title 'stories, bytes', \
     '$work/stories.validation' with points pointtype 7 linecolor rgb '#1f5fa8' title 'validation', \
     floor with lines linewidth 2 dashtype 2 linecolor rgb '#1f5fa8' title 'a perfect model of the stories'
END
gnuplot "$work/plot" && cp "$work/curves.png" "${4:-curves.png}" && echo "wrote ${4:-curves.png}"
