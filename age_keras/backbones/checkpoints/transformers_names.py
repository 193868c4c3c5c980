"""From the parameter names of Hugging Face's transformers to those that our layers have: state dict in, state dict out.

transformers keeps queries, keys and values apart, where the authors' own networks have them in one matrix, and wraps
the same modules in other names. The files on its hub have the names of its version 4; version 5 renamed some modules of
BEiT in memory. What has none of these names passes unchanged.
"""

import numpy as np

from age_keras.backbones.checkpoints.weight_map import State, renamed

BEIT = (
    (r"^(beit|backbone)\.(?=[a-z])", ""),
    (r"^encoder\.", ""),
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.attention\.(query|value)\.bias$", lambda found: f".attn.{found[1][0]}_bias"),
    (r"\.(attention\.attention\.)?relative_position_bias\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.lambda_(\d)$", r".gamma_\1"),
)
SWIN_V2 = (
    (r"^swinv2\.", ""),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.", ""),
    (r"^layernorm\.", "norm."),
    (r"\.attention\.self\.(query|value)\.bias$", lambda found: f".attn.{found[1][0]}_bias"),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.(?=logit_scale|relative_)", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)
CONVNEXT_V2 = (
    (r"^convnextv2\.", ""),
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.", ""),
    (r"^(stages\.\d+)\.downsampling_layer\.", r"\1.downsample."),
    (r"^(stages\.\d+)\.layers\.(\d+)\.grn\.", r"\1.blocks.\2.mlp.grn."),
    (r"^(stages\.\d+)\.layers\.", r"\1.blocks."),
    (r"\.layernorm\.", ".norm."),
    (r"^layernorm\.", "norm."),
)


def beit(state: State) -> State:
    """BEiT and DiT, e.g. of `microsoft/dit-base`."""
    return _fused(renamed(state, BEIT), "attention.attention")


def swin_v2(state: State) -> State:
    """SwinV2, e.g. of `microsoft/swinv2-tiny-patch4-window8-256`."""
    return _fused(renamed(state, SWIN_V2), "attention.self")


def convnext_v2(state: State) -> State:
    """ConvNeXtV2, e.g. of `facebook/convnextv2-tiny-1k-224`."""
    return renamed(state, CONVNEXT_V2)


def _fused(state: State, attention: str) -> State:
    """Query, key and value matrices `*.{attention}.query.weight` as one, `*.attn.qkv.weight`."""
    end = f".{attention}.query.weight"
    for name in [name for name in state if name.endswith(end)]:
        block = name.removesuffix(end)
        parts = [f"{block}.{attention}.{part}.weight" for part in ("query", "key", "value")]
        if all(part in state for part in parts):  # Otherwise the error names the ones that are there.
            state[f"{block}.attn.qkv.weight"] = np.concatenate([state.pop(part) for part in parts])
    return state
