"""What the rooms' pages say: the facts of SHIPMENT.txt and of a receipt; the words are the fronts'.

Every front that shows one shows the same.  No code, no key and no phone number stands in any of them.
"""

from __future__ import annotations

import json

from fxsftp.domain.model import Notice, User
from fxsftp.exchange.inbox import Letter
from fxsftp.exchange.sent import Sent


def receipt_json(sent: Sent) -> bytes:
    """The receipt for programs."""
    return json.dumps(sent.as_json(), ensure_ascii=False, indent=2).encode() + b"\n"


def receipt_facts(sent: Sent, user: User) -> dict[str, object]:
    """What sent.txt says."""
    shipment = sent.shipment
    return {
        "user": user.email,
        "shipment": shipment.id,
        "recipient": shipment.to,
        "subject": shipment.subject,
        "state": sent.state,
        "reason": shipment.reason,
        "made": shipment.made,
        "sent": shipment.sent,
        "expires": shipment.expires,
        "ended": shipment.ended,
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in sent.files],
        "deliveries": [
            {
                "recipient": email,
                "state": delivery.state.value,
                "lock": delivery.lock.value,
                "opened": delivery.opened,
                "collected": delivery.collected,
                "ended": delivery.ended,
            }
            for delivery, email in sent.deliveries
        ],
        "notices": [
            {"to": _receiver(sent, notice), "way": notice.way, "state": notice.state, "reason": notice.reason}
            for notice in sent.notices
        ],
        "history": [
            {"at": event.at, "who": event.who, "event": event.event, "detail": event.detail} for event in sent.history
        ],
    }


def _receiver(sent: Sent, notice: Notice) -> str:
    """Whom a notice went to, by address: never a phone number."""
    return next((email for delivery, email in sent.deliveries if delivery.id == notice.delivery_id), sent.sender)


def letter_facts(letter: Letter, user: User) -> dict[str, object]:
    """What SHIPMENT.txt says."""
    shipment = letter.shipment
    return {
        "user": user.email,
        "shipment": shipment.id,
        "folder": letter.folder,
        "sender": letter.sender,
        "sender_name": letter.sender_name,
        "subject": shipment.subject,
        "message": shipment.message,
        "sent": shipment.sent,
        "expires": shipment.expires,
        "files": [{"name": name, "size": size} for name, size in letter.files],
        "first_file": letter.files[0][0].removesuffix(".age") if letter.files else "",  # the command adds it
        "lock": letter.lock.value,
        "is_open": letter.is_open,
        "direct": letter.direct,
        "phone_hint": letter.phone_hint,
    }
