#!/usr/bin/env python3
"""12 updates of SFT and of DPO by a straight PyTorch script, beside train_olmo's on the same weights and rows in the same order.

    make train_olmo && dev/reference/adapt.py            (torch, transformers, numpy: requirements.txt)

The model is transformers' OlmoForCausalLM in float32, and nothing else is shared: the template, the masks, padding, losses, AdamW,
the schedule and DPO are written out here, by what ADAPT_SPEC says of the official code. (adapt_trl.py has TRL do the same.)
Ends with the largest differences; exit code 1 if one is above 1e-4 (relative, of losses, norms and log-probabilities; absolute, of
rewards). --golden DIR also writes the weights, the data and PyTorch's numbers, for the tests, which need no Python.
--speed FILE instead times both on the conversations of a file, in turns: tokens and labels per second.
"""
import argparse, json, math, os, shutil, statistics, subprocess, sys, tempfile, time

import numpy as np
import torch
from transformers import OlmoForCausalLM

STEPS, WARMUP, LR, BETA, SEED, T = 12, 3, 1e-3, 0.1, 6198, 96
PEOPLE, THINGS, COLOURS = ["Ann", "Ben", "Cleo", "Dan"], ["kite", "ball", "drum"], ["red", "blue", "green", "amber"]


def conversations(n, pairs):
    """Questions about a sentence, with answers of very different lengths; every third has a second turn."""
    random = np.random.default_rng(3 + pairs)
    for i in range(n):
        who, what, colour = (str(random.choice(x)) for x in (PEOPLE, THINGS, COLOURS))
        ask = {"role": "user", "content": f"{who} has a {colour} {what}. Which?"}
        full, word = f"The {what} of {who} is {colour}.", colour
        say = lambda text: {"role": "assistant", "content": text}
        if pairs:
            yield {"chosen": [ask, say(full)], "rejected": [ask, say(word)]}
        else:
            second = [{"role": "user", "content": "Who?"}, say(who)] if i % 3 == 0 else []
            yield {"messages": [ask, say(word if i % 2 else full)] + second}


def rendered(messages):
    """Bytes and labels: byte 0 is EOS; a label is an answer, its EOS, and the newline behind it where a message follows."""
    ids, labels = [0], [False]

    def add(text, label):
        ids.extend(text.encode()); labels.extend([label]*len(text.encode()))

    for i, m in enumerate(messages):
        last = i + 1 == len(messages)
        add(f"<|{m['role']}|>\n", False)
        answer = m["role"] == "assistant"
        add(m["content"].strip(), answer)
        if answer:
            ids.append(0); labels.append(True)
        if not last:
            add("\n", answer)
    return ids[:T], labels[:T]


def batch(rows):
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    targets = torch.full((len(rows), longest), -100)
    for r, (ids, labels) in enumerate(rows):
        tokens[r, :len(ids)] = torch.tensor(ids)
        for t in range(1, len(ids)):
            if labels[t]:
                targets[r, t - 1] = ids[t]
    return tokens, targets


def row_losses(model, rows):
    """-log p summed over each row's labels, and how many there are."""
    tokens, targets = batch(rows)
    logits = model(input_ids=tokens).logits
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
    return losses.view(tokens.shape).sum(1), (targets != -100).sum(1)


def rate(t):
    return LR*t/WARMUP if t < WARMUP else LR*max(0, (STEPS - t)/(STEPS - WARMUP))


def order_of(n):
    epoch = 0
    while True:
        order = np.arange(n, dtype=np.uint32)
        np.random.Generator(np.random.PCG64(SEED + epoch)).shuffle(order)
        yield order
        epoch += 1


def batches(n, size):
    for order in order_of(n):
        for i in range(0, n, size):
            yield order[i:i + size]


def train(load, kind, data, size):
    model = OlmoForCausalLM.from_pretrained(load, torch_dtype=torch.float32, attn_implementation="eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    lines, reference = [], None
    sides = [[rendered(d[s]) for d in data] for s in (["chosen", "rejected"] if kind == "dpo" else ["messages"])]
    if kind == "dpo":
        with torch.no_grad():
            reference = [torch.stack([-row_losses(model, [row])[0][0].double() for row in side]) for side in sides]
    for t, chosen in zip(range(STEPS), batches(len(data), size)):
        for group in optimizer.param_groups:
            group["lr"] = rate(t)
        line = {}
        if kind == "dpo":
            (lc, _), (lr_, _) = (row_losses(model, [side[i] for i in chosen]) for side in sides)
            rc, rr = (ref[torch.tensor(chosen.astype(np.int64))] for ref in reference)
            won, lost = BETA*(-lc - rc), BETA*(-lr_ - rr)
            loss = -torch.nn.functional.logsigmoid(won - lost).mean()
            line = {"train/DPOLoss": loss, "rewards/chosen": won.mean(), "rewards/rejected": lost.mean(), "rewards/margins": (won - lost).mean(),
                    "rewards/accuracies": (won > lost).double().mean(), "logps/chosen": (-lc).mean(), "logps/rejected": (-lr_).mean()}
        else:
            losses, labels = row_losses(model, [sides[0][i] for i in chosen])
            loss = losses.sum()/labels.sum() if kind == "predicted" else (losses/labels).mean()
            line = {"train/CrossEntropyLoss": loss}
        optimizer.zero_grad()
        loss.backward()
        line["optim/total_grad_norm"] = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
        line["optim/learning_rate_group0"] = rate(t)
        optimizer.step()
        lines.append({k: v.item() if torch.is_tensor(v) else v for k, v in line.items()})
    return lines


def ours(program, work, load, kind, file, size):
    out = os.path.join(work, "ours-" + kind)
    what = ["--dpo", file, "--dpo-beta", str(BETA)] if kind == "dpo" else ["--data", file, "--denominator", kind]
    subprocess.run([program, "--load", load, *what, "--val", "none", "--steps", str(STEPS), "--batch", str(size), "--micro-batch", "3", "--lr", str(LR),
                    "--warmup", str(WARMUP), "--schedule", "finetune", "--seq-len", str(T), "--sample-every", "0", "--seed", str(SEED), "--out", out],
                   check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in open(os.path.join(out, "metrics.jsonl"))]


def speed(program, file, batch_size=16, steps=6, rounds=2):
    """Median tokens per second of updates, ours and a padded script's, taken in turns; the first update of each turn warms up."""
    global T
    T = 256
    data = [json.loads(line) for line, _ in zip(open(file), range(batch_size*steps))]
    work = tempfile.mkdtemp()
    part = os.path.join(work, "part.jsonl")
    with open(part, "w") as f:
        f.writelines(json.dumps(d) + "\n" for d in data)
    command = [program, "--d-model", "128", "--n-layers", "4", "--n-heads", "8", "--mlp-hidden", "1024", "--seq-len", str(T), "--data", part,
               "--val", "none", "--batch", str(batch_size), "--micro-batch", str(batch_size), "--steps", str(steps), "--sample-every", "0",
               "--threads", str(torch.get_num_threads()), "--out", os.path.join(work, "run")]
    rows = [rendered(d["messages"]) for d in data]
    labels = sum(sum(l) for _, l in rows)/sum(len(ids) for ids, _ in rows)
    ours_, theirs = [], []
    for _ in range(rounds):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = [json.loads(line) for line in open(os.path.join(work, "run", "metrics.jsonl"))]
        ours_ += [line["throughput/device/tokens_per_second"] for line in lines[1:]]
        model = OlmoForCausalLM.from_pretrained(os.path.join(work, "run", f"step{steps}"), torch_dtype=torch.float32)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        for t in range(steps):
            start, some = time.time(), rows[t*batch_size:(t + 1)*batch_size]
            losses, counts = row_losses(model, some)
            optimizer.zero_grad()
            (losses.sum()/counts.sum()).backward()
            optimizer.step()
            if t:
                theirs.append(sum(len(ids) for ids, _ in some)/(time.time() - start))
    a, b = statistics.median(ours_), statistics.median(theirs)
    print(f"{torch.get_num_threads()} threads: ours {a:,.0f} tokens/s ({a*labels:,.0f} labels), padded PyTorch {b:,.0f} ({b*labels:,.0f}): {a/b:.2f} times")
    shutil.rmtree(work)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--speed")
    parser.add_argument("--program", default="./train_olmo")
    parser.add_argument("--golden")
    o = parser.parse_args()
    if o.speed:
        return speed(os.path.abspath(o.program), o.speed)
    work = tempfile.mkdtemp()
    files = {}
    for pairs in (0, 1):
        files[pairs] = os.path.join(work, "pairs.jsonl" if pairs else "chat.jsonl")
        with open(files[pairs], "w") as f:
            f.writelines(json.dumps(line) + "\n" for line in conversations(22, pairs))
    start = os.path.join(work, "start")
    subprocess.run([os.path.abspath(o.program), "--d-model", "16", "--n-layers", "2", "--n-heads", "2", "--mlp-hidden", "64", "--seq-len", str(T), "--data", files[0],
                    "--steps", "30", "--lr", "1e-2", "--val", "none", "--sample-every", "0", "--out", start], check=True, stdout=subprocess.DEVNULL)
    load = os.path.join(start, "step30")
    worst, golden = 0, {}
    for kind in ("predicted", "sequences", "dpo"):
        file = files[kind == "dpo"]
        theirs = train(load, kind, [json.loads(line) for line in open(file)], 8)
        mine = ours(os.path.abspath(o.program), work, load, kind, file, 8)
        golden[kind] = theirs
        for name in theirs[0]:
            scale = (lambda x: 1) if name.startswith("rewards") else (lambda x: max(abs(x), 1e-6))
            error = max(abs(a[name] - b[name])/scale(b[name]) for a, b in zip(mine, theirs))
            worst = max(worst, error)
            print(f"{kind:10} {name:30} first {theirs[0][name]:12.6g}  last {theirs[-1][name]:12.6g}  largest difference {error:.2e}")
    print(f"largest difference {worst:.2e}")
    if o.golden:
        os.makedirs(o.golden, exist_ok=True)
        for path in (os.path.join(load, "config.json"), os.path.join(load, "model.safetensors"), *files.values()):
            shutil.copy(path, o.golden)
        with open(os.path.join(o.golden, "updates.json"), "w") as f:
            json.dump(golden, f, indent=0)
    shutil.rmtree(work)
    return worst > 1e-4 or math.isnan(worst)


if __name__ == "__main__":
    sys.exit(main())
