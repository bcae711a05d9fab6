#!/usr/bin/env python3
"""12 updates of SFT and of DPO by TRL's own trainers, beside train_olmo's on the same weights and
conversations in the same order.

    make train_olmo && dev/reference/adapt_trl.py         (torch, transformers, trl: requirements.txt)

TRL gets the messages themselves: it renders them by the chat template that train_olmo saves, finds
the answers, cuts and pads, and takes its own losses; transformers' Trainer makes the updates.  Ends
with the largest difference; exit code 1 if it is above 1e-4 (relative, of losses, norms, rates and
log-probabilities; absolute, of rewards).

Where TRL would do something else, and what keeps it from that:

    labels      are all tokens; assistant_only_loss leaves the answers, which the template has to mark
    order       is torch's; the sampler below gives OLMo's
    precision   is bf16 where nothing is said
    clipping    is at a norm of 1; at 1e9 it only measures
    means       SFT divides the losses of an update by its labels, however the update is split, as we
                do.  DPO takes the mean of its micro-batches' means, which is the mean over the pairs
                only where all are of one size.  So SFT is split here (4 + 4 rows, and 4 + 2), and DPO
                is not
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import OlmoForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from adapt import BETA, LR, STEPS, T, WARMUP, conversations, order_of, ours

BATCH = 8
# The saved template, with marks around what the assistant has to write itself.
MARKED = """{{ eos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' }}\
{% if message['role'] == 'assistant' %}\
{% generation %}{{ message['content'].strip() + eos_token }}\
{% if not loop.last %}{{ '\\n' }}{% endif %}{% endgeneration %}\
{% else %}{{ message['content'].strip() }}{% if not loop.last %}{{ '\\n' }}{% endif %}\
{% endif %}{% endfor %}"""
# What both log.
NAMES = {"loss": "train/CrossEntropyLoss", "grad_norm": "optim/total_grad_norm",
         "learning_rate": "optim/learning_rate_group0"}
REWARDS = "rewards/chosen rewards/rejected rewards/accuracies rewards/margins logps/chosen logps/rejected"
DPO_NAMES = NAMES | {"loss": "train/DPOLoss"} | {name: name for name in REWARDS.split()}


def tokenizer_of_bytes(load):
    """A token is a byte, and byte 0 is EOS.  All texts here are ASCII; the other half is never used."""
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = [pieces.pre_tokenize_str(chr(byte))[0][0] for byte in range(128)]
    letters += [letter for letter in sorted(pieces.alphabet()) if letter not in letters]
    bare = Tokenizer(models.BPE({letter: byte for byte, letter in enumerate(letters)}, merges=[]))
    bare.pre_tokenizer = pieces
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token=letters[0], pad_token=letters[0])
    with open(os.path.join(load, "tokenizer_config.json")) as file:
        tokenizer.chat_template = json.load(file)["chat_template"]
    return tokenizer


class OlmoOrder(torch.utils.data.Sampler):
    """Each time it is asked it gives the next epoch."""

    def __init__(self, rows):
        self.n, self.epochs = len(rows), order_of(len(rows))

    def __len__(self):
        return self.n

    def __iter__(self):
        return iter(next(self.epochs).tolist())


def theirs(dpo, load, rows, work):
    tokenizer = tokenizer_of_bytes(load)
    if dpo:
        Trainer, Config = DPOTrainer, DPOConfig
        options = {"per_device_train_batch_size": BATCH, "beta": BETA}
    else:
        Trainer, Config = SFTTrainer, SFTConfig
        options = {"per_device_train_batch_size": BATCH//2, "gradient_accumulation_steps": 2,
                   "assistant_only_loss": True}
        plain = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
        tokenizer.chat_template = MARKED
        assert plain == [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
    config = Config(
        os.path.join(work, "trl"), max_steps=STEPS, max_length=T, learning_rate=LR,
        lr_scheduler_type="linear", warmup_steps=WARMUP, optim="adamw_torch", adam_beta1=0.9,
        adam_beta2=0.999, adam_epsilon=1e-8, weight_decay=0, max_grad_norm=1e9, bf16=False, use_cpu=True,
        logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, **options)
    model = OlmoForCausalLM.from_pretrained(load, dtype=torch.float32)
    trainer = Trainer(model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer._get_train_sampler = OlmoOrder
    trainer.pop_callback(PrinterCallback)
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


def main():
    logging.disable_progress_bar(), disable_progress_bars()
    program, work, worst = os.path.abspath("train_olmo"), tempfile.mkdtemp(), 0
    load = os.path.join(work, "start", "step30")
    files = [os.path.join(work, name) for name in ("chat.jsonl", "pairs.jsonl")]
    for pairs, path in enumerate(files):
        with open(path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in conversations(22, pairs))
    small = f"--d-model 16 --n-layers 2 --n-heads 2 --mlp-hidden 64 --seq-len {T}".split()
    subprocess.run([program, *small, "--data", files[0], "--val", "none", "--steps", "30", "--lr", "1e-2",
                    "--sample-every", "0", "--out", os.path.dirname(load)],
                   check=True, stdout=subprocess.DEVNULL)
    for dpo, path in enumerate(files):
        with open(path) as file:
            lines = theirs(dpo, load, [json.loads(line) for line in file], work)
        mine = ours(program, work, load, "dpo" if dpo else "predicted", path, BATCH)
        for name, our_name in (DPO_NAMES if dpo else NAMES).items():
            pairs = [(a[our_name], b[name]) for a, b in zip(mine, lines, strict=True)]
            scale = [1 if name.startswith("rewards") else max(abs(b), 1e-6) for _, b in pairs]
            error = max(abs(a - b)/s for (a, b), s in zip(pairs, scale))
            worst = max(worst, error)
            print(f"{'DPO' if dpo else 'SFT'} {our_name:30} first {pairs[0][1]:12.6g}  "
                  f"last {pairs[-1][1]:12.6g}  largest difference {error:.2e}")
    print(f"largest difference {worst:.2e}")
    shutil.rmtree(work)
    return not worst <= 1e-4


if __name__ == "__main__":
    sys.exit(main())
