#!/bin/sh
# Both directions between our files and transformers' OlmoForCausalLM: what we write, it loads, and the other way round;
# the logits must agree to 1e-4.      PYTHON=python3 dev/reference/check_hf.sh      (needs requirements.txt installed)
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
dir=build/check_hf
ids=5,3,60,2,2,17,40,8,33,1,0,61
mkdir -p build
rm -rf "$dir"; mkdir "$dir"
cc -O3 -march=native -ffp-contract=fast -fopenmp -Wno-unused-function -o build/logits dev/reference/logits.c -lm

echo "== ours, read by transformers"
n=0
for flags in "--tied" "--untied --n-kv-heads 2" "--untied --n-kv-heads 1 --clip-qkv 0.5"; do
    n=$((n + 1))
    ./train_olmo --d-model 128 --n-layers 2 --n-heads 4 --mlp-hidden 1024 --seq-len 256 --vocab 256 --steps 5 --batch 2 --sample-every 0 \
        --data data/stories.txt --val none --out "$dir/run$n" $flags >/dev/null
    for dtype in fp32 bf16 fp16; do
        for shard in 0 1; do
            to="$dir/ours$n-$dtype-$shard"
            [ $shard = 1 ] && [ $n != 2 ] && continue
            ./train_olmo --load "$dir/run$n/latest" --export "$to" --export-dtype $dtype --shard-mb $shard >/dev/null 2>&1
            build/logits "$to" $ids "$dir/logits.f32" >/dev/null
            printf '%-44s %s %s  ' "$flags" $dtype $([ $shard = 1 ] && echo sharded || echo one-file)
            $python dev/reference/check_hf.py load "$to" --ids $ids --logits "$dir/logits.f32" | tail -n 1
        done
    done
done
echo "== transformers', read by ours"
n=0
for flags in "--tied" "--kv-heads 2 --shards" "--kv-heads 1 --clip-qkv 0.5 --dtype bfloat16" "--tied --dtype float16"; do
    n=$((n + 1))
    $python dev/reference/check_hf.py save "$dir/theirs$n" $flags >/dev/null
    build/logits "$dir/theirs$n" "$(cat "$dir/theirs$n/ids.txt")" "$dir/logits.f32" >/dev/null
    printf '%-44s ' "$flags"
    $python - "$dir/theirs$n/logits.f32" "$dir/logits.f32" <<'PY'
import sys, numpy
theirs, ours = (numpy.fromfile(p, "<f4") for p in sys.argv[1:])
worst = abs(theirs - ours).max()
print(f"{len(ours)} logits, largest difference {worst:.1e}")
sys.exit(not worst <= 1e-4)
PY
done
