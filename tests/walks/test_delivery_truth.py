"""What became of a notice, by the real processes: Twilio calls back or is asked, and Postfix sends back a mail."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import trustme
from twilio.request_validator import RequestValidator

from fxsftp import shipped
from fxsftp.domain.model import Kind, Notice
from tests.hooks.conftest import Post, Twilio
from tests.house import ANN, KARI
from tests.walks.guests import ROOT, until
from tests.walks.served import Served, _free_port

CSV = b"id;value\n" + b"7;3\n" * 50


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A new exchange, not yet started."""
    with Served(tmp_path / "exchange") as exchange:
        yield exchange
    assert "Traceback" not in exchange.log()


def by(served: Served, way: str, kind: str) -> Notice | None:
    """The one notice of a kind."""
    return next((each for each in served.notices() if (each.way, each.kind) == (way, kind)), None)


def state(served: Served, way: str, kind: str) -> str:
    found = by(served, way, kind)
    return found.state if found else ""


def reason(served: Served, way: str, kind: str) -> str:
    found = by(served, way, kind)
    return found.reason if found else ""


def to_twilio(served: Served, twilio: Twilio, **more: str) -> None:
    """Codes go to the stand-in of Twilio from now on."""
    served.secret("twilio-token", "sesame")
    lines = "".join(f"\n        {name} = {value}" for name, value in more.items())
    served.settings(
        f"""
        [hook.sms-twilio]
        account_sid = "AC0123"
        auth_token_file = "twilio-token"
        from = "SSB"
        base_url = "{twilio.url}"
        ca_file = "{twilio.ca_file}"{lines}
        """
    )
    served.env |= {"FXSFTP_NOTIFY__SMS": "twilio"}


def call_back(port: int, url: str, sid: str, status: str, *, token: str = "sesame") -> int:
    """As Twilio would by way of our web server; answers what the portal said."""
    form = {"MessageSid": sid, "MessageStatus": status, "ErrorCode": "30005"}
    signed = {"X-Twilio-Signature": RequestValidator(token).compute_signature(url, form)}
    here = url.replace("https://fx.example", f"http://127.0.0.1:{port}")
    return requests.post(here, data=form, headers=signed, timeout=20).status_code


def test_twilio_calls_back_and_its_last_word_counts_once(twilio: Twilio, served: Served) -> None:
    """Late, twice and out of order, over HTTP to the portal's own process; the sender sees 'delivered'."""
    port = _free_port()
    to_twilio(served, twilio)
    served.env |= {"FXSFTP_PORTAL__PUBLIC_URL": "https://fx.example", "FXSFTP_PORTAL__PORT": str(port)}
    kari, _ = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    served.serve()
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    until(lambda: state(served, "sms", "code") == "carried")

    url = twilio.calls[0][2]["StatusCallback"]
    assert url.startswith("https://fx.example/callbacks/twilio/")
    sid = twilio.answer[1]["sid"]  # type: ignore[index]
    for status in ("sent", "delivered", "sent", "undelivered", "delivered"):
        assert call_back(port, url, sid, status) == 204
        assert call_back(port, url, sid, status, token="another") == 403
    assert state(served, "sms", "code") == "delivered"
    assert served.child("portal")
    assert served.stop() == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_portal_that_nobody_could_find_or_that_could_prove_no_caller_does_not_begin(served: Served) -> None:
    said = served.admin("serve", "--only", "portal")
    assert (said.status, "portal.public_url" in said.err) == (2, True)
    served.env |= {"FXSFTP_PORTAL__PUBLIC_URL": "https://fx.example", "FXSFTP_NOTIFY__SMS": "twilio"}
    said = served.admin("serve", "--only", "portal")
    assert (said.status, "hook.sms-twilio.auth_token_file" in said.err) == (2, True)


def test_where_nobody_can_call_us_twilio_is_asked(twilio: Twilio, served: Served) -> None:
    """The number is wrong; its sender is told, it is mended, and the same code arrives."""
    to_twilio(served, twilio, ask="1")
    twilio.tells = (200, {"sid": "SM0123456789abcdef", "status": "undelivered", "error_code": 30005})
    kari, _ = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    served.serve()
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    until(lambda: state(served, "sms", "code") == "failed")
    failed = by(served, "sms", "code")
    assert failed is not None
    assert failed.reason == "the number is not in use (Twilio 30005)"
    until(lambda: state(served, "mail", "not_delivered") == "carried")

    twilio.tells = (200, {"sid": "SM2", "status": "delivered"})
    twilio.answer = (201, {"sid": "SM2", "status": "queued", "error_code": None})
    assert failed.shipment_id
    served.must("shipment", "resend", failed.shipment_id, ANN, "--phone", "+4790000012")
    until(lambda: state(served, "sms", "code") == "delivered")
    first, second = (form for _, _, form in twilio.calls)
    assert (first["Body"], second["To"]) == (second["Body"], "+4790000012")


def test_a_code_that_twilio_took_without_saying_so_is_not_sent_again(twilio: Twilio, served: Served) -> None:
    """Busy, broken, and then taken while its answer is lost: each attempt has the same code, and the last only looks.

    What Twilio calls back about an attempt that it gave up changes nothing any more.
    """
    port = _free_port()
    to_twilio(served, twilio, timeout="2")
    served.env |= {"FXSFTP_PORTAL__PUBLIC_URL": "https://fx.example", "FXSFTP_PORTAL__PORT": str(port)}
    kari, _ = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    twilio.answer = (429, {"status": 429, "code": 20429, "message": "Too Many Requests"})
    served.serve()
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")

    def put_off(because: str) -> str:
        until(lambda: because in reason(served, "sms", "code"))
        found = by(served, "sms", "code")
        assert found is not None
        assert found.state == "due"
        return found.id

    notice_id = put_off("too many requests just now (Twilio 20429)")
    twilio.answer = (500, {"status": 500, "code": 20500, "message": "Internal Server Error"})
    served.must("notice", "retry", notice_id)
    put_off("Twilio refused it (error 20500, HTTP 500)")
    twilio.hang = threading.Event()
    served.must("notice", "retry", notice_id)
    put_off("Twilio gave no answer in time")
    sent = [form for _, _, form in twilio.calls]
    kept = {"sid": "SM9", "body": sent[-1]["Body"], "status": "sent", "direction": "outbound-api", "error_code": None}
    twilio.tells = (200, {"messages": [kept | {"sid": "SM8", "status": "failed", "error_code": 30008}, kept]})
    served.must("notice", "retry", notice_id)
    until(lambda: state(served, "sms", "code") == "carried")

    assert [form["Body"] for form in sent] == [sent[0]["Body"]] * 3
    assert len(twilio.calls) == 3
    assert [query["To"] for _, query in twilio.asked] == [sent[0]["To"]] * 3  # before each but the first
    for sid, status in (("SM8", "failed"), ("SM9", "delivered"), ("SM9", "sent"), ("SM8", "failed")):
        assert call_back(port, sent[0]["StatusCallback"], sid, status) == 204
    found = by(served, "sms", "code")
    assert found is not None
    assert (found.state, found.reference) == ("delivered", "SM9")


# ---- a real mail server --------------------------------------------------------------------------

needs_postfix = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("postfix"), reason="Postfix is not installed, or this is not root"
)

# Ports and folders of its own; what is about bounces stands in hooks/README.md, and is taken from there.
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
myhostname = mx.fx.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
mynetworks = 127.0.0.0/8
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
smtpd_tls_chain_files = {folder}/tls.pem
smtpd_tls_security_level = encrypt
smtp_tls_security_level = may
smtp_tls_CAfile = {folder}/ca.pem
smtp_dns_support_level = disabled
alias_maps =
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
SECTION = (shipped.folder("hooks") / "README.md").read_text().partition("## Bounces\n")[2].partition("\n## ")[0]
PIPE, MAPS = re.findall(r"```\n(.*?)```", SECTION, re.DOTALL)


class Postfix:
    """Debian's Postfix with settings of its own.  What comes to bounces goes through its pipe to `fxsftp bounce`.

    The pipe runs as nobody, who may not enter a folder of root's tests; so its program asks the test, which is root, to
    run the command with the same bytes, and ends with the same status.
    """

    def __init__(self, served: Served, partner: int, authority: trustme.CA) -> None:
        self.served = served
        self.port = _free_port()
        self.statuses: list[int] = []
        self.folder = Path(tempfile.mkdtemp(prefix="fxsftp-postfix-"))  # every daemon of Postfix must get in
        self.folder.chmod(0o755)
        for name in ("queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        certificate = authority.issue_cert("localhost")
        (self.folder / "tls.pem").write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        handler = type("Handler", (_ToBounce,), {"postfix": self})
        self.door = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.door.serve_forever, args=(0.05,)).start()
        to_root = f'exit "$(curl -s --data-binary @- http://127.0.0.1:{self.door.server_port}/)"\n'
        (self.folder / "to-root").write_text(to_root)
        relay = f"fxsftp-bounce: }}, {{ firm.example = smtp:[127.0.0.1]:{partner} }}"
        maps = MAPS.replace("exchange.ssb.example", "fx.example").replace("fxsftp-bounce: }", relay)
        pipe = PIPE.replace(
            "user=fxsftp-bounce argv=/usr/bin/fxsftp bounce", f"user=nobody argv=/bin/sh {self.folder}/to-root"
        )
        assert (maps.count("fx.example"), "to-root" in pipe) == (3, True)
        (self.folder / "main.cf").write_text(MAIN.format(folder=self.folder) + maps)
        (self.folder / "master.cf").write_text(MASTER.format(port=self.port) + pipe)
        self.process = subprocess.Popen(
            ["postfix", "-c", str(self.folder), "start-fg"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                return line.recv(4).startswith(b"220 ")
        except OSError:
            return False

    def log(self) -> str:
        log = self.folder / "mail.log"
        return log.read_text() if log.exists() else ""

    def close(self) -> None:
        self.door.shutdown()
        self.door.server_close()
        subprocess.run(["postfix", "-c", str(self.folder), "stop"], capture_output=True)
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder)


class _ToBounce(BaseHTTPRequestHandler):
    postfix: Postfix

    def do_POST(self) -> None:
        served = self.postfix.served
        message = self.rfile.read(int(self.headers["Content-Length"]))
        environment = served.env | {"FXSFTP_SETTINGS": str(served.folder / "fxsftp.toml")}
        bounce = [sys.executable, "-m", "fxsftp", "bounce"]
        ran = subprocess.run(bounce, input=message, capture_output=True, env=environment, cwd=ROOT)
        self.postfix.statuses.append(ran.returncode)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d" % ran.returncode)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@needs_postfix
def test_a_mail_that_a_partners_server_refuses_comes_back_through_postfix_and_is_told(
    post_office: Callable[..., Post], served: Served, authority: trustme.CA, ca_file: str
) -> None:
    """mail-smtp → Postfix, by STARTTLS → a server that says 550 → Postfix's report → its pipe → `fxsftp bounce`."""
    partner = post_office("none")
    partner.to_recipient[ANN] = "550 5.1.1 no such user here"
    with closing(Postfix(served, partner.port, authority)) as postfix:
        until(postfix.answers)
        served.settings(f'[hook.mail-smtp]\nhost = "localhost"\nport = {postfix.port}\nca_file = "{ca_file}"\n')
        served.env |= {"FXSFTP_NOTIFY__MAIL": "smtp", "FXSFTP_NOTIFY__BOUNCES": "bounces@fx.example"}
        served.env |= {"FXSFTP_NOTIFY__FROM": "exchange@fx.example"}
        kari, _ = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
        served.serve()
        kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
        until(lambda: state(served, "mail", "arrived") == "failed")
        until(lambda: by(served, "mail", "not_delivered"))
        until(lambda: postfix.statuses)

    found = by(served, "mail", "arrived")
    assert found is not None
    assert "550 5.1.1 no such user here" in found.reason
    told = by(served, "mail", "not_delivered")
    assert told is not None
    assert told.address == KARI
    assert set(postfix.statuses) == {0}  # more than one, if the mail to kari, whom no server knows, is back by then
    with closing(served.exchange()) as exchange:
        bounce = exchange.people.find(ANN).bounce
    assert bounce is not None
    assert bounce.reason == found.reason
