"""The documentation's table of Monte Carlo speed, from ``pytest bench --benchmark-json=FILE``.

``python bench/table.py FILE`` prints it, with the targets that developers aim at. ``--page
docs/benchmarks.md`` puts it between the two marker comments there, without targets.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

BEGIN = "<!-- monte carlo table -->"
END = "<!-- end -->"

UNITS = {
    "ns per sample": "ns",
    "ns per coordinate-step": "ns",
    "MB": "MB",
    "seconds": "s",
    "%": "%",
}


def shown(value: float | None, unit: str = "") -> str:
    """Write a value with three digits and without an exponent, or nothing for None."""
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f} {unit}".strip()


def row(info: dict[str, Any], targets: bool) -> str:
    """Write a benchmark as a row of the table."""
    measured = next((key for key in UNITS if key in info), None)
    if measured is None:
        raise SystemExit(
            f"{info['work']!r} was not measured: run pytest without --benchmark-disable"
        )
    ours = shown(info[measured], UNITS[measured])
    if "MB with import and first call" in info:
        ours += f" ({shown(info['MB with import and first call'], 'MB')} with import, first call)"
    peer = f"{info['peer']}: {shown(info['peer ns'], 'ns')}" if "peer" in info else ""
    cells = [info["work"], ours, peer, shown(info.get("ratio"))]
    cells += [info.get("target", "")] * targets
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, Any], targets: bool) -> str:
    """Write the machine and the table in Markdown, with a row for each benchmark with a "work"."""
    machine = results["machine_info"]
    cpu = machine["cpu"]
    versions = [f"Python {machine['python_version']}"]
    versions += [f"{name} {number}" for name, number in machine.get("packages", {}).items()]
    rows = [
        row(benchmark["extra_info"], targets)
        for benchmark in results["benchmarks"]
        if "work" in benchmark["extra_info"]
    ]
    if not rows:
        raise SystemExit("the file has no results of bench/test_monte_carlo.py")
    return "\n".join(
        [
            f"{cpu['brand_raw']}, {cpu['count']} cores; {', '.join(versions)}. "
            "One thread and float64 unless said; medians.",
            "",
            "| work | nqm_fast | peer | ratio |" + " target |" * targets,
            "|---|---|---|---|" + "---|" * targets,
            *rows,
        ]
    )


def warn_if_busy(results: dict[str, Any]) -> None:
    """Warn of benchmarks that got fewer cores than they have threads."""
    for benchmark in results["benchmarks"]:
        info = benchmark["extra_info"]
        if "cores" in info and info["cores"] < 0.95 * info.get("threads", 1):
            sys.stderr.write(
                f"{benchmark['name']}: got {info['cores']:.2f} of {info['threads']} cores; "
                "other programs were running, measure again\n"
            )


def replaced(text: str, new: str) -> str:
    """Replace the block between the markers in a text."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"found no {BEGIN} ... {END} to replace")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="file that --benchmark-json wrote")
    parser.add_argument("--page", type=Path, help="replace the block between the markers there")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())
    warn_if_busy(results)
    if arguments.page is None:
        print(table(results, targets=True))
        return
    text = replaced(arguments.page.read_text(), table(results, targets=False))
    arguments.page.write_text(text)


if __name__ == "__main__":
    main()
