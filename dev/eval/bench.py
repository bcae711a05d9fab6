#!/usr/bin/env python3
"""How fast `eval tasks` is beside transformers, on the same requests, weights and device; by hand.

    dev/eval/bench.py MODEL TOKENIZER TASK... [--limit N] [--rounds R] [--pass N]
    dev/eval/bench.py --device cuda --program dev/eval/eval_cu MODEL TOKENIZER TASK...

Both score the same requests, each distinct one once, in float32, or on a GPU in bf16, in passes of about --pass
tokens.  transformers is used as one uses it: every request is a row, sorted by length, so that little is padding.
Ours computes what several requests begin with once; the rates are of all tokens, shared ones included.  Loading and
tokenizing are not counted.  The rounds take turns; ours is a fresh process in each, while transformers meets most
shapes for the first time in the first.
"""
import argparse
import gzip
import json
import pathlib
import re
import subprocess
import time

import torch
import transformers
from tokenizers import Tokenizer


def ours(args):
    """requests, tokens computed, seconds: what the program says (it has loaded by then)"""
    command = [args.program, "tasks", "--load", args.model, "--tokenizer", args.tokenizer, "--limit", str(args.limit),
               "--pass", str(args.tokens), *map(str, args.tasks)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    numbers = re.search(r"scored: ([\d,]+) requests.* of which ([\d,]+) were computed, in ([\d.]+) s", said).groups()
    requests, computed, seconds = (number.replace(",", "") for number in numbers)
    return int(requests), int(computed), float(seconds)


def requests_of(tasks, tokenizer, limit):
    """every distinct request, and every choice after "Answer:", as `eval tasks` asks them"""
    rows = set()
    for task in tasks:
        docs, some = {}, set()
        for line in gzip.open(task / "requests.jsonl.gz", "rt"):
            request = json.loads(line)
            doc, asked = request["doc_id"], request["request"]
            if doc < 1000000 and (doc in docs or not limit or len(docs) < limit):
                docs[doc] = True
                some.add((asked["context"], asked["continuation"]))
                some.add(("Answer:", asked["continuation"]))
        for pair in some:
            ids = [tuple(tokenizer.encode(text, add_special_tokens=False).ids) for text in pair]
            rows.add((ids[0] + ids[1], len(ids[1])))
    return sorted(rows, key=lambda row: -len(row[0]))


def theirs(model, rows, tokens):
    at = 0
    start = time.time()
    with torch.inference_mode():
        while at < len(rows):
            T = len(rows[at][0]) - 1
            some = rows[at:at + max(1, tokens // T)]
            ids = torch.zeros(len(some), T, dtype=torch.long)
            for i, (row, _) in enumerate(some):
                ids[i, :len(row) - 1] = torch.tensor(row[:-1])
            logits = model(ids.to(model.device), use_cache=False).logits
            targets = torch.zeros(len(some), T, dtype=torch.long)
            asked = torch.zeros(len(some), T)
            for i, (row, scored) in enumerate(some):
                targets[i, :len(row) - 1] = torch.tensor(row[1:])
                asked[i, len(row) - 1 - scored:len(row) - 1] = 1
            at_asked = asked.bool().to(model.device)
            logp = torch.log_softmax(logits[at_asked].float(), -1)
            logp.gather(1, targets.to(model.device)[at_asked][:, None]).cpu()
            at += len(some)
    return time.time() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model"), parser.add_argument("tokenizer")
    parser.add_argument("tasks", type=pathlib.Path, nargs="+")
    parser.add_argument("--limit", type=int, default=100, help="questions of each task (0: all)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pass", type=int, default=4096, dest="tokens")
    parser.add_argument("--program", default="dev/eval/eval")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    gpu = args.device != "cpu"
    model = transformers.OlmoForCausalLM.from_pretrained(
        args.model, dtype=torch.bfloat16 if gpu else torch.float32).eval().to(args.device)
    rows = requests_of(args.tasks, Tokenizer.from_file(args.tokenizer), args.limit)
    tokens = sum(len(row) - 1 for row, _ in rows)
    print(f"{len(rows)} requests, {tokens} tokens, {torch.cuda.get_device_name() if gpu else torch.get_num_threads()}")
    theirs(model, rows[:64], args.tokens)                   # warms up
    for _ in range(args.rounds):
        (asked, computed, a), b = ours(args), theirs(model, rows, args.tokens)
        assert asked == len(rows), f"ours asked {asked}"
        print(f"ours {a:.2f} s, {tokens / a:,.0f} tokens/s, {computed} computed; transformers {b:.2f} s, "
              f"{tokens / b:,.0f}: {b / a:.2f} times", flush=True)


main()
