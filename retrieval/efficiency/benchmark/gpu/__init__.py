"""Encoding and training steps in every way that we have, beside the straightforward one, as a page in Markdown."""

import time
from argparse import Namespace
from itertools import groupby

import torch
from rich.markdown import Markdown

from retrieval.efficiency.benchmark.gpu.cases import Case, plan
from retrieval.efficiency.benchmark.gpu.measuring import Result, base, biased_attention, measure, product_rates
from retrieval.efficiency.benchmark.gpu.page import page
from retrieval.errors import UserError
from retrieval.files import write_whole
from retrieval.jobs.announcing import tell
from retrieval.jobs.files import refusals


def run(arguments: Namespace) -> None:
    """Measure, print the page and write it.

    Raises:
        UserError: cases that failed, once the page is written.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates, attention = product_rates(device), biased_attention(device)
    results = measured(plan(device), device, time.monotonic() + 60 * arguments.minutes)
    text = page(results, rates, attention, device)
    with refusals(arguments.output, "--output writes elsewhere"):
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.output, text)
    tell(Markdown(text), f"written to {arguments.output}")
    failed = sum(result.note.startswith("failed") for result in results)
    if failed:
        raise UserError(f"{failed} of {len(results)} cases failed: {arguments.output} and the lines above say how")


def measured(cases: list[Case], device: str, deadline: float) -> list[Result]:
    """All results; cases that are not begun before the deadline are named as such."""
    results = []
    for backbone, together in groupby(cases, key=lambda case: case.backbone):
        model = base(backbone, device)
        for case in together:
            if time.monotonic() > deadline:
                results.append(Result(case, note="no time left"))
                continue
            results.append(measure(case, model, device))
            tell(str(results[-1]))
        del model
    return results
