"""Lists the studies, one line each: ``prunejax``, or ``python -m experiments``."""

from rich.console import Console

from experiments.common.gathering import studies


def main(console: Console | None = None) -> int:
    """Prints every study's command and what it says of itself."""
    console = Console() if console is None else console
    lines = studies() | {
        "report": "Tables and figures of all that is recorded.",
        "tables": "The published tables beside ours, filled by the clock.",
    }
    for name, line in lines.items():
        console.print(f"prunejax {name:<20} {line}", soft_wrap=True, highlight=False)
    console.print("Each takes --help, --quick (to see that it works) and --results FOLDER.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
