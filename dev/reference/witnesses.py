"""The cases and the two witnesses: see export.py for what they are for."""
import dataclasses
import math
import sys
import types

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AutoModelForCausalLM, OlmoConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm

IGNORED = -100
NORM_EPS = 1e-5


def import_official():
    """Import ai2-olmo.  olmo.train drags in a logger and an evaluation package
    that nothing here uses; empty modules stand in for them while it loads."""
    absent = ["wandb", "sklearn", "sklearn.metrics"]
    for name in absent:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["sklearn.metrics"].f1_score = None
    import olmo.config
    import olmo.model
    import olmo.optim
    import olmo.train
    for name in absent:
        del sys.modules[name]
    return olmo


olmo = import_official()


# ----------------------------------------------------------------------------
# cases

@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    mlp_hidden: int             # both halves: up and gate
    vocab: int                  # rows of the embedding
    vocab_real: int             # ids the tokens are drawn from
    seq_len: int
    batch: int
    micro_batch: int = 2        # sequences
    clip_qkv: float = 0.0       # 0: no clipping
    tied: bool = True
    rope_theta: float = 10000.0
    z_loss: float = 0.0
    denominator: str = "all"    # N = B*T ("all") or the valid labels ("predicted")
    ignore_every: int = 0       # ignore one label in so many; 0: none
    decay_embeddings: bool = False

    @property
    def head_dim(self):
        return self.d_model // self.n_heads

    @property
    def kv_dim(self):
        return self.n_kv_heads * self.head_dim


CASES = [
    # The plain model.
    Case("small", 32, 2, 4, 4, 96, 128, 120, seq_len=16, batch=2, micro_batch=1),
    # Everything the 7B models may do; an odd length and a ragged micro-batch.
    Case("gqa_clip", 48, 3, 6, 2, 80, 112, 100, seq_len=13, batch=3,
         clip_qkv=1.5, tied=False),
    # The head size of the released models, a length above 32, another rope
    # theta, the other denominator and ignored labels.
    Case("head128", 128, 1, 1, 1, 96, 96, 90, seq_len=33, batch=2, micro_batch=1,
         rope_theta=500.0, denominator="predicted", ignore_every=5),
    # z-loss, large enough to be seen, with ignored labels.
    Case("zloss_mask", 32, 2, 2, 1, 96, 128, 120, seq_len=16, batch=2, micro_batch=1,
         tied=False, z_loss=1e-2, ignore_every=5),
]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The optimizer settings of the 12 steps."""
    lr: float = 3e-3
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-5
    schedule: str = "linear_with_warmup"
    warmup: int = 5
    final_lr_frac: float = 0.1          # final lr and first lr of the warm-up,
                                        # as a fraction of lr
    steps: int = 12
    clip: float = 0.5
    clip_warmup_steps: int = 3
    clip_warmup_factor: float = 10.0


RECIPE = Recipe()


# ----------------------------------------------------------------------------
# weights, tokens and labels, the same for both witnesses

def fmix(x):
    """The 32-bit finalizer of MurmurHash3, on an array of uint64."""
    mask = np.uint64(0xFFFFFFFF)
    x = x & mask
    x ^= x >> np.uint64(16)
    x = (x * np.uint64(0x85EBCA6B)) & mask
    x ^= x >> np.uint64(13)
    x = (x * np.uint64(0xC2B2AE35)) & mask
    x ^= x >> np.uint64(16)
    return x


def weight(index, shape, std):
    """Tensor number `index`: uniform noise of the given standard deviation."""
    i = np.arange(math.prod(shape), dtype=np.uint64)
    u = fmix(i * np.uint64(2654435761) + np.uint64(index * 2246822519 + 12345))
    w = (u.astype(np.float64) / 2.0**32 - 0.5) * 2.0 * math.sqrt(3.0) * std
    return torch.from_numpy(w.astype(np.float32).reshape(shape))


def weights(case):
    """{official name: float32 tensor}, numbered in the order they appear here."""
    C, M = case.d_model, case.mlp_hidden
    plan = [("transformer.wte.weight", (case.vocab, C), C)]
    for l in range(case.n_layers):
        block = f"transformer.blocks.{l}."
        plan += [(block + "att_proj.weight", (C + 2 * case.kv_dim, C), C),
                 (block + "attn_out.weight", (C, C), 2 * C * (l + 1)),
                 (block + "ff_proj.weight", (M, C), C),
                 (block + "ff_out.weight", (C, M // 2), 2 * (M // 2) * (l + 1))]
    if not case.tied:
        plan.append(("transformer.ff_out.weight", (case.vocab, C), C))
    return {name: weight(t, shape, 1.0 / math.sqrt(fan))
            for t, (name, shape, fan) in enumerate(plan)}


def make_batch(case):
    """input_ids and label_mask [B,T], as the official data loader delivers them.
    label_mask[b,t] says whether token t may be a target."""
    B, T = case.batch, case.seq_len
    n = np.arange(B * T, dtype=np.uint64)
    ids = fmix(n + np.uint64(777)) % np.uint64(case.vocab_real)
    ids = torch.from_numpy(ids.astype(np.int64).reshape(B, T))
    mask = torch.ones(B, T, dtype=torch.bool)
    if case.ignore_every:
        # Equally many in every row, so that a mean over each micro-batch and a
        # mean over the whole batch agree; but not at the same positions.
        for b in range(B):
            mask[b, 3 + b:T:case.ignore_every] = False
        if len({int(row[1:].sum()) for row in mask}) != 1:
            sys.exit(f"case {case.name}: the rows have different numbers of valid labels")
    return {"input_ids": ids, "label_mask": mask}


def make_targets(batch):
    """targets[b,t] = ids[b,t+1], or -100; the last position has no target."""
    ids, mask = batch["input_ids"], batch["label_mask"]
    targets = torch.full_like(ids, IGNORED)
    targets[:, :-1] = torch.where(mask[:, 1:], ids[:, 1:], IGNORED)
    return targets


def loss_denominator(case, targets):
    return targets.numel() if case.denominator == "all" else int((targets != IGNORED).sum())


# ----------------------------------------------------------------------------
# things both witnesses record

class Recorder(dict):
    """Named activations of one forward pass, filled by hooks."""

    def output_of(self, module, name):
        def hook(_module, _inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            self[name] = output.detach().clone()
        module.register_forward_hook(hook)

    def input_of(self, module, name):
        def hook(_module, inputs):
            self[name] = inputs[0].detach().clone()
        module.register_forward_pre_hook(hook)

    def norm(self, module, name_out, name_rstd):
        """The output of a norm, and 1/sqrt(var + eps) of its input."""
        self.output_of(module, name_out)
        def hook(_module, inputs):
            x = inputs[0].detach()
            self[name_rstd] = 1.0 / torch.sqrt(x.var(-1, unbiased=False) + NORM_EPS)
        module.register_forward_pre_hook(hook)

    def attention(self, l, q, k, v):
        """q [B,H,T,h], k and v [B,K,T,h] as they enter the attention product."""
        q, k, v = q.detach(), k.detach(), v.detach()
        rows = [t.transpose(1, 2).flatten(2) for t in (q, k, v)]
        self[f"act.l.{l}.qkv"] = torch.cat(rows, -1)
        T, H, h = q.shape[2], q.shape[1], q.shape[3]
        k = k.repeat_interleave(H // k.shape[1], dim=1)
        scores = q @ k.transpose(2, 3) / math.sqrt(h)
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        self[f"act.l.{l}.lse"] = scores.masked_fill(future, -math.inf).logsumexp(-1)

    def loss(self, logits, targets):
        logits = logits.detach()
        lse = logits.logsumexp(-1)
        picked = logits.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        self["act.logits"] = logits.clone()
        self["act.lse"] = lse
        self["act.losses"] = torch.where(targets == IGNORED, 0.0, lse - picked)


def tensors(values):
    return {k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v
            for k, v in values.items()}


def learning_rate(step, r=RECIPE):
    """linear_with_warmup, steps counted from 1."""
    low = r.final_lr_frac * r.lr
    if step < r.warmup:
        return low + (r.lr - low) * step / r.warmup
    if step >= r.steps:
        return low
    return r.lr - (r.lr - low) * (step - r.warmup) / (r.steps - r.warmup)


# ----------------------------------------------------------------------------
# witness 1: ai2-olmo

def official_model(case, dtype):
    config = olmo.config.ModelConfig(
        d_model=case.d_model, n_heads=case.n_heads, n_kv_heads=case.n_kv_heads,
        n_layers=case.n_layers, mlp_hidden_size=case.mlp_hidden,
        activation_type=olmo.config.ActivationType.swiglu,
        block_type=olmo.config.BlockType.sequential,
        rope=True, rope_theta=case.rope_theta,
        rope_full_precision=dtype == torch.float32,
        clip_qkv=case.clip_qkv or None, weight_tying=case.tied,
        attention_dropout=0.0, residual_dropout=0.0, embedding_dropout=0.0,
        layer_norm_type=olmo.config.LayerNormType.default,
        layer_norm_with_affine=False, attention_layer_norm_with_affine=False,
        bias_for_layer_norm=False, include_bias=False,
        vocab_size=case.vocab_real, embedding_size=case.vocab,
        eos_token_id=case.vocab_real - 1, pad_token_id=1,
        max_sequence_length=case.seq_len, init_device="cpu",
        init_fn=olmo.config.InitFnType.mitchell)
    model = olmo.model.OLMo(config)
    model.load_state_dict(weights(case))
    return model.to(dtype)


def official_train_config(case, r=RECIPE):
    c = olmo.config
    return c.TrainConfig(
        model=c.ModelConfig(), precision="fp32", max_duration=r.steps,
        device_train_microbatch_size=case.micro_batch,
        softmax_auxiliary_loss=case.z_loss > 0, max_grad_norm=r.clip,
        optimizer=c.OptimizerConfig(
            name=c.OptimizerType.adamw, learning_rate=r.lr, weight_decay=r.weight_decay,
            betas=(r.beta1, r.beta2), eps=r.eps, decay_norm_and_bias=False,
            decay_embeddings=case.decay_embeddings),
        scheduler=c.SchedulerConfig(
            name=c.SchedulerType(r.schedule), t_warmup=r.warmup, alpha_f=r.final_lr_frac,
            grad_clip_warmup_steps=r.clip_warmup_steps,
            grad_clip_warmup_factor=r.clip_warmup_factor))


def official_forward(case, dtype):
    """All activations, and the share of q, k, v values that were clipped."""
    model, batch, rec = official_model(case, dtype), make_batch(case), Recorder()
    clipped = []
    parts = model.transformer
    rec.output_of(parts.wte, "act.embed")
    for l, block in enumerate(parts.blocks):
        p = f"act.l.{l}."
        rec.norm(block.attn_norm, p + "xn1", p + "rstd1")
        rec.input_of(block.attn_out, p + "att")
        rec.norm(block.ff_norm, p + "xn2", p + "rstd2")
        rec.output_of(block.ff_proj, p + "ug")
        rec.output_of(block.act, p + "h")
        rec.output_of(block, p + "x")
        block.att_proj.register_forward_hook(
            lambda _m, _i, out: clipped.append((out.abs() > case.clip_qkv).double().mean()))

        def watched(q, k, v, l=l, product=block._scaled_dot_product_attention, **options):
            rec.attention(l, q, k, v)
            return product(q, k, v, **options)
        block._scaled_dot_product_attention = watched
    rec.norm(parts.ln_f, "act.xnf", "unused")
    with torch.no_grad():
        logits = model(batch["input_ids"]).logits
    rec.loss(logits, make_targets(batch))
    del rec["unused"]
    return rec, float(sum(clipped) / len(clipped)) if case.clip_qkv else 0.0


def official_loss(case, model, batch, N):
    """(ce, z) of a micro-batch, each already divided by N."""
    logits = model(batch["input_ids"]).logits[:, :-1]
    labels = make_targets(batch)[:, :-1]
    ce, z = olmo.train.cross_entropy_loss(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum",
        compute_z_loss=True, z_loss_multiplier=case.z_loss)
    return ce / N, z / N


def split(case, batch):
    pieces = {key: value.split(case.micro_batch) for key, value in batch.items()}
    count = len(pieces["input_ids"])
    return [{key: value[i] for key, value in pieces.items()} for i in range(count)]


def named_grads(model):
    return {name: p.grad.detach().clone() for name, p in model.named_parameters()}


def train_official(case, dtype=torch.float64):
    """The 12 steps with the official model, loss, optimizer and scheduler, in the
    order of Trainer.train_step: the clipping threshold that a step uses is the one
    that the step before it stored."""
    model, batch = official_model(case, dtype), make_batch(case)
    N = loss_denominator(case, make_targets(batch))
    cfg = official_train_config(case)
    optimizer = olmo.optim.build_optimizer(cfg, model)
    scheduler = olmo.optim.build_scheduler(cfg)
    threshold = cfg.max_grad_norm
    out = {"losses12": [], "zlosses12": [], "norms12": [], "lrs12": []}
    for step in range(1, RECIPE.steps + 1):
        optimizer.zero_grad(set_to_none=True)
        total, total_z = 0.0, 0.0
        for piece in split(case, batch):
            ce, z = official_loss(case, model, piece, N)
            (ce + z).backward()
            total, total_z = total + ce.item(), total_z + z.item()
        if step == 1:
            out.update({f"grad.{k}": g for k, g in named_grads(model).items()})
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
        for p in model.parameters():
            p.grad *= min(1.0, threshold / (norm + 1e-6))
        for group in optimizer.param_groups:
            group["lr"] = scheduler.get_lr(RECIPE.lr, step, RECIPE.steps)
        threshold = scheduler.get_max_grad_norm(RECIPE.clip, step, RECIPE.steps)
        optimizer.step()
        for key, value in zip(out, (total, total_z, norm, optimizer.param_groups[0]["lr"])):
            out[key].append(value)
    out.update({f"after12.{k}": p.detach().clone() for k, p in model.named_parameters()})
    with torch.no_grad():
        out["loss_after"] = [official_loss(case, model, batch, N)[0].item()]
    return tensors(out)


def train_official_trainer(case):
    """The 12 steps by the official Trainer.train_step itself, in float32."""
    model, batch = official_model(case, torch.float32), make_batch(case)
    model.process_group = None              # what a DDP wrapper would have
    cfg = official_train_config(case)
    trainer = olmo.train.Trainer(
        cfg=cfg, model=model, dist_model=model,
        optim=olmo.optim.build_optimizer(cfg, model),
        scheduler=olmo.optim.build_scheduler(cfg),
        train_loader=None, device=torch.device("cpu"), evaluators=[])
    targets = make_targets(batch)
    # The trainer divides by B*T and has a fixed z coefficient: adjust both here.
    rescale = targets.numel() / loss_denominator(case, targets)

    def loss_fn(*args, **options):
        ce, z = olmo.train.cross_entropy_loss(*args, z_loss_multiplier=case.z_loss, **options)
        return ce * rescale, None if z is None else z * rescale
    trainer.loss_fn = loss_fn

    out = {"losses12": [], "zlosses12": [], "norms12": [], "lrs12": []}
    clip_grads = trainer.optim.clip_grads_and_collect_metrics

    def watched_clip(*args, **options):
        if trainer.global_step == 1:
            out.update({f"grad.{k}": g for k, g in named_grads(model).items()})
        return clip_grads(*args, **options)
    trainer.optim.clip_grads_and_collect_metrics = watched_clip

    for _ in range(RECIPE.steps):
        trainer.global_step += 1            # what Trainer.fit does before a step
        metrics = trainer.train_step(batch, reduce_global_loss=False)
        out["losses12"].append(metrics["train/CrossEntropyLoss"])
        out["zlosses12"].append(metrics.get("train/ZLoss", 0.0))
        out["norms12"].append(metrics["optim/total_grad_norm"])
        out["lrs12"].append(trainer.optim.param_groups[0]["lr"])
    out.update({f"after12.{k}": p.detach().clone() for k, p in model.named_parameters()})
    return tensors(out)


# ----------------------------------------------------------------------------
# witness 2: transformers

def hf_names(case):
    """{official name: the transformers names whose rows, stacked, make it up}"""
    names = {"transformer.wte.weight": ["model.embed_tokens.weight"]}
    for l in range(case.n_layers):
        a, b = f"transformer.blocks.{l}.", f"model.layers.{l}."
        names[a + "att_proj.weight"] = [b + f"self_attn.{x}_proj.weight" for x in "qkv"]
        names[a + "attn_out.weight"] = [b + "self_attn.o_proj.weight"]
        names[a + "ff_proj.weight"] = [b + "mlp.up_proj.weight", b + "mlp.gate_proj.weight"]
        names[a + "ff_out.weight"] = [b + "mlp.down_proj.weight"]
    if not case.tied:
        names["transformer.ff_out.weight"] = ["lm_head.weight"]
    return names


def norm_without_rounding(self, x):
    return F.layer_norm(x, self.normalized_shape, None, None, eps=NORM_EPS)


def hf_model(case, dtype):
    config = OlmoConfig(
        vocab_size=case.vocab, hidden_size=case.d_model,
        intermediate_size=case.mlp_hidden // 2, num_hidden_layers=case.n_layers,
        num_attention_heads=case.n_heads, num_key_value_heads=case.n_kv_heads,
        max_position_embeddings=case.seq_len, tie_word_embeddings=case.tied,
        clip_qkv=case.clip_qkv or None,
        rope_parameters={"rope_type": "default", "rope_theta": case.rope_theta},
        # With a pad id, transformers would drop that embedding row's gradient.
        pad_token_id=None, eos_token_id=None)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="watched_sdpa")
    params = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights(case).items():
            parts = [params.pop(x) for x in hf_names(case)[name]]
            for part, rows in zip(parts, value.split([len(x) for x in parts])):
                part.copy_(rows)
    if params:
        sys.exit(f"transformers has parameters the official model lacks: {list(params)}")
    if dtype != torch.float32:
        for module in model.modules():
            if isinstance(module, OlmoLayerNorm):
                module.forward = types.MethodType(norm_without_rounding, module)
    return model.to(dtype)


def watched_sdpa(module, query, key, value, attention_mask, **options):
    """transformers' own attention, with a look at what goes into it."""
    if getattr(module, "recorder", None) is not None:
        module.recorder.attention(module.layer_idx, query, key, value)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


AttentionInterface.register("watched_sdpa", watched_sdpa)


def hf_forward(case, dtype):
    model, batch, rec = hf_model(case, dtype), make_batch(case), Recorder()
    rec.output_of(model.model.embed_tokens, "act.embed")
    for l, layer in enumerate(model.model.layers):
        p = f"act.l.{l}."
        layer.self_attn.recorder = rec
        rec.norm(layer.input_layernorm, p + "xn1", p + "rstd1")
        rec.input_of(layer.self_attn.o_proj, p + "att")
        rec.norm(layer.post_attention_layernorm, p + "xn2", p + "rstd2")
        rec.output_of(layer.mlp.up_proj, p + "up")
        rec.output_of(layer.mlp.gate_proj, p + "gate")
        rec.input_of(layer.mlp.down_proj, p + "h")
        rec.output_of(layer, p + "x")
    rec.output_of(model.model.norm, "act.xnf")
    with torch.no_grad():
        logits = model(batch["input_ids"], use_cache=False).logits
    rec.loss(logits, make_targets(batch))
    for l in range(case.n_layers):
        p = f"act.l.{l}."
        rec[p + "ug"] = torch.cat([rec.pop(p + "up"), rec.pop(p + "gate")], -1)
    return rec


def hf_loss(case, model, batch, N):
    """(ce, z), from their definitions."""
    logits = model(batch["input_ids"], use_cache=False).logits
    targets = make_targets(batch)
    valid = targets != IGNORED
    logits, targets = logits[valid], targets[valid]
    lse = logits.exp().sum(-1).log()
    ce = (lse - logits[torch.arange(len(targets)), targets]).sum()
    return ce / N, case.z_loss * (lse ** 2).sum() / N


def hf_fused(case, get):
    """{official name: get(parameter), stacked}"""
    model_names = hf_names(case)
    return {name: torch.cat([get(x) for x in parts]) for name, parts in model_names.items()}


def train_hf(case, dtype=torch.float64):
    """The 12 steps with transformers' model and torch's own optimizer and clipping."""
    r = RECIPE
    model, batch = hf_model(case, dtype), make_batch(case)
    N = loss_denominator(case, make_targets(batch))
    params = dict(model.named_parameters())
    embedding = params["model.embed_tokens.weight"]
    matrices = [p for p in params.values() if p is not embedding]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": r.weight_decay},
         {"params": [embedding], "weight_decay": r.weight_decay * case.decay_embeddings}],
        betas=(r.beta1, r.beta2), eps=r.eps)
    out = {"losses12": [], "zlosses12": [], "norms12": [], "lrs12": []}
    for step in range(1, r.steps + 1):
        optimizer.zero_grad()
        total, total_z = 0.0, 0.0
        for piece in split(case, batch):
            ce, z = hf_loss(case, model, piece, N)
            (ce + z).backward()
            total, total_z = total + ce.item(), total_z + z.item()
        if step == 1:
            grads = hf_fused(case, lambda x: params[x].grad.detach().clone())
            out.update({f"grad.{k}": g for k, g in grads.items()})
        warm = 2 <= step <= r.clip_warmup_steps + 1        # one step late
        threshold = r.clip * (r.clip_warmup_factor if warm else 1.0)
        norm = torch.nn.utils.clip_grad_norm_(params.values(), threshold)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        for key, value in zip(out, (total, total_z, norm.item(), learning_rate(step))):
            out[key].append(value)
    after = hf_fused(case, lambda x: params[x].detach().clone())
    out.update({f"after12.{k}": p for k, p in after.items()})
    with torch.no_grad():
        out["loss_after"] = [hf_loss(case, model, batch, N)[0].item()]
    return tensors(out)


def hf_own_loss(case):
    """The loss transformers itself reports for these labels, in float32."""
    batch = make_batch(case)
    targets = make_targets(batch)
    labels = torch.full_like(targets, IGNORED)      # transformers shifts them back
    labels[:, 1:] = targets[:, :-1]
    with torch.no_grad():
        return hf_model(case, torch.float32)(
            batch["input_ids"], labels=labels, use_cache=False,
            num_items_in_batch=loss_denominator(case, targets)).loss.item()
