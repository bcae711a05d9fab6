"""The golden numbers of the specification, appendix A, and the check that both
witnesses of witnesses.py still give them."""
import dataclasses
import sys

import torch

from witnesses import (IGNORED, RECIPE, Case, hf_forward, learning_rate, make_batch,
                       make_targets, official_forward, official_model, train_hf,
                       train_official, train_official_trainer, weights)

G1 = Case("G1", 64, 2, 4, 4, 256, 384, 300, seq_len=32, batch=4)
G2 = Case("G2", 64, 2, 4, 2, 256, 384, 300, seq_len=32, batch=4, clip_qkv=0.75, tied=False)

# Printed to six decimals unless they are small.
GOLDEN = {
    "G1": {
        "logits head": [-0.331235, -0.995053, 0.717372, -0.036589],
        "logits tail": [0.396690, 0.189389, -0.542004, -1.975174],
        "loss B*T": [6.362488], "mean nll": [6.567730], "mean lse^2": [41.896508],
        "loss with z": [6.366547],
        "grad norms": [1.591345, 1.351549, 1.339091, 0.872276, 1.174320,
                       0.458706, 0.746509, 0.434339, 0.831168],
        "grad first": [1.265384e-2, -1.351912e-3, 8.823933e-3, 1.313434e-3, 1.211598e-2,
                       -6.959333e-4, 1.737091e-2, -4.388360e-3, -8.103678e-3],
        "grad last": [1.666696e-4, 2.428724e-2, 1.061097e-2, -4.247190e-3, -5.153393e-3,
                      3.220724e-3, 3.460265e-3, 2.563464e-3, 6.616261e-3],
        "total norm": [3.152665], "total with z": [3.152718],
        "losses 1-12": [6.362488, 5.856431, 5.226082, 4.443785, 3.681574, 3.166398,
                        2.851250, 2.605955, 2.405053, 2.243531, 2.120821, 2.038409],
        "norms 1-12": [3.15267, 3.00444, 2.74230, 2.49319, 2.34502, 2.52714,
                       2.48071, 2.30650, 2.12436, 1.96676, 1.84157, 1.75344],
        "loss after": [1.999923],
        "weights after": [-0.1257473, 0.0207309, -0.1974375],
        "decay_emb after": [2.005156],
    },
    "G2": {
        "logits head": [0.008501, -0.413720, -0.249282, -0.582516],
        "logits tail": [-1.319317, 0.113390, 1.239507, -1.989769],
        "loss B*T": [6.352153], "mean nll": [6.557061], "mean lse^2": [41.553364],
        "loss with z": [6.356178],
        "grad norms": [1.288358, 1.036835, 1.077793, 1.062258, 1.432509,
                       0.321386, 0.590557, 0.530167, 1.029674, 0.702321],
        "grad first": [-1.218973e-3, 3.382478e-3, 1.440279e-2, -1.275837e-2, 7.284175e-4,
                       -1.194640e-3, -2.988010e-3, 5.263896e-3, -2.742562e-3, 4.110013e-3],
        "grad last": [0.0, -4.336010e-2, 4.032200e-2, -1.127567e-2, 3.390731e-2,
                      -1.376555e-3, 1.509831e-3, 6.554174e-3, -1.546597e-5, -1.549962e-6],
        "total norm": [3.060001], "total with z": [3.060008],
        "losses 1-12": [6.352153, 5.853295, 5.227421, 4.462662, 3.681192, 3.079737,
                        2.696130, 2.408493, 2.183679, 2.010202, 1.882700, 1.799081],
        "norms 1-12": [3.06000, 2.91689, 2.61184, 2.40686, 2.30922, 2.34148,
                       2.26981, 2.09109, 1.88845, 1.73055, 1.62658, 1.55849],
        "loss after": [1.760736],
        "weights after": [-0.1020551, 0.0141572, -0.1829475],
        "decay_emb after": [1.760975, -0.1825846],
    },
}
GOLDEN_LRS = [.00084, .00138, .00192, .00246, .003, .002614286, .002228571, .001842857,
              .001457143, .001071429, .000685714, .0003]
GOLDEN_GREEDY = [([29] * 8, -26.641783), ([16] * 8, -19.972134)]
GOLDEN_BEAMS = [
    [([352, 352, 136, 136, 136], -15.875469), ([352, 352, 136, 136, 181], -16.700037),
     ([352, 29, 29, 29, 29], -16.830612)],
    [([16] * 5, -11.542461), ([16, 16, 16, 16, 134], -13.219599),
     ([16, 16, 16, 16, 218], -13.449929)]]

# Half a unit of the last printed digit, and what float32 does to it on the way.
GOLDEN_LIMITS = {"grad first": 2e-7, "grad last": 2e-7, "norms 1-12": 1e-5, "mean lse^2": 5e-5,
                 "weights after": 2e-6, "decay_emb after": 5e-6, "losses 1-12": 5e-6,
                 "loss after": 5e-6}
GOLDEN_LIMIT_ELSE = 3e-6


def summarize(case, forward, train):
    """The numbers of appendix A, computed with one witness."""
    f, t, order = forward(case), train(case), list(weights(case))
    z = train(dataclasses.replace(case, z_loss=1e-4))
    d = train(dataclasses.replace(case, decay_embeddings=True))
    valid = make_targets(make_batch(case)) != IGNORED
    grads = [t[f"grad.{name}"] for name in order]
    wte, att = t["after12.transformer.wte.weight"], t[f"after12.{order[1]}"]
    return {
        "logits head": f["act.logits"][0, 0, 0:4].tolist(),
        "logits tail": f["act.logits"][3, 31, 380:384].tolist(),
        "loss B*T": [f["act.losses"].sum().item() / valid.numel()],
        "mean nll": [f["act.losses"][valid].mean().item()],
        "mean lse^2": [f["act.lse"][valid].square().mean().item()],
        "loss with z": [(z["losses12"][0] + z["zlosses12"][0]).item()],
        "grad norms": [g.norm().item() for g in grads],
        "grad first": [g.flatten()[0].item() for g in grads],
        "grad last": [g.flatten()[-1].item() for g in grads],
        "total norm": [t["norms12"][0].item()],
        "total with z": [z["norms12"][0].item()],
        "losses 1-12": t["losses12"].tolist(),
        "norms 1-12": t["norms12"].tolist(),
        "loss after": t["loss_after"].tolist() if "loss_after" in t else None,
        "weights after": [wte[0, 0].item(), att[0, 0].item(), wte[-1, -1].item()],
        "decay_emb after": None if "loss_after" not in d else d["loss_after"].tolist() + (
            [] if case.tied else [d["after12.transformer.wte.weight"][-1, -1].item()]),
    }


def check_goldens(case):
    f32, f64 = torch.float32, torch.float64
    columns = {
        "official f64": summarize(case, lambda c: official_forward(c, f64)[0], train_official),
        "Trainer f32": summarize(case, lambda c: official_forward(c, f32)[0],
                                 train_official_trainer),
        "hf f64": summarize(case, lambda c: hf_forward(c, f64), train_hf),
        "hf f32": summarize(case, lambda c: hf_forward(c, f32), lambda c: train_hf(c, f32)),
    }
    print(f"\n{case.name}: golden numbers of the specification; found, and the largest "
          "difference in the row")
    print(f"  {'':16}{'golden':>13}" + "".join(f"{t:>24}" for t in columns))
    failures = []
    for row, golden in GOLDEN[case.name].items():
        line = f"  {row:16}{golden[0]:13.7g}"
        for title, found in columns.items():
            if found[row] is None:
                line += f"{'-':>24}"
                continue
            d = max(abs(x - y) for x, y in zip(found[row], golden, strict=True))
            line += f"{found[row][0]:14.7g} {d:9.1e}"
            if d > GOLDEN_LIMITS.get(row, GOLDEN_LIMIT_ELSE):
                failures.append(f"{row}: {title} is {d:.1e} away from the golden value")
        print(line)
    if failures:
        sys.exit(f"{case.name}: golden numbers do not hold.\n  " + "\n  ".join(failures))


def check_golden_basics():
    """Inputs of appendix A.1, the learning rates of A.4 and the beams of A.5."""
    w, ids = weights(G1), make_batch(G1)["input_ids"]
    ok = ids[0, :8].tolist() == [94, 192, 180, 46, 263, 95, 157, 175]
    first = torch.cat([w["transformer.wte.weight"][0, :3],
                       w["transformer.blocks.0.att_proj.weight"][0, :3]])
    golden = torch.tensor([-.11455128, -.08518533, .19846936, .02686195, -.21050605, .01588308])
    ok &= torch.allclose(first, golden, rtol=0, atol=2e-8)
    rates = [learning_rate(s) for s in range(1, RECIPE.steps + 1)]
    ok &= max(abs(a - b) for a, b in zip(rates, GOLDEN_LRS)) < 6e-10
    if not ok:
        sys.exit("the weights, tokens or learning rates are not those of the specification")

    model = official_model(G1, torch.float32).eval()
    prompts = ids[:2, :6]
    with torch.no_grad():
        greedy = model.generate(prompts, max_steps=8, beam_size=1)
        beams = model.generate(prompts, max_steps=5, beam_size=3)
    worst = 0.0
    for row in range(2):
        pairs = [(greedy.token_ids[row, 0], greedy.scores[row, 0], *GOLDEN_GREEDY[row])]
        pairs += [(beams.token_ids[row, i], beams.scores[row, i], *GOLDEN_BEAMS[row][i])
                  for i in range(3)]
        for found_ids, found_score, want_ids, want_score in pairs:
            if found_ids.tolist() != want_ids:
                sys.exit(f"generation gave {found_ids.tolist()} where {want_ids} was expected")
            worst = max(worst, abs(found_score.item() - want_score))
    if worst > 2e-5:
        sys.exit(f"generation scores differ by {worst:.1e}")
    print("G1: weights, tokens, learning rates, greedy and beam search are as specified "
          f"(scores differ by at most {worst:.1e})")
