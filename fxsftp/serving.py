"""Serving: which fronts and chores make up which process, and who starts and watches them.

    fxsftp serve                    supervises sftp, courier and sweep, and the portal if it has a public_url
    fxsftp serve --only sftp        what its systemd unit runs: has the house key and the vault; can't read codes;
                                    supervises its workers, where it has several
    fxsftp serve --only courier     has the courier key and goes out; reaches neither the vault nor the house key
    fxsftp serve --only portal      has what sftp has, since it seals and unseals as that does; does not go out either
    fxsftp serve --only sweep       erases what has ended, then exits

No rule about shipments stands here, and nothing here is more than wiring (the stores and keys of each: `app`).  What
only one role serves with is imported by that role: no process holds in memory what it never uses.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from fxsftp import pulse, readiness, seal, shipped, supervisor
from fxsftp.app import open_exchange, templates_of
from fxsftp.bell import Bell
from fxsftp.clock import SteadyClock, boot
from fxsftp.errors import BadSettings, ClockDoubt, FxError, HookUnusable
from fxsftp.fronts.desk import SLOW, Desk
from fxsftp.settings import Settings
from fxsftp.supervisor import Child, Shared, Supervisor
from fxsftp.workers import Turn

if TYPE_CHECKING:
    from fxsftp.courier import Crew
    from fxsftp.fronts.portal.call import Terms as PortalTerms
    from fxsftp.fronts.portal.listener import Certificate
    from fxsftp.fronts.sftp.guest import Terms
    from fxsftp.scanners import Scanners

log = logging.getLogger("fxsftp")

STEP = 1.0  # seconds between two looks at what has settled; settling takes 30 at the least
BEAT = 60.0  # seconds between heartbeats
GROWING = 1.0  # seconds; after ten without a word, who comes back may take over an upload
LETTING_GO = 10  # of these moments between two looks for what was erased; a read that pauses longer than that ends
SWEEP = 600.0  # seconds between sweeps where no timer starts them
DEMO = "This exchange is a demonstration: its codes lie on its disk in clear. Send nothing that must stay secret."


def serve(settings: Settings, only: str | None) -> int:
    """Serve until SIGTERM or SIGINT; answers the exit status."""
    _log_as(settings)
    if only == "sweep":
        return _sweep_once(settings)
    import uvloop

    above = supervisor.above(os.environ)
    workers = settings.sftp.processes
    if only is None or (only == "sftp" and above is None and workers > 1):
        open_exchange(settings).close()  # what is wrong with the stores is said once, and not by each process
        return uvloop.run(_supervise(settings, only, workers))
    shared = above or Shared(seal.random_bytes(32), SteadyClock().start)
    role: Callable[[Settings, asyncio.Event, Shared], Coroutine[Any, Any, None]] = _ROLES[only]
    return uvloop.run(_until_told(lambda stop: role(settings, stop, shared), above is not None))


async def _until_told(role: Callable[[asyncio.Event], Awaitable[None]], is_supervised: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    if is_supervised:
        supervisor.stop_with_it(stop.set)
    await role(stop)
    return 0


def _say_ready() -> None:
    """To whoever has started this process."""
    if os.environ.get(supervisor.SUPERVISED):
        supervisor.tell_ready()
    else:
        readiness.tell_systemd("READY=1", os.environ)


def _say_alive() -> None:
    """The same each second."""
    if os.environ.get(supervisor.SUPERVISED):
        supervisor.tell_alive()
    elif readiness.is_watched(os.environ):
        readiness.tell_systemd("WATCHDOG=1", os.environ)


def _living(desk: Desk) -> asyncio.Task[None]:
    """Say so as long as this process's loop turns and the threads of its desk get on."""
    return asyncio.create_task(pulse.beating(_say_alive, desk.ask_nothing, desk.answers))


async def _ask_a_thread() -> None:
    """As the desk's `ask_nothing`, where the loop's own threads have the work."""
    await asyncio.to_thread(lambda: None)


async def _serve_sftp(settings: Settings, stop: asyncio.Event, shared: Shared) -> None:
    from fxsftp.fronts.sftp import hostkeys
    from fxsftp.fronts.sftp.listener import listen

    exchange = open_exchange(settings, role="sftp", running=shared.running, workers=shared.workers)
    desk = Desk(exchange, SteadyClock(shared.clock), slow=SLOW if shared.workers == 1 else 1)
    listener = await listen(
        desk,
        templates_of(settings),
        terms_of(settings, shared.workers),
        host_keys=[hostkeys.read(settings.credential(name)) for name in settings.keys.host_keys],
        host=settings.sftp.listen,
        port=shared.port or settings.sftp.port,
        is_shared=shared.workers > 1,
    )
    # Who asks for a draft before that has come to it takes it up.
    desk.see_to(desk.ask(exchange.writing.elsewhere.begin))
    growing = asyncio.create_task(_saying_what_grows(desk))
    deciding = asyncio.create_task(_deciding(settings, desk))
    _is_there_to_stay()
    log.info("sftp listens on port %d", listener.port)
    _say_ready()
    living = _living(desk)
    await stop.wait()
    readiness.tell_systemd("STOPPING=1", os.environ)
    deciding.cancel()
    await asyncio.gather(deciding, return_exceptions=True)
    await listener.drain(settings.sftp.drain)
    growing.cancel()
    living.cancel()
    await desk.close()
    exchange.close()


def _is_there_to_stay() -> None:
    """Keep Python's collector from what is there from the start: looking through it takes 50 ms, and all wait."""
    gc.collect()
    gc.freeze()


def terms_of(settings: Settings, workers: int = 1) -> Terms:
    """On which terms guests are served by one of so many.  Who comes to which of them is left to chance."""
    from fxsftp.fronts.sftp import algorithms
    from fxsftp.fronts.sftp.doorway import Startups
    from fxsftp.fronts.sftp.guest import Terms

    return Terms(
        login_seconds=settings.sftp.login_time,
        tries=settings.sftp.login_tries,
        keepalive=settings.sftp.keepalive,
        idle=settings.sftp.idle,
        connections=settings.sftp.max_sessions_per_user,
        all_connections=settings.sftp.max_sessions,
        startups=Startups(*settings.sftp.max_startups).among(workers),
        rate=settings.sftp.max_rate / workers,
        algorithms=algorithms.CHOICES[settings.sftp.algorithms],
        tuned=settings.sftp.tuned,
        banner=DEMO if settings.exchange.demo else "",
    )


async def _deciding(settings: Settings, desk: Desk) -> None:
    """Decide for all processes that serve this exchange, as soon as no other does; also after one that has died."""
    from fxsftp.fronts.sftp.receipts import Receipts

    turn = Turn(settings.dispatcher)
    while not turn.take():  # noqa: ASYNC110  # it is another process's to let go
        await asyncio.sleep(STEP)
    keeping = Receipts(desk, templates_of(settings)).keep()
    chores = [asyncio.create_task(chore) for chore in (dispatching(desk), _beating(desk), keeping)]
    if settings.scan.hooks:
        chores.append(asyncio.create_task(_scanners(settings, desk).run()))
    try:
        await asyncio.wait(chores)
    finally:
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        turn.let_go()


async def dispatching(desk: Desk, every: float = STEP) -> None:
    """The one decider at work: looks every second at what has settled."""
    while True:
        try:
            for line in await desk.ask(desk.exchange.dispatch.step, desk.now()):
                log.info("shipment %s", line)
        except Exception:
            log.exception("dispatching failed; it goes on")
        await asyncio.sleep(every)


def _scanners(settings: Settings, desk: Desk) -> Scanners:
    from fxsftp.scanners import Scanners, hiring

    return Scanners(
        desk,
        settings.scan.hooks,
        hiring(settings.hook_folders, settings.for_hook, strict=_is_strict()),
        at_once=settings.scan.at_once,
        within=settings.scan.answer_within,
        patience=settings.scan.patience,
    )


async def _beating(desk: Desk) -> None:
    while True:
        with suppress(FxError):
            await desk.ask(desk.exchange.upkeep.beat, time.time(), *boot())
        await asyncio.sleep(BEAT)


async def _serve_courier(settings: Settings, stop: asyncio.Event, shared: Shared) -> None:
    from fxsftp.courier import Courier

    exchange = open_exchange(settings, role="courier", running=shared.running)
    courier = Courier(
        exchange.carriage,
        _crews(settings, _is_strict()),
        templates_of(settings),
        Bell(settings.bell),
        sender=settings.notify.sender,
        return_path=exchange.reports.return_path,
        clock=SteadyClock(),
        within=settings.notify.answer_within,
    )
    work = asyncio.create_task(courier.run())
    _say_ready()
    living = asyncio.create_task(pulse.beating(_say_alive, _ask_a_thread))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    readiness.tell_systemd("STOPPING=1", os.environ)
    courier.stop()
    stopping.cancel()
    try:
        await work
    finally:
        living.cancel()
        exchange.close()


def _is_strict() -> bool:
    """Under systemd, which sets this, hooks must be root's."""
    return bool(os.environ.get("INVOCATION_ID"))


def _crews(settings: Settings, strict: bool) -> dict[str, Crew]:
    """One for each way that has a hook.  A hook that can't be used holds up no other way."""
    from fxsftp.courier import hire

    folders = [*settings.hook_folders, shipped.folder("hooks")]
    found: dict[str, Crew] = {}
    notify = settings.notify
    for way, name, at_once, rate in (
        ("mail", notify.mail, notify.mail_at_once, notify.mail_rate),
        ("sms", notify.sms, notify.sms_at_once, notify.sms_rate),
        ("webhook", notify.webhook, notify.webhook_at_once, notify.webhook_rate),
    ):
        try:
            found |= hire({way: name}, folders, settings.for_hook, strict=strict, at_once=at_once, rate=rate)
        except HookUnusable as problem:
            log.error("%s waits until this is mended and the courier is started again: %s", way, problem)
    return found


async def _serve_portal(settings: Settings, stop: asyncio.Event, shared: Shared) -> None:
    from fxsftp.fronts.portal import listener as http
    from fxsftp.fronts.portal import routes
    from fxsftp.fronts.portal.statics import Statics

    if not settings.portal.public_url:
        raise BadSettings("portal.public_url is not set, so nobody could find the portal")
    statics = Statics(shipped.folder("config") / "static")
    terms = portal_terms(settings, statics.prefix)
    exchange = open_exchange(settings, role="portal", running=shared.running)
    exchange.writing.elsewhere.begin()
    desk = Desk(exchange, SteadyClock(shared.clock))
    app = routes.portal(desk, templates_of(settings), terms, statics)
    listener = http.listen(app, settings.portal.listen, settings.portal.port, _certificate(settings))
    growing = asyncio.create_task(_saying_what_grows(desk))
    log.info("portal listens on port %d", listener.port)
    _say_ready()
    living = _living(desk)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, listener.ended], return_when=asyncio.FIRST_COMPLETED)
    readiness.tell_systemd("STOPPING=1", os.environ)
    stopping.cancel()
    growing.cancel()
    await listener.close()
    living.cancel()
    await desk.close()
    exchange.close()


async def _saying_what_grows(desk: Desk) -> None:
    """That this process's drafts grow, so that nobody takes them for left; and what others ask for, if it is still.

    Also what others have erased is let go.
    """
    for moment in count():
        with suppress(FxError):
            await desk.ask_apart(desk.exchange.writing.beat, desk.now())
            if moment % LETTING_GO == 0:
                await desk.ask_apart(desk.exchange.upkeep.let_go)
        await asyncio.sleep(GROWING)


def portal_terms(settings: Settings, static: str) -> PortalTerms:
    """How the portal is reached, and on which terms."""
    from fxsftp.fronts.portal.call import SftpTerms
    from fxsftp.fronts.portal.call import Terms as PortalTerms

    return PortalTerms(
        public_url=settings.portal.public_url,
        twilio_token=_twilio_token(settings),
        demo=settings.exchange.demo,
        static=static,
        proxies=settings.portal.proxies,
        sftp=SftpTerms(settings.sftp.address, settings.sftp.port, _fingerprints(settings)),
    )


def _fingerprints(settings: Settings) -> tuple[str, ...]:
    """Of the host keys' public halves; the portal has no others.  None where these do not lie beside them."""
    from fxsftp.fronts.sftp import hostkeys

    try:
        return tuple(hostkeys.fingerprint(settings.public(f"{name}.pub")) for name in settings.keys.host_keys)
    except FxError:
        return ()


def _certificate(settings: Settings) -> Certificate | None:
    from fxsftp.fronts.portal.listener import Certificate

    if not settings.portal.certificate:
        return None
    settings.credential(settings.portal.certificate_key)  # raises UnsafeFile where others can read it
    chain, key = settings.portal.certificate, settings.portal.certificate_key
    return Certificate(settings.path_of(chain), settings.path_of(key))


def _twilio_token(settings: Settings) -> str:
    """What Twilio signs its callbacks with; empty where another carries SMS.  Raises BadSettings if it is not known."""
    if settings.notify.sms != "twilio":
        return ""
    table = settings.hook.get("sms-twilio", {})
    token = str(table.get("auth_token", ""))
    if table.get("auth_token_file"):
        token = settings.credential(str(table["auth_token_file"])).decode("utf-8", "replace").partition("\n")[0]
    if not token:
        raise BadSettings(
            "hook.sms-twilio.auth_token_file: Twilio signs by it what it tells the portal, also beside an api_key"
        )
    return token


_ROLES = {"sftp": _serve_sftp, "courier": _serve_courier, "portal": _serve_portal}


def _sweep_once(settings: Settings) -> int:
    exchange = open_exchange(settings, role="sweep")
    try:
        log.info("swept: %s", exchange.upkeep.sweep(time.time(), *boot()))
    except ClockDoubt as doubt:
        log.error("%s", doubt)
        return 1
    finally:
        exchange.close()
    return 0


# ---- the supervisor ----------------------------------------------------------------------------------


def _roles(settings: Settings) -> list[str]:
    """What runs all the time; a portal that nobody could find does not."""
    return [only for only in _ROLES if only != "portal" or settings.portal.public_url]


async def _supervise(settings: Settings, only: str | None, workers: int) -> int:
    """All roles and the sweep, or the workers of one role."""
    # Held, and not only looked for: while a worker is replaced, the port stays this exchange's.
    held, port = supervisor.hold_port(settings.sftp.listen, settings.sftp.port) if workers > 1 else ((), 0)
    shared = Shared(seal.random_bytes(32), SteadyClock().start, workers, port)
    roles = [only] if only else _roles(settings)
    children = [child for role in roles for child in _children(settings, role, workers)]
    living = asyncio.create_task(pulse.beating(_say_alive, _ask_a_thread))  # it watches, and is watched by systemd
    try:
        return await Supervisor(
            children,
            shared,
            drain=settings.sftp.drain,
            ready=_say_ready,
            errand=None if only else (Child("sweep", _command(settings, "sweep")), SWEEP),
        ).run()
    finally:
        readiness.tell_systemd("STOPPING=1", os.environ)
        living.cancel()
        for each in held:
            each.close()


def _children(settings: Settings, role: str, workers: int) -> Sequence[Child]:
    command = _command(settings, role)
    if role != "sftp" or workers == 1:
        return [Child(role, command)]
    return [Child(f"{role} {number}", command) for number in range(1, workers + 1)]


def _command(settings: Settings, only: str) -> Sequence[str]:
    command = [sys.executable, "-m", "fxsftp", "serve", "--only", only]
    return command + (["--settings", str(settings.file)] if settings.file else [])


def _log_as(settings: Settings) -> None:
    level = settings.log.level.upper()
    form: dict[str, Any] = {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    logging.basicConfig(level=level, **form)
    if settings.log.format == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_JsonLines())


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"at": record.created, "level": record.levelname.lower(), "from": record.name}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line | {"message": record.getMessage()}, ensure_ascii=False)
