"""The rules of `expected.py` on counts that no small model has, against what llama.cpp's published mixes are known to hold."""

from collections import Counter

import pytest

import expected


def mix(name, layers, heads=32, groups=8, experts=0, importance=False, tied=False, family="llama", columns=4096):
    config = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": groups, "model_type": family,
              "num_local_experts": experts}
    suffix = "_exps" if experts else ""
    names = ["token_embd.weight", *([] if tied else ["output.weight"])]
    names += [f"blk.{layer}.{kind}.weight" for layer in range(layers) for kind in (
        "attn_q", "attn_k", "attn_v", "attn_output", f"ffn_down{suffix}", f"ffn_gate{suffix}", f"ffn_up{suffix}")]
    made = expected.Mix(name, config, names, importance)
    return {one: made.kind(one, columns) for one in expected.in_order(names)}


def counts(types, part):
    return Counter(kind for name, kind in types.items() if part in name)


def test_4_and_5_bits_in_32_layers():
    raised = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    for name, plain in (("Q4_K_M", "Q4_K"), ("Q5_K_M", "Q5_K")):
        types = mix(name, 32)
        for part in ("attn_v", "ffn_down"):
            assert [types[f"blk.{layer}.{part}.weight"] for layer in range(32)] == [
                "Q6_K" if layer in raised else plain for layer in range(32)]
        assert types["output.weight"] == "Q6_K" and types["token_embd.weight"] == plain
        assert counts(types, "attn_q") == {plain: 32}
    types = mix("Q4_K_S", 32)
    assert counts(types, "attn_v") == {"Q5_K": 4, "Q4_K": 28} == counts(types, "ffn_down")


def test_3_bits_in_32_layers():
    types = mix("Q3_K_M", 32)
    assert counts(types, "attn_v") == {"Q5_K": 2, "Q4_K": 30} == counts(types, "ffn_down")
    assert counts(types, "attn_output") == {"Q4_K": 32} and counts(types, "ffn_up") == {"Q3_K": 32}
    assert counts(mix("Q3_K_L", 32), "attn_output") == {"Q5_K": 32}
    assert counts(mix("Q3_K_S", 32), "") == {"Q3_K": 7 * 32 + 1, "Q6_K": 1}


@pytest.mark.parametrize("groups, kind", [(32, "Q3_K"), (16, "Q3_K"), (8, "Q4_K")])
def test_2_bits_look_at_shared_values(groups, kind):
    types = mix("Q2_K", 32, groups=groups)
    assert counts(types, "attn_v") == {kind: 32} and counts(types, "ffn_down") == {"Q3_K": 32} == counts(types, "attn_output")


def test_70_billion():
    """80 layers with shared values: no value matrix below Q5_K. Qwen2 of 80 layers has the rule too."""
    assert counts(mix("Q3_K_M", 80, heads=64), "attn_v") == {"Q5_K": 80}
    assert counts(mix("Q4_K_M", 80, heads=64, family="qwen2"), "attn_v") == {"Q6_K": 40, "Q5_K": 40}
    assert counts(mix("Q4_K_M", 80, heads=64, groups=64), "attn_v") == {"Q6_K": 40, "Q4_K": 40}


def test_eight_experts():
    types = mix("Q4_K_M", 32, experts=8)
    assert counts(types, "attn_v") == {"Q8_0": 32} == counts(types, "attn_k")
    assert counts(types, "attn_output") == {"Q5_K": 32} and counts(types, "ffn_down") == {"Q6_K": 16, "Q4_K": 16}
    assert counts(mix("MXFP4_MOE", 2, experts=8), "") == {"MXFP4": 6, "Q8_0": 10}
    assert counts(mix("Q4_K_M", 32, experts=4), "attn_k") == {"Q4_K": 32}


def test_importance_changes_first_layers():
    for name, plain, raised in (("Q4_0", "Q4_0", "Q4_1"), ("Q5_0", "Q5_0", "Q5_1")):
        assert counts(mix(name, 32), "ffn_down") == {plain: 32}
        assert counts(mix(name, 32, importance=True), "ffn_down") == {raised: 4, plain: 28}
    assert counts(mix("IQ4_XS", 32), "ffn_down") == {"Q5_K": 4, "IQ4_XS": 28}
    assert counts(mix("IQ4_XS", 32, importance=True), "ffn_down") == {"IQ4_XS": 32}


def test_no_output_matrix():
    assert mix("Q4_K_M", 2, tied=True)["token_embd.weight"] == "Q6_K"
    assert mix("Q8_0", 2, tied=True)["token_embd.weight"] == "Q8_0"


def test_columns():
    assert set(mix("Q4_K_M", 2, columns=288).values()) == {"Q5_0", "Q8_0"}
    assert set(mix("Q4_K_M", 2, columns=100).values()) == {"F16"}
    assert mix("Q4_0", 2, columns=288)["output.weight"] == "Q8_0"
