"""PyTorch on the same card, for dev/bench/bench_gpu to be put beside: attention, the kernels around it, a training step.

    python dev/bench/step_gpu.py                         everything at OLMo-1B's sizes (--model 150m for those)
    python dev/bench/step_gpu.py step --micro-batch 8    one part: attention, kernels or step

Attention is cuDNN's and FlashAttention's through scaled_dot_product_attention; the kernels are torch.compile's; the
step is transformers' OlmoForCausalLM with torch.compile, weights in fp32 under autocast to bf16 (how OLMo was trained)
and once more in pure bf16, with the fused AdamW and gradient clipping. Medians. Needs torch and transformers.
"""
import argparse, statistics, time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

MODELS = {"1b": dict(hidden_size=2048, num_hidden_layers=16, num_attention_heads=16, intermediate_size=8192, tie_word_embeddings=True),
          "150m": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, tie_word_embeddings=False),
          "7b": dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008, tie_word_embeddings=False)}
SHAPES = [(8, 2048, 16, 128), (4, 2048, 32, 128), (4, 4096, 16, 128), (16, 1024, 16, 128), (32, 512, 16, 128),
          (8, 2048, 32, 64), (16, 2048, 12, 64), (16, 1024, 32, 64), (4, 4096, 32, 64)]


def milliseconds(run, budget=0.2, batch=20, pause=0):
    """The median of runs that follow each other, as in bench.cu: the card waits for no Python, and is as hot as in training.
    With a pause, in seconds, before every batch, it stays cool, and its clock high."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < budget:
        time.sleep(pause)
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(batch)]
        for before, after in events:
            before.record(), run(), after.record()
        torch.cuda.synchronize()
        times += [before.elapsed_time(after) for before, after in events]
    return statistics.median(times)


def normal(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def attention():
    print("\nattention: 4 B H D T T/2 operations forward, 2.5 times that backward; run after run, or (cool) four at a time with pauses")
    cool = dict(budget=0.3, batch=4, pause=0.02)
    for B, T, H, D in SHAPES:
        q, k, v = (normal(B, T, H, D).transpose(1, 2).requires_grad_() for _ in range(3))
        dout = normal(B, T, H, D).transpose(1, 2)
        for name, backend in ("cuDNN", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION):
            with sdpa_kernel(backend):
                run = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
                with torch.no_grad():
                    forward, cool_forward = milliseconds(run), milliseconds(run, **cool)
                out = run()
                run = lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)
                backward, cool_backward = milliseconds(run), milliseconds(run, **cool)
            gflop = 2e-9*B*H*D*T*T
            print(f"  {name} D={D:<3} B={B:<2} T={T:<4} H={H:<2}        forward {forward:.3f} ms {gflop/forward:4.0f} TFLOP/s "
                  f"(cool {gflop/cool_forward:4.0f})   backward {backward:.3f} ms {2.5*gflop/backward:4.0f} TFLOP/s "
                  f"(cool {2.5*gflop/cool_backward:4.0f})", flush=True)


def kernels(config, B, T):
    """Forward and backward of what torch.compile fuses, and the products, at the model's sizes."""
    N, C, inner, V = B*T, config["hidden_size"], config["intermediate_size"], 50304
    print(f"\nkernels, N={N}: forward ms, backward ms (all gradients)")

    def both(name, function, *inputs):
        inputs = [x.requires_grad_() for x in inputs]
        run = torch.compile(function)
        out = run(*inputs)
        dout = torch.randn_like(out)
        with torch.no_grad():
            forward = milliseconds(lambda: run(*inputs))
        backward = milliseconds(lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True))
        print(f"  {name:22} {forward:9.4f} {backward:9.4f}", flush=True)

    for name, i, o in ("att_proj", C, 3*C), ("attn_out", C, C), ("ff_proj", C, 2*inner), ("ff_out", inner, C):
        both(name, F.linear, normal(N, i), normal(o, i)*0.02)
    both("norm", lambda x: F.layer_norm(x, (C,), eps=1e-5), normal(N, C))
    both("swiglu", lambda up, gate: up*F.silu(gate), normal(N, inner), normal(N, inner))
    targets = torch.randint(V, (8192,), device="cuda")
    both("softmax and loss, 8192", lambda logits: F.cross_entropy(logits.float(), targets), normal(8192, V))


def training_steps(model, run, B, T, steps, warm, autocast=False):
    """Seconds of each of `steps` training steps, after `warm` that do not count; and the last loss. run: the model, as it is called."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1, fused=True)
    tokens = torch.randint(50304, (B, T), device="cuda")
    times = []
    for n in range(steps + warm):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            loss = run(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if n >= warm:
            times.append(time.perf_counter() - start)
    return times, loss.item()


def step(config, B, T, pure):
    from transformers import OlmoConfig, OlmoForCausalLM
    torch.manual_seed(0)
    dtype = torch.bfloat16 if pure else torch.float32
    model = OlmoForCausalLM(OlmoConfig(vocab_size=50304, max_position_embeddings=T, **config)).to("cuda", dtype)
    model.config.use_cache = False
    torch.cuda.reset_peak_memory_stats()
    times, loss = training_steps(model, torch.compile(model), B, T, options.steps, 10, autocast=not pure)
    memory = torch.cuda.max_memory_allocated()/2**30
    print(f"  {'bf16 weights and moments' if pure else 'fp32 weights, autocast'}: {1e3*statistics.median(times):.1f} ms, "
          f"{B*T/statistics.median(times):.0f} tokens/s, {memory:.1f} GiB, loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["attention", "kernels", "step", "all"], default="all")
    parser.add_argument("--model", choices=MODELS, default="1b")
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--weights", choices=["fp32", "bf16", "both"], default="both", help="of the step")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    print(f"{torch.cuda.get_device_name(0)} | torch {torch.__version__} | cuDNN {torch.backends.cudnn.version()}")
    config, B, T = MODELS[options.model], options.micro_batch, options.seq_len
    if options.part in ("attention", "all"):
        attention()
    if options.part in ("kernels", "all"):
        kernels(config, B, T)
    if options.part in ("step", "all"):
        print(f"\nstep, {options.model}, {B} x {T}, transformers and torch.compile")
        for pure in (False, True) if options.weights == "both" else (options.weights == "bf16",):
            step(config, B, T, pure)
