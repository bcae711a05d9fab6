"""PyTorch's FSDP on several cards, for train_olmo_cu --gpus N to be put beside: a training step of transformers' OlmoForCausalLM.

    torchrun --nproc-per-node 2 dev/bench/step_fsdp.py                   OLMo-1B, 16 sequences of 2048 tokens a card
    torchrun --nproc-per-node 2 dev/bench/step_fsdp.py --eager --model 7b --micro-batch 2 --reshard

Every block, and then the rest, is sharded by fully_shard: master weights, gradients and moments in fp32, as OLMo was
trained; products and gathered weights in bf16, sums of gradients in fp32. Gathered weights are kept for the backward
pass (what is fastest, where it fits), unless --reshard. Blocks are compiled; AdamW is the fused one. Medians.
"""
import argparse, os, statistics

import torch
import torch.distributed as dist
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import OlmoConfig, OlmoForCausalLM

from step_gpu import MODELS, training_steps

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", choices=MODELS, default="1b")
parser.add_argument("--micro-batch", type=int, default=16)
parser.add_argument("--seq-len", type=int, default=2048)
parser.add_argument("--steps", type=int, default=15)
parser.add_argument("--reshard", action="store_true")
parser.add_argument("--eager", action="store_true")
options = parser.parse_args()
B, T = options.micro_batch, options.seq_len

rank = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(rank)
dist.init_process_group("nccl")
torch.backends.cuda.matmul.allow_tf32 = True
torch.manual_seed(0)
with torch.device("cuda"):
    model = OlmoForCausalLM(OlmoConfig(vocab_size=50304, max_position_embeddings=T, **MODELS[options.model]))
model.config.use_cache = False
policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
for layer in model.model.layers:
    if not options.eager:
        layer.compile()
    fully_shard(layer, mp_policy=policy, reshard_after_forward=options.reshard)
fully_shard(model, mp_policy=policy, reshard_after_forward=options.reshard)
times, loss = training_steps(model, model, B, T, options.steps, 6)
if rank == 0:
    world, step = dist.get_world_size(), statistics.median(times)
    print(f"{world} x {torch.cuda.get_device_name(0)}, torch {torch.__version__}, FSDP{'' if options.eager else ', compiled blocks'}: "
          f"{1e3*step:.1f} ms, {world*B*T/step:.0f} tokens/s, {B*T/step:.0f} a card, "
          f"{torch.cuda.max_memory_allocated()/2**30:.1f} GiB, loss {loss:.4f}", flush=True)
dist.destroy_process_group()
