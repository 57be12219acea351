"""What a model writes: the share of completions that parse, and of those equal to the unquantized model's.

transformers loads `ingot export --dtype f32`. Prompts are beginnings of functions of the held-out code: its signature and three
lines of its body. A completion is greedy. It ends with the function (the first line that is not indented) or after
LENGTH tokens; what is left of the last line then is cut. It parses if Python's `ast` takes prompt and completion together, with at most
DROPPED lines less at the end: a function that was cut off in the middle of a statement is no error.
"""

import ast
import os
import re
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LENGTH, SAME = 48, 16  # tokens
BODY_LINES, LONGEST_SIGNATURE, DROPPED = 3, 8, 3  # lines
MOST_CHARACTERS, MOST_TOKENS = 800, 256  # of a prompt


def prompts(held_out: Path, count: int) -> list[str]:
    """Up to `count` prompts, evenly from the whole text. Methods lose the indentation of their class. Each prompt parses by itself."""
    lines, found = held_out.read_text().splitlines(), []
    for start, line in enumerate(lines):
        indentation = re.match(r"( *)def \w+\(", line)
        if not indentation:
            continue
        end = start + 1
        while end < len(lines) and not lines[end - 1].rstrip().endswith(":") and end - start < LONGEST_SIGNATURE:
            end += 1
        width = len(indentation[1])
        block = [text[width:] if not text[:width].strip() else text for text in lines[start : end + BODY_LINES]]
        inside = all(not text or text[0].isspace() for text in block[end - start :])
        text = "\n".join(block) + "\n"
        if inside and block[-1].strip() and len(text) < MOST_CHARACTERS and _whole(text):
            found.append(text)
    return found if len(found) <= count else [found[i * len(found) // count] for i in range(count)]


def _whole(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError):
            return False
    return True


def parses(prompt: str, completion: str) -> bool:
    """Whether prompt and completion are Python, but for the last lines. Of a completion that has whole lines, one must stay."""
    lines = completion.split("\n")[:-1]
    if not lines:
        return _whole(prompt + completion + "\n")
    ends = [number for number, line in enumerate(lines) if line and not line[0].isspace()]
    lines = lines[: ends[0]] if ends else lines
    if not any(line.strip() for line in lines):  # the function ended with the prompt
        return True
    fewest = next(number for number, line in enumerate(lines) if line.strip()) + 1
    return any(_whole(prompt + "\n".join(lines[:kept]) + "\n") for kept in range(len(lines), max(fewest, len(lines) - DROPPED) - 1, -1))


def complete(stages, model: Path, count: int) -> list[dict]:
    """For each prompt the ids and the text that the model writes."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    import harness

    torch.set_num_threads(min(2, os.cpu_count() or 1))
    tokenizer = Tokenizer.from_file(str(stages.model.path / "tokenizer.json"))
    probe = tokenizer.encode("a", add_special_tokens=True)
    begin = probe.ids[: probe.special_tokens_mask.index(0)]
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval()
    found = []
    for prompt in prompts(stages.model.held_out["code"], count):
        ids = [*begin, *tokenizer.encode(prompt, add_special_tokens=False).ids]
        if len(ids) > min(MOST_TOKENS, harness.CONTEXT - LENGTH):
            continue
        inputs = torch.tensor([ids])
        with torch.no_grad():
            output = loaded.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=LENGTH, do_sample=False, pad_token_id=0)
        own = output[0, len(ids) :].tolist()
        found.append({"prompt": prompt, "ids": own, "text": tokenizer.decode(own)})
    return found


def compare(own: list[dict], reference: list[dict]) -> dict:
    equal = sum(a["ids"][:SAME] == b["ids"][:SAME] for a, b in zip(own, reference, strict=True))
    return {"parsed": sum(parses(entry["prompt"], entry["text"]) for entry in own), "equal": equal, "prompts": len(own),
            "examples": [entry["text"] for entry in own[:3]]}  # fmt: skip
