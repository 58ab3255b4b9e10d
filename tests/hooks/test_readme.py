"""hooks/README.md: what it shows is so."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat

from fxsftp import shipped
from fxsftp.carriers import Answer, Carrier, Verdict, find
from fxsftp.scanners import Finding, Opinion, hiring

README = (shipped.folder("hooks") / "README.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_the_example_carries_an_sms_through_a_gateway(tmp_path, gateway):
    """The example as it stands, found by its name and spoken to by a carrier; the gateway is any HTTP server."""
    (example,) = [text for language, text in SAMPLES if language == "python" and "urllib" in text]
    program = tmp_path / "sms-gateway"
    program.write_text(example)
    program.chmod(0o755)

    async def walk() -> list[Verdict]:
        carrier = Carrier(find("sms", "gateway", [tmp_path]), {"url": gateway.url + "/send"})
        verdicts = []
        for status, said in ((200, {"id": "G1"}), (422, {}), (503, {})):
            gateway.answer = (status, said)
            verdicts.append(await carrier.carry({"id": "n-1", "to": "+4790000000", "text": "…"}, 30))
        await carrier.close()
        return verdicts

    assert asyncio.run(walk()) == [
        Verdict(Answer.CARRIED, reference="G1"),
        Verdict(Answer.FAILED, reason="the gateway answered 422"),
        Verdict(Answer.LATER, reason="the gateway answered 503"),
    ]


def test_the_example_of_a_scanner_holds_what_is_no_text(tmp_path):
    """Spoken to by a scanner of the exchange, over several pieces and files."""
    (example,) = [text for language, text in SAMPLES if language == "python" and "is_text" in text]
    (tmp_path / "scan-text").write_text(example)
    (tmp_path / "scan-text").chmod(0o755)
    files = [b"a;b\n" * 200_000, b"", b"a" * 300_000 + b"\0" + b"a" * 300_000, b"1;2\n"]

    async def walk() -> list[Opinion]:
        scanner = hiring([tmp_path], lambda _: {})("text")
        opinions = []
        for number, content in enumerate(files):

            async def read(offset: int, count: int, of: bytes = content) -> bytes:
                return of[offset : offset + count]

            about = {"id": str(number), "way": "scan", "name": "a.csv", "size": len(content), "sender": "partner"}
            opinions.append(await scanner.scan(about, len(content), read, 30))
        await scanner.close()
        return opinions

    clean = Opinion(Finding.CLEAN)
    assert asyncio.run(walk()) == [clean, clean, Opinion(Finding.HOLD, "is no text"), clean]


def test_each_line_of_json_is_one():
    lines = [line for language, text in SAMPLES if language == "json" for line in text.splitlines()]
    assert len(lines) == 14
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_the_table_names_every_hook_there_is_and_each_can_run():
    hooks = {path.name: path for path in shipped.folder("hooks").iterdir() if "." not in path.name and path.is_file()}
    assert set(hooks) == set(
        re.findall(r"`((?:mail|sms|webhook|scan)-[a-z]+)`", README.split("## How it is spoken to")[0])
    )
    for path in hooks.values():
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o111 == 0o111
        assert path.read_text().startswith("#!/usr/bin/env python3\n")
