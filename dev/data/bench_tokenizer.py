#!/usr/bin/env python3
"""How fast is our tokenizer beside the Hugging Face one? By hand, on the same text, in the same run, taking turns:

    python3 dev/data/bench_tokenizer.py DOCS.jsonl[.gz]... [--megabytes 20] [--repeat 5] [--tokenizer FILE]

Ours is the whole program: `data/tokenize --out`, from JSON lines to token files. The other is `Tokenizer.encode_batch` of
the Python package `tokenizers` on strings that are in memory already. Both on one thread, and on all; medians, MB of text/s.
"""
import argparse, gzip, json, os, shutil, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
OLMO = os.path.join(HERE, "../../data/tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json")

THEIRS = """
import json, sys, time, tokenizers
tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
texts = [json.loads(line)["text"] for line in open(sys.argv[2], encoding="utf-8")]
tokenizer.encode_batch(texts[:50], add_special_tokens=False)
start = time.time()
for i in range(0, len(texts), 1000): tokenizer.encode_batch(texts[i:i + 1000], add_special_tokens=False)
print(time.time() - start)
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
        start = time.time()
        subprocess.run([os.path.join(HERE, "../../data/tokenize"), "--tokenizer", given.tokenizer, "--out", out, "--threads", str(threads), text],
                       check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return time.time() - start
    def theirs(threads):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="true" if threads > 1 else "false")
        return float(subprocess.run([sys.executable, "-c", THEIRS, given.tokenizer, text], check=True, env=environment, capture_output=True, text=True).stdout)

    print(f"{documents:,} documents, {size/1e6:.1f} MB of text; median of {given.repeat}, MB/s (slowest to fastest)")
    for threads in dict.fromkeys((1, os.cpu_count())):
        runs = {"ours": [], "theirs": []}
        for _ in range(given.repeat):
            runs["ours"].append(size/1e6/ours(threads))
            runs["theirs"].append(size/1e6/theirs(threads))
        for name, title in (("ours", "data/tokenize"), ("theirs", "tokenizers")):
            print(f"  {threads} threads  {title:14} {statistics.median(runs[name]):7.1f}   ({min(runs[name]):.1f} to {max(runs[name]):.1f})")
        print(f"  {threads} threads  {statistics.median(runs['ours'])/statistics.median(runs['theirs']):.1f} times the faster")
    shutil.rmtree(work)

main()
