"""Try the papers' claims on the embedded world: a verdict for each, with the figures.

Every claim sets two rows side by side; what is trained is trained once with each seed, and what an
earlier call has trained is not trained again. --only measures some projects anew; the others keep
what was measured into the same --output.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import options

SUMMARY = "the papers' claims, tried on the embedded world"
EXAMPLES = (
    "ovsuite claims --only cliptrase",
    "ovsuite claims --only sptseg --seeds 0 SOLVER.MAX_ITER 2",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this command."""
    options.add_only(parser)
    options.add_seeds(parser, "0,1,2")
    options.add_output(parser, "output/claims")
    parser.add_argument(
        "--document", type=Path, metavar="FILE.md",
        help="where the verdicts are written (claims.md in --output)",
    )  # fmt: skip
    options.add_device(parser, "")
    options.add_opts(parser)


def run(args: Namespace) -> int:
    """Measure and write.

    Returns:
        0 if every claim that was to be tried has a verdict, else 1.
    """
    from ..reports.claims import run_claims, write_claims

    pairs = ["MODEL.DEVICE", args.device] if args.device else []
    verdicts = run_claims(
        args.output, only=args.only, seeds=args.seeds, options=[*pairs, *args.opts]
    )
    file = args.document or Path(args.output) / "claims.md"
    print(f"\n{write_claims(verdicts, file)}\nclaims    {file}")
    return int(any(v.missing for name in args.only or verdicts for v in verdicts[name]))
