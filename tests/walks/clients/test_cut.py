"""Every program, cut in the middle of a file by Ctrl-C and by kill -9.

What is cut never leaves, whatever the program said when it was told to stop; and what comes after it leaves once.
"""

from __future__ import annotations

import random

from tests.walks.clients.client import Client
from tests.walks.clients.gate import Gate
from tests.walks.clients.party import TO_KARI, Party, of, with_each
from tests.walks.guests import until

LARGE = random.Random(1).randbytes((6 << 20) + 12345)  # what is under way at once (2 MiB of SSH's window) is far less
HELD_AT = 1 << 20
REMOTE = f"{TO_KARI}/Ref 1/data.bin"


@with_each()
def test_what_is_killed_leaves_only_when_it_came_whole(party: Party, program: type[Client]) -> None:
    """kill -9 in the middle of a file; then the same again, or from where it was cut with programs that can."""
    with Gate(party.house, HELD_AT) as gate:
        ann = party.ann(program, by=gate)
        with ann.start_upload(ann.file(LARGE, "data.bin"), REMOTE) as running:
            gate.wait_until_held()
            until(lambda: party.has_arrived("Ref 1", HELD_AT // 2))
            running.kill()
            gate.cut()
            assert running.ended().status != 0
    party.everyone_left()
    assert party.house.settle() == []

    with Gate(party.house) as gate:
        ann = party.ann(program, by=gate)
        resume = getattr(ann, "resume_upload", None)
        ran = (resume or ann.upload)(ann.home / "data.bin", REMOTE)
        assert ran.status == 0, ran.said
        assert (gate.upward < len(LARGE)) is bool(resume)

    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({"data.bin": LARGE}))]


@with_each()
def test_what_is_interrupted_leaves_only_when_it_came_whole(party: Party, program: type[Client]) -> None:
    """Ctrl-C in the middle of a file, with time to say goodbye; then the same again."""
    with Gate(party.house, HELD_AT) as gate:
        ann = party.ann(program, by=gate)
        with ann.start_upload(ann.file(LARGE, "data.bin"), REMOTE) as running:
            gate.wait_until_held()
            running.interrupt()
            gate.release()
            ran = running.ended(impatiently=True)
        assert (ran.status == 0) is program.ends_well_when_interrupted, ran.said
        party.everyone_left()
    # A genuine CLOSE after a part, as some send, makes a suspect: it waits five minutes for the rest.
    assert party.house.settle(200 if program.closes_when_interrupted else 4000) == []

    ann = party.ann(program)
    ran = ann.upload(ann.home / "data.bin", REMOTE)

    assert ran.status == 0, ran.said
    assert len(party.house.settle()) == 1
    assert party.arrived() == [("Ref 1", of({"data.bin": LARGE}))]
