"""A program hears by webhook what becomes of a shipment, from the real processes of an exchange."""

from __future__ import annotations

import json
from pathlib import Path

from fxsftp.domain.model import Kind
from tests.hooks.receiver import SECRET, receiving
from tests.house import ANN, KARI
from tests.walks.guests import until
from tests.walks.served import Served


def test_a_program_hears_that_a_shipment_left_and_was_collected(tmp_path: Path) -> None:
    """Each event once, signed, and without a name."""
    with receiving() as receiver, Served(tmp_path / "exchange", {"notify": {"webhook": "post"}}) as served:
        secret = served.folder / "webhook-secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        served.env |= {
            "FXSFTP_HOOK__WEBHOOK_POST__URL": receiver.url,
            "FXSFTP_HOOK__WEBHOOK_POST__SECRET_FILE": secret.name,
        }
        kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
        served.serve()
        ann.put(b"12345;secret\n", f"outbox/{KARI}/Ref 23-4567/telling-name.csv")
        until(lambda: "shipment.dispatched" in receiver.types())
        (folder,) = kari.ls("inbox")
        kari.get(f"inbox/{folder}/telling-name.csv")
        until(lambda: "shipment.collected" in receiver.types())

        left, collected = receiver.events
        assert left["data"]["shipment"] == collected["data"]["shipment"] == folder.split("_")[1]
        assert collected["data"]["deliveries"][0]["state"] == "collected"
        assert receiver.forged == 0
        said = json.dumps(receiver.events)
        assert [word for word in (ANN, KARI, "Ref 23", "telling-name", "secret") if word in said] == []
        assert served.stop() == 0
        assert "webhook 'shipment.dispatched' carried" in served.log()
        assert SECRET not in served.log()
