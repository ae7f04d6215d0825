"""Say what is installed and found here, what is missing, and the command that mends it.

Missing extras, weights and datasets are no fault; the exit code is 1 only if something that every
use needs is missing or broken.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

SUMMARY = "what is installed and found, what is missing, and how to mend it"
EXAMPLES = ("ovsuite doctor",)


def add_arguments(parser: ArgumentParser) -> None:
    """This command takes no arguments."""


def run(args: Namespace) -> int:
    """Print the findings.

    Returns:
        0 if the suite can work, else 1.
    """
    from ..reports.doctor import examine

    sick = False
    for title, findings in examine():
        print(title)
        for finding, after in zip(findings, [*findings[1:], None], strict=True):
            mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.good]
            print(f"  {mark} {finding.text}")
            if finding.mend and (after is None or after.mend != finding.mend):
                print(f"       mend: {finding.mend}")
        sick |= any(finding.good is False for finding in findings)
    print("\nSomething that the suite needs is missing." if sick else "\nThe suite can work.")
    return int(sick)
