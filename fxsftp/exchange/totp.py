"""TOTP: the second factor, six digits from an app (RFC 6238), and recovery codes for when the phone is gone.

The only home of pyotp.  A secret is sealed to the house key before it comes to a row.  Digits count once: the step
they are of is compared and set, so that whoever looks over a shoulder comes too late.  Wrong ones count as wrong
passwords do.

Turning it on needs leave (`allow`), which registering by a link or a confirmation by SMS gives; turning it off is done
by a confirmation or an admin.  Both are told to the user.  A forgotten password changes nothing here.
"""

from __future__ import annotations

import pyotp

from fxsftp import seal
from fxsftp.domain import ids
from fxsftp.domain.model import User
from fxsftp.domain.policy import HOUR
from fxsftp.errors import Conflict, Forbidden, NotConfirmed, TotpRequired, WrongDigits
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.lockout import Lockout
from fxsftp.exchange.notices import Notices
from fxsftp.exchange.tokens import hashed

STEP = 30  # seconds; what every app takes for granted
DRIFT = 1  # steps that a phone's clock may be off, either way
CODES = 10  # recovery codes, each good for one log-in


class Totp:
    """Begun, confirmed, checked, turned off."""

    def __init__(self, holdings: Holdings, notices: Notices, lockout: Lockout, issuer: str) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._accounts = holdings.registry.accounts
        self._policy = holdings.policy
        self._notices = notices
        self._lockout = lockout
        self._issuer = issuer

    # ---- what is so

    def is_on(self, user: User) -> bool:
        """Whether log-in by password asks this user for a code."""
        row = self._accounts.totp(user.id)
        return self._policy.totp != "off" and row is not None and row.secret is not None

    def is_due(self, user: User) -> bool:
        """Whether policy wants a second factor of this user, and there is none yet."""
        return self._policy.wants_totp(user) and not self.is_on(user)

    def is_allowed(self, user: User, now: float) -> bool:
        """Whether it may be turned on now, or changed, without a confirmation first."""
        row = self._accounts.totp(user.id)
        return row is not None and (row.allowed_until or 0) > now

    def codes_left(self, user: User) -> int:
        """How many recovery codes were not used."""
        return self._accounts.recovery_codes_left(user.id)

    # ---- turned on

    def allow(self, user: User, now: float, *, who: str = "admin") -> None:
        """For an hour, `confirm` may turn it on: by an admin's word, or the user's own that was confirmed by SMS."""
        if self._policy.totp == "off":
            raise Forbidden("this exchange asks nobody for codes from an app")
        with self._registry.atomic():
            self._accounts.set_totp(user.id, allowed_until=now + HOUR)
            self._registry.record.tell(now, who, "code from an app allowed", user.email)

    def begin(self, user: User, now: float) -> tuple[str, str]:
        """A new secret, in base32 and as an otpauth address for a QR code.  It counts for nothing until `confirm`."""
        if self._policy.totp == "off":
            raise Forbidden("this exchange asks nobody for codes from an app")
        secret = pyotp.random_base32()
        sealed = seal.seal_small(secret.encode(), self._holdings.keys.house_key.lock)
        with self._registry.atomic():
            self._accounts.set_totp(user.id, pending=sealed, begun=now)
        return secret, pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=self._issuer)

    def confirm(self, user: User, digits: str, now: float) -> list[str]:
        """The app shows the right digits: from now on it is asked for.  Answers the recovery codes, seen only here.

        Raises WrongDigits; NotConfirmed without leave, or Conflict when nothing was begun within the hour.
        """
        row = self._accounts.totp(user.id)
        if row is None or row.pending is None or (row.begun or 0) <= now - HOUR:
            raise Conflict("nothing was begun, or too long ago; begin again")
        if not self.is_allowed(user, now):
            raise NotConfirmed
        step = self._step_of(row.pending, digits, now)
        if step is None:
            raise WrongDigits
        codes = [ids.new_recovery_code() for _ in range(CODES)]
        with self._registry.atomic():
            if not self._accounts.turn_on_totp(user.id, row.pending, step, now):  # the moment of truth, once committed
                raise Conflict("it was just changed by somebody else; begin again")
            self._accounts.set_recovery_codes(user.id, [_hash(user, code) for code in codes])
            self._tell(user, "code from an app turned on", user.email, now)
        self._holdings.ring()
        return codes

    def new_codes(self, user: User, now: float) -> list[str]:
        """Recovery codes instead of those there were; the caller has just checked who asks."""
        if not self.is_on(user):
            raise Conflict("there is no code from an app to recover from")
        codes = [ids.new_recovery_code() for _ in range(CODES)]
        with self._registry.atomic():
            self._accounts.set_recovery_codes(user.id, [_hash(user, code) for code in codes])
            self._tell(user, "recovery codes made anew", user.email, now, what="recovery")
        self._holdings.ring()
        return codes

    # ---- asked for

    def check(self, user: User, typed: str, now: float) -> bool:
        """Whether this is what the app shows, or a recovery code; either counts once.

        For a locked account, nothing is right.
        """
        with self._registry.atomic(durable=False):  # one after the other: no number of them at once gets more tries
            is_right = self._lockout.until(user.email, now) is None and self._is_right(user, typed, now)
            if not is_right:
                self._lockout.wrong(user.email, user, now)
        self._holdings.ring()
        return is_right

    def _is_right(self, user: User, typed: str, now: float) -> bool:
        row = self._accounts.totp(user.id)
        if row is None or row.secret is None:
            return False
        code = ids.normal_recovery_code(typed)
        if code is not None:
            return self._recover(user, code, now)
        step = self._step_of(row.secret, typed, now, after=row.step)
        if step is None:
            return False
        with self._registry.atomic():
            return self._accounts.take_step(user.id, row.secret, step)

    def _recover(self, user: User, code: str, now: float) -> bool:
        with self._registry.atomic():
            if not self._accounts.use_recovery_code(user.id, _hash(user, code), now):
                return False
            left = self._accounts.recovery_codes_left(user.id)
            self._registry.record.tell(now, user.email, "recovery code used", f"{user.email}: {left} left")
            self._notices.to_user("changed", user, now, what="recovery_used")
        return True

    def _step_of(self, sealed: bytes, digits: str, now: float, after: int = -1) -> int | None:
        """The newest step, near now and later than `after`, whose digits these are."""
        digits = "".join(digits.split())
        if len(digits) != 6 or not (digits.isascii() and digits.isdigit()):
            return None
        app = pyotp.TOTP(seal.open_small(sealed, self._holdings.keys.house_key).decode())
        here = int(now // STEP)
        steps = range(here + DRIFT, here - DRIFT - 1, -1)
        fitting = [step for step in steps if step > after and pyotp.utils.strings_equal(app.generate_otp(step), digits)]
        return fitting[0] if fitting else None

    # ---- turned off

    def turn_off(self, user: User, now: float, *, who: str = "admin") -> None:
        """By an admin's word, or the user's own (`who`) that was confirmed by SMS.

        Raises TotpRequired where policy wants it and the word is the user's; Conflict when it is not on.
        """
        if who != "admin" and self._policy.wants_totp(user):
            raise TotpRequired
        with self._registry.atomic():
            if not self._accounts.remove_totp(user.id):
                raise Conflict(f"{user.email} is not asked for a code from an app")
            self._tell(user, "code from an app turned off", who, now)
        self._holdings.ring()

    def _tell(self, user: User, event: str, who: str, now: float, what: str = "totp") -> None:
        self._registry.record.tell(now, who, event, user.email)
        self._notices.to_user("changed", user, now, what=what)


def _hash(user: User, code: str) -> str:
    return hashed(f"{user.id}:{code}")
