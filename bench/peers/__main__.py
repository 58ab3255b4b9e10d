"""The driver: starts the contestants, gives each its turn, and says what came of it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.peers import report
from bench.peers.accounts import Meter, anonymous_below
from bench.peers.client import Broken
from bench.peers.contestants import CONTESTANTS, Contestant, Missing, make_key
from bench.peers.works import Files, Work, idle_sessions, works

SHORT_ROUNDS, FULL_ROUNDS = 3, 5
SHORT_SECONDS = 230  # for the works; starting, filling and ending take the rest of five minutes
MEMORY = Path("/dev/shm")


def main(words: Sequence[str]) -> int:
    """Answers the exit status: 0 also where a goal is missed, since that is what is to be found out."""
    wish = _wish(words)
    seconds = float("inf") if wish.full else wish.seconds
    rounds = wish.rounds or (FULL_ROUNDS if wish.full else SHORT_ROUNDS)
    findings = report.Findings()
    with ExitStack() as stack:
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fxsftp-bench-", dir=MEMORY)))
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fxsftp-bench-", dir=wish.folder)))
        # mkdtemp's 0700 is also what sshd wants of whatever leads to a key.
        files = Files(memory, *((64, 8, 200) if wish.small else (512, 64, 2000)))
        chosen = [work for work in works(files) if not wish.only or any(word in work.name for word in wish.only)]
        entrants = [each for each in CONTESTANTS if not wish.beside or each.name in (*wish.beside, CONTESTANTS[0].name)]
        key = memory / "key"
        make_key(key)
        progress = stack.enter_context(_progress())
        deadline = time.monotonic() + seconds
        versions: list[str] = []
        for ground, folder in (("disk", disk), ("tmpfs", memory)):
            here = [work for work in chosen if work.on == ground]
            is_last = not any(work.on != "disk" for work in chosen) or ground == "tmpfs"
            if not here:
                continue
            with _started(entrants, folder, key, progress, findings) as standing:
                versions = versions or [each.version() for each in standing]
                if ground == "disk" and not wish.only:
                    weigh(standing, wish.sessions, findings, progress)  # first: memory once used is not given back
                for index, work in enumerate(here):
                    left = len(here) - index + (0 if is_last else sum(each.on != ground for each in chosen))
                    measure(work, standing, rounds, (deadline - time.monotonic()) / left, findings, progress)
    about = report.about("full" if wish.full else "short", versions)
    report.show(findings, about)
    if wish.results:
        report.write(findings, about, wish.results)
    if wish.readme:
        report.into_readme(report.readme(findings, about))
    return 1 if findings.problems else 0


def measure(
    work: Work,
    standing: Sequence[Contestant],
    rounds: int,
    seconds: float,
    findings: report.Findings,
    progress: Progress,
) -> None:
    """One work: in each round everyone once, the order turned by one each time.

    At least one round, and no new one that would not end in time.
    """
    end = time.monotonic() + seconds
    entered = [each for each in standing if isinstance(each, tuple(work.entrants))]
    bar = progress.add_task(work.name, total=rounds * len(entered))
    for contestant in list(entered):
        try:
            work.prepare(contestant)
        except Broken as problem:
            findings.problems.append(f"{work.name}: {contestant.name}: {problem}")
            entered.remove(contestant)
    for number in range(rounds):
        began = time.monotonic()
        turned = [*entered[number % len(entered) :], *entered[: number % len(entered)]] if entered else []
        for contestant in turned:
            try:
                _turn(work, contestant, number, findings)
            except Broken as problem:
                findings.problems.append(f"{work.name}: {contestant.name}: {problem}")
                entered.remove(contestant)
            progress.advance(bar)
        if time.monotonic() + (time.monotonic() - began) > end:
            break
    progress.update(bar, completed=rounds * max(1, len(entered)), total=rounds * max(1, len(entered)))


def _turn(work: Work, contestant: Contestant, number: int, findings: report.Findings) -> None:
    os.sync()  # what others have left to be written is not this one's load
    with Meter(contestant.pid) as meter:
        seconds = work.turn(contestant, number)
    findings.of(work, contestant.name).add(seconds, meter.seconds, meter.peak)
    work.tidy(contestant, number)


def weigh(standing: Sequence[Contestant], sessions: int, findings: report.Findings, progress: Progress) -> None:
    """What an idle session costs in memory."""
    bar = progress.add_task("idle sessions", total=len(standing))
    for contestant in standing:
        findings.idle[contestant.name] = idle_sessions(contestant, sessions, anonymous_below)
        progress.advance(bar)


@contextmanager
def _started(
    entrants: Sequence[type[Contestant]], folder: Path, key: Path, progress: Progress, findings: report.Findings
) -> Iterator[Sequence[Contestant]]:
    """All that can be, in a folder; who can't is told of, and the others go on.  In the end, none of it is left."""
    standing: list[Contestant] = []
    bar = progress.add_task(f"starting, in {folder.parent}", total=len(entrants))
    try:
        for each in entrants:
            contestant = each(folder, key)
            standing.append(contestant)
            try:
                contestant.start()
            except Missing as problem:
                findings.problems.append(f"without {each.name}: {problem}")
                contestant.stop()
                standing.remove(contestant)
            progress.advance(bar)
        yield standing
    finally:
        for contestant in standing:
            contestant.stop()


def _progress() -> Progress:
    # On stderr, so that the tables alone can be kept.
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(), console=Console(stderr=True),
    )  # fmt: skip


def _wish(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench.peers", description="fxsftp beside OpenSSH, rclone and asyncssh.")
    add = parser.add_argument
    add("--full", action="store_true", help=f"medians of {FULL_ROUNDS}, however long that takes")
    add("--rounds", type=int, help="so many")
    add("--seconds", type=float, default=SHORT_SECONDS, help="what the short form may take (%(default)s)")
    add("--only", action="append", default=[], metavar="WORDS", help="works with these words in their name; repeatable")
    add("--beside", action="append", default=[], metavar="NAME", help="only these others; repeatable")
    add("--folder", type=Path, default=Path("/var/tmp"), help="on the disk that is to be measured (%(default)s)")
    add("--results", type=Path, default=None, help="where latest.json goes")
    add("--readme", action="store_true", help="write the table into the README")
    add("--sessions", type=int, default=100, help="idle sessions that are weighed, a multiple of ten (%(default)s)")
    add("--small", action="store_true", help="little of everything: whether it works, not how fast")
    wish = parser.parse_args(words)
    if wish.results is None and not wish.only and not wish.small:
        wish.results = report.RESULTS
    return wish


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
