"""The training loop: seeded, checkpointed, with a schedule driven by the step count.

The learning rate warms up, then follows a cosine to 10% of its peak at the
last planned step. If the run would not reach that step within `minutes`, or is
sent SIGTERM, a linear cooldown starts instead and the run ends early; the
step and length of the cooldown are recorded in `run.json`, and passing them
back in (`--cooldown-at`, `--cooldown-steps`) repeats the run on a machine of
any speed.
"""

import json
import math
import signal
import time

import numpy
import torch

from .model import Llama

WINDOW, BATCH = 512, 8  # half of each batch is code, half prose
PEAK, FLOOR, WARMUP = 2e-3, 0.1, 200
BETAS, DECAY, CLIP = (0.9, 0.95), 0.1, 1.0
PLANNED_CHECKPOINTS = 16


class Stream:
    """Windows of a token array in a seeded random order, reshuffled and shifted every epoch."""

    def __init__(self, tokens, seed):
        self.tokens, self.random = tokens, numpy.random.default_rng(seed)
        self.order = []

    def next(self):
        if not len(self.order):
            offset = int(self.random.integers(WINDOW))
            starts = numpy.arange(offset, len(self.tokens) - WINDOW, WINDOW)
            self.order = list(self.random.permutation(starts))
        start = self.order.pop()
        return self.tokens[start : start + WINDOW]


def batch(streams):
    rows = [s.next() for s in streams for _ in range(BATCH // len(streams))]
    targets = torch.from_numpy(numpy.stack(rows).astype(numpy.int64))
    # As in evaluation, token 0 (<|endoftext|>) opens every window.
    ids = torch.cat((torch.zeros(BATCH, 1, dtype=torch.int64), targets[:, :-1]), dim=1)
    return ids, targets


def cosine(step, steps):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    t = min(1.0, (step - WARMUP) / max(1, steps - WARMUP))
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * t)))


@torch.no_grad()
def evaluate(model, ids):
    """Summed loss in nats over `ids`, in windows opened by token 0."""
    total = 0.0
    for start in range(0, len(ids), WINDOW):
        targets = torch.tensor(ids[start : start + WINDOW])[None]
        inputs = torch.cat((torch.zeros(1, 1, dtype=torch.int64), targets[:, :-1]), dim=1)
        total += model.loss(inputs, targets).item() * targets.shape[1]
    return total


def save(path, model, optimizer, step):
    moments = {n: optimizer.state[p] for n, p in model.named_parameters() if p in optimizer.state}
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step, "model": model.state_dict(), "adamw": moments}, temporary)
    temporary.rename(path)


def train(work, seed, steps, minutes, cooldown_at=None, cooldown_steps=None):
    started, stop = time.monotonic(), []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    torch.manual_seed(seed)
    model = Llama().initialise(seed)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=PEAK, betas=BETAS, fused=True)
    streams = [Stream(numpy.load(work / f"{name}.npy"), [seed, i]) for i, name in enumerate(("code", "prose"))]
    checkpoints = work / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    log = open(work / "log.jsonl", "w", buffering=1)
    limit, end, start_rate = minutes * 60, steps, 0.0
    recent, smoothed, step = time.monotonic(), None, 0

    while step < end:
        elapsed = time.monotonic() - started
        if cooldown_steps is None:
            # Late in the time allowed: would the remaining steps fit?
            late = elapsed > 0.85 * limit and (steps - step) * elapsed / max(step, 1) > limit - elapsed
            if stop or late:
                fits = 0.9 * (limit - elapsed) * step / max(elapsed, 1e-9)
                cooldown_at = step
                cooldown_steps = max(20, min(steps - step, 60 if stop else int(fits)))
        if cooldown_steps is not None and step >= cooldown_at:
            if step == cooldown_at:
                end, start_rate = step + cooldown_steps, cosine(step, steps)
            rate = start_rate * (1 - (step - cooldown_at) / cooldown_steps)
        else:
            rate = cosine(step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate

        ids, targets = batch(streams)
        with torch.autocast("cpu", torch.bfloat16):  # the weights and AdamW's state stay float32
            loss = model.loss(ids, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        step += 1

        value = loss.item()
        smoothed = value if smoothed is None else 0.98 * smoothed + 0.02 * value
        if step % 20 == 0 or step == end:
            now = time.monotonic()
            log.write(json.dumps({"step": step, "loss": round(value, 4), "smoothed": round(smoothed, 4),
                                  "norm": round(float(norm), 3), "rate": round(rate, 7),
                                  "minutes": round((now - started) / 60, 2)}) + "\n")
        if step % max(1, steps // PLANNED_CHECKPOINTS) == 0 or time.monotonic() - recent > 300 or step == end:
            save(checkpoints / f"step-{step:06d}.pt", model, optimizer, step)
            recent = time.monotonic()

    record = {
        "seed": seed, "planned_steps": steps, "steps": step, "cooldown_at": cooldown_at,
        "cooldown_steps": cooldown_steps, "tokens": step * BATCH * WINDOW, "peak_rate": PEAK,
        "final_smoothed_loss": round(smoothed, 4), "minutes": round((time.monotonic() - started) / 60, 1),
        "torch": torch.__version__}
    (work / "run.json").write_text(json.dumps(record, indent=1) + "\n")
    return record
