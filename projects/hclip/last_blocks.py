"""How the last image block makes dense features; a key's value -> the block."""

from ovs_core.clip.attention import cls_residual_value_block, self_block, value_block

LAST_BLOCKS = {"cls": cls_residual_value_block, "token": value_block, "self": self_block}
