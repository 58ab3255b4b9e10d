"""What the portal costs: coming in, sending and fetching large files.

    python -m bench.portal [coming-in] [upload] [memory] [--users N] [--mib N] [--runs N] [--gib N]

coming-in   fifty people log in at once: server time from the log-in page to the inbox, Argon2id apart
upload      one file by tus and the same by OpenSSH's sftp with aes128-gcm, by turns: bytes per second
memory      4 GiB up and down through `fxsftp serve --only portal`: the most memory it ever had

Without a word, all three.  The load of the machine stands beside each figure: others may use it too.  How fast a
browser opens what it fetched is bench/browser.py's.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from bench import visiting
from bench.transfer import CIPHERS, GIB, MIB, Cost, costing
from fxsftp.domain.model import Kind
from tests.gate import Visitor
from tests.house import ANN, KARI
from tests.walks.guests import Guest, until
from tests.walks.served import Served, _free_port

PASSWORD = visiting.PASSWORD
KIB = 1024
TUS = {"Tus-Resumable": "1.0.0"}


@dataclass
class Row:
    """One figure, what it has to be, and how busy the machine was."""

    what: str
    figure: str
    aim: str = ""
    is_met: bool = True
    load: str = field(default_factory=lambda: Path("/proc/loadavg").read_text().split()[0])


def main() -> None:
    words = argparse.ArgumentParser(usage=__doc__)
    words.add_argument("parts", nargs="*", choices=[[], *PARTS])
    words.add_argument("--users", type=int, default=50)
    words.add_argument("--mib", type=int, default=512)
    words.add_argument("--gib", type=float, default=4)
    words.add_argument("--runs", type=int, default=5)
    asked = words.parse_args()
    table = Table("what", "figure", "aim", "load", title="The portal", title_justify="left")
    for part in asked.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for row in PARTS[part](Path(folder), asked):
                colour = "" if not row.aim else "green" if row.is_met else "red"
                table.add_row(row.what, row.figure, row.aim, row.load, style=colour)
    Console().print(table)


# ---- coming in -----------------------------------------------------------------------------------------


def coming_in(folder: Path, asked: argparse.Namespace) -> Sequence[Row]:
    """The sum of the three calls that it takes."""
    calls = visiting.visit(folder / "exchange", asked.users, asked.runs)
    rows = [Row(what, _spread(own)[0]) for what, own in _by(calls, "what").items()]
    walks = []
    for own in _by(calls, "who").values():  # each three calls in a row are one walk
        walks += [sum(own[at : at + 3]) for at in range(0, len(own), 3)]
    said, middle = _spread(walks)
    rows.append(Row(f"log-in page to inbox, {asked.users} at once", said, "< 150 ms", middle < 150))
    argon = statistics.median(call.argon for call in calls if call.argon)
    rows.append(Row("Argon2id besides, with the turn for it", f"{argon:.0f} ms"))
    return rows


def _by(calls: Sequence[visiting.Call], name: str) -> dict[str, list[float]]:
    """What calls took without Argon2id, in the order in which they came."""
    found: dict[str, list[float]] = {}
    for call in calls:
        found.setdefault(getattr(call, name), []).append(call.own)
    return found


def _spread(own: Sequence[float]) -> tuple[str, float]:
    """In words, and the one in the middle."""
    middle, most = statistics.median(own), sorted(own)[int(0.95 * (len(own) - 1))]
    return f"{middle:.1f} ms, 95 % within {most:.1f} ms", middle


# ---- up, by two ways -----------------------------------------------------------------------------------


def upload(folder: Path, asked: argparse.Namespace) -> Sequence[Row]:
    """The time of a whole client, less that of one which says nothing."""
    file = folder / "large.bin"
    with file.open("wb") as large:
        for _ in range(asked.mib):
            large.write(os.urandom(MIB))
    port, costs, options = _free_port(), dict[str, list[Cost]](sftp=[], tus=[]), CIPHERS["aes128-gcm"]
    idle: dict[str, list[float]] = {"sftp": [], "tus": []}
    with Served(folder / "exchange", {"portal": _address(port)}) as served:
        ann, _ = _people(served)
        served.serve()
        until(lambda: _is_well(port))
        visitor = come_in(port, ANN)
        for run in range(asked.runs):
            idle["sftp"].append(_seconds(lambda: ann._must(ann.sftp("pwd", options=options))))
            with costing(served.child("sftp")) as cost:
                ann._must(ann.sftp(f"put {file} /outbox/{KARI}/{run}", options=options))
            costs["sftp"].append(cost)
            shipment = begin(visitor)
            idle["tus"].append(_seconds(lambda: curl(visitor, "/healthz")))
            url = create(visitor, shipment, asked.mib * MIB)
            with costing(served.child("portal")) as cost:
                patch(visitor, url, file)
            costs["tus"].append(cost)
            leave(visitor, shipment)
    rows, rates = [], {}
    for way, runs in costs.items():
        wait = statistics.median(idle[way])
        seconds = statistics.median(cost.seconds for cost in runs) - wait
        cpu = statistics.median(cost.all for cost in runs)
        rates[way] = asked.mib / seconds
        loop = statistics.median(cost.loop for cost in runs) * KIB / asked.mib
        said = f"{rates[way]:.0f} MiB/s; {cpu * KIB / asked.mib:.2f} s CPU per GiB, {loop:.2f} of them the loop's"
        rows.append(Row(f"up by {way}, {asked.mib} MiB", said))
    share = rates["tus"] / rates["sftp"]
    return [*rows, Row("up by the portal, of sftp", f"{100 * share:.0f} %", "≥ 60 %", share >= 0.6)]


# ---- memory --------------------------------------------------------------------------------------------


def memory(folder: Path, asked: argparse.Namespace) -> Sequence[Row]:
    """One large file up by tus, sent, and down by its recipient, whose log-in is enough."""
    size, port = int(asked.gib * GIB), _free_port()
    file = folder / "large.bin"
    with file.open("wb") as large:
        large.truncate(size)  # a hole; nobody compresses
    rows = []
    with Served(folder / "exchange", {"portal": _address(port)}) as served:
        _people(served)
        process = served.serve(only="portal", waits=False)
        until(lambda: _is_well(port))
        ann = come_in(port, ANN)
        shipment = begin(ann)
        url = create(ann, shipment, size)
        with costing(process.pid) as cost:
            patch(ann, url, file)
        rows.append(_weighed(f"{asked.gib:g} GiB up", size, cost))
        leave(ann, shipment, "send")
        kari = come_in(port, KARI)
        with costing(process.pid) as cost:
            got = curl(kari, f"/inbox/{shipment}/files/large.bin")
        assert got == str(size)
        rows.append(_weighed(f"{asked.gib:g} GiB down", size, cost))
    return rows


def _weighed(what: str, size: int, cost: Cost) -> Row:
    rate = size / MIB / cost.seconds
    said = f"{cost.peak:.0f} MiB at most; {rate:.0f} MiB/s, {cost.all * GIB / size:.2f} s CPU per GiB"
    return Row(what, said, "< 150 MiB", cost.peak < 150)


PARTS: dict[str, Callable[[Path, argparse.Namespace], Sequence[Row]]] = {
    "coming-in": coming_in,
    "upload": upload,
    "memory": memory,
}


# ---- who sends -----------------------------------------------------------------------------------------


def _address(port: int) -> dict[str, object]:
    return {"port": port, "public_url": f"http://127.0.0.1:{port}"}


def _people(served: Served) -> tuple[Guest, Guest]:
    guests = served.add(ANN, Kind.PARTNER), served.add(KARI, Kind.MEMBER)
    with closing(served.exchange()) as exchange:
        for guest in guests:
            exchange.people.set_password(guest.email, PASSWORD, time.time())
    return guests


def _is_well(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok\n"
    except httpx.TransportError:
        return False


def come_in(port: int, email: str) -> Visitor:
    """Somebody without JavaScript."""
    visitor = Visitor(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
    visitor.get("/log-in")
    assert visitor.submit(email=email, password=PASSWORD).path == "/inbox"
    return visitor


def begin(visitor: Visitor) -> str:
    """The first page of Send package."""
    visitor.get("/send")
    page = visitor.submit("/send", to=KARI, subject="Ref 1")
    return page.path.removeprefix("/send/").split("?")[0]


def create(visitor: Visitor, shipment: str, size: int) -> str:
    """The address of an upload."""
    visitor.get(f"/send/{shipment}")
    metadata = f"filename {base64.b64encode(b'large.bin').decode()}"
    headers = TUS | {"X-CSRF-Token": visitor.form_token, "Upload-Length": str(size), "Upload-Metadata": metadata}
    return str(visitor.client.post(f"/send/{shipment}/files", headers=headers).headers["Location"])


def patch(visitor: Visitor, url: str, file: Path) -> None:
    """The whole file in one call."""
    headers = TUS | {
        "X-CSRF-Token": visitor.form_token, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream",
        "Expect": "",
    }  # fmt: skip
    lines = [f'header = "{name}: {value}"' for name, value in headers.items()]
    curl(visitor, url, 'request = "PATCH"', f'upload-file = "{file}"', *lines)


def leave(visitor: Visitor, shipment: str, act: str = "cancel") -> None:
    """Send it, or give it up."""
    visitor.get(f"/send/{shipment}")
    if act == "cancel":
        visitor.submit(f"/send/{shipment}/cancel")
        return
    parts = [("form", (None, visitor.form_token)), ("act", (None, "send"))]
    answer = visitor.client.post(f"/send/{shipment}", files=parts, follow_redirects=True)
    assert "The package is sent" in answer.text, re.sub(r"<[^>]+>", " ", answer.text)


def curl(visitor: Visitor, path: str, *lines: str) -> str:
    """By a client that costs next to nothing; answers how many bytes came."""
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    said = [f'url = "{visitor.client.base_url.copy_with(path=path)}"', f'cookie = "{cookies}"', *lines]
    said += ["fail", "no-progress-meter", "output = /dev/null", 'write-out = "%{size_download}"']
    ran = subprocess.run(["curl", "-q", "-K", "-"], input="\n".join(said), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
