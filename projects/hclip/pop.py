"""Partial orthogonal fine-tuning (POP) with dual cross relation communication (DCRC).

One tensor of q x q blocks serves all attention weights of both towers (H-CLIP sections 3.2 and
3.3). ``form="code"`` follows the released code, ``form="paper"`` the printed equations; they differ
in the relations, in the order of mixing and Cayley map, and in the side of the product (see
README).

Letters: q block side, R rows (4 per layer index: query, key, value, output), M slots (text width /
q, then image width / q), N layer indices, b slots of one tower.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice
from ovs_core.tensor import cayley, mode_product
from ovs_core.tensor.placing import place

FORMS = ("code", "paper")
ORTHOGONAL = ("none", "text", "both")
PAIRINGS = ("index", "stride", "same")
SIDES = ("right", "left")
ROWS_PER_LAYER = 4  # query, key, value, output projection


@dataclass(frozen=True)
class POPSettings:
    """Switches of the adaptation; the defaults are the released code.

    Attributes:
        block_size: q; must divide both widths.
        form: ``"code"`` or ``"paper"`` relations.
        orthogonal: whose blocks go through the Cayley map: ``"text"`` (POP), ``"none"``,
            ``"both"``.
        dcrc: whether blocks are mixed over slots and layers at all.
        pop: whether the blocks train; False leaves only the relations.
        nonlinear: paper form with two-layer relations (Eq 19) instead of Eq 18.
        cayley_after: Cayley map after the mixing, so that the result is orthogonal; else before.
        alpha_init: paper form, initial weight of the mixed tensor.
        cayley_sign: -1 for (I - S)(I + S)^-1, +1 for its transpose (Eq 5).
        qkv_side: side from which D multiplies the query, key and value weights.
        out_side: side from which D multiplies the output projection.
        pairing: which layer index a block of a shallower tower has: ``"index"`` its own,
            ``"stride"`` spread over all, ``"same"`` refuses towers of different depth.
    """

    block_size: int = 128
    form: str = "code"
    orthogonal: str = "text"
    dcrc: bool = True
    pop: bool = True
    nonlinear: bool = False
    cayley_after: bool = True
    alpha_init: float = 0.0
    cayley_sign: int = -1
    qkv_side: str = "right"
    out_side: str = "left"
    pairing: str = "index"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_choice("MODEL.HCLIP.FORM", self.form, FORMS)
        check_choice("MODEL.HCLIP.ORTHOGONAL", self.orthogonal, ORTHOGONAL)
        check_choice("MODEL.HCLIP.DEPTH_PAIRING", self.pairing, PAIRINGS)
        check_choice("MODEL.HCLIP.QKV_SIDE", self.qkv_side, SIDES)
        check_choice("MODEL.HCLIP.OUT_PROJ_SIDE", self.out_side, SIDES)
        check_choice("MODEL.HCLIP.CAYLEY_SIGN", self.cayley_sign, (-1, 1))
        if self.nonlinear and self.form != "paper":
            raise UserError("MODEL.HCLIP.DCRC_NONLINEAR belongs to MODEL.HCLIP.FORM paper")
        if not (self.pop or self.dcrc):
            raise UserError("MODEL.HCLIP: with POP and DCRC both off nothing trains; use freeze")


@dataclass(frozen=True)
class TowerShape:
    """Width and number of blocks of a CLIP tower."""

    name: str
    width: int
    depth: int


class CodeRelation(nn.Module):
    """Relations of the released code: one matrix over rows, one over slots per layer index.

    ``Mix[a, b, s, j] = sum_m sum_r L[s, r] M_i[j, m] T[a, b, r, m]`` for the four rows s of index
    i.

    Args:
        rows: R.
        slots: M.
    """

    def __init__(self, rows: int, slots: int) -> None:
        super().__init__()
        self.layers = nn.Parameter(torch.eye(rows))
        self.slots = nn.Parameter(torch.eye(slots).repeat(rows // ROWS_PER_LAYER, 1, 1))

    def forward(self, blocks: Tensor) -> Tensor:
        """Mix (q, q, R, M) over rows, then each index's four rows over slots."""
        mixed = mode_product(blocks, self.layers, 3)
        mixed = mixed.unflatten(2, (-1, ROWS_PER_LAYER))
        return torch.einsum("abncm,njm->abncj", mixed, self.slots).flatten(2, 3)


class PaperRelation(nn.Module):
    """Relations as printed: ``T + alpha * T_w`` with ``T_w = T x_3 S_3 x_4 S_4`` (Eq 18) or MLPs.

    The activation and the initial values are not printed; LeakyReLU and identities are our choice.

    Args:
        rows: R.
        slots: M.
        nonlinear: two-layer relations ``sigma(T x_k W_1) x_k W_2`` (Eq 19).
        alpha: initial weight of the mixed tensor.
    """

    def __init__(self, rows: int, slots: int, *, nonlinear: bool, alpha: float) -> None:
        super().__init__()
        depth = 2 if nonlinear else 1
        self.slots = nn.ParameterList([torch.eye(slots) for _ in range(depth)])
        self.layers = nn.ParameterList([torch.eye(rows) for _ in range(depth)])
        self.alpha = nn.Parameter(torch.full((rows, slots), alpha))

    def forward(self, blocks: Tensor) -> Tensor:
        """Mix (q, q, R, M), slots first (f_3), then rows (f_4)."""
        mixed = self.relate(self.relate(blocks, self.slots, 4), self.layers, 3)
        return blocks + self.alpha * mixed

    @staticmethod
    def relate(blocks: Tensor, matrices: nn.ParameterList, mode: int) -> Tensor:
        """Apply one relation along a mode of (q, q, R, M)."""
        blocks = mode_product(blocks, matrices[0], mode)
        for matrix in matrices[1:]:
            blocks = mode_product(F.leaky_relu(blocks), matrix, mode)
        return blocks


class PartialOrthogonal(nn.Module):
    """The shared trainable tensor, its relations, and the blocks that come out for every layer.

    Args:
        text: shape of the text tower.
        image: shape of the image tower.
        settings: switches.

    Raises:
        UserError: if a width is no multiple of q, or the depths differ and may not.
    """

    def __init__(self, text: TowerShape, image: TowerShape, settings: POPSettings) -> None:
        super().__init__()
        self.settings = settings
        self.towers = (text, image)
        self.counts = tuple(_slots(t, settings.block_size, self.towers) for t in self.towers)
        if settings.pairing == "same" and text.depth != image.depth:
            raise UserError(
                f"MODEL.HCLIP.DEPTH_PAIRING same: the towers have {text.depth} and {image.depth} "
                "blocks; choose index or stride"
            )
        self.depth = max(text.depth, image.depth)
        rows, slots = ROWS_PER_LAYER * self.depth, sum(self.counts)
        self.blocks = nn.Parameter(self._initial(rows, slots), requires_grad=settings.pop)
        self.relation = self._relation(rows, slots)

    def forward(self) -> dict[str, Tensor]:
        """Give the finished blocks of all layers at once.

        Returns:
            Tower name -> (depth, 4, b, q, q) in float32 (float64 if the parameters are).
        """
        with torch.autocast(self.blocks.device.type, enabled=False):
            blocks: Tensor = self.blocks
            if not self.settings.cayley_after:
                blocks = self._rotate(blocks.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
            if self.relation is not None:
                blocks = self.relation(blocks)
            blocks = blocks.permute(2, 3, 0, 1)  # (R, M, q, q)
            if self.settings.cayley_after:
                blocks = self._rotate(blocks)
            layers = blocks.unflatten(0, (self.depth, ROWS_PER_LAYER))
            parts = layers.split(self.counts, dim=2)
            return {
                tower.name: part[place(self.indices(tower), part.device)]
                for tower, part in zip(self.towers, parts, strict=True)
            }

    def indices(self, tower: TowerShape) -> list[int]:
        """Layer index of each block of a tower."""
        if self.settings.pairing != "stride":
            return list(range(tower.depth))
        return [(i + 1) * self.depth // tower.depth - 1 for i in range(tower.depth)]

    def orthogonal_slots(self) -> slice:
        """Which of the M slots go through the Cayley map."""
        stop = {"none": 0, "text": self.counts[0], "both": sum(self.counts)}
        return slice(0, stop[self.settings.orthogonal])

    def _rotate(self, blocks: Tensor) -> Tensor:
        """Send the orthogonal slots of (R, M, q, q) through the Cayley map."""
        which = self.orthogonal_slots()
        if which.stop == 0:
            return blocks
        rotated = cayley(blocks[:, which], sign=self.settings.cayley_sign)
        return torch.cat([rotated, blocks[:, which.stop :]], dim=1)

    def _initial(self, rows: int, slots: int) -> Tensor:
        """Zeros where a Cayley map follows, identities elsewhere: the adapted CLIP is the CLIP."""
        size = self.settings.block_size
        blocks = torch.eye(size)[:, :, None, None].repeat(1, 1, rows, slots)
        blocks[..., self.orthogonal_slots()] = 0
        return blocks

    def _relation(self, rows: int, slots: int) -> CodeRelation | PaperRelation | None:
        if not self.settings.dcrc:
            return None
        if self.settings.form == "code":
            return CodeRelation(rows, slots)
        return PaperRelation(
            rows, slots, nonlinear=self.settings.nonlinear, alpha=self.settings.alpha_init
        )


def _slots(tower: TowerShape, size: int, towers: tuple[TowerShape, ...]) -> int:
    if size < 1 or tower.width % size:
        fitting = [q for q in range(1, tower.width + 1) if not any(t.width % q for t in towers)]
        raise UserError(
            f"MODEL.HCLIP.BLOCK_SIZE: {size} does not divide the {tower.name} tower's width "
            f"{tower.width}; sizes that divide both towers: {', '.join(map(str, fitting))}"
        )
    return tower.width // size
