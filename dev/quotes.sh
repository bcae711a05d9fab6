#!/usr/bin/env bash
# Runs what the READMEs quote. A fenced line that begins with a program of ours is a command, and must work; the first block
# that begins with "OLMo in C:" is compared with a real run, to the last digit on the README's kind of processor; numbers that are
# the same on every machine are compared on all.
#
#   dev/quotes.sh                  all of it; ends with `N passed, N failed`
#   dev/quotes.sh --update         writes README.md's sample run anew, from a run of this machine (but for its speed)
#
# Commands run in a directory of their own, where small files have the names that the READMEs use (book.txt, DIR, web/documents).
# A training run is asked to stop when it has shown its first step, and saves. DEFAULT_RUN=FILE is the output of a whole
# ./train_olmo, if there is one already.
set -u
cd "$(dirname "$0")/.."
root=$PWD passed=0 failed=0
yard=$(mktemp -d)
trap 'rm -rf "$yard"' EXIT

result() {                                      # result 0|1 WHAT [WHY]
    if [ "$1" = 0 ]; then passed=$((passed + 1)) && echo "ok    $2"
    else failed=$((failed + 1)) && echo "FAIL  $2${3:+: $3}"; fi
}

# ---- the sample run --------------------------------------------------------------------------------------------------
log=${DEFAULT_RUN:-$yard/default_run}
[ -s "$log" ] || { make -s train_olmo && (cd "$yard" && "$root/train_olmo" > "$log") || exit 1; }

# Prints the lines of the log that the block quotes: for each of them, the next line of the same shape (numbers stand for
# numbers, a step for itself). With update=0: one line for each difference instead. Speed, time and memory differ everywhere.
compare='
function shape(line) {
    if (line ~ /^    eval/) return "eval"
    if (line ~ /^    /) return "sample"
    if (line ~ /^\[step=/) return substr(line, 1, index(line, "/"))
    if (line !~ /^(saved|OLMo)/) gsub(/[0-9][0-9.,:]*/, "#", line)
    sub(/0x[0-9a-f#]+/, "0x#", line)
    sub(/threads?/, "threads", line)
    return line
}
function lasting(line) {
    if (line ~ /^memory:/) gsub(/[0-9]+\.[0-9]+ .B/, "#", line)
    sub(/tokens\/s=[0-9.,]+ eta=[0-9:]+/, "", line)
    sub(/[0-9]+ threads?/, "threads", line)
    return line
}
FNR == NR { run[++n] = $0; next }
{
    from = at
    while (++at <= n && shape(run[at]) != shape($0)) ;
    if (at > n) { print "no line of the run is like: " $0; at = from; next }
    if (update) {                               # speeds stay: they were measured on a quiet machine
        line = run[at]
        if (match($0, /tokens\/s=.*/)) { speed = substr($0, RSTART); sub(/tokens\/s=.*/, "", line); line = line speed }
        print lasting(run[at]) == lasting($0) ? $0 : line
    } else if (digits && lasting(run[at]) != lasting($0)) print "quoted: " $0 "\n      found:  " run[at]
}'
quoted() { awk '/^```/ { inside = !inside; first = 1; ours = 0; next } inside && first { ours = /^OLMo in C:/ && !seen++; first = 0 } inside && ours' README.md; }
quoted > "$yard/quoted"
if [ "${1-}" = --update ]; then
    awk -v update=1 "$compare" "$log" "$yard/quoted" > "$yard/new"
    grep -q '^no line' "$yard/new" && { grep '^no line' "$yard/new"; exit 1; }
    awk -v new="$yard/new" '/^```/ { inside = !inside; first = 1; ours = 0; print; next }
        inside && first { ours = /^OLMo in C:/ && !seen++; first = 0; while (ours && (getline line < new) > 0) print line }
        !(inside && ours)' README.md > "$yard/README.md" && cp "$yard/README.md" README.md
    exit
fi
hash() { sed -n 's/^params hash //p' "$1"; }
digits=0
if grep -q avx512f /proc/cpuinfo && [ "$(${CC:-cc} -dumpversion 2>/dev/null)" = 12 ]; then digits=1; fi     # the README's kind
[ "$(hash "$log")" = "$(hash "$yard/quoted")" ] && digits=1                                                 # and every other that has its bits
difference=$(awk -v digits=$digits "$compare" "$log" "$yard/quoted")
[ -s "$yard/quoted" ] && [ -z "$difference" ]
result $? "README.md: the sample run is what ./train_olmo prints$([ $digits = 1 ] && echo ", to the last digit" || echo " (another kind of processor: but for the digits)")" "$difference"

# ---- numbers ---------------------------------------------------------------------------------------------------------
quotes() { grep -qF -- "$1" README.md; result $? "README.md says: $1"; }           # quotes TEXT
make -s dev/ngram && dev/ngram data/stories.txt data/stories_val.txt > "$yard/ngram"
quotes "| bigram counts | $(awk '$1 == "bigram" || $1 == "2-gram" { printf "%.3f", $2 }' "$yard/ngram") |"
quotes "| 5-gram counts, interpolated | $(awk '$1 == "5-gram" { printf "%.3f", $2 }' "$yard/ngram") |"
quotes "| a perfect model | $(awk 'NR == 1 { printf "%.3f", $1 }' data/stories_val.txt.floor) |"
[ $digits = 0 ] || quotes "| this OLMo, after 3.6 M bytes | $(sed -n 's/.*eval.validation.CrossEntropyLoss=\([0-9.]*\).*/\1/p' "$log" | tail -n 1 | xargs printf %.3f) |"
quotes "$(cd "$yard" && "$root/train_olmo" --steps 0 --out fresh | tail -n 1)"

# ---- names -----------------------------------------------------------------------------------------------------------
git ls-files 2>/dev/null | while read -r file; do
    [ "$(head -c 2 "$file" | tr -d '\0')" = '#!' ] && [ ! -x "$file" ] && echo "$file"
done > "$yard/plain"
[ ! -s "$yard/plain" ]
result $? "every file that begins with #! can be run" "$(tr '\n' ' ' < "$yard/plain")"
readmes="README.md $(ls data/README.md dev/README.md dev/GPU.md dev/CHAT.md dev/*/README.md 2>/dev/null | tr '\n' ' ')"
for readme in $readmes; do
    grep -o '`\(\./\|data/\|dev/\)[^` ]*[` ]' "$readme" | tr -d '` ' | sed 's/[,;:]$//' | sort -u | while read -r name; do
        case $name in *[A-Z]|*\**|*\$*|*'{'*|*…*) continue ;; esac                 # PLACEHOLDERS
        [ -e "$name" ] || git ls-files --error-unmatch "$name.c" "$name.cu" >/dev/null 2>&1 || grep -q "${name##*/}" Makefile .gitignore || echo "$name"
    done > "$yard/missing"
    [ ! -s "$yard/missing" ]
    result $? "$readme names files that exist" "$(tr '\n' ' ' < "$yard/missing")"
done

# ---- commands --------------------------------------------------------------------------------------------------------
# The yard: links to the repository, but no ./out and no data/corpora of anybody; and the files that the READMEs speak of.
mkdir "$yard/here" "$yard/here/data" && cd "$yard/here"
for entry in "$root"/*; do case ${entry##*/} in out|out.*|data) ;; *) ln -s "$entry" . ;; esac; done
for entry in "$root"/data/*; do case ${entry##*/} in corpora) ;; *) ln -s "$entry" data/ ;; esac; done
small=$root/dev/fuzz/seeds/tokenizer/small.json D=data/corpora/debian
export D
if [ ! -e data/tokenizers ]; then
    mkdir data/tokenizers
    for name in gpt-neox-olmo-dolma-v1_5 eleuther-ai-gpt-neox-20b-pii-special; do sed 's/"id": 265/"id": 50279/' "$small" > data/tokenizers/allenai_$name.json; done
fi
documents() {                                   # documents DIRECTORY: a few, with words that repeat
    mkdir -p "$1"
    awk 'BEGIN { for (d = 0; d < 60; d++) { printf "{\"id\":\"%d\",\"text\":\"", d; for (l = 0; l < 40; l++) {
        for (w = 0; w < 12; w++) printf "word%d ", (d*l + w*w) % 97; printf "the end of it, and of line %d.\\n", (d*l) % 7 }
        printf "\",\"metadata\":{\"url\":\"http://a.org/%d\"}}\n", d % 50 } }' > "$1/a.jsonl"
}
documents web/documents && documents evaluation/documents
grep -o 'data/corpora/debian/documents/[^"]*' data/debian.json | sort -u | while read -r path; do          # a file for each of its patterns
    case $path in
        *.\*) documents "${path%/*}" && mv "${path%/*}/a.jsonl" "${path%.\*}.jsonl" ;;
        *\*) documents "${path%/*}" && mv "${path%/*}/a.jsonl" "${path%\*}x.jsonl" ;;
        *) documents "$path" ;;
    esac
done
head -c 60000 data/stories.txt > book.txt
for name in a b mine data; do head -c 150000 /dev/zero | tr '\0' '\1' > $name.npy; done                 # the token 257, many times
cp "$small" FILE
for i in 1 2 3 4 5 6 7 8; do
    echo '{"messages":[{"role":"user","content":"hello '$i'"},{"role":"assistant","content":"hello, hello"}]}'
done > chat.jsonl
./train_olmo --vocab 300 --d-model 32 --n-heads 2 --n-layers 1 --mlp-hidden 64 --seq-len 64 --steps 1 --sample-every 0 --eos 265 --data a.npy --out made >/dev/null &&
    mv made/step1 DIR && cp "$small" DIR/tokenizer.json || { echo "FAIL  DIR, a model for the READMEs, cannot be made"; exit 1; }

elsewhere() {                                   # what is not run here, and why
    case $1 in
        "make test"*|"make class"*|"make chat"*|"make clean"*|"make bench"*) echo ".ci/run does it, or it takes minutes" ;;
        apt*|data/tokenizers.sh*) echo ".ci/run does it" ;;
        data/debian.sh*|data/download.sh*) echo "fetches hundreds of megabytes" ;;
        *_cu*|"make test-gpu"*) echo "needs a GPU" ;;
        dev/*.py*|python*) echo "needs Python's torch, transformers or dolma: by hand" ;;
        dev/eval/*) echo "needs a model and its data: make test runs it on small ones" ;;
        build/*|dev/answers*) echo "needs what another command makes in minutes" ;;
    esac
}
commands() {                                    # the commands of a README, one on a line
    awk '/^```/ { inside = !inside; next }
         inside { line = held $0; held = ""
                  if (sub(/\\$/, "", line)) { held = line; next }
                  sub(/^[$] /, "", line); sub(/ +# .*/, "", line); sub(/^D=[^ ]+ +/, "", line)
                  if (line ~ /^(make|apt|python3?|\.\/[a-z_]+|(data|dev|build)\/[a-z_\/]+(\.sh|\.py)?)( [^ ]|$)/ && line !~ /^[a-z]+\/[a-z_.\/]*  +/) print line }' "$root/$1"
}
# run SECONDS COMMAND: its output to $yard/said. It is asked to stop after its first step, or so many seconds. (By SIGTERM: a
# shell's jobs in the background ignore SIGINT, and so does all that they start.)
run() {
    timeout --preserve-status -k 600 "$1" bash -c "$2" </dev/null >"$yard/said" 2>&1 &
    local job=$!
    while kill -0 $job 2>/dev/null && ! grep -aq '^\[step=' "$yard/said"; do sleep 0.1; done
    kill $job 2>/dev/null                                   # timeout passes it on
    wait $job
}
trained_last() {
    rm -rf out out.* && run 600 ./train_olmo
    [ -e out/latest ] || echo "FAIL  ./train_olmo, asked to stop after its first step, has saved nothing: $(tail -n 2 "$yard/said" | tr '\n' ' ')"
}
for readme in $readmes; do
    trained_last
    while IFS= read -r command; do
        why=$(elsewhere "$command")
        if [ -n "$why" ]; then echo "skipped: $readme: $command ($why)"; continue; fi
        seconds=600
        case $command in *--resume*) trained_last ;; *--model*) seconds=10 ;; esac      # a large model's first step takes minutes
        run $seconds "$command"
        code=$?                                 # 143: was still getting ready, and ended when it was asked to
        result $((code != 0 && (code != 143 || seconds == 600))) "$readme: $command" "code $code, $(tail -n 2 "$yard/said" | tr '\n' ' ')"
    done < <(commands "$readme")
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
