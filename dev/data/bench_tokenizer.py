#!/usr/bin/env python3
"""How fast is our tokenizer beside the Hugging Face one? By hand, on the same text, in the same run, taking turns:

    python3 dev/data/bench_tokenizer.py DOCS.jsonl[.gz]... [--megabytes 20] [--repeat 5] [--tokenizer FILE]

Ours is the whole program: `data/tokenize --out`, from JSON lines to token files. The other is `Tokenizer.encode_batch` of
the Python package `tokenizers` on strings that are in memory already. Both on one thread, and on all; medians of MB of text a
second, by the clock and by the processor's time (of all threads), which other work on the machine disturbs less.
"""
import argparse, gzip, json, os, shutil, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("TOKENIZE", os.path.join(HERE, "../../data/tokenize"))
OLMO = os.path.join(HERE, "../../data/tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json")

THEIRS = """
import json, sys, time, tokenizers
tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
texts = [json.loads(line)["text"] for line in open(sys.argv[2], encoding="utf-8")]
tokenizer.encode_batch(texts[:5], add_special_tokens=False)
start, used = time.time(), time.process_time()
for i in range(0, len(texts), 1000): tokenizer.encode_batch(texts[i:i + 1000], add_special_tokens=False)
print(time.time() - start, time.process_time() - used)
"""

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("documents", nargs="+")
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--tokenizer", default=OLMO)
    given = parser.parse_args()
    work = tempfile.mkdtemp()
    text = os.path.join(work, "text.jsonl")
    size = documents = 0
    with open(text, "w", encoding="utf-8") as out:
        for path in given.documents:
            for line in (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8"):
                if size > 1e6*given.megabytes: break
                out.write(line)
                size += len(json.loads(line)["text"].encode())
                documents += 1

    def ours(threads):
        out = os.path.join(work, "out")
        shutil.rmtree(out, ignore_errors=True)
        start, before = time.time(), os.times()
        subprocess.run([PROGRAM, "--tokenizer", given.tokenizer, "--out", out, "--threads", str(threads), text],
                       check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        after = os.times()
        return time.time() - start, after.children_user + after.children_system - before.children_user - before.children_system
    def theirs(threads):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="true" if threads > 1 else "false")
        result = subprocess.run([sys.executable, "-c", THEIRS, given.tokenizer, text], check=True, env=environment, capture_output=True, text=True)
        return tuple(float(word) for word in result.stdout.split())

    print(f"{documents:,} documents, {size/1e6:.1f} MB of text; medians of {given.repeat}, MB/s")
    for threads in dict.fromkeys((1, os.cpu_count())):
        runs = [(ours(threads), theirs(threads)) for _ in range(given.repeat)]
        for which, name in enumerate(("clock", "processor")):
            mine, other = (statistics.median(size/1e6/run[program][which] for run in runs) for program in (0, 1))
            print(f"  {threads} threads, {name:9}   data/tokenize {mine:7.1f}   tokenizers {other:6.2f}   {mine/other:5.1f} times the faster", flush=True)
    shutil.rmtree(work)

main()
