"""What was measured, as a table, as bench/results/, and as the part of the README."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.peers.contestants import OpenSsh, Ours, Rclone, Stock
from bench.peers.works import IDLE_GOAL, MIB, Goals, Work

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- speed: written by `python -m bench.peers --readme` -->", "<!-- /speed -->"
SECTION, LAST = "## How fast", "## The house\n"


@dataclass
class Runs:
    """One contestant at one work: seconds, the server's CPU seconds and its peak memory, turn by turn."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    def add(self, seconds: float, cpu: float, peak: int) -> None:
        self.seconds.append(seconds)
        self.cpu.append(cpu)
        self.peak.append(peak)


@dataclass
class Findings:
    """Everything that one run of the benchmark found."""

    runs: dict[str, dict[str, Runs]] = field(default_factory=dict)  # by work, then by contestant
    works: dict[str, Work] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)  # bytes
    problems: list[str] = field(default_factory=list)

    def of(self, work: Work, contestant: str) -> Runs:
        self.works[work.name] = work
        return self.runs.setdefault(work.name, {}).setdefault(contestant, Runs())

    def rate(self, work: str, contestant: str) -> float | None:
        """What was done in a second, by the median turn."""
        runs = self.runs[work].get(contestant)
        return self.works[work].amount / statistics.median(runs.seconds) if runs and runs.seconds else None

    def cpu(self, work: str, contestant: str) -> float | None:
        """The server's CPU seconds of the median turn."""
        runs = self.runs[work].get(contestant)
        return statistics.median(runs.cpu) if runs and runs.cpu else None

    def times(self, work: str, other: str, contestant: str = Ours.name) -> float | None:
        """How many times as fast as another."""
        ours, theirs = self.rate(work, contestant), self.rate(work, other)
        return ours / theirs if ours and theirs else None

    def cpu_share(self, work: str, contestant: str = Ours.name) -> float | None:
        """Its CPU seconds by those of OpenSSH."""
        ours, theirs = self.cpu(work, contestant), self.cpu(work, OpenSsh.name)
        return ours / theirs if ours is not None and theirs else None


# ---- for programs ------------------------------------------------------------------------------------


def write(findings: Findings, about: Mapping[str, object], folder: Path = RESULTS) -> None:
    """latest.json: the rows; about.json: when, where, which versions, and the memory."""
    folder.mkdir(exist_ok=True)
    memory = {
        "idle_session_kib": {name: round(each / 1024, 1) for name, each in findings.idle.items()},
        "peak_mib": {
            work: {name: round(max(one.peak) / MIB, 1) for name, one in runs.items()}
            for work, runs in findings.runs.items()
        },
    }
    for name, content in (("latest.json", rows(findings)), ("about.json", {**about, **memory})):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def rows(findings: Findings) -> list[dict[str, object]]:
    """One for each work and contestant.  `server_cpu`: seconds of the median run, whatever was done in it."""
    found: list[dict[str, object]] = []
    for name, work in findings.works.items():
        for contestant, runs in findings.runs[name].items():
            rate = findings.rate(name, contestant)
            found.append(
                {
                    "work": name,
                    "contestant": contestant,
                    "mib_per_s" if work.unit == "MiB" else "ops_per_s": rate and round(rate, 2),
                    "ratio_to_openssh": _rounded(findings.times(name, OpenSsh.name, contestant)),
                    "server_cpu": _rounded(findings.cpu(name, contestant)),
                    "cpu_ratio_to_openssh": _rounded(findings.cpu_share(name, contestant)),
                    "runs": len(runs.seconds),
                }
            )
    return found


def about(form: str, versions: Sequence[str]) -> dict[str, object]:
    """When and where."""
    release = platform.release().partition("-")[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "form": form,
        "machine": f"{os.cpu_count()} × {model}, {memory / (1 << 30):.0f} GiB, Linux {release}",
        "load_at_start": round(os.getloadavg()[0], 1),
        "versions": [*versions, f"Python {platform.python_version()}"],
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


# ---- for people --------------------------------------------------------------------------------------


def show(findings: Findings, about: Mapping[str, object]) -> None:
    """Two tables: what is wanted and what there is; and everything that was measured."""
    console = Console(width=max(Console().width, 150))
    console.print(f"{about['machine']}; {', '.join(map(str, about['versions']))}; load {about['load_at_start']}")  # type: ignore[call-overload]
    goals = Table(title="fxsftp beside others (what is wanted in brackets)", title_justify="left")
    goals.add_column("work")
    for head in ("CPU ÷ OpenSSH", "× OpenSSH", "× rclone crypt", "× stock asyncssh"):
        goals.add_column(head, justify="right")
    for name, work in findings.works.items():
        wanted: Goals = work.goals
        goals.add_row(
            name,
            _judged(findings.cpu_share(name), wanted.cpu, at_most=True),
            _judged(findings.times(name, OpenSsh.name), wanted.openssh),
            _judged(findings.times(name, Rclone.name), wanted.rclone),
            _judged(findings.times(name, Stock.name), wanted.stock),
        )
    console.print(goals)
    every = Table(title="What was measured (medians)", title_justify="left")
    for head in ("work", "contestant"):
        every.add_column(head)
    for head in ("per second", "server CPU", "spread of CPU", "peak memory", "runs"):
        every.add_column(head, justify="right")
    for name, work in findings.works.items():
        for index, (contestant, runs) in enumerate(findings.runs[name].items()):
            every.add_row(
                "" if index else name, contestant, _rate(findings, work, contestant), _cost(findings, work, contestant),
                f"{min(runs.cpu):.2f}–{max(runs.cpu):.2f} s", f"{max(runs.peak) / MIB:.0f} MiB", str(len(runs.seconds)),
            )  # fmt: skip
        every.add_section()
    console.print(every)
    if findings.idle:
        idle = ", ".join(f"{name} {each / 1024:.0f} KiB" for name, each in findings.idle.items())
        console.print(f"memory of an idle session (PSS), wanted ≤ {IDLE_GOAL // 1024} KiB: {idle}")
    for problem in findings.problems:
        console.print(Text(problem, style="red"))


def readme(findings: Findings, about: Mapping[str, object]) -> str:
    """The part of the README, between its two marks."""
    lines = [
        "| work | fxsftp | × OpenSSH | × rclone crypt | × stock asyncssh | server CPU | ÷ OpenSSH's |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, work in findings.works.items():
        cells = [
            name, _rate(findings, work, Ours.name),
            *(_plain(findings.times(name, other)) for other in (OpenSsh.name, Rclone.name, Stock.name)),
            _cost(findings, work, Ours.name), _plain(findings.cpu_share(name)),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if Ours.name in findings.idle:
        lines.append(f"| memory of an idle session | {findings.idle[Ours.name] / 1024:.0f} KiB | | | | | |")
    versions = ", ".join(map(str, about["versions"]))  # type: ignore[call-overload]
    lines += ["", f"Measured {about['date']} on {about['machine']}; {versions}."]
    return "\n".join(lines)


def into_readme(text: str, path: Path = ROOT / "README.md") -> None:
    """Replace what stands between the marks; the first time, in a section of its own before the last one."""
    page = path.read_text()
    if BEGIN not in page:
        before, last, after = page.partition(LAST)
        page = f"{before}{SECTION}\n\n{BEGIN}\n{END}\n\n{last}{after}"
    before, _, rest = page.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def _rate(findings: Findings, work: Work, contestant: str) -> str:
    rate = findings.rate(work.name, contestant)
    if rate is None:
        return "–"
    return f"{rate:,.0f} MiB/s" if work.unit == "MiB" else f"{rate:,.{0 if rate >= 100 else 1}f}/s"


def _cost(findings: Findings, work: Work, contestant: str) -> str:
    cpu = findings.cpu(work.name, contestant)
    if cpu is None:
        return "–"
    if work.unit == "MiB":
        return f"{cpu / work.amount * 1024:.2f} s/GiB"
    each = cpu / work.amount * 1000
    return f"{each:.{1 if each >= 1 else 3}f} ms each"


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def _judged(number: float | None, goal: float | None, *, at_most: bool = False) -> Text:
    if number is None:
        return Text("–")
    text = Text(f"{number:.2f}")
    if goal is not None:
        is_met = number <= goal if at_most else number >= goal
        text.append(f"  ({'≤' if at_most else '≥'} {goal:.2f})", style="dim")
        text.stylize("green" if is_met else "bold red", 0, len(f"{number:.2f}"))
    return text
