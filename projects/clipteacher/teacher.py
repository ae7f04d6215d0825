"""The teacher: a frozen CLIP image tower (section 3.1), with a memory of what it has seen.

Letters: B pictures, C joint width, H x W token grid.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor, nn

from ovs_core.clip import ImageEncoder, PositionRule
from ovs_core.errors import check_choice

TOKENS = ("proj", "ln_post", "raw")
POSITIONS = ("bicubic", "bilinear")


class Teacher:
    """CLS token and dense tokens of CLIP, its blocks unchanged; a view of the tower and no module.

    A picture that comes again bit for bit (no random augmentation, or several epochs of a fixed
    crop) is answered from memory; any other crop, flip or colour is another picture.

    Args:
        visual: CLIP's ViT image tower; set to evaluation mode, not copied.
        tokens: ``proj`` (after the last norm and the projection), ``ln_post`` (before the
            projection) or ``raw`` (output of the last block).
        positions: how the position table is resized, ``bicubic`` or ``bilinear``.
        cache_mib: size of the memory in MiB; 0 for none.
    """

    def __init__(
        self,
        visual: nn.Module,
        *,
        tokens: str = "proj",
        positions: str = "bicubic",
        cache_mib: int = 0,
    ) -> None:
        check_choice("MODEL.CLIPTEACHER.PLM.TOKENS", tokens, TOKENS)
        check_choice("MODEL.CLIPTEACHER.CLIP.POS_INTERP", positions, POSITIONS)
        self.encoder = ImageEncoder(visual.eval(), positions=PositionRule(mode=positions))
        self.tokens = tokens
        self.cache = TokenCache(cache_mib * 2**20)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures, those from memory excepted.

        Args:
            images: (B, 3, h, w) in CLIP's statistics.

        Returns:
            (B, C) CLS tokens, not normalised, and (B, C', H, W) dense tokens.
        """
        if not self.cache.limit:
            return self.encode(images)
        keys = [self.cache.key(image) for image in images]
        place = {key: index for index, key in enumerate(keys)}  # each picture of the batch once
        known = {key: entry for key in place if (entry := self.cache.get(key)) is not None}
        new = [key for key in place if key not in known]
        if new:
            cls, dense = self.encode(images[[place[key] for key in new]])
            for key, entry in zip(new, zip(cls, dense, strict=True), strict=True):
                known[key] = entry
                self.cache.put(key, entry)
        entries = [known[key] for key in keys]
        return (
            torch.stack([cls.to(images.device) for cls, _ in entries]),
            torch.stack([dense.to(images.device) for _, dense in entries]),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``__call__`` without the memory."""
        embedded, grid = self.encoder.embed(images)
        last, _ = self.encoder.run_blocks(embedded, grid)
        if self.tokens == "proj":
            split = self.encoder.split(self.encoder.project(last), grid)
            return split.cls, split.patches
        cls = self.encoder.project(last[:, :1])[:, 0]
        dense = last if self.tokens == "raw" else self.encoder.visual.ln_post(last)
        return cls, self.encoder.split(dense, grid).patches


class TokenCache:
    """Tokens by content of the picture, in main memory; the longest unused go first.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.hits = limit, 0, 0
        self._entries: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    @staticmethod
    def key(image: Tensor) -> bytes:
        """Digest of a picture's size and values."""
        content = image.detach().cpu().contiguous()
        digest = hashlib.blake2b(str(tuple(content.shape)).encode(), digest_size=16)
        digest.update(content.numpy().tobytes())
        return digest.digest()

    def get(self, key: bytes) -> tuple[Tensor, Tensor] | None:
        """CLS and dense tokens, or None."""
        if key not in self._entries:
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: bytes, entry: tuple[Tensor, Tensor]) -> None:
        """Keep tokens, dropping older ones beyond the limit."""
        if key in self._entries:
            return
        cls, dense = (part.detach().to("cpu", copy=True) for part in entry)
        self._entries[key] = (cls, dense)
        self.used += _size((cls, dense))
        while self.used > self.limit and self._entries:
            self.used -= _size(self._entries.popitem(last=False)[1])


def _size(entry: tuple[Tensor, Tensor]) -> int:
    return sum(part.numel() * part.element_size() for part in entry)
