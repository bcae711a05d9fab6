#!/usr/bin/env python3
"""`eval tasks` beside lm-evaluation-harness, on the same weights and request files; by hand (pip
install lm-eval).

    dev/eval/check_lm_eval.py MODEL TOKENIZER TASK_DIRECTORY... [--limit N]

The request files become local tasks of the harness: their contexts, and their continuations as
choices.  Printed are the largest difference of a log-probability, and both accuracies (acc, and
acc_norm beside acc_per_char).

Where they differ: the harness encodes context and continuation together and splits the ids where
the context's own ids end, so a token may reach across the border; and it divides acc_norm by the
characters of the choice as its task has it, here with the leading space.
"""
import argparse
import gzip
import json
import pathlib
import subprocess
import tempfile

import lm_eval
import transformers
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model"), parser.add_argument("tokenizer")
    parser.add_argument("tasks", type=pathlib.Path, nargs="+")
    parser.add_argument("--limit", type=int, default=30)
    args = parser.parse_args()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=args.tokenizer, eos_token="<|endoftext|>")
    model = HFLM(pretrained=transformers.OlmoForCausalLM.from_pretrained(args.model), tokenizer=tokenizer,
                 batch_size=8, device="cpu", backend="causal")
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        subprocess.run(["dev/eval/eval", "tasks", "--load", args.model, "--tokenizer", args.tokenizer,
                        "--limit", str(args.limit), "--scores", work / "scores", "--json", work / "json",
                        *args.tasks], check=True, stdout=subprocess.DEVNULL)
        ours = json.loads((work / "json").read_text())["tasks"]
        scores = {}
        for line in (work / "scores").read_text().splitlines():
            row = json.loads(line)
            scores[row["task"], row["doc_id"], row["idx"]] = row["logprob"]
        for directory in args.tasks:
            docs = {}
            for line in gzip.open(directory / "requests.jsonl.gz", "rt"):
                request = json.loads(line)
                if request["doc_id"] < 1000000:
                    doc = docs.setdefault(request["doc_id"], {"id": request["doc_id"], "choices": [],
                                                              "context": request["request"]["context"],
                                                              "gold": request["label"]})
                    doc["choices"].append(request["request"]["continuation"])
            name = json.loads((directory / "config.json").read_text())["task_name"]
            some = list(docs.values())[:args.limit]
            (work / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in some))
            task = ConfigurableTask(config={
                "task": name, "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": str(work / "docs.jsonl")}},
                "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{context}}",
                "doc_to_choice": "{{choices}}", "doc_to_target": "gold", "target_delimiter": "",
                "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]})
            result = lm_eval.simple_evaluate(model=model, tasks=[task], bootstrap_iters=0, log_samples=True)
            values = result["results"][name]
            worst = apart = 0
            for sample in result["samples"][name]:
                for idx, response in enumerate(sample["filtered_resps"]):
                    d = abs(response[0] - scores[name, sample["doc"]["id"], idx])
                    worst, apart = max(worst, d), apart + (d > 1e-4)
            asked = sum(len(doc["choices"]) for doc in some)
            print(f"{name}: {apart} of {asked} log-probabilities differ, by {worst:.1e} at most; "
                  f"acc {values['acc,none']:.4f}, ours {ours[name]['acc_raw']:.4f}; "
                  f"acc_norm {values['acc_norm,none']:.4f}, "
                  f"acc_per_char {ours[name]['acc_per_char']:.4f}", flush=True)


main()
