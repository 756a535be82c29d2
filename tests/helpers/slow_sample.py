"""Sampling in the obvious way: row by row, all tokens forwarded anew for every token, with transformers' own
attention."""
import torch


@torch.no_grad()
def slow_sample(model, prompt, room, ends, temperature=1.0, seed=0):
    """(token ids, their log-probs, whether an end token came) of one completion of `prompt`."""
    base = model.get_base_model()
    ours = base.config._attn_implementation
    base.config._attn_implementation = "sdpa"
    quantiles = torch.rand(room, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ids, logps = [], []
    while len(ids) < room and not (ids and ids[-1] in ends):
        logits = model(input_ids=torch.tensor([prompt + ids], device=base.device), use_cache=False).logits
        logp = torch.log_softmax(logits[0, -1].double() / (temperature or 1.0), -1)
        token = int(logp.argmax())
        if temperature:  # the first token up to which the probabilities add up to more than the quantile
            token = int((logp.exp().cumsum(-1) <= quantiles[len(ids)].to(base.device)).sum())
        ids.append(token)
        logps.append(float(logp[token]))
    base.config._attn_implementation = ours
    return ids, logps, ids[-1] in ends
