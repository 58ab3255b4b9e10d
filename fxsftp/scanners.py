"""Scanners: hooks that see the plaintext of a settled drop before it leaves; hooks/README.md is their contract.

A scanner is a carrier's hook that is given one file at a time, through a pipe.  What it sees is unsealed piece by
piece in memory, and nothing here ever has a name on a disk.  All of this runs beside the dispatcher: several drops are
looked at at once, none waits for a large one, and the registry hears only what came of it.

Nothing leaves because nobody looked.  A scanner that is missing, dies, hangs or answers rubbish holds what it should
have seen, and is tried again until it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from fxsftp.carriers import Carrier, Rubbish, answer, discreet, find
from fxsftp.domain.model import File, Shipment
from fxsftp.errors import Forged, FxError, HookUnusable, Missing
from fxsftp.exchange.scanning import LARGE, Scan
from fxsftp.fronts.desk import Desk

PIECE = 256 << 10  # bytes of a file in one piece: four chunks of the seal
END = bytes(4)  # the piece of no bytes, which ends a file
STEP = 1.0  # seconds between two looks at what is due
RETRY = 30.0  # seconds until a scanner that could not look is asked again …
LONGEST = 600.0  # … doubled up to this where it broke over a file, which may be the file's fault
IDLE = 120.0  # seconds without work after which the hooks may go

log = logging.getLogger(__name__)

Read = Callable[[int, int], Awaitable[bytes]]
W = TypeVar("W")
V = TypeVar("V")


class Finding(StrEnum):
    """What a scanner says of one file."""

    CLEAN = "clean"
    WARN = "warn"
    HOLD = "hold"
    INFECTED = "infected"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Opinion:
    """A scanner's answer for one file.  `broke` says that it gave none and was ended for it."""

    finding: Finding
    reason: str = ""
    broke: bool = False


# ---- one scanner ---------------------------------------------------------------------------------


class Scanner(Carrier):
    """One hook at work, as a carrier is."""

    async def scan(self, message: Mapping[str, object], size: int, read: Read, within: float) -> Opinion:
        """What the hook says of a file of `size` bytes.  It may answer before it has seen all of them.

        To take nothing and say nothing for `within` seconds is LATER, as is no proper answer.  What `read` raises is
        raised.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(within):
                    if self._running and self._running.returncode is not None:
                        await self._end(0)
                    hook = self._running or await self._start()
                    await self._write(hook, message)
                said = answer(await self._show(hook, size, read, within), message["id"], list(Finding))
                return Opinion(Finding(said["verdict"]), discreet(str(said.get("reason") or "")))
            except HookUnusable as error:
                return Opinion(Finding.LATER, discreet(str(error)), broke=True)
            except TimeoutError:
                trouble = f"neither took anything nor answered within {within:g} seconds"
            except Rubbish as error:
                trouble = str(error)
            except BaseException:  # it was shown half a file: there is no telling it so but by its end
                await self._end(0)
                raise
            trouble += await self._end(0)
            return Opinion(Finding.LATER, discreet(f"the hook {self.name} {trouble}"), broke=True)

    async def _show(self, hook: asyncio.subprocess.Process, size: int, read: Read, within: float) -> bytes:
        """Passes the file on until it ends or the hook has answered; answers the hook's line."""
        answering = asyncio.ensure_future(self._hear(hook))
        try:
            offset = 0
            while offset < size and not answering.done():
                piece = await read(offset, min(PIECE, size - offset))
                if not piece:
                    raise Forged("it is shorter than it was")
                offset += len(piece)
                await self._pass(hook, len(piece).to_bytes(4, "big") + piece, answering, within)
            await self._pass(hook, END, answering, within)
            async with asyncio.timeout(within):
                return await answering
        finally:
            answering.cancel()
            answering.add_done_callback(_heard)  # what it came to is of no interest any more

    async def _pass(
        self, hook: asyncio.subprocess.Process, piece: bytes, answering: asyncio.Future[bytes], within: float
    ) -> None:
        """Returns when the hook has taken it, or has answered: then it reads the rest when it comes to that."""
        assert hook.stdin
        taking: asyncio.Future[None] | None = None
        try:
            hook.stdin.write(piece)
            taking = asyncio.ensure_future(hook.stdin.drain())
            either: set[asyncio.Future[Any]] = {taking, answering}
            done, _ = await asyncio.wait(either, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise TimeoutError
            if taking in done:
                taking.result()
        except (BrokenPipeError, ConnectionResetError, RuntimeError):  # the last is uvloop's, for a closed pipe
            await asyncio.wait({answering}, timeout=1)  # its last words count
            if not answering.done() or answering.exception():
                raise Rubbish("ended without seeing the whole file") from None
        finally:
            if taking and not taking.done():
                taking.cancel()


def _heard(answering: asyncio.Future[bytes]) -> None:
    if not answering.cancelled():
        answering.exception()


# ---- all of them ---------------------------------------------------------------------------------


@dataclass
class _PutOff:
    """A drop that nobody could look at: since when, how often, and when to ask again."""

    since: float
    times: int = 0
    until: float = 0.0


class Scanners:
    """Looks at what is due from `run` until it is cancelled.

    `hire("clamd")` makes a scanner, or raises HookUnusable; each of the `at_once` places has scanners of its own.
    """

    def __init__(
        self,
        desk: Desk,
        names: Sequence[str],
        hire: Callable[[str], Scanner],
        *,
        at_once: int,
        within: float,
        patience: float,
        retry: float = RETRY,
    ) -> None:
        self._desk = desk
        self._scanning = desk.exchange.scanning
        self._names = names
        self._hire = hire
        self._places: list[dict[str, Scanner]] = [{} for _ in range(at_once)]
        self._for_large = max(1, at_once - 1)
        self._large = 0
        self._within = within
        self._patience = patience
        self._retry = retry
        self._under_way: set[str] = set()
        self._put_off: dict[tuple[str, int], _PutOff] = {}
        self._worked = 0.0

    async def run(self, every: float = STEP) -> None:
        """Until it is cancelled; then no hook is left."""
        places = list(self._places)
        try:
            async with asyncio.TaskGroup() as looks:
                while True:
                    for scans in await self._due():
                        if self._places and (not _is_large(scans) or self._large < self._for_large):
                            self._begin(looks, scans)
                    if not self._under_way and asyncio.get_running_loop().time() - self._worked > IDLE:
                        await _dismiss(self._places)
                    await asyncio.sleep(every)
        finally:
            await _dismiss(places)

    async def _due(self) -> Sequence[Sequence[Scan]]:
        """The smallest first: they are the quickest to be gone."""
        now = asyncio.get_running_loop().time()
        under_way = frozenset(self._under_way)
        put_off = frozenset(which for which, each in self._put_off.items() if each.until > now)
        self._put_off = {which: each for which, each in self._put_off.items() if each.until > now - LONGEST}

        def waits(drop: Shipment) -> bool:
            return drop.id in under_way or _which(drop) in put_off

        try:
            found = await self._desk.ask(self._scanning.due, self._desk.now(), without=waits)
        except Exception:
            log.exception("what is to be scanned is not known; it is asked again")
            return []
        return sorted(found, key=lambda scans: sum(scan.size for scan in scans))

    def _begin(self, looks: asyncio.TaskGroup, scans: Sequence[Scan]) -> None:
        place = self._places.pop()
        self._under_way |= {scan.drop.id for scan in scans}
        self._large += _is_large(scans)
        looks.create_task(self._look(place, scans))

    async def _look(self, place: dict[str, Scanner], scans: Sequence[Scan]) -> None:
        """At drops that leave together: those that pass do so at once."""
        try:
            passed = [(scan, told) for scan in scans if (told := await self._see(place, scan)) is not None]
            await self._record(self._scanning.passed, passed, ", ".join(self._names))
        except FxError as problem:
            log.error("shipment %s was not scanned, and is tried again: %s", scans[0].drop.id, problem)
            self._put(scans[0], broke=True)
        except Exception:
            log.exception("shipment %s was not scanned, and is tried again", scans[0].drop.id)
            self._put(scans[0], broke=True)
        finally:
            self._places.append(place)
            self._under_way -= {scan.drop.id for scan in scans}
            self._large -= _is_large(scans)
            self._worked = asyncio.get_running_loop().time()

    async def _see(self, place: dict[str, Scanner], scan: Scan) -> Sequence[str] | None:
        """Every file of one drop by every scanner.  Answers their warnings, or None where it does not pass."""
        warnings = []
        for file in scan.files:
            for name in self._names:
                if not await self._desk.ask(self._scanning.is_current, scan):
                    return None  # it settles anew
                try:
                    opinion = await self._ask(place, name, scan, file)
                except (Missing, Forged):
                    await self._record(self._scanning.unreadable, scan, file)
                    return None
                match opinion.finding:
                    case Finding.WARN:
                        warnings.append(f"{file.name}: {opinion.reason}")
                    case Finding.INFECTED:
                        what = opinion.reason or "something"
                        reason = f"{file.name}: {name} found {what}. Remove the file, or put a clean one in its place"
                        await self._record(self._scanning.found, scan, reason)
                        return None
                    case Finding.HOLD:
                        await self._record(self._scanning.found, scan, f"{file.name}: {opinion.reason}")
                        return None
                    case Finding.LATER:
                        await self._unanswered(scan, name, opinion)
                        return None
        return warnings

    async def _ask(self, place: dict[str, Scanner], name: str, scan: Scan, file: File) -> Opinion:
        try:
            scanner = place.get(name) or place.setdefault(name, self._hire(name))
        except HookUnusable as problem:
            return Opinion(Finding.LATER, discreet(str(problem)), broke=True)
        plaintext = await self._desk.ask(self._scanning.plaintext, file)

        async def read(offset: int, count: int) -> bytes:
            return await self._desk.ask_steadily(plaintext, offset, count)

        about = {"name": file.name, "size": file.size, "sender": scan.sender.value}
        message = {"id": f"{scan.drop.id}-{file.id}", "way": "scan", **about}
        return await scanner.scan(message, file.size, read, self._within)

    async def _unanswered(self, scan: Scan, name: str, opinion: Opinion) -> None:
        """It waits for its scanner; once that takes longer than people should wait unknowing, it is held."""
        put_off = self._put(scan, broke=opinion.broke)
        if put_off.times == 1:
            log.warning("shipment %s waits for the scanner %s: %s", scan.drop.id, name, opinion.reason)
        if asyncio.get_running_loop().time() - put_off.since >= self._patience:
            why = opinion.reason.rstrip(".") or "it gave no reason"
            reason = f"the scanner {name} can't look at it now ({why}). It leaves by itself once that is mended"
            await self._record(self._scanning.unanswered, scan, reason)

    def _put(self, scan: Scan, *, broke: bool) -> _PutOff:
        now = asyncio.get_running_loop().time()
        put_off = self._put_off.setdefault(_which(scan.drop), _PutOff(now))
        wait = min(self._retry * 2**put_off.times, LONGEST) if broke else self._retry
        put_off.times += 1
        put_off.until = now + wait
        return put_off

    async def _record(self, verb: Callable[[W, V, float], Sequence[str]], what: W, how: V) -> None:
        for line in await self._desk.ask(verb, what, how, self._desk.now()):
            log.info("shipment %s", line)


def hiring(
    folders: Sequence[Path], settings_for: Callable[[str], Mapping[str, object]], *, strict: bool = False
) -> Callable[[str], Scanner]:
    """Makes scanners of the hooks in these folders and the shipped ones.

    `settings_for("scan-clamd")` is what that hook hears first.
    """

    def hire(name: str) -> Scanner:
        program = find("scan", name, folders, strict=strict)
        return Scanner(program, settings_for(program.name), strict=strict)

    return hire


async def _dismiss(places: Sequence[dict[str, Scanner]]) -> None:
    scanners = [scanner for place in places for scanner in place.values()]
    await asyncio.gather(*(scanner.close() for scanner in scanners))
    for place in places:
        place.clear()


def _which(drop: Shipment) -> tuple[str, int]:
    """The drop as it is now: what its sender has touched is looked at anew, and at once."""
    return drop.id, drop.revision


def _is_large(scans: Sequence[Scan]) -> bool:
    return sum(scan.size for scan in scans) > LARGE
