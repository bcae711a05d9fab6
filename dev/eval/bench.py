#!/usr/bin/env python3
"""How fast `eval tasks` is beside transformers, on the same requests, weights and processor; by hand.

    dev/eval/bench.py MODEL TOKENIZER TASK... [--limit N] [--rounds R]

Both score the same requests (each distinct one once), sorted by length, in batches of about 4096
tokens; loading is not counted: ours is the time with all questions less that with one.  The rounds
take turns.
"""
import argparse
import gzip
import json
import pathlib
import subprocess
import time

import torch
import transformers
from tokenizers import Tokenizer


def ours(args, limit):
    start = time.time()
    subprocess.run(["dev/eval/eval", "tasks", "--load", args.model, "--tokenizer", args.tokenizer,
                    "--limit", str(limit), *map(str, args.tasks)], check=True, capture_output=True)
    return time.time() - start


def requests_of(tasks, tokenizer, limit):
    rows = set()
    for task in tasks:
        for line in gzip.open(task / "requests.jsonl.gz", "rt"):
            request = json.loads(line)
            if request["doc_id"] % 1000000 < limit:
                ids = [tuple(tokenizer.encode(request["request"][name], add_special_tokens=False).ids)
                       for name in ("context", "continuation")]
                rows.add((ids[0] + ids[1], len(ids[1])))
    return sorted(rows, key=lambda row: -len(row[0]))


def theirs(model, rows):
    start = time.time()
    at = 0
    with torch.inference_mode():
        while at < len(rows):
            T = len(rows[at][0]) - 1
            some = rows[at:at + max(1, 4096 // T)]
            ids = torch.zeros(len(some), T, dtype=torch.long)
            for i, (row, _) in enumerate(some):
                ids[i, :len(row) - 1] = torch.tensor(row[:-1])
            logits = model(ids, use_cache=False).logits
            for i, (row, scored) in enumerate(some):
                logp = torch.log_softmax(logits[i, len(row) - 1 - scored:len(row) - 1], -1)
                logp.gather(1, torch.tensor(row[-scored:])[:, None]).sum().item()
            at += len(some)
    return time.time() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model"), parser.add_argument("tokenizer")
    parser.add_argument("tasks", type=pathlib.Path, nargs="+")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    model = transformers.OlmoForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    rows = requests_of(args.tasks, Tokenizer.from_file(args.tokenizer), args.limit)
    tokens = sum(len(row) for row, _ in rows)
    print(f"{len(rows)} requests, {tokens} tokens, {torch.get_num_threads()} threads")
    for _ in range(args.rounds):
        a, b = ours(args, args.limit) - ours(args, 1), theirs(model, rows)
        print(f"ours {a:.1f} s, transformers {b:.1f} s: {b / a:.2f} times", flush=True)


main()
