"""Published names of this suite's tensors, by the rules that read published checkpoints."""

from __future__ import annotations

from maftplus.published import RULES
from ovs_core.modeling.published_names import translate


def published_name(ours: str) -> str:
    """Translate a name of this suite; an unknown one is given back unchanged."""
    return translate(ours, [(b, a) for a, b in RULES])
