"""Confirmations: a change of what protects an account waits for six digits sent to the phone of before.

So neither a stolen mailbox nor a browser left open can change the phone, how shipments open, the second factor or a
key that opens shipments.  The wish is kept in a row; the digits are sealed there to the house key, since of six a hash
would tell as much as they do, and go to the courier as codes do.  Who has no phone asks the operator.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping

from fxsftp import seal
from fxsftp.domain import addresses, ids
from fxsftp.domain.model import Confirmation, LockKind, User
from fxsftp.domain.policy import HOUR, MINUTE
from fxsftp.errors import AskedTooOften, ConfirmationOver, Forbidden, NoPhone, TotpRequired, WrongConfirmation
from fxsftp.exchange.holdings import Holdings
from fxsftp.exchange.people import People
from fxsftp.exchange.tokens import Tokens
from fxsftp.exchange.totp import Totp

LIFE = 10 * MINUTE  # to find the phone; an SMS that takes longer is asked for again
TRIES = 5
ASKED = 5  # in an hour: each costs somebody money, and gives five guesses at a million


class Confirmations:
    """Asked for, and given."""

    def __init__(self, holdings: Holdings, people: People, totp: Totp, tokens: Tokens) -> None:
        self._holdings = holdings
        self._registry = holdings.registry
        self._accounts = holdings.registry.accounts
        self._policy = holdings.policy
        self._people = people
        self._totp = totp
        self._tokens = tokens
        self._wishes: dict[str, Callable[[User, Mapping[str, object]], dict[str, object]]] = {
            "phone": lambda _, wish: {"phone": addresses.phone(str(wish["phone"]))},
            "delivery": lambda _, wish: {"delivery": str(LockKind(str(wish["delivery"]))) if wish["delivery"] else ""},
            "totp": self._totp_wish,
            "key": self._key_wish,
        }
        self._changes: dict[str, Callable[[User, Mapping[str, object], float], object]] = {
            "phone": lambda user, wish, now: people.change(user.email, now, who=user.email, phone=wish["phone"]),
            "delivery": lambda user, wish, now: people.change(user.email, now, who=user.email, **wish),
            "totp": self._change_totp,
            "key": lambda user, wish, now: people.add_key(user.email, str(wish["line"]), now, who=user.email),
        }

    def ask(self, user: User, what: str, wish: Mapping[str, object], now: float) -> Confirmation:
        """Keep the wish and send digits to the user's phone.  An older wish about the same is over.

            phone     {"phone": "+4790000000"}            key    {"line": "ssh-ed25519 …"}, one that opens shipments
            delivery  {"delivery": "code"}, "" by policy  totp   {"on": True}, which allows `totp.confirm` for an hour

        Raises NoPhone, AskedTooOften, or what the change itself would: BadPhone, BadKey, TotpRequired.
        """
        known = self._wishes[what](user, wish)
        if not user.phone:
            raise NoPhone
        digits, until = ids.new_digits(), now + LIFE
        sealed = seal.seal_small(digits.encode(), self._holdings.keys.house_key.lock)
        confirmation = Confirmation(secrets.token_hex(16), what, known, user.phone, sealed, until)
        with self._registry.atomic():
            if self._accounts.confirmations_asked(user.id, now - HOUR) >= ASKED:
                raise AskedTooOften(ASKED)
            self._tokens.over(self._accounts.end_confirmations(user.id, what, now), now)
            notice_id = self._tokens.digits(user, what, digits, now, until)
            self._accounts.add_confirmation(confirmation, user.id, notice_id, now)
            self._registry.record.tell(now, user.email, "confirmation asked for", f"{user.email}: {what}")
        self._holdings.ring()
        return confirmation

    def find(self, user: User, confirmation_id: str, now: float) -> Confirmation:
        """One of this user that waits for its digits.  Raises ConfirmationOver."""
        found = self._accounts.confirmation(confirmation_id, user.id, now)
        fresh = self._registry.people.by_id(user.id)
        if found is None or found.wrong >= TRIES or fresh is None or fresh.phone != found.phone:
            raise ConfirmationOver
        return found

    def confirm(self, user: User, confirmation_id: str, digits: str, now: float) -> Confirmation:
        """The digits of the SMS: the change is made, exactly once, and told to the addresses of before.

        Raises WrongConfirmation, of which there may be five; ConfirmationOver; or what the change itself does.
        """
        typed = "".join(digits.split())
        with self._registry.atomic():
            found = self.find(user, confirmation_id, now)
            right = seal.open_small(found.digits, self._holdings.keys.house_key)
            is_right = hmac.compare_digest(right, typed.encode("utf-8", "replace"))
            if not is_right:
                self._accounts.wrong_digits(found.id)
            else:
                if not self._accounts.use_confirmation(found.id, now):
                    raise ConfirmationOver
                self._changes[found.what](self._people.by_id(user.id), found.wish, now)
        if not is_right:
            raise WrongConfirmation
        self._holdings.ring()  # those within rang before anybody else could see what they tell of
        return found

    def _key_wish(self, user: User, wish: Mapping[str, object]) -> dict[str, object]:
        line = str(wish["line"]).strip()
        self._people.known_key(user, line)
        return {"line": line}

    # ---- the second factor

    def _totp_wish(self, user: User, wish: Mapping[str, object]) -> dict[str, object]:
        is_on = bool(wish["on"])
        if is_on and self._policy.totp == "off":
            raise Forbidden("this exchange asks nobody for codes from an app")
        if not is_on and self._policy.wants_totp(user):
            raise TotpRequired
        return {"on": is_on}

    def _change_totp(self, user: User, wish: Mapping[str, object], now: float) -> None:
        if wish["on"]:
            self._totp.allow(user, now, who=user.email)
        else:
            self._totp.turn_off(user, now, who=user.email)
