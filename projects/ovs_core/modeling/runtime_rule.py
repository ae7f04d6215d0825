"""The choice of engine and numbers, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from detectron2.config import CfgNode

from ..errors import UserError, check_choice

KEY = "MODEL.OVS.RUNTIME"
TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Engine -> the types of numbers that it computes in
ENGINES: dict[str, tuple[str, ...]] = {
    "eager": tuple(TORCH_DTYPES),
    "compile": tuple(TORCH_DTYPES),
    "openvino": tuple(TORCH_DTYPES),
    "onnxruntime": ("float32", "int8"),
}
DTYPES = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class RuntimeRule:
    """What computes the networks of a method at test time.

    Attributes:
        engine: of ``ENGINES``.
        dtype: of ``DTYPES``.
        force: whether it is taken although it agrees less than ``min_agreement``.
        min_agreement: least share of labels that must be those of eager float32.

    Raises:
        UserError: for an unknown engine or type, or two that do not go together.
    """

    engine: str = "eager"
    dtype: str = "float32"
    force: bool = False
    min_agreement: float = 0.995

    def __post_init__(self) -> None:
        """Refuse what no engine does."""
        check_choice(f"{KEY}.ENGINE", self.engine, ENGINES)
        check_choice(f"{KEY}.DTYPE", self.dtype, DTYPES)
        if self.dtype not in ENGINES[self.engine]:
            raise UserError(
                f"{KEY}: {self.engine} does not compute in {self.dtype}; choose "
                f"{' or '.join(ENGINES[self.engine])}, or another ENGINE"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> RuntimeRule:
        """Read ``MODEL.OVS.RUNTIME``."""
        node = cfg.MODEL.OVS.RUNTIME
        return cls(node.ENGINE, node.DTYPE, node.FORCE, node.MIN_AGREEMENT)

    @classmethod
    def parse(cls, text: str, like: RuntimeRule) -> RuntimeRule:
        """Read ``ENGINE:DTYPE``, such as ``compile:bfloat16``; the rest is as in another rule.

        Raises:
            UserError: if the text names no such pair.
        """
        engine, colon, dtype = text.partition(":")
        if not colon:
            raise UserError(f"{text!r}: name a runtime as ENGINE:DTYPE, such as compile:bfloat16")
        return replace(like, engine=engine, dtype=dtype)

    @property
    def is_plain(self) -> bool:
        """Whether it is what everything is compared with: eager float32."""
        return (self.engine, self.dtype) == ("eager", "float32")

    def __str__(self) -> str:
        """Engine and type."""
        return f"{self.engine} {self.dtype}"


def refuse_runtime(cfg: CfgNode, purpose: str) -> None:
    """Refuse a config whose engine cannot do what is asked for.

    Args:
        cfg: finished config.
        purpose: what needs eager float32, as the subject of a sentence.

    Raises:
        UserError: if the config has another runtime.
    """
    rule = RuntimeRule.from_config(cfg)
    if not rule.is_plain:
        raise UserError(
            f"{KEY}: {purpose} needs eager float32, but the config asks for {rule}; leave the key "
            "out here"
        )
