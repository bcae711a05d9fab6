#!/usr/bin/env python3
"""`eval tasks` beside ai2-olmo's own evaluation code, on the same weights; by hand
(dev/reference/requirements.txt).

    dev/eval/check_official.py MODEL TOKENIZER TASKS [--limit N]

MODEL is a Hugging Face directory, TASKS what dev/eval/tasks.sh has fetched.  dev/eval/eval scores
the first N questions of every task; then ai2-olmo's datasets and metrics do (olmo.eval.downstream),
with the logits of transformers' OlmoForCausalLM: their tokens, their way of cutting what is too
long, their arithmetic.  Compared are the log-probability of every request, and every metric that
both know.  The twins after "Answer:", which ai2-olmo leaves out, and the accuracies of the paper
that need them, are computed here from transformers' logits.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from olmo.eval.downstream import ICLMetric, label_to_task_map, OEEvalTask
from olmo.tokenizer import Tokenizer

RC = "arc_challenge arc_easy boolq copa csqa hellaswag openbookqa piqa sciq socialiqa winogrande".split()
OTHERS = "mrpc mmlu_stem mmlu_humanities mmlu_social_sciences mmlu_other".split()


def their_dataset(task, tokenizer, T, metric):
    if task in RC:
        return OEEvalTask(tokenizer, task, "rc_0shot", model_ctx_len=T, metric_type=metric)
    kind = label_to_task_map[task]
    kind, arguments = kind if isinstance(kind, tuple) else (kind, {})
    dataset = kind(tokenizer, **arguments)
    dataset.model_ctx_len = T
    dataset.samples = []
    dataset.metric_type = metric
    dataset.prep_examples()
    return dataset


def score(task, tokenizer, model, T, limit):
    """their samples of the first `limit` questions -> {(doc, choice): log-probability}, {metric: value}"""
    dataset = their_dataset(task, tokenizer, T, "acc")
    last = sorted({sample["doc_id"] for sample in dataset.samples})[:limit][-1]
    samples = sorted((sample for sample in dataset.samples if sample["doc_id"] <= last),
                     key=lambda sample: len(sample["query"]))
    names = ["acc", "len_norm", "ce_loss", "bpb"] + (["f1"] if task == "mrpc" else [])
    metrics, logprobs = {name: ICLMetric(name) for name in names}, {}
    for at in range(0, len(samples), 16):
        some = samples[at:at + 16]
        batch = dataset.collate_fn(some)
        with torch.no_grad():
            logits = model(batch["input_ids"]).logits
        # ce_loss and bpb are asked of the right answers alone, as choice 0 (OEEvalTask.prep_examples)
        gold = batch["cont_id"] == batch["label_id"]
        alone = {name: tensor[gold] for name, tensor in batch.items()}
        alone["cont_id"] = alone["label_id"] = torch.zeros_like(alone["label_id"])
        for name, metric in metrics.items():
            if name not in ("ce_loss", "bpb"):
                metric.update(batch, logits)
            elif gold.any():
                metric.update(alone, logits[gold])
        for i, sample in enumerate(some):
            first = sample["ctx_len"] - 1
            rows = torch.log_softmax(logits[i, first:first + sample["cont_len"]].double(), -1)
            ids = torch.tensor(sample["continuation"])
            logprobs[sample["doc_id"], sample["cont_id"]] = rows.gather(1, ids[:, None]).sum().item()
    return logprobs, {name: metric.compute().item() for name, metric in metrics.items()}


def requests_of(directory, limit):
    import gzip
    docs, lines = [], []
    for line in gzip.open(directory / "requests.jsonl.gz", "rt"):
        request = json.loads(line)
        if request["doc_id"] < 1000000 and request["doc_id"] not in docs:
            docs.append(request["doc_id"])
        lines.append((request, line))
    docs = set(docs[:limit])
    return [(request, line) for request, line in lines if request["doc_id"] % 1000000 in docs]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model"), parser.add_argument("tokenizer")
    parser.add_argument("tasks", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=100)
    args = parser.parse_args()
    model = transformers.OlmoForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    T, eos = model.config.max_position_embeddings, model.config.eos_token_id
    tokenizer = Tokenizer.from_file(args.tokenizer, eos_token_id=eos, pad_token_id=1)
    names = [task for task in RC + OTHERS if (args.tasks / task).is_dir()]
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["dev/eval/eval", "tasks", "--load", args.model, "--tokenizer", args.tokenizer,
                        "--limit", str(args.limit), "--scores", f"{work}/scores", "--json", f"{work}/json",
                        *(str(args.tasks / task / "rc_0shot") for task in names)], check=True)
        ours = json.load(open(f"{work}/json"))["tasks"]
        scores = {}
        for line in open(f"{work}/scores"):
            row = json.loads(line)
            scores[row["task"], row["doc_id"], row["idx"]] = row["logprob"]

    def twin(continuation):
        ids = tokenizer.encode("Answer:", add_special_tokens=False)
        text = tokenizer.encode(continuation, add_special_tokens=False)
        return logprob((ids + text)[-T - 1:], min(len(text), T))

    def logprob(ids, scored):
        with torch.no_grad():
            logp = torch.log_softmax(model(torch.tensor([ids[:-1]])).logits[0].double(), -1)
        return logp[-scored:].gather(1, torch.tensor(ids[-scored:])[:, None]).sum().item()

    failed = False
    print(f"{'task':22} {'requests':>8} {'cut':>5} {'worst':>9}   metrics: ours - theirs")
    for task in names:
        theirs, values = score(task, tokenizer, model, T, args.limit)
        requests = requests_of(args.tasks / task / "rc_0shot", args.limit)
        worst = cut = 0
        unconditional = {}
        for request, line in requests:
            doc, idx = request["doc_id"], request["idx"]
            text = request["request"]["continuation"]
            if doc >= 1000000:
                reference = twin(text)
                unconditional[doc - 1000000, idx] = reference
            else:
                reference = theirs[doc, idx]
                length = len(tokenizer.encode(request["request"]["context"], add_special_tokens=False)) \
                    + len(tokenizer.encode(text, add_special_tokens=False))
                cut += length > T + 1
            worst = max(worst, abs(scores[task, doc, idx] - reference))
        known = {"acc": "acc_raw", "len_norm": "acc_per_char_v1", "ce_loss": "ce_loss_v1",
                 "bpb": "bits_per_byte_v1", "f1": "f1"}
        differences = {name: ours[task][known[name]] - value for name, value in values.items()}
        # what their code does not have, from the log-probabilities
        right = {"acc_per_token": 0, "acc_per_char": 0, "acc_uncond": 0}
        by_doc = {}
        for request, line in requests:
            if request["doc_id"] < 1000000:
                by_doc.setdefault(request["doc_id"], []).append(request)
        for doc, choices in by_doc.items():
            texts = [choice["request"]["continuation"] for choice in choices]
            logprobs = [theirs[doc, i] for i in range(len(choices))]
            tokens = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
            twins = [unconditional.get((doc, i)) for i in range(len(choices))]
            twins = [twin(text) if x is None else x for x, text in zip(twins, texts)]
            for name, values_of in (("acc_per_token", [a / b for a, b in zip(logprobs, tokens)]),
                                    ("acc_per_char", [a / len(b) for a, b in zip(logprobs, texts)]),
                                    ("acc_uncond", [a - b for a, b in zip(logprobs, twins)])):
                right[name] += values_of.index(max(values_of)) == choices[0]["label"]
        for name, count in right.items():
            differences[name] = ours[task][name] - count / len(by_doc)
        fine = worst <= 1e-4 and all(abs(x) <= 1e-5 for x in differences.values())
        failed |= not fine
        print(f"{task:22} {len(requests):8} {cut:5} {worst:9.1e}   "
              + " ".join(f"{name} {x:+.0e}" if x else f"{name} 0" for name, x in differences.items())
              + ("" if fine else "   FAIL"), flush=True)
    sys.exit(failed)


main()
