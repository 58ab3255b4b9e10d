"""Our modules in a real browser, under the portal's policy: opening what a package holds, saving it, sending files."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Download, expect

from fxsftp import seal
from fxsftp.domain import ids
from fxsftp.seal.stream import CHUNK, SEALED_CHUNK
from fxsftp.shipped import folder
from tests.exchange.hands import dispatched
from tests.fronts.portal.sealed import NO_PICKERS, NO_WORKERS, Package, give, save, says
from tests.fronts.portal.stage import Stage, browser, context, exported, page, stage
from tests.house import ANN, House, at

__all__ = ["browser", "context", "stage"]

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

STATIC = folder("config") / "static"
MIB = 1 << 20
STORED = """async () => {
  const found = {};
  const look = async (folder, path) => {
    for await (const [name, handle] of folder.entries()) {
      if (handle.kind === "directory") await look(handle, `${path}${name}/`);
      else {
        const hash = await crypto.subtle.digest("SHA-256", await (await handle.getFile()).arrayBuffer());
        found[path + name] = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
      }
    }
  };
  await look(await navigator.storage.getDirectory(), "");
  return found;
}"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# ---- what is shipped -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["age.js", "tus.js"])
def test_what_others_wrote_is_what_the_record_says_and_needs_no_eval(name: str) -> None:
    data = (STATIC / "vendor" / name).read_bytes()
    assert f"| `{name}` | `{sha256(data)}` |" in (STATIC / "vendor" / "README.md").read_text()
    assert not re.search(rb"\beval\(|new Function|WebAssembly|new Worker", data)
    licences = (STATIC / "vendor" / "LICENSES.txt").read_text()
    (inside,) = re.findall(
        rf"^\* `{name}`: (.*(?:\n  .*)*)", (STATIC / "vendor" / "README.md").read_text(), re.MULTILINE
    )
    for package, version in re.findall(r"([@\w/-]+) (\d+\.\d+\.\d+)", inside):
        assert f"{name}: {package} {version} (" in licences


@pytest.mark.parametrize("module", ["opening", "sending"])
def test_the_readme_explains_every_word_that_a_module_wants(module: str) -> None:
    text = (STATIC / "README.md").read_text()
    (section,) = re.findall(rf"^## `{module}\.js`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == exported(module)


def test_codes_are_read_as_the_server_reads_them(stage: Stage, context: BrowserContext) -> None:
    dice = random.Random(7)
    typed = ["", "x", "7k3f-q2mp", "é" * 16, "İ" + "0" * 15, "\U0001d7d8" * 16, "0" * 16]
    for _ in range(150):
        code = ids.new_code()
        letters = [dice.choice((letter, letter.upper())) for letter in code]
        typed += [
            "".join(letters),
            code.replace("0", "O").replace("1", dice.choice("iIlL")),
            code.replace("-", dice.choice("  –_.\u00ad")),
        ]
        slip = dice.randrange(len(code))
        typed += [code[:slip] + dice.choice(ids.ALPHABET + "u-") + code[slip + 1 :], code[:slip] + code[slip + 1 :]]
    stage.pages["/code"] = page("")
    shown = context.new_page()
    shown.goto(stage.url("/code"))
    ask = "async (typed) => { const { normalCode } = await import('/static/code.js'); return typed.map(normalCode); }"
    assert shown.evaluate(ask, typed) == [ids.normal_code(each) for each in typed]


# ---- opening ---------------------------------------------------------------------------------------

FILES = {
    "empty.txt": b"",
    "en bokstav.txt": b"x",
    "under.bin": noise(CHUNK - 1),
    "en hel.bin": noise(CHUNK),
    "over.bin": noise(CHUNK + 1),
    "to hele.bin": noise(2 * CHUNK),
    "Ærlig talt/blåbær-日本 \U0001f4ca.csv": noise(3 * MIB + 5),
    "run.bin": noise(16 * CHUNK),
    "run and one.bin": noise(17 * CHUNK),
    'odd/../<b>"x"?.csv': b"odd",
}
SAFE = {'odd/../<b>"x"?.csv': "odd/_b__x__.csv"}


@pytest.mark.parametrize("static", ["/static", "/bare"])
def test_a_package_opens_into_a_folder_with_or_without_a_cipher_in_the_browser(
    stage: Stage, context: BrowserContext, static: str
) -> None:
    """Every size around the bounds of chunks and runs, and every name; nothing that is secret leaves the browser."""
    package = Package(stage, FILES)
    shown = package.opened(context, static=static)
    shown.locator("[data-opening-all]").click()
    says(shown, "all-saved")
    assert shown.evaluate(STORED) == {SAFE.get(name, name): sha256(data) for name, data in FILES.items()}
    for asked in stage.asked:
        assert (asked.method, bytes(asked.body)) == ("GET", b"")
        told = asked.path + json.dumps(asked.headers)
        assert package.code not in told
        assert package.code.replace("-", "") not in told
        assert package.identity.secret_text() not in told


def test_a_folder_that_has_a_file_of_that_name_keeps_it(stage: Stage, context: BrowserContext) -> None:
    shown = Package(stage, {"a.tar.gz": b"new", "b": b"new"}).opened(context)
    for _ in range(2):
        shown.locator("[data-opening-all]").click()
        says(shown, "all-saved")
        shown.evaluate("document.querySelector('[data-opening-status]').dataset.outcome = ''")
    assert shown.evaluate(STORED).keys() == {"a.tar.gz", "a.tar (2).gz", "b", "b (2)"}


@pytest.mark.parametrize("count", [1, 9])
def test_what_the_exchange_delivers_opens_in_the_browser(
    house: House, stage: Stage, context: BrowserContext, count: int
) -> None:
    """Real deliveries: of a few files each asks for the code itself, of many there is a KEY.age that does."""
    kari, ann = house.kari(), house.ann()
    files = {f"rapport {number}.csv": noise(100_000 + number) for number in range(count)}
    for name, plain in files.items():
        house.put(kari, f"/outbox/{ANN}/Ref 1/{name}", plain)
    shipment = dispatched(house)
    package = Package(stage, files, house.code(shipment, ann))
    paths = {f"/p/{number}.age": f"{name}.age" for number, name in enumerate(files)}
    for path, name in (paths | ({"/p/KEY.age": "KEY.age"} if count > 8 else {})).items():
        reading = house.exchange.collecting.open(ann, at(f"/inbox/{shipment}/{name}"), house.clock())
        stage.files[path] = reading.read(0, reading.size)
    shown = package.show(context, key_url="/p/KEY.age" if count > 8 else "")
    give(shown, ids.new_code())
    says(shown, "wrong-code")
    give(shown, package.code)
    says(shown, "opened")
    if count > 1:
        shown.locator("[data-opening-all]").click()
        says(shown, "all-saved")
    else:
        save(shown)
        says(shown, "saved")
    assert shown.evaluate(STORED) == {name: sha256(plain) for name, plain in files.items()}


def test_a_code_is_read_however_it_is_typed_and_no_form_can_send_it(stage: Stage, context: BrowserContext) -> None:
    package = Package(stage, {"a.csv": b"a"})
    shown = package.show(context)
    expect(shown.get_by_role("button", name="Open here")).to_be_hidden()
    assert shown.locator("[data-opening-code]").get_attribute("name") is None
    give(shown, package.code.upper().replace("-", " ").replace("0", "O"))
    says(shown, "opened")
    assert shown.locator("[data-opening-code]").input_value() == ""


def test_a_mistyped_code_costs_no_request_and_a_wrong_one_says_so(stage: Stage, context: BrowserContext) -> None:
    package = Package(stage, {"a.csv": b"a"})
    shown = package.show(context)
    give(shown, package.code[:-1] + ("x" if package.code[-1] != "x" else "y"))
    says(shown, "mistyped")
    assert stage.told("/p/KEY.age") == []
    give(shown, ids.new_code())
    says(shown, "wrong-code")
    assert shown.locator("[data-opening-code]").get_attribute("aria-invalid") == "true"
    expect(shown.locator("[data-opening-save]")).to_be_hidden()
    give(shown, package.code)
    says(shown, "opened")


@pytest.mark.parametrize("static", ["/static", "/bare"])
def test_of_a_forged_file_nothing_is_kept(stage: Stage, context: BrowserContext, static: str) -> None:
    """A changed header, first, middle or last chunk; an end cut off by a server that lies of the size; a byte more."""
    plain = noise(40 * CHUNK + 7)
    package = Package(
        stage, dict.fromkeys(("header", "first", "middle", "last", "more"), plain) | {"end": plain + b"x" * 9}
    )
    sealed = len(stage.files["/p/0.age"])
    for number, byte in enumerate((30, 400, sealed - 20 * SEALED_CHUNK, sealed - 1)):
        data = bytearray(stage.files[f"/p/{number}.age"])
        data[byte] ^= 1
        stage.files[f"/p/{number}.age"] = bytes(data)
    stage.files["/p/4.age"] += b"x"
    stage.files["/p/5.age"] = stage.files["/p/5.age"][: -16 - 16]
    package.files["end"] = plain
    shown = package.opened(context, static=static)
    shown.locator("[data-opening-all]").click()
    for state in shown.locator("[data-opening-state]").all():
        expect(state).to_contain_text("forged:")
    assert shown.evaluate(STORED) == {}


def test_a_file_for_another_package_does_not_open(stage: Stage, context: BrowserContext) -> None:
    package = Package(stage, {"a.csv": b"a"})
    stage.files["/p/0.age"] = seal.seal_small(b"a", seal.Identity.generate().lock)
    shown = package.opened(context)
    save(shown)
    says(shown, "forged")


def test_a_broken_line_is_mended_from_where_it_broke(stage: Stage, context: BrowserContext) -> None:
    plain = noise(5 * MIB)
    package = Package(stage, {"a.bin": plain})
    stage.cuts["/p/0.age"] = [3 * MIB + 11, 3 * MIB + 11, 3 * MIB + 500]
    shown = package.opened(context, delays="0 0 0")
    save(shown)
    says(shown, "saved")
    assert shown.evaluate(STORED) == {"a.bin": sha256(plain)}
    ranges = [asked.headers.get("range") for asked in stage.told("/p/0.age")]
    assert ranges[0] is None
    assert [int(re.findall(r"\d+", each or "")[0]) for each in ranges[1:]] == sorted(
        int(re.findall(r"\d+", each or "")[0]) for each in ranges[1:]
    )
    assert all(asked.headers.get("if-range") for asked in stage.told("/p/0.age")[1:])


def test_a_line_that_stays_broken_leaves_nothing_behind(stage: Stage, context: BrowserContext) -> None:
    package = Package(stage, {"a.bin": noise(3 * MIB)})
    stage.cuts["/p/0.age"] = [2 * MIB] * 20
    shown = package.opened(context)
    save(shown)
    says(shown, "cut")
    assert shown.evaluate(STORED) == {}
    assert len(stage.told("/p/0.age")) <= 5


@pytest.mark.parametrize(("status", "outcome"), [(401, "signed-out"), (303, "signed-out"), (410, "gone")])
def test_who_is_logged_out_and_what_is_gone_is_said(
    stage: Stage, context: BrowserContext, status: int, outcome: str
) -> None:
    package = Package(stage, {"a.bin": b"a"})
    shown = package.opened(context)
    stage.statuses["/p/0.age"] = status
    save(shown)
    says(shown, outcome)
    assert shown.evaluate(STORED) == {}


def test_who_cancels_one_of_all_files_stops_there_and_goes_on_with_those_that_are_left(
    stage: Stage, context: BrowserContext
) -> None:
    package = Package(stage, {"a.csv": b"a", "b.bin": noise(3 * MIB), "c.csv": b"c"})
    stage.cuts["/p/1.age"] = [MIB]
    shown = package.opened(context, delays="600000")
    shown.locator("[data-opening-all]").click()
    expect(shown.locator("[data-opening-state]").nth(1)).to_contain_text("broken")
    shown.locator("[data-opening-cancel]").nth(1).click()
    says(shown, "cancelled")
    assert shown.evaluate(STORED).keys() == {"a.csv"}
    shown.locator("[data-opening-all]").click()
    says(shown, "all-saved")
    assert shown.evaluate(STORED).keys() == {"a.csv", "b.bin", "c.csv"}


def test_an_opening_can_be_cancelled(stage: Stage, context: BrowserContext) -> None:
    package = Package(stage, {"a.bin": noise(3 * MIB)})
    stage.cuts["/p/0.age"] = [2 * MIB] * 20
    shown = package.opened(context, delays="600000")  # it waits for the line
    save(shown)
    cancel = shown.locator("[data-opening-cancel]")
    expect(shown.locator("[data-opening-state]")).to_contain_text("broken")
    cancel.click()
    says(shown, "cancelled")
    assert shown.evaluate(STORED) == {}
    expect(shown.locator("[data-opening-save]")).to_be_focused()


# ---- saving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [NO_PICKERS, NO_WORKERS], ids=["streamed", "memory"])
def test_where_a_page_cannot_write_files_they_are_downloaded(
    stage: Stage, context: BrowserContext, prepare: str, tmp_path: Path
) -> None:
    plain = noise(3 * MIB + 5)
    shown = Package(stage, {"sub/blåbær (1).csv": plain}).opened(context, prepare=prepare)
    with shown.expect_download() as coming:
        save(shown)
    assert coming.value.suggested_filename == "sub_blåbær (1).csv"
    assert sha256(coming.value.path().read_bytes()) == sha256(plain)
    assert ("/static/download/" in coming.value.url) == (prepare == NO_PICKERS)
    says(shown, "saved")
    assert not any("/download/" in asked.path for asked in stage.asked)


def test_a_forged_file_fails_as_a_download_and_leaves_no_part(stage: Stage, context: BrowserContext) -> None:
    package = Package(stage, {"a.bin": noise(8 * MIB)})
    data = bytearray(stage.files["/p/0.age"])
    data[-20] ^= 1
    stage.files["/p/0.age"] = bytes(data)
    shown = package.opened(context, prepare=NO_PICKERS)
    with shown.expect_download() as coming:
        save(shown)
    assert coming.value.failure() is not None
    says(shown, "forged")


def test_all_files_are_downloaded_one_after_the_other_where_no_folder_can_be_chosen(
    stage: Stage, context: BrowserContext
) -> None:
    files = {"a.csv": noise(70_000), "b.csv": b"", "c.csv": noise(10)}
    shown = Package(stage, files).opened(context, prepare=NO_PICKERS)
    downloads: list[Download] = []
    shown.on("download", lambda each: downloads.append(each))  # noqa: PLW0108 - Playwright marks what it calls
    shown.locator("[data-opening-all]").click()
    says(shown, "all-saved")
    deadline = time.monotonic() + 20
    while len(downloads) < len(files) and time.monotonic() < deadline:
        shown.wait_for_timeout(20)  # lets events in
    found = {each.suggested_filename: sha256(each.path().read_bytes()) for each in downloads}
    assert found == {name: sha256(data) for name, data in files.items()}


def test_a_browser_says_that_a_file_is_too_large_for_it(stage: Stage, context: BrowserContext) -> None:
    package = Package(stage, {"a.bin": b"a"})
    shown = package.show(context, prepare=NO_WORKERS)
    stage.pages["/p"] = stage.pages["/p"].replace('data-size="1"', f'data-size="{600 * MIB}"')
    shown.goto(stage.url("/p"))
    give(shown, package.code)
    says(shown, "opened")
    save(shown)
    says(shown, "too-large")
    expect(shown.locator("[data-opening-status]")).to_contain_text("536,9 MB")
    assert stage.told("/p/0.age") == []
