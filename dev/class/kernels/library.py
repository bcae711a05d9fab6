#!/usr/bin/env python3
"""The tasks of the ladders by PyTorch, on the same card: what a library makes of them.

Usage: python3 dev/class/kernels/library.py        (PyTorch with CUDA; median of 15 runs after 3)
"""
import torch
import torch.nn.functional as F


def milliseconds(run):
    times = []
    for i in range(18):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        if i >= 3:
            times.append(start.elapsed_time(stop))
    return sorted(times)[len(times)//2]


def show(name, run):
    print(f"{name:44} {milliseconds(run):9.3f} ms", flush=True)


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def norm():
    x = normal(32768, 2048, dtype=torch.float32)
    eager = lambda: F.layer_norm(x, (2048,)).to(torch.bfloat16)
    show("norm: layer_norm, then to bf16", eager)
    show("norm: the same by torch.compile", torch.compile(eager))


def softmax():
    x = normal(8192, 50304)
    show("softmax: torch.softmax (not in place)", lambda: torch.softmax(x, 1))


def crossentropy():
    x = normal(8192, 50304).requires_grad_()
    targets = torch.randint(50304, (8192,), device="cuda")

    def both(loss):
        x.grad = None
        loss(x, targets).backward()

    show("crossentropy: cross_entropy, backward", lambda: both(F.cross_entropy))
    compiled = torch.compile(F.cross_entropy)
    show("crossentropy: the same by torch.compile", lambda: both(compiled))


def adamw():
    """Float weights; the bf16 copy that the ladder also writes is not part of torch's update."""
    p = torch.nn.Parameter(normal(256 << 20, dtype=torch.float32))
    p.grad = normal(256 << 20, dtype=torch.float32)
    optimizer = torch.optim.AdamW([p], fused=True)

    def update():
        torch.nn.utils.clip_grad_norm_([p], 1.0)
        optimizer.step()

    show("adamw: AdamW(fused=True).step", optimizer.step)
    show("adamw: clip_grad_norm_ and step", update)


def matmul():
    a, b = normal(4096, 2048), normal(2048, 2048)
    show("matmul: F.linear", lambda: F.linear(a, b))


def attention():
    from torch.nn.attention import SDPBackend, sdpa_kernel
    q, k, v = (normal(4, 16, 2048, 128) for _ in range(3))
    for backend in SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION:
        with sdpa_kernel(backend):
            show(f"attention: {backend.name}",
                 lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))


print(torch.cuda.get_device_name(), "PyTorch", torch.__version__)
for task in norm, softmax, crossentropy, adamw, matmul, attention:
    try:
        task()
    except Exception as error:                  # one missing compiler or backend: the others go on
        print(f"{task.__name__}: {type(error).__name__}: {str(error).splitlines()[0]}")
    torch.cuda.empty_cache()
