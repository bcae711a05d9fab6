#!/usr/bin/env python3
"""Exchange checkpoints with transformers' OlmoForCausalLM, by hand.

    check_hf.py load DIR --ids 1,2,3 [--logits FILE]
        Load a directory that our program wrote (config.json and
        model.safetensors), compute the logits of the prompt in float32 and
        print a few.  With FILE - raw little-endian float32, [T,V] - print the
        largest difference; exit 1 if it is above the tolerance.

    check_hf.py save DIR [--dtype float32|bfloat16|float16] [--shards] [--tied]
                         [--kv-heads N] [--clip-qkv X]
        Write a small random model with save_pretrained, and beside it ids.txt
        (comma-separated) and logits.f32 (raw little-endian float32, [T,V]) for
        our program to load and compare.  The logits are computed in float32
        from the weights as they were stored.
"""
import argparse
import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers import OlmoConfig, OlmoForCausalLM


def load_model(directory):
    """The model in float32; anything missing or left over is an error, because
    transformers would fill it with random numbers."""
    if not pathlib.Path(directory, "config.json").is_file():
        sys.exit(f"{directory} has no config.json")
    model, info = OlmoForCausalLM.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True, output_loading_info=True)
    problems = {key: sorted(map(str, value)) for key, value in info.items() if value}
    if problems:
        sys.exit(f"{directory} does not match OlmoForCausalLM: {problems}")
    return model.eval()


def compute_logits(model, ids):
    """[T,V] float32"""
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()


def parse_ids(text, vocab_size):
    try:
        ids = [int(x) for x in text.split(",")]
    except ValueError:
        sys.exit(f"'{text}' is not a comma-separated list of token ids")
    if min(ids) < 0 or max(ids) >= vocab_size:
        sys.exit(f"the ids must be between 0 and {vocab_size - 1}")
    return ids


def compare(path, logits, tolerance):
    ours = np.fromfile(path, dtype="<f4")
    if ours.size != logits.size:
        sys.exit(f"{path} holds {ours.size} floats, but [T,V] is "
                 f"{logits.shape[0]} x {logits.shape[1]} = {logits.size}")
    ours = ours.reshape(logits.shape)
    difference = float(np.abs(ours - logits).max())
    same = int((ours.argmax(-1) == logits.argmax(-1)).sum())
    print(f"max abs difference {difference:.3e}; "
          f"the largest logit is the same at {same} of {len(logits)} positions")
    if not difference <= tolerance:         # also true when it is NaN
        sys.exit(f"that is more than the tolerance, {tolerance:g}")


def load(args):
    model = load_model(args.dir)
    c = model.config
    print(f"{args.dir}: {c.num_hidden_layers} layers, d_model {c.hidden_size}, "
          f"{c.num_attention_heads} heads, {c.num_key_value_heads} kv heads, "
          f"mlp {c.intermediate_size}, vocabulary {c.vocab_size}, "
          f"tied {c.tie_word_embeddings}, clip_qkv {c.clip_qkv}, "
          f"rope_theta {c.rope_parameters['rope_theta']}")
    ids = parse_ids(args.ids, c.vocab_size)
    logits = compute_logits(model, ids)
    for t, row in enumerate(logits):
        print(f"position {t}, id {ids[t]}: logits start "
              + " ".join(f"{x:.6f}" for x in row[:4])
              + f", largest {row.max():.6f} at id {row.argmax()}")
    if args.logits:
        compare(args.logits, logits, args.tolerance)


def save(args):
    torch.manual_seed(args.seed)
    config = OlmoConfig(
        vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=args.kv_heads,
        max_position_embeddings=64, tie_word_embeddings=args.tied,
        clip_qkv=args.clip_qkv, pad_token_id=1, eos_token_id=127,
        initializer_range=0.125)        # large enough for clipping to matter
    model = OlmoForCausalLM(config).to(getattr(torch, args.dtype))
    options = {"max_shard_size": "32KB"} if args.shards else {}
    model.save_pretrained(args.dir, **options)

    directory = pathlib.Path(args.dir)
    ids = torch.randint(0, config.vocab_size, (17,)).tolist()
    logits = compute_logits(load_model(directory), ids)
    (directory / "ids.txt").write_text(",".join(map(str, ids)) + "\n")
    logits.astype("<f4").tofile(directory / "logits.f32")
    files = sorted(f"{p.name} ({p.stat().st_size} bytes)" for p in directory.iterdir())
    print(f"wrote {args.dir}: " + ", ".join(files))
    print(f"ids.txt holds {len(ids)} ids, logits.f32 is {logits.shape[0]} x {logits.shape[1]}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    p = commands.add_parser("load", help="load a directory our program wrote")
    p.add_argument("dir")
    p.add_argument("--ids", required=True, help="prompt, e.g. 12092,1533")
    p.add_argument("--logits", help="our logits, raw little-endian float32 [T,V]")
    p.add_argument("--tolerance", type=float, default=1e-4)
    p.set_defaults(run=load)

    p = commands.add_parser("save", help="write a random model for our program to load")
    p.add_argument("dir")
    p.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    p.add_argument("--shards", action="store_true", help="split it into several files")
    p.add_argument("--tied", action="store_true", help="share embedding and output head")
    p.add_argument("--kv-heads", type=int, default=4, choices=[1, 2, 4])
    p.add_argument("--clip-qkv", type=float, default=None)
    p.add_argument("--seed", type=int, default=1234)
    p.set_defaults(run=save)

    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    args.run(args)


if __name__ == "__main__":
    main()
