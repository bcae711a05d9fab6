#!/usr/bin/env python3
"""Small directories as transformers writes them, with the logits it computes from them: dev/reference/hf/NAME.

    PYTHON -m pip install torch transformers==4.57.6   and   dev/reference/directories.py 4
    PYTHON -m pip install torch transformers==5.24.0   and   dev/reference/directories.py 5

`make test` loads them (test_olmo.c, section 3), so that a mistake in a tensor's name, in the rows it goes to, or in a field
of config.json has a witness that none of our own code wrote. logits.safetensors holds ids [B, T] and logits [B, T, V],
computed in float32 from the weights as they were stored.

    fp32            transformers 4: old config.json, untied
    tied_other_head transformers 4: "tie_word_embeddings": true beside an lm_head.weight of other numbers, which it ignores
    gqa_clip        transformers 5: rope_parameters, rope_theta 500000, clip_qkv, four heads that share two keys, a list of ends of text
    bf16_sharded    transformers 5: bfloat16 in several files, with an index; multi-query
"""
import json, pathlib, sys

import safetensors.torch
import torch
import transformers
from transformers import OlmoConfig, OlmoForCausalLM

HERE = pathlib.Path(__file__).parent/"hf"
B, T = 2, 19
SIZES = dict(vocab_size=53, hidden_size=32, intermediate_size=28, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64, pad_token_id=1, initializer_range=0.2)
V4 = dict(
    fp32=dict(num_key_value_heads=4, tie_word_embeddings=False, eos_token_id=50),
    tied_other_head=dict(num_key_value_heads=4, tie_word_embeddings=True, eos_token_id=0),
)
V5 = dict(
    gqa_clip=dict(num_key_value_heads=2, tie_word_embeddings=False, clip_qkv=0.7, eos_token_id=[50, 51],
                  rope_parameters=dict(rope_type="default", rope_theta=500000.0)),
    bf16_sharded=dict(num_key_value_heads=1, tie_word_embeddings=False, eos_token_id=None),
)


def write(name, fields, seed):
    torch.manual_seed(seed)
    directory = HERE/name
    model = OlmoForCausalLM(OlmoConfig(**SIZES, **fields))
    if name.startswith("bf16"):
        model.to(torch.bfloat16).save_pretrained(directory, max_shard_size="12KB")
    else:
        model.save_pretrained(directory)
    if name == "tied_other_head":
        path = directory/"model.safetensors"
        weights = safetensors.torch.load_file(path)
        weights["lm_head.weight"] = torch.randn(SIZES["vocab_size"], SIZES["hidden_size"])
        safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    model = OlmoForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ids = torch.randint(0, SIZES["vocab_size"], (B, T))
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
    safetensors.torch.save_file({"ids": ids.float(), "logits": logits.contiguous()}, directory/"logits.safetensors")
    (directory/"generation_config.json").unlink(missing_ok=True)
    config = json.loads((directory/"config.json").read_text())
    print(f"{directory}: transformers {config['transformers_version']}, logits of {logits.abs().max():.3f} at most")


torch.set_num_threads(1)
cases = {"4": V4, "5": V5}.get(sys.argv[1] if len(sys.argv) > 1 else "")
if not cases or not transformers.__version__.startswith(sys.argv[1] + "."):
    sys.exit(f"{__doc__}\nthis is transformers {transformers.__version__}")
for seed, (name, fields) in enumerate(cases.items()):
    write(name, fields, seed)
