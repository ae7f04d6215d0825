"""Text features from an unmodified open_clip text tower, with or without gradients.

Letters: P prompts, S tokens, D joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from .model import CLIP
from .tokenizer import count_tokens
from .towers import TextTower

logger = logging.getLogger(__name__)

GROUP = 64  # prompts of similar length that are trained on together


class TextEncoder:
    """Encode prompts with the text tower of a CLIP.

    A view of the tower and no module, as ``ImageEncoder`` is. The tower is causal and its feature
    is read at the end token, so tokens behind the longest prompt's end token cannot matter and are
    not computed.

    Args:
        clip: the CLIP, not copied; parametrized weights are used as they are.
    """

    def __init__(self, clip: CLIP) -> None:
        self.clip = clip
        self._num_computed = 0

    @property
    def num_computed(self) -> int:
        """How many prompts this encoder has sent through the tower."""
        return self._num_computed

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Turn prompts into token ids; prompts that had to be cut are told to the log.

        Whoever takes words from a person warns with ``cut_texts``, which also sees the words whose
        embeddings are known already.

        Args:
            prompts: P strings.

        Returns:
            (P, context length) ids on the model's device.
        """
        tokens = self.clip.tokenizer(list(prompts))
        if tokens.shape[1] and isinstance(self.clip.tokenizer, open_clip.SimpleTokenizer):
            self._report_cut_prompts(prompts, tokens)
        return tokens.to(self.clip.pixel_mean.device, non_blocking=True)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Encode token ids.

        Args:
            tokens: (P, S) ids; the end token is the largest id of its row.

        Returns:
            (P, D) features, not normalised.
        """
        self._num_computed += len(tokens)
        tower = _plain_tower(self.clip.model)
        if tower is None:
            return self.clip.parts.encode_text(tokens)
        end = tokens.argmax(dim=-1)
        length = int(end.max()) + 1
        table = tower.positional_embedding[:length]
        x: Tensor = tower.token_embedding(tokens[:, :length]) + table
        mask = tower.attn_mask
        x = tower.transformer(x, attn_mask=None if mask is None else mask[:length, :length])
        x = tower.ln_final(x[torch.arange(len(x), device=x.device), end])
        projection = tower.text_projection
        if isinstance(projection, nn.Linear):
            x = projection(x)
        elif projection is not None:
            x = x @ projection
        return x

    def in_groups(self, tokens: Tensor, size: int = GROUP) -> Tensor:
        """Encode token ids in groups of similar length, with gradients if they are wanted.

        Args:
            tokens: (P, S) ids.
            size: prompts per group.

        Returns:
            (P, D) features, not normalised, in the order of the prompts.
        """
        order = tokens.argmax(dim=-1).argsort(stable=True)
        features = torch.cat([self(tokens[rows]) for rows in order.split(size)])
        return features[order.argsort()]

    @torch.no_grad()
    def encode(
        self, prompts: Sequence[str], *, batch_size: int = 256, progress: bool = True
    ) -> Tensor:
        """Encode many prompts in batches of similar length.

        Args:
            prompts: P strings.
            batch_size: prompts per forward.
            progress: show a progress bar when there are many batches.

        Returns:
            (P, D) unit vectors, in the order of the prompts.
        """
        tokens = self.tokenize(prompts)
        order = torch.argsort(tokens.argmax(dim=-1))
        out = tokens.new_empty((len(tokens), self.clip.embed_dim), dtype=torch.float32)
        batches = torch.split(order, batch_size)
        show = progress and len(batches) > 8
        for rows in tqdm(batches, desc="text embeddings", unit="batch", disable=not show):
            out[rows] = F.normalize(self(tokens[rows]).float(), dim=-1)
        return out

    def cut_texts(self, texts: Sequence[str], templates: Sequence[str]) -> list[str]:
        """Find the texts of which the tower sees only the beginning.

        Args:
            texts: E texts.
            templates: prompts with one ``{}``.

        Returns:
            Those that are too long in at least one template, in their order.
        """
        room = self.clip.tokenizer.context_length - 2  # start and end
        tokenizer = self.clip.tokenizer
        around = max(count_tokens(tokenizer, template.format("")) for template in templates)
        # A token has at least one byte, so that most texts need not be tokenised.
        long = [text for text in texts if len(text.encode()) + around > room]
        return [text for text in long if count_tokens(tokenizer, text) + around > room]

    @property
    def is_english(self) -> bool:
        """Whether the tower has CLIP's own tokenizer, whose towers were trained on English."""
        return isinstance(self.clip.tokenizer, open_clip.SimpleTokenizer)

    def token_sets(self, classes: Sequence[Sequence[str]], template: str) -> list[frozenset[bytes]]:
        """What the tower is shown of classes; two classes of one set have the same features.

        Args:
            classes: texts of each of K classes.
            template: a prompt with one ``{}``.

        Returns:
            K sets of token ids, as bytes.
        """
        texts = list(dict.fromkeys(text for listed in classes for text in listed))
        tokens = self.clip.tokenizer([template.format(text) for text in texts])
        rows = {text: row.tobytes() for text, row in zip(texts, tokens.numpy(), strict=True)}
        return [frozenset(rows[text] for text in listed) for listed in classes]

    def _report_cut_prompts(self, prompts: Sequence[str], tokens: Tensor) -> None:
        full = (tokens[:, -1] != 0).nonzero()[:, 0].tolist()
        room = tokens.shape[1] - 2
        cut = [i for i in full if count_tokens(self.clip.tokenizer, prompts[i]) > room]
        if cut:
            logger.info(
                "%d prompt(s) are longer than the text tower's %d tokens and were cut, first: %r",
                len(cut), room, prompts[cut[0]][:80],
            )  # fmt: skip


def _plain_tower(model: nn.Module) -> TextTower | None:
    """Give open_clip's own text tower if it reads its feature at the end token."""
    if not isinstance(model, open_clip.CLIP) or model.text_pool_type != "argmax":
        return None
    tower: TextTower = model
    return tower
