"""Settings: what may be written, what it becomes, and how a mistake is answered."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from fxsftp import app, errors
from fxsftp.domain import policy
from fxsftp.settings import Settings, all_keys, load

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "config" / "fxsftp.toml"

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(text: str) -> Path:
        path = tmp_path / "fxsftp.toml"
        path.write_text(text)
        return path

    return write


# ---- the file that we ship -----------------------------------------------------------------------


def test_the_shipped_file_has_every_key_and_no_other() -> None:
    shipped = tomllib.loads(SHIPPED.read_text())
    shipped.pop("hook")
    assert sorted(f"{section}.{key}" for section, table in shipped.items() for key in table) == sorted(all_keys())


@pytest.mark.parametrize("key", list(all_keys()))
def test_the_shipped_file_says_the_default_of_every_key(key: str) -> None:
    section, _, name = key.partition(".")
    from_file, defaults = load(SHIPPED, {}), Settings()
    assert (
        getattr(from_file, section).model_dump(by_alias=True)[name]
        == (getattr(defaults, section).model_dump(by_alias=True)[name])
    )


def test_the_shipped_file_gives_a_reason_for_every_key() -> None:
    lines = SHIPPED.read_text().split("[hook.")[0].splitlines()
    without = [line for before, line in pairwise(lines) if re.match(r"\w+ =", line) and before[:1] != "#"]
    assert without == []


def test_the_shipped_hook_tables_are_of_hooks_that_know_their_keys() -> None:
    for program, table in load(SHIPPED, {}).hook.items():
        source = (ROOT / "hooks" / program).read_text()
        for key in table:
            assert f'"{key.removesuffix("_file")}"' in source, f"hooks/{program} does not know {key}"


def test_the_rules_of_the_domain_have_the_same_names_and_defaults() -> None:
    settings = Settings()
    assert app.policy_of(settings) == policy.Policy()
    said = settings.exchange.model_dump() | settings.policy.model_dump() | settings.notify.model_dump()
    elsewhere = {"scan", "portal", "invitation", "password_link", "visit_idle", "visit_longest"}
    assert {each.name for each in fields(policy.Policy)} - elsewhere <= set(said)


# ---- what may be written -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("'30 s'", 30),
        ("'15 min'", 900),
        ("'24h'", 86400),
        ("'7 d'", 604800),
        ("45", 45),
        ("0.5", 0.5),
        ("'1.5 h'", 5400),
    ],
)
def test_durations_are_read_as_people_write_them(written: Written, text: str, seconds: float) -> None:
    assert load(written(f"[exchange]\nhold = {text}"), {}).exchange.hold == seconds


@pytest.mark.parametrize("text", ["'5 parsecs'", "'-5 s'", "-5", "'s'", "''", "true", "nan", "inf", "'1_0 s'", "[]"])
def test_a_duration_that_is_none_is_refused_by_name(written: Written, text: str) -> None:
    with pytest.raises(errors.BadSettings, match=r"exchange\.hold"):
        load(written(f"[exchange]\nhold = {text}"), {})


@pytest.mark.parametrize(("text", "size"), [("'50 GiB'", 50 << 30), ("'1.5 KiB'", 1536), ("4096", 4096), ("'7 B'", 7)])
def test_sizes_are_read_as_people_write_them(written: Written, text: str, size: int) -> None:
    assert load(written(f"[exchange]\nquota = {text}"), {}).exchange.quota == size


@pytest.mark.parametrize(("cores", "processes"), [(1, 1), (2, 2), (64, 8)])
def test_there_is_a_worker_for_each_core_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    assert load(None, {}).sftp.processes == processes
    assert load(None, {"FXSFTP_SFTP__WORKERS": "3"}).sftp.processes == 3


@pytest.mark.parametrize("text", ["0", "-1", "65", "'many'", "true", "1.5"])
def test_a_number_of_workers_that_can_not_be_is_refused(written: Written, text: str) -> None:
    with pytest.raises(errors.BadSettings, match=r"sftp.workers: write 'auto', or how many, up to 64"):
        load(written(f"[sftp]\nworkers = {text}"), {})


def test_without_a_file_the_defaults_hold() -> None:
    settings = load(None, {})
    assert settings.exchange.settle_loose == 30.0
    assert settings.exchange.reminders == (604800.0, 86400.0)
    assert settings.file is None
    assert settings.state == Path("/var/lib/fxsftp")


def test_the_environment_names_the_file_and_sets_keys_over_it(written: Written) -> None:
    path = written("[exchange]\nquota = 1\nlanguage = 'nb'\n[hook.mail-smtp]\nhost = 'a'\nuser = 'u'")
    environ = {
        "FXSFTP_SETTINGS": str(path),
        "FXSFTP_EXCHANGE__QUOTA": "2 KiB",
        "FXSFTP_EXCHANGE__DEMO": "true",
        "FXSFTP_EXCHANGE__DOMAINS": "ssb.example, stat.example",
        "FXSFTP_EXCHANGE__REMINDERS": "3 d",
        "FXSFTP_NOTIFY__FROM": "post@ssb.example",
        "FXSFTP_HOOK__MAIL_SMTP__HOST": "b",
        "HOME": "/root",
    }
    settings = load(None, environ)
    assert (settings.exchange.quota, settings.exchange.language, settings.exchange.demo) == (2048, "nb", True)
    assert settings.exchange.domains == ("ssb.example", "stat.example")
    assert settings.exchange.reminders == (259200.0,)
    assert settings.notify.sender == "post@ssb.example"
    assert settings.hook == {"mail-smtp": {"host": "b", "user": "u"}}


def test_relative_paths_are_relative_to_the_settings_file(written: Written, tmp_path: Path) -> None:
    settings = load(written("[exchange]\nstate = 'state'\n[notify]\nhooks = ['hooks', '/usr/lib/hooks']"), {})
    assert settings.state == tmp_path / "state"
    assert settings.hook_folders == (tmp_path / "hooks", Path("/usr/lib/hooks"))


def test_settings_are_frozen() -> None:
    settings = load(None, {})
    with pytest.raises(ValidationError):
        settings.exchange.quota = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.exchange = settings.exchange  # type: ignore[misc]


# ---- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[exchange]\nsetle_loose = 3", "no setting exchange.setle_loose; did you mean exchange.settle_loose?"),
        ("[exchnage]\ndemo = true", "no setting exchnage; did you mean [exchange]?"),
        ("[policy]\nsettle_loose = 3", "no setting policy.settle_loose; did you mean exchange.settle_loose?"),
        ("settle_loose = 3", "no setting settle_loose; did you mean exchange.settle_loose?"),
        ("[sftp]\nxyzzy = 3", "no setting sftp.xyzzy"),
        ("[notify]\nform = 'a@b.example'", "did you mean notify.from?"),
        ("[sftp]\nport = 70000", "sftp.port"),
        ("[exchange]\nlanguage = 'sv'", "exchange.language"),
        ("[exchange]\nquota = '5 GB'", "'5 GB' is not understood; write it like"),
        ("[notify]\nmail = '../mail'", "notify.mail"),
        ("[notify]\nsms = 'spool'", "needs exchange.demo = true"),
        ("[policy]\nrecovery = 'AGE-SECRET-KEY-1'", "policy.recovery"),
        (
            f"[institution]\nname = '{'x' * 48}'",
            "has 48 letters, and so a code would not fit into one SMS; give sms_name",
        ),
        ("[institution]\nname = 'Sámediggi – Sametinget'", "has á – in it, and so a code would not fit into one SMS"),
        ("[institution]\nsms_name = 'Helse [test]'", "has [ ] in it"),
        ("exchange = 3", "exchange"),
        ("[exchange\n", "is not TOML"),
        ("[exchange]\nname = '\0'", "is not TOML"),
    ],
)
def test_a_mistake_is_named(written: Written, text: str, answer: str) -> None:
    with pytest.raises(errors.BadSettings) as refusal:
        load(written(text), {})
    assert answer in str(refusal.value)


def test_a_long_name_of_an_institution_has_a_shorter_form_for_sms(written: Written) -> None:
    path = written(f"[institution]\nname = '{'Sámi ' * 12}'\nsms_name = 'Same-\u00e5 \u00e6\u00f8 Æ'")
    assert load(path, {}).institution.in_sms == "Same-å æø Æ"
    assert load(written("[institution]\nname = 'Helse Nord'"), {}).institution.in_sms == "Helse Nord"


def test_all_mistakes_are_named_at_once(written: Written) -> None:
    with pytest.raises(errors.BadSettings, match=r"exchange\.quotta.*sftp\.port"):
        load(written("[exchange]\nquotta = 3\n[sftp]\nport = 'high'"), {})


@pytest.mark.parametrize("variable", ["FXSFTP_EXCHNAGE__DEMO", "FXSFTP_EXCHANGE__DEMOO"])
def test_a_misspelt_variable_is_a_mistake_too(variable: str) -> None:
    with pytest.raises(errors.BadSettings, match="did you mean"):
        load(None, {variable: "true"})


@pytest.mark.parametrize(
    "variable", ["FXSFTP_HOOK__", "FXSFTP_HOOK__MAIL_SMTP", "FXSFTP___", "FXSFTP_EXCHANGE__QUOTA__X"]
)
def test_a_variable_of_the_wrong_shape_is_a_mistake_and_no_stack(variable: str) -> None:
    with pytest.raises(errors.BadSettings):
        load(None, {variable: "1", "FXSFTP_EXCHANGE__QUOTA": "1"})


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path: Path, written: Written) -> None:
    with pytest.raises(errors.BadSettings, match="no settings file"):
        load(tmp_path / "none.toml", {})
    path = written("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(errors.BadSettings, match="can't be read"):
        load(path, {})


def test_a_wrong_value_is_not_repeated(written: Written) -> None:
    """It may be a password on the wrong line."""
    with pytest.raises(errors.BadSettings) as refusal:
        load(written("[sftp]\nport = 'hunter2'"), {})
    assert "hunter2" not in str(refusal.value)


# ---- secrets -------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "house.key"
    path.write_text("AGE-SECRET-KEY-1")
    path.chmod(0o600)
    return path


def test_a_key_is_read_from_a_private_file_beside_the_settings(written: Written, key: Path) -> None:
    assert load(written(""), {}).credential("house.key") == b"AGE-SECRET-KEY-1"


def test_a_systemd_credential_comes_before_a_file(written: Written, key: Path, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "house.key").write_text("from systemd")
    settings = load(written(""), {"CREDENTIALS_DIRECTORY": str(folder)})
    assert settings.credential("house.key") == b"from systemd"
    assert settings.credentials == folder


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_a_key_that_others_may_use_is_refused(written: Written, key: Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(errors.UnsafeFile, match=r"house\.key is not safe to use: others may use it"):
        load(written(""), {}).credential("house.key")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(written: Written, key: Path) -> None:
    os.chown(key, 12345, -1)
    settings = load(written("[exchange]\nstate = 'state'"), {})
    with pytest.raises(errors.UnsafeFile, match="belongs to another user"):
        settings.credential("house.key")
    settings.state.mkdir()
    os.chown(settings.state, 12345, -1)  # the exchange's own user, and root looks
    assert settings.credential("house.key")


def test_a_key_that_is_a_link_a_folder_or_a_pipe_is_refused(written: Written, key: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key)
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    settings = load(written(""), {})
    for name in ("link", "folder", "pipe"):
        with pytest.raises(errors.UnsafeFile):
            settings.credential(name)


def test_a_missing_key_is_said_with_its_name(written: Written) -> None:
    with pytest.raises(errors.BadSettings, match=r"there is no house\.key"):
        load(written(""), {}).credential("house.key")
    with pytest.raises(errors.BadSettings, match=r"courier\.pub"):
        load(written(""), {}).public("courier.pub")


def test_no_password_stands_in_the_repr(written: Written) -> None:
    settings = load(written("[hook.mail-smtp]\npassword = 'hunter2'"), {})
    assert "hunter2" not in repr(settings) + str(settings)
    assert settings.for_hook("mail-smtp")["password"] == "hunter2"


def test_a_hook_hears_where_callbacks_come_in_once_the_portal_can_be_found(written: Written) -> None:
    path = written("[portal]\npublic_url = 'https://fx.example/'")
    assert load(path, {}).for_hook("sms-twilio")["callbacks"] == "https://fx.example/callbacks"


@pytest.mark.parametrize(
    "url", ["http://fx.example", "fx.example", "ftp://fx.example", "https://fx.example?a=b", "https://"]
)
def test_a_portal_is_found_by_an_address_with_tls_only(url: str, written: Written) -> None:
    with pytest.raises(errors.BadSettings, match=r"portal\.public_url"):
        load(written(f"[portal]\npublic_url = '{url}'"), {})
    assert load(written("[portal]\npublic_url = 'http://127.0.0.1:8080'"), {}).portal.public_url


@pytest.mark.parametrize("address", ["bounces", "bounces+x@fx.example", "@fx.example", f"{'b' * 23}@fx.example"])
def test_bounces_come_to_an_address_that_has_room_for_what_goes_behind_its_name(address: str, written: Written) -> None:
    with pytest.raises(errors.BadSettings, match=r"notify\.bounces"):
        load(written(f"[notify]\nbounces = '{address}'"), {})


def test_a_hook_hears_its_own_table_and_what_all_need(written: Written, tmp_path: Path) -> None:
    path = written(
        "[institution]\nname = 'SSB'\n[exchange]\nstate = 's'\n[hook.a]\nhost = 'x'\n[hook.b]\npassword = 'y'"
    )
    heard = load(path, {}).for_hook("a")
    assert heard == {
        "host": "x",
        "institution": "SSB",
        "support_mail": "support@example.org",
        "support_phone": "",
        "demo": False,
        "state": str(tmp_path / "s"),
        "credentials": str(tmp_path),
        "callbacks": "",
    }
