#!/usr/bin/env python3
"""The golden values of dev/eval/test_eval.c, by hand (dev/reference/requirements.txt).

    dev/eval/golden.py dev/eval/golden

asks ai2-olmo's own evaluation code (olmo.eval.downstream) the tasks in golden/tasks of the model in
golden/model, a model of bytes, by the logits of transformers' OlmoForCausalLM, and writes
golden/official.json: the log-probability of every request, and every metric.
"""
import json
import pathlib
import sys

import torch
import transformers
from olmo.eval import downstream


class Bytes:
    pad_token_id = 0

    def encode(self, text, add_special_tokens=False):
        return list(text.encode())


def load(path, name=None, split=None):
    directory = pathlib.Path(path)
    lines = (directory / "requests.jsonl").read_text().splitlines()
    return json.loads((directory / "config.json").read_text()), [json.loads(line) for line in lines]


def main():
    golden = pathlib.Path(sys.argv[1])
    downstream.load_oe_eval_requests = load
    model = transformers.OlmoForCausalLM.from_pretrained(golden / "model", dtype=torch.float32).eval()
    T = model.config.max_position_embeddings
    result = {}
    for directory in sorted((golden / "tasks").iterdir()):
        logprobs, values = {}, {}
        config, _ = load(directory / "rc_0shot")
        asked = ["acc", "len_norm", "ce_loss", "bpb"]
        if config["task_config"]["primary_metric"] == "f1":
            asked.append("f1")
        for name in asked:
            dataset = downstream.OEEvalTask(Bytes(), str(directory / "rc_0shot"), model_ctx_len=T,
                                            metric_type=name)
            metric = downstream.ICLMetric(name)
            for at in range(0, len(dataset.samples), 8):
                samples = dataset.samples[at:at + 8]
                batch = dataset.collate_fn(samples)
                with torch.no_grad():
                    logits = model(batch["input_ids"]).logits
                metric.update(batch, logits)
                for i, sample in enumerate(samples if name == "acc" else []):
                    first = sample["ctx_len"] - 1
                    rows = torch.log_softmax(logits[i, first:first + sample["cont_len"]].double(), -1)
                    chosen = rows.gather(1, torch.tensor(sample["continuation"])[:, None]).sum().item()
                    logprobs[f"{sample['doc_id']}.{sample['cont_id']}"] = chosen
            values[name] = metric.compute().item()
        result[directory.name] = {"logprobs": logprobs, "metrics": values}
    (golden / "official.json").write_text(json.dumps(result, indent=1) + "\n")


main()
