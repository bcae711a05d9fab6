"""Two loss curves: train_olmo_cu and transformers' OlmoForCausalLM, from the same weights, on the same windows.

    python dev/bench/curves.py TOKENS.npy           (headerless uint16, as data/tokenize writes it; vocabulary 50,280)
    python dev/bench/curves.py TOKENS.npy --steps 3000 --out curves

Both train OLMo's 150m (bf16 arithmetic, fp32 master weights) on the same windows in the same order, with the same
AdamW, schedule and clipping. Writes OUT.json, every loss of both, and OUT.png, the curves over each other and their
difference. Needs a GPU, numpy, torch, transformers and matplotlib, and ./train_olmo (which makes the first weights)
beside ./train_olmo_cu.
"""
import argparse, json, math, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("tokens")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--out", default="curves")
options = parser.parse_args()

import numpy as np
import torch
from transformers import OlmoForCausalLM

SEED, LR, FINAL, WARMUP, DECAY, BETAS, EPS, CLIP, T = 6198, 6e-4, 0.1, 100, 0.1, (0.9, 0.95), 1e-5, 1.0, 2048


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, arguments))}\n{done.stderr}")


def ours(directory):
    out = f"{directory}/ours"
    run("./train_olmo_cu", "--model", "150m", "--seed", SEED, "--data", options.tokens, "--val", "none",
        "--steps", options.steps, "--batch", options.batch, "--micro-batch", options.batch, "--schedule", "cosine",
        "--lr", LR, "--final-lr", FINAL, "--warmup", WARMUP, "--weight-decay", DECAY, "--beta1", BETAS[0],
        "--beta2", BETAS[1], "--eps", EPS, "--clip", CLIP, "--sample-every", 0, "--no-save", "--out", out)
    lines = [json.loads(line) for line in open(f"{out}/metrics.jsonl")]
    return [l["train/CrossEntropyLoss"] for l in lines]


def learning_rate(step):                                     # of step 1, 2, ...: section 4 of train_olmo.c
    if step < WARMUP:
        return LR*(0.1 + 0.9*step/WARMUP)
    done = min(1, (step - WARMUP)/(options.steps - WARMUP))
    return LR*(FINAL + (1 - FINAL)*(1 + math.cos(math.pi*done))/2)


def theirs(start):
    model = OlmoForCausalLM.from_pretrained(start, dtype=torch.float32, attn_implementation="sdpa").cuda()
    model.config.use_cache = False
    embedding = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p is not embedding]
    groups = [dict(params=matrices, weight_decay=DECAY), dict(params=[embedding], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, fused=True)
    compiled = torch.compile(model)
    tokens = np.fromfile(options.tokens, dtype=np.uint16)
    windows = tokens[:len(tokens)//T*T].reshape(-1, T)
    losses, epoch, at = [], -1, len(windows)
    for step in range(1, options.steps + 1):
        if at + options.batch > len(windows):                # a rest smaller than a batch is left out
            epoch, at = epoch + 1, 0
            order = np.arange(len(windows), dtype=np.uint32)
            np.random.Generator(np.random.PCG64(SEED + epoch)).shuffle(order)
        x = torch.from_numpy(windows[order[at:at + options.batch]].astype(np.int64)).cuda()
        at += options.batch
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        with torch.autocast("cuda", torch.bfloat16):
            loss = compiled(input_ids=x, labels=x).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
    return [float(l) for l in losses]


def smooth(x, n=25):
    return np.convolve(x, np.ones(n)/n, mode="valid")


def draw(a, b):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(8, 6), sharex=True, height_ratios=[3, 1])
    top.plot(b, color="0.6", linewidth=3, label="transformers, torch.compile, AMP bf16")
    top.plot(a, color="C3", linewidth=0.8, label="train_olmo_cu")
    top.set_ylabel("training loss, nats per token"), top.legend(), top.grid(alpha=0.3)
    bottom.plot(np.array(a) - np.array(b), color="C0", linewidth=0.8)
    bottom.axhline(0, color="0.5", linewidth=0.8)
    bottom.set_ylabel("difference"), bottom.set_xlabel(f"step of {options.batch} x {T} tokens"), bottom.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(f"{options.out}.png", dpi=110)


with tempfile.TemporaryDirectory() as directory:
    start, begun = f"{directory}/start", time.time()
    run("./train_olmo", "--model", "150m", "--seed", SEED, "--export", start)
    a, now = ours(directory), time.time()
    print(f"train_olmo_cu: {options.steps} steps, {now - begun:.0f} s, the first weights included", flush=True)
    b = theirs(start)
    print(f"transformers: {time.time() - now:.0f} s, compilation included", flush=True)
json.dump({"ours": a, "transformers": b}, open(f"{options.out}.json", "w"))
draw(a, b)
difference = np.abs(np.array(a) - np.array(b))
mean = np.abs(smooth(a) - smooth(b))
print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
print(f"the last losses, means of 25 steps: {smooth(a)[-1]:.4f} and {smooth(b)[-1]:.4f}")
print(f"largest difference of one step {difference.max():.4f}, of the mean of 25 steps {mean.max():.4f}")
