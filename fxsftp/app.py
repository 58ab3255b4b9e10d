"""One exchange out of its settings: which stores and keys each kind of process has, its rules, and its words.

    sftp, portal    seal and unseal for those who have logged in: have the house key and the vault; can't read codes
    courier         has the courier key and goes out; reaches neither the vault nor the house key
    bounce          hears what strangers say: reaches no vault, and has no key
    sweep, admin    have the vault and no key that opens anything

No rule about shipments stands here, and nothing here is more than wiring.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from fxsftp import seal
from fxsftp.bell import Bell
from fxsftp.domain.model import LockKind
from fxsftp.domain.policy import Policy
from fxsftp.errors import BadSettings
from fxsftp.exchange import Exchange, Holdings, Keyring
from fxsftp.settings import Settings
from fxsftp.store.registry import Registry
from fxsftp.store.secrets import Secrets
from fxsftp.store.vault.local import LocalVault
from fxsftp.workers import Workers

if TYPE_CHECKING:
    from fxsftp.templates import Templates

FRONTS = ("sftp", "portal")  # who seals and unseals for those who have logged in
WITHOUT_VAULT = ("courier", "bounce")  # who goes out, and who hears what strangers say


def open_exchange(
    settings: Settings, *, role: str = "admin", running: bytes | None = None, workers: int = 1
) -> Exchange:
    """The exchange with just the stores and keys that this process is to have, one of so many of its kind.

    Raises BadSettings or UnsafeFile when a key is missing or lies open, NewerStore for a registry of a newer version.
    """
    for store in (settings.registry, settings.secrets):
        store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = Keyring(
        house=_identity(settings, settings.keys.house) if role in FRONTS else None,
        courier=_identity(settings, settings.keys.courier) if role == "courier" else None,
        courier_lock=_courier_lock(settings, role),
        recovery_lock=seal.X25519Lock.parse(settings.policy.recovery) if settings.policy.recovery else None,
        running=running or seal.random_bytes(32),
    )
    holdings = Holdings(
        registry=Registry(settings.registry),
        secrets=Secrets(settings.secrets),
        vault=LocalVault(settings.vault, reserve=settings.exchange.reserve) if role not in WITHOUT_VAULT else None,
        keys=keys,
        policy=policy_of(settings, workers),
        ring=Bell(settings.bell).ring,
        workers=Workers(settings.workers),
    )
    if role in FRONTS:
        holdings.workers.begin()
    return Exchange(holdings, settings.exchange.language, settings.notify.bounces, settings.institution.name)


def _courier_lock(settings: Settings, role: str) -> seal.X25519Lock | None:
    """Who writes codes and links.  An admin may be without it, and then only can't invite."""
    if role in FRONTS:
        return _recipient(settings, settings.keys.courier_recipient)
    try:
        return _recipient(settings, settings.keys.courier_recipient) if role == "admin" else None
    except BadSettings:
        return None


def policy_of(settings: Settings, workers: int = 1) -> Policy:
    """The rules that the settings make; both call them by the same names.  Memory is divided among the workers."""
    said = settings.exchange.model_dump() | settings.policy.model_dump() | settings.notify.model_dump()
    said |= {"scan": settings.scan.hooks, "portal": settings.portal.public_url}
    said |= {"invitation": settings.portal.invitation, "password_link": settings.portal.password_link}
    said |= {"visit_idle": settings.portal.idle, "visit_longest": settings.portal.longest}
    locks = ("partner_delivery", "member_delivery", "minimum_lock", "key_fallback")
    said |= {name: LockKind(said[name]) for name in locks}
    said["ahead_total"] = max(said["ahead"], said["ahead_total"] // workers)
    return Policy(**{field.name: said[field.name] for field in fields(Policy)})


def templates_of(settings: Settings) -> Templates:
    """The words, with the institution's name in them."""
    from fxsftp.templates import Institution, Templates

    return Templates(
        [settings.folder / "templates"],
        Institution(
            name=settings.institution.name,
            sms_name=settings.institution.sms_name,
            support_mail=settings.institution.support_mail,
            support_phone=settings.institution.support_phone,
            host=settings.sftp.address,
            port=settings.sftp.port,
            timezone=settings.exchange.timezone,
            demo=settings.exchange.demo,
            portal=settings.portal.public_url,
        ),
    )


def _identity(settings: Settings, name: str) -> seal.Identity:
    return seal.Identity.parse(settings.credential(name).decode("ascii", "replace"))


def _recipient(settings: Settings, name: str) -> seal.X25519Lock:
    return seal.X25519Lock.parse(settings.public(name).decode("ascii", "replace").strip())
