#!/usr/bin/env python3
"""Reference values for the C tests, from two independent OLMo implementations.

    python dev/reference/export.py            compute, compare, write *.safetensors
    python dev/reference/export.py --dry-run  compute and compare only

Witness 1 ("official") is the ai2-olmo package: its OLMo class, its
cross_entropy_loss, its optimizer and scheduler, and - in float32 - its own
Trainer.train_step, told the case's z coefficient and denominator through its
loss_fn.  Witness 2 ("hf") is OlmoForCausalLM of the
transformers package with torch.optim.AdamW, torch's clip_grad_norm_ and a loss
and a schedule written out in witnesses.py.  The two share the weights, tokens
and labels, and the Recorder, which derives rstd, lse and act.losses from what a
model computes.  goldens.py checks both against the specification's appendix A.

The exported numbers are the official model's, computed in float64 and rounded
once, to float32.  To be float64 all the way through,
  * the official model runs with rope_full_precision=False.  (True would round
    q and k to float32 before rotating them.)  Its table of cos and sin is still
    computed in float32, which is part of the model's definition;
  * the official clipping routine, which insists on float32 norms, is replaced
    by the same formula in float64, and the official step order is written out
    in train_official() of witnesses.py;
  * transformers' LayerNorm, which always rounds to float32, is replaced by the
    same call without the rounding.
Both models also run in float32, exactly as shipped; the tables printed show how
far that is from the exported values, which tells what a float32 C program can
be expected to reach.

Weights and tokens come from a hash (weights() and make_batch() in witnesses.py), so a test
can make them itself and the files need not hold them.

Tensors of a file, all float32 (the ids too: our reader knows no integers).  C = d_model,
K = n_kv_heads, h = C / n_heads, M = mlp_hidden (both halves), m = M / 2:
  tokens, targets               [B,T]; a target of -100 is ignored
  act.embed                     [B,T,C]
  act.l.{l}.xn1, .rstd1         [B,T,C], [B,T]   first norm, 1/sqrt(var + 1e-5)
  act.l.{l}.qkv                 [B,T,C+2Kh]      q | k | v, clipped; q, k rotated
  act.l.{l}.att, .lse           [B,T,C], [B,H,T] heads side by side; log-sum-exp
                                                 of the scaled causal scores
  act.l.{l}.xn2, .rstd2         [B,T,C], [B,T]   second norm
  act.l.{l}.ug, .h              [B,T,M], [B,T,m] up | gate, silu(gate) * up
  act.l.{l}.x                   [B,T,C]          residual stream after the block
  act.xnf, act.logits           [B,T,C], [B,T,E]
  act.lse, act.losses           [B,T]            logsumexp of the logits; nll of
                                                 the target, 0 where ignored
  grad.{name}                   gradient of the first step, before clipping
  losses12, zlosses12           [12]  sum(nll) / N and the z term, before each
                                      update (the z term only if z_loss > 0)
  norms12, lrs12                [12]  gradient norm before clipping, and lr
  after12.{name}                parameters after the 12 updates
  loss_after                    [1]   sum(nll) / N with those parameters
The header's __metadata__ holds the configuration, as strings.
"""
import argparse
import dataclasses
import importlib.metadata
import json
import pathlib
import struct
import sys
import warnings

sys.dont_write_bytecode = True

import safetensors
import torch
import transformers

from goldens import G1, G2, check_golden_basics, check_goldens
from witnesses import (CASES, IGNORED, RECIPE, hf_forward, hf_own_loss, loss_denominator,
                       make_batch, make_targets, official_forward, train_hf,
                       train_official, train_official_trainer)

HERE = pathlib.Path(__file__).resolve().parent


# ----------------------------------------------------------------------------
# comparing

def kind(name):
    """act.l.1.xn1 -> xn1, grad.transformer.blocks.0.ff_out.weight -> grad"""
    first = name.split(".")[0]
    return name.split(".")[-1] if first == "act" else first


def differences(found, truth):
    """{kind: max abs difference}, over the names that both have."""
    worst = {}
    for name, value in truth.items():
        if name in found:
            if found[name].shape != value.shape:
                sys.exit(f"{name} has shape {list(found[name].shape)} in one witness "
                         f"and {list(value.shape)} in the other")
            d = (found[name].double() - value.double()).abs().max().item()
            worst[kind(name)] = max(worst.get(kind(name), 0.0), d)
    return worst


def biggest(truth):
    worst = {}
    for name, value in truth.items():
        worst[kind(name)] = max(worst.get(kind(name), 0.0), value.abs().max().item())
    return worst


LIMIT_FLOAT64 = 1e-10       # the two witnesses, both in float64
LIMIT_FLOAT32 = {"after12": 1e-4, "loss_after": 1e-4}   # float32 against the truth
LIMIT_FLOAT32_ELSE = 2e-5


def study(case):
    """Run both witnesses; return the exported tensors and the metadata."""
    truth, clip_share = official_forward(case, torch.float64)
    truth.update(train_official(case))
    if not case.z_loss:
        del truth["zlosses12"]
    columns = {
        "hf f64": dict(hf_forward(case, torch.float64), **train_hf(case)),
        "official f32": dict(official_forward(case, torch.float32)[0],
                             **train_official_trainer(case)),
        "hf f32": dict(hf_forward(case, torch.float32), **train_hf(case, torch.float32)),
    }
    diffs = {title: differences(found, truth) for title, found in columns.items()}
    sizes = biggest(truth)

    print(f"\ncase {case.name}: max abs difference from the official model in float64")
    print(f"  {'':12}{'largest value':>15}" + "".join(f"{t:>15}" for t in columns))
    for k in sizes:
        row = "".join(f"{diffs[t][k]:15.2e}" if k in diffs[t] else f"{'-':>15}" for t in columns)
        print(f"  {k:12}{sizes[k]:15.4f}{row}")
    own = abs(hf_own_loss(case) - truth["losses12"][0].item())
    print(f"  loss reported by transformers itself (float32): differs by {own:.2e}")
    if case.clip_qkv:
        print(f"  clip_qkv changes {100 * clip_share:.1f} % of the q, k, v values")

    failures = [f"{t}: {k} differs by {d:.2e}" for t in columns for k, d in diffs[t].items()
                if d > (LIMIT_FLOAT64 if t == "hf f64" else
                        LIMIT_FLOAT32.get(k, LIMIT_FLOAT32_ELSE))]
    if own > LIMIT_FLOAT32_ELSE:
        failures.append(f"transformers' own loss differs by {own:.2e}")
    if failures:
        sys.exit(f"case {case.name}: the witnesses disagree.\n  " + "\n  ".join(failures))
    return truth, metadata(case, truth, diffs, clip_share)


def metadata(case, truth, diffs, clip_share):
    def text(value):
        if isinstance(value, bool):
            return "1" if value else "0"
        return f"{value:.12g}" if isinstance(value, float) else str(value)

    def group(title, kinds):
        return text(max(d for k, d in diffs[title].items() if kinds(k)))

    batch = make_batch(case)
    targets = make_targets(batch)
    meta = {k: text(v) for k, v in dataclasses.asdict(case).items()}
    meta |= {k: text(v) for k, v in dataclasses.asdict(RECIPE).items()}
    meta |= {
        "final_lr": text(RECIPE.lr * RECIPE.final_lr_frac),
        "warmup_min_lr": text(RECIPE.lr * RECIPE.final_lr_frac),
        "denominator_value": text(loss_denominator(case, targets)),
        "valid_labels": text(int((targets != IGNORED).sum())),
        "clip_share": text(clip_share),
        "witness": "ai2-olmo in float64, stored as float32; confirmed by transformers",
        "versions": ", ".join(f"{p} {importlib.metadata.version(p)}"
                              for p in ("ai2-olmo", "transformers", "torch")),
        "max_diff_witnesses_float64": group("hf f64", lambda k: True),
    }
    # How far the two packages, run in float32, are from the exported values.
    is_act = lambda k: k not in ("grad", "after12", "losses12", "zlosses12", "norms12",
                                 "lrs12", "loss_after")
    for short, title in (("official", "official f32"), ("hf", "hf f32")):
        meta[f"max_diff_{short}_float32_act"] = group(title, is_act)
        meta[f"max_diff_{short}_float32_grad"] = group(title, lambda k: k == "grad")
        meta[f"max_diff_{short}_float32_losses12"] = group(title, lambda k: k == "losses12")
        meta[f"max_diff_{short}_float32_norms12"] = group(title, lambda k: k == "norms12")
        meta[f"max_diff_{short}_float32_after12"] = group(title, lambda k: k == "after12")
    return meta


# ----------------------------------------------------------------------------
# writing

def write_safetensors(path, values, meta):
    """A plain writer: unlike the library's, the order of the header is fixed, so
    the same values always give the same file."""
    header, blobs, offset = {"__metadata__": dict(sorted(meta.items()))}, [], 0
    for name, value in values.items():
        array = value.numpy()
        array = array.astype("<i4" if array.dtype.kind == "i" else "<f4")
        header[name] = {"dtype": "I32" if array.dtype.kind == "i" else "F32",
                        "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        blobs.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def verify_safetensors(path, values, meta):
    """Read the file back with the real library."""
    with safetensors.safe_open(path, framework="pt") as f:
        if f.metadata() != meta or set(f.keys()) != set(values):
            sys.exit(f"{path} does not read back as it was written")
        for name, value in values.items():
            if not torch.equal(f.get_tensor(name), value.to(f.get_tensor(name).dtype)):
                sys.exit(f"{path}: tensor {name} does not read back as it was written")


def export(case, dry_run):
    values, meta = study(case)
    batch = make_batch(case)
    values = {"tokens": batch["input_ids"].float(), "targets": make_targets(batch).float(), **values}
    if dry_run:
        return
    path = HERE / f"{case.name}.safetensors"
    write_safetensors(path, values, meta)
    verify_safetensors(path, values, meta)
    print(f"  wrote {path.name}: {len(values)} tensors, {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description="Compute and write the reference values.")
    parser.add_argument("--dry-run", action="store_true", help="compare, but write nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for harmless in (".*autocast.*", "Embedding size is not a multiple of 128.*"):
        warnings.filterwarnings("ignore", message=harmless)
    transformers.logging.set_verbosity_error()
    check_golden_basics()
    for case in (G1, G2):
        check_goldens(case)
    for case in CASES:
        export(case, args.dry_run)


if __name__ == "__main__":
    main()
