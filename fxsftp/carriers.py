"""Carriers: how a notice leaves the house.  A carrier finds a hook by name, keeps it running, reads its verdicts.

A hook is a program of any language that knows one way; hooks/README.md is its contract.  This is the only file that
starts programs.  It trusts none of them: what others could have changed is refused before it runs, and one that dies,
hangs or answers rubbish is killed with all its children, started anew for the next message, and costs nothing but time.
"""

from __future__ import annotations

import asyncio
import grp
import json
import logging
import os
import pwd
import re
import signal
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fxsftp import shipped
from fxsftp.errors import HookUnusable

LINE = 64 << 10  # bytes; no verdict needs more, and a hook that talks without end must not fill our memory
GRACE = 5.0  # seconds a hook gets to end by itself once its input has ended
REASON = 300  # characters of a reason or of a line of its log that are worth keeping
LOG_LINES = 200  # lines a hook may log a minute; a loop that complains must not fill the disk

DAYS = 7 * 86400  # seconds; no provider knows longer what became of a message

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_CODE = re.compile(r"\b[0-9a-z]{4}(?:-[0-9a-z]{4}){3}\b", re.IGNORECASE)
_PHONE = re.compile(r"(?:\+|%2B|\b00)[\d ()-]{5,20}(\d\d)\b", re.IGNORECASE)


class Answer(StrEnum):
    """What became of one message."""

    CARRIED = "carried"
    LATER = "later"
    FAILED = "failed"
    STOP = "stop"  # the way itself is broken, and only the operator can mend it
    DELIVERED = "delivered"  # this and the next: only when the hook was asked what became of an earlier one
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A hook's answer for one message.  `broke` says that the hook gave none and was ended for it.

    `ask`: in so many seconds it can be asked what became of it.
    """

    answer: Answer
    reason: str = ""
    reference: str = ""
    broke: bool = False
    ask: float | None = None


FOR_MESSAGES = (Answer.CARRIED, Answer.LATER, Answer.FAILED, Answer.STOP)
FOR_QUESTIONS = (Answer.DELIVERED, Answer.CARRIED, Answer.AGAIN, Answer.FAILED, Answer.LATER, Answer.STOP)


# ---- finding -------------------------------------------------------------------------------------


def find(way: str, name: str, folders: Sequence[Path], *, strict: bool = False) -> Path:
    """The program for `[notify] mail = "smtp"`: `mail-smtp` in the first of `folders` that has it, or the shipped one.

    Raises HookUnusable when there is none or when anyone else could have changed it.
    """
    program = f"{way}-{name}"
    if not (_NAME.fullmatch(way) and _NAME.fullmatch(name)):
        raise HookUnusable(program, "a hook's name has only small letters, digits and dashes")
    everywhere = [*folders, shipped.folder("hooks")]
    for folder in everywhere:
        path = folder.absolute() / program
        if os.path.lexists(path):
            check(path, strict=strict)
            return path
    there = sorted({path.name for folder in everywhere if folder.is_dir() for path in folder.glob(f"{way}-*")})
    raise HookUnusable(program, f"there is no such program; for {way} there are: {', '.join(there) or 'none'}")


def check(path: Path, *, strict: bool = False) -> None:
    """Returns if only root and the installation's owner (`strict`: only root) could have changed what runs at `path`.

    Raises HookUnusable with the file or folder that is to blame.
    """
    owners = {0} if strict else {0, os.geteuid(), Path(__file__).stat().st_uid}
    try:
        for step in _road(path.absolute()):
            found = step.lstat()
            if found.st_uid not in owners:
                raise HookUnusable(path.name, f"{step} belongs to {_user(found.st_uid)}, not to {_users(owners)}")
            # In a sticky folder, such as /tmp, only a file's owner can rename or remove it, and the owner of what we go
            # on to is looked at in the next turn.  A link's own mode means nothing.
            if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
                continue
            if found.st_mode & stat.S_IWOTH:
                raise HookUnusable(path.name, f"everyone may write to {step}. Say: chmod o-w {step}")
            if found.st_mode & stat.S_IWGRP and (strict or not _is_own_group(found.st_uid, found.st_gid)):
                raise HookUnusable(path.name, f"its group may write to {step}. Say: chmod g-w {step}")
        if not path.is_file() or not os.access(path, os.X_OK):
            raise HookUnusable(path.name, f"{path} is not a program. Say: chmod 755 {path}")
    except OSError as error:
        raise HookUnusable(path.name, f"{error.strerror}: {error.filename}") from None


def _road(path: Path) -> Iterator[Path]:
    """Every folder, link and file that the kernel goes through on its way to the program at an absolute `path`."""
    ahead, here, links = list(reversed(path.parts)), Path("/"), 0
    while ahead:
        part = ahead.pop()
        here = here.parent if part == ".." else here / part  # '/' begins at the root again, as a link's target may
        yield here
        if here.is_symlink():
            links += 1
            if links > 40:  # as many as Linux follows
                raise HookUnusable(path.name, "it is a link that leads in a circle")
            ahead.extend(reversed(here.readlink().parts))
            here = here.parent


def _is_own_group(uid: int, gid: int) -> bool:
    """Whether `gid` is the private group of one ordinary user, as Debian's OpenSSH judges it: users of desktops have
    umask 002, and a clone of theirs is writable for a group in which there is nobody but themselves."""
    try:
        owner, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    others = [user for user in pwd.getpwall() if user.pw_gid == gid and user.pw_uid != uid]
    return uid != 0 and owner.pw_gid == gid and set(group.gr_mem) <= {owner.pw_name} and not others


def _users(uids: set[int]) -> str:
    return " or ".join(_user(uid) for uid in sorted(uids))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


# ---- carrying ------------------------------------------------------------------------------------


class Carrier:
    """One hook at work.  It starts with the first message, and stays until `close`; after that it may start again.

    `settings` becomes the hook's first line.  One message is under way at a time.
    """

    def __init__(self, program: Path, settings: Mapping[str, object], *, strict: bool = False) -> None:
        self.program = program
        self.name = program.name
        self._settings = settings
        self._strict = strict
        self._turn = asyncio.Lock()
        self._running: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def carry(self, message: Mapping[str, object], within: float) -> Verdict:
        """The hook's verdict on one message.  No proper answer `within` seconds is LATER, with the reason."""
        async with self._turn:
            try:
                async with asyncio.timeout(within):
                    if self._running and self._running.returncode is not None:
                        await self._end(0)  # died while nobody asked it anything: that harms no message
                    return await self._ask(self._running or await self._start(), message)
            except HookUnusable as error:
                return Verdict(Answer.LATER, discreet(str(error)), broke=True)
            except TimeoutError:
                trouble = f"gave no answer within {within:g} seconds"
            except Rubbish as error:
                trouble = str(error)
            except BaseException:  # the courier itself is being ended: nobody would read the answer
                await self._end(0)
                raise
            trouble += await self._end(0)
            return Verdict(Answer.LATER, discreet(f"the hook {self.name} {trouble}"), broke=True)

    async def close(self) -> None:
        """Lets the hook end by itself, and sees to it that nothing of it is left."""
        async with self._turn:
            await self._end(GRACE)

    async def _start(self) -> asyncio.subprocess.Process:
        check(self.program, strict=self._strict)  # anew each time: it may have changed since it was found
        try:
            self._running = await asyncio.create_subprocess_exec(
                self.program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
                cwd="/",  # so that it keeps no file system busy
                start_new_session=True,  # a process group of its own, which can be killed whole
                limit=LINE,
            )
        except OSError as error:
            raise HookUnusable(self.name, f"it does not start: {error.strerror}") from None
        if self._running.stderr:
            self._listening = asyncio.create_task(self._listen(self._running.stderr))
        await self._write(self._running, {"settings": self._settings})
        return self._running

    async def _ask(self, hook: asyncio.subprocess.Process, message: Mapping[str, object]) -> Verdict:
        await self._write(hook, message)
        known = FOR_QUESTIONS if "ask" in message else FOR_MESSAGES
        return _verdict(answer(await self._hear(hook), message["id"], known))

    async def _hear(self, hook: asyncio.subprocess.Process) -> bytes:
        """One line of it."""
        assert hook.stdout
        try:
            return await hook.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            raise Rubbish("ended within its answer" if error.partial else "ended without an answer") from None
        except asyncio.LimitOverrunError:
            raise Rubbish(f"answered with a line of over {LINE >> 10} KiB") from None

    async def _write(self, hook: asyncio.subprocess.Process, line: Mapping[str, object]) -> None:
        assert hook.stdin
        try:
            hook.stdin.write(json.dumps(line).encode() + b"\n")  # ASCII only, whatever the hook takes for its encoding
            await hook.stdin.drain()
        except (BrokenPipeError, ConnectionResetError, RuntimeError):  # the last is uvloop's, for a closed pipe
            raise Rubbish("ended without reading its message") from None

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        """Drains what the hook says on stderr, so that it never blocks, and logs a bounded part of it."""
        loop = asyncio.get_running_loop()
        minute, said, rest = loop.time(), 0, b""
        while piece := await stream.read(4096):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE:
                lines, rest = [*lines, rest], b""
            if loop.time() - minute > 60:
                minute, said = loop.time(), 0
            for line in lines:
                said += 1
                if said <= LOG_LINES:
                    log.warning("hook %s: %s", self.name, discreet(line.decode("utf-8", "replace")))
                elif said == LOG_LINES + 1:
                    log.warning("hook %s: … says more than %d lines a minute; left out", self.name, LOG_LINES)
        if rest:
            log.warning("hook %s: %s", self.name, discreet(rest.decode("utf-8", "replace")))

    async def _end(self, grace: float) -> str:
        """Ends the hook and whatever it has started.  Answers how it ended, where that explains something."""
        hook, listening = self._running, self._listening
        self._running = self._listening = None
        if not hook:
            return ""
        if hook.stdin:
            hook.stdin.close()
        try:
            # Even one that is to be killed gets a moment: if it has died by itself, its exit status is the best reason.
            await asyncio.wait_for(hook.wait(), grace or 0.2)
        except TimeoutError:
            pass
        finally:
            died = hook.returncode is not None
            _kill_group(hook.pid)
            last = [asyncio.create_task(_drain(hook))]
            if listening:
                last.append(listening)
            _, strays = await asyncio.wait(last, timeout=GRACE)
            for stray in strays:  # a grandchild in a session of its own still holds the pipes; we don't wait for it
                stray.cancel()
        return f" (exit status {hook.returncode})" if died and hook.returncode else ""


class Rubbish(Exception):
    """What is wrong with the hook's answer, to stand after 'the hook mail-smtp'."""


def answer(line: bytes, id_: object, known: Sequence[str]) -> dict[str, Any]:
    """What a hook says in its line about the message of that id, with one of the verdicts `known`.  Raises Rubbish."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):  # not UTF-8 is a ValueError too, and a thousand brackets are a RecursionError
        raise Rubbish("answered with something that is not JSON") from None
    if not isinstance(said, dict) or said.get("id") != id_:
        raise Rubbish("answered for another message than the one it was given")
    if said.get("verdict") not in known:
        raise Rubbish(f"answered without a verdict of {', '.join(known[:-1])} or {known[-1]}")
    return said


def _verdict(said: Mapping[str, Any]) -> Verdict:
    reason, reference, ask = said.get("reason") or "", said.get("reference") or "", said.get("ask")
    if ask is not None and not (isinstance(ask, int | float) and 0 <= ask <= DAYS):
        raise Rubbish("answered with a time to ask that is none")
    return Verdict(Answer(said["verdict"]), discreet(str(reason)), _one_line(str(reference)), ask=ask)


def _environment() -> dict[str, str]:
    """All that a hook inherits: its `python3` is the one that runs us, so that it finds our libraries."""
    ours = Path(sys.executable).parent
    return {"PATH": f"{ours}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


async def _drain(hook: asyncio.subprocess.Process) -> None:
    """Until the end of its output, for a pipe that still holds something is never closed."""
    while hook.stdout and await hook.stdout.read(LINE):
        pass
    await hook.wait()


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:  # nobody is left of it
        pass


def discreet(text: str) -> str:
    """`text` as it may be logged and kept: one short line, in which codes and phone numbers are blotted out.

    Hooks promise to say none, but the words are often a provider's.
    """
    return _one_line(_PHONE.sub(r"…\1", _CODE.sub("****", text)))


def _one_line(text: str) -> str:
    plain = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in text[: 4 * REASON])
    line = " ".join(plain.split())
    return line if len(line) <= REASON else line[: REASON - 1] + "…"
