"""A training step beside PyTorch: one machine, one run, the same threads, weights, windows and optimizer.

    python dev/bench/step.py            both cases: `small` (a byte model of 1M parameters) and `150m` (its first 4 layers)
    python dev/bench/step.py small --steps 100 --rounds 3

train_olmo writes a fresh model with --export; train_olmo and PyTorch (eager, and torch.compile) both start from it and
take the same steps, fp32 beside fp32. Their losses must agree, or the speeds would compare different things: exit code 1
if they do not. PyTorch under bf16 autocast stands beside them: fewer bits, so its losses are shown, not judged.
Idle threads wait alike in both (GOMP_SPINCOUNT).
Then it prints tokens/s, medians over all rounds without each round's first steps. Rounds alternate: ours, eager,
compiled, bf16, ours, ... Every line of speed names the processor. Needs numpy, torch and safetensors.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("case", nargs="?", choices=["small", "150m", "both"], default="both")
parser.add_argument("--steps", type=int, help="of each round")
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--program", default="./train_olmo")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)         # before torch is loaded
# Idle threads of both spin as long as GNU's OpenMP lets them by default, which PyTorch has. By itself train_olmo lets them
# spin less, for busy machines; on a quiet one that costs it 5 to 15 %.
os.environ.setdefault("GOMP_SPINCOUNT", "300000")

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F

CASES = {
    "small": dict(flags="--model tiny --d-model 128 --n-layers 4 --n-heads 4 --mlp-hidden 1024 --vocab 256 --seq-len 128 --tied",
                  batch=16, steps=60, skip=10),
    "150m": dict(flags="--model 150m --n-layers 4 --seq-len 512", batch=4, steps=4, skip=1),
}
LR, DECAY, BETAS, EPS, CLIP, SEED = 1e-3, 0.1, (0.9, 0.95), 1e-5, 1.0, 6198
AGREE = 1e-4                                                 # largest relative difference of two losses


# ---- OLMo-1 in PyTorch -----------------------------------------------------------------------------------------------
def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-5)


class Block(torch.nn.Module):
    def __init__(self, weights, heads):
        super().__init__()
        self.heads = heads
        for name, parts in dict(att_proj=["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], attn_out=["self_attn.o_proj"],
                                ff_proj=["mlp.up_proj", "mlp.gate_proj"], ff_out=["mlp.down_proj"]).items():
            setattr(self, name, torch.nn.Parameter(torch.cat([weights[f"{part}.weight"] for part in parts])))

    def forward(self, x, cos, sin):
        B, T, C = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in F.linear(norm(x), self.att_proj).chunk(3, -1))
        q, k = (y * cos + torch.cat([-y[..., y.shape[-1]//2:], y[..., :y.shape[-1]//2]], -1) * sin for y in (q, k))
        att = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, C)
        x = x + F.linear(att, self.attn_out)
        up, gate = F.linear(norm(x), self.ff_proj).chunk(2, -1)
        return x + F.linear(up * F.silu(gate), self.ff_out)


class Olmo(torch.nn.Module):
    """The model in the Hugging Face directory `start`, returning the mean loss over the predicted tokens."""
    def __init__(self, start):
        super().__init__()
        config = json.load(open(f"{start}/config.json"))
        weights = safetensors.torch.load_file(f"{start}/model.safetensors")
        self.embedding = torch.nn.Parameter(weights["model.embed_tokens.weight"])
        self.head = self.embedding if config["tie_word_embeddings"] else torch.nn.Parameter(weights["lm_head.weight"])
        layer = lambda l: {name.split(".", 3)[3]: w for name, w in weights.items() if name.startswith(f"model.layers.{l}.")}
        self.blocks = torch.nn.ModuleList(Block(layer(l), config["num_attention_heads"]) for l in range(config["num_hidden_layers"]))
        D, T = config["hidden_size"]//config["num_attention_heads"], config["max_position_embeddings"]
        angles = torch.outer(torch.arange(T).float(), config["rope_theta"] ** -(torch.arange(0, D, 2).float()/D)).repeat(1, 2)
        self.register_buffer("cos", angles.cos()), self.register_buffer("sin", angles.sin())

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.embedding)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.cross_entropy(F.linear(norm(x), self.head).flatten(0, 1), targets.flatten(), ignore_index=-100)


def train_torch(start, windows, batch, steps, compiled, bf16=False):
    """Losses and tokens/s of each step, everything included that train_olmo's own figure includes."""
    model = Olmo(start)
    run = torch.compile(model) if compiled else model
    matrices = [p for name, p in model.named_parameters() if name != "embedding"]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=DECAY), dict(params=[model.embedding], weight_decay=0.0)],
                                  lr=LR, betas=BETAS, eps=EPS, fused=True)
    order = np.arange(len(windows), dtype=np.uint32)
    np.random.Generator(np.random.PCG64(SEED)).shuffle(order)
    losses, times = [], []
    for step in range(steps):
        begun = time.perf_counter()
        tokens = torch.from_numpy(windows[order[step*batch:(step + 1)*batch]].astype(np.int64))
        targets = F.pad(tokens[:, 1:], (0, 1), value=-100)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = run(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        times.append(time.perf_counter() - begun)
    return losses, [batch*windows.shape[1]/t for t in times]


# ---- train_olmo ------------------------------------------------------------------------------------------------------
def command_line(start, data, out, batch, steps):
    return [options.program, "--load", start, "--data", data, "--val", "none", "--out", out, "--steps", steps, "--batch", batch, "--micro-batch", batch,
            "--seed", SEED, "--lr", LR, "--schedule", "constant", "--warmup", 0, "--weight-decay", DECAY, "--beta1", BETAS[0], "--beta2", BETAS[1],
            "--eps", EPS, "--clip", CLIP, "--clip-warmup-steps", 0, "--z-loss", 0, "--threads", options.threads,
            "--sample-every", 0, "--save-every", 0, "--eval-every", 0]


def run_program(arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, arguments))}\n{done.stderr}")


def train_ours(start, data, out, batch, steps):
    run_program(command_line(start, data, out, batch, steps))
    lines = [json.loads(line) for line in open(f"{out}/metrics.jsonl")]
    return [l["train/CrossEntropyLoss"] for l in lines], [l["throughput/device/tokens_per_second"] for l in lines]


# ---- the comparison --------------------------------------------------------------------------------------------------
def synthetic(path, vocab, count):
    """Tokens with something to learn: likely ids are small, and half of the tokens follow from the one before."""
    random = np.random.default_rng(0)
    tokens = np.minimum(random.exponential(vocab/20, count), vocab - 1).astype(np.uint16)
    follows = random.random(count) < 0.5
    follows[0] = False
    tokens[follows] = (tokens[np.flatnonzero(follows) - 1].astype(np.int64)*7 + 1) % vocab
    tokens.tofile(path)
    return tokens


def compare(name, flags, batch, steps, skip):
    steps = options.steps or steps
    if steps <= skip:
        sys.exit(f"error: --steps {steps}: the first {skip} steps of a round are not counted; give more")
    with tempfile.TemporaryDirectory() as directory:
        start, data = f"{directory}/start", f"{directory}/data.bin"
        run_program([options.program, *flags.split(), "--seed", SEED, "--export", start])
        config = json.load(open(f"{start}/config.json"))
        T = config["max_position_embeddings"]
        tokens = synthetic(data, config["vocab_size"], steps*batch*T)
        windows = tokens.reshape(-1, T)
        print(f"\n{name}: {flags} --batch {batch} --steps {steps}", flush=True)
        sides = {"ours": lambda out: train_ours(start, data, out, batch, steps),
                 "torch eager": lambda out: train_torch(start, windows, batch, steps, False),
                 "torch compiled": lambda out: train_torch(start, windows, batch, steps, True),
                 "compiled, bf16": lambda out: train_torch(start, windows, batch, steps, True, True)}
        losses, speeds = {}, {side: [] for side in sides}
        for round in range(options.rounds):
            for side, train in sides.items():
                losses[side], speed = train(f"{directory}/out{round}")
                speeds[side].append(speed[skip:])
                print(f"  {processor} | round {round + 1} {side:14} {statistics.median(speed[skip:]):10.1f} tokens/s", flush=True)

    print(f"  {'step':>6} {'ours':>12} {'torch eager':>12} {'compiled':>12} {'bf16':>12}   losses, nats/token")
    for step in sorted({0, 1, 2, 3, *range(9, steps, max(10, steps//10)), steps - 1}):
        if step < steps:
            print(f"  {step + 1:6} " + " ".join(f"{losses[side][step]:12.6f}" for side in sides))
    reference = np.array(losses["torch eager"])
    worst = float(np.max(np.abs(np.array(losses["ours"]) - reference)/reference))
    print(f"  largest relative difference of ours to torch eager: {worst:.1e} ({'agree' if worst < AGREE else 'THEY DISAGREE'}; limit {AGREE:.0e})")
    median = {side: statistics.median([s for round in speeds[side] for s in round]) for side in sides}
    for side in sides:
        print(f"  {processor} | {side:14} {median[side]:10.1f} tokens/s median, {max(max(s) for s in speeds[side]):10.1f} best")
    fastest = max(("torch eager", "torch compiled"), key=median.get)
    print(f"  {processor} | fp32 beside fp32: ours is {median['ours']/median[fastest]:.2f} times as fast as {fastest}")
    print(f"  {processor} | fp32 beside bf16 autocast: ours is {median['ours']/median['compiled, bf16']:.2f} times as fast", flush=True)
    return worst < AGREE


def first_line(command):
    return (subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip() or "unknown").splitlines()[0]


processor = f"{first_line('sed -n s/^model.name.*:.//p /proc/cpuinfo')}, {options.threads} threads"

if __name__ == "__main__":
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    bf16 = "in hardware" if any(flag in open("/proc/cpuinfo").read() for flag in ("avx512_bf16", "amx_bf16", " bf16")) else "emulated"
    print(f"{processor} | torch {torch.__version__}, bf16 {bf16} | "
          f"commit {first_line('git rev-parse --short HEAD')} | {' '.join(sys.argv)}")
    chosen = CASES if options.case == "both" else {options.case: CASES[options.case]}
    fine = [compare(name, **CASES[name]) for name in chosen]
    sys.exit(0 if all(fine) else 1)
