"""Settings: what wins, what is refused, and that nothing secret is shown."""

from pathlib import Path

import pytest

from jusinfer import config
from jusinfer.config import ConfigError, Overrides
from jusinfer.domain.file_modes import is_exposed


def load(folder: Path, text: str = "", env: dict[str, str] | None = None, **changes: object):  # type: ignore[no-untyped-def] # noqa: ANN201
    file = folder / "jusinfer.toml"
    file.write_text(text)
    return config.load(Overrides(config_file=str(file), **changes), env or {})  # type: ignore[arg-type]


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = 'data_dir = "here"\n[listen]\nport = 1\n'
    assert load(tmp_path, text).listen.port == 1
    assert load(tmp_path, text, {"JUSINFER_PORT": "2"}).listen.port == 2
    assert load(tmp_path, text, {"JUSINFER_PORT": "2"}, port=3).listen.port == 3
    assert load(tmp_path, text).data_dir == str(tmp_path / "here")
    assert load(tmp_path, text, {"JUSINFER_DATA_DIR": "/x/y"}).data_dir == "/x/y"


@pytest.mark.parametrize(
    ("text", "env", "words"),
    [
        ("[listen]\nport = 70000\n", {}, "listen.port"),
        ("", {"JUSINFER_PORT": "x"}, "JUSINFER_PORT"),
        ("[gateway]\nworkers = 999\n", {}, "gateway.workers"),
        ("[gateway]\nbody_bytes_max = 0\n", {}, "body_bytes_max"),
        ("[gateway]\ntokens_per_minute = -1\n", {}, "tokens_per_minute.*no limit"),
        ('[listen]\noperator_host = "0.0.0.0"\n', {}, "loopback"),
        ('[[upstream]]\nname = "a"\n[[upstream]]\nname = "a"\n', {}, "twice"),
        ('[[upstream]]\nname = "a"\nbase_url = "https://a"\n', {}, "no key"),
        ('[[upstream]]\nname = "a"\napi_key = "with blank"\n', {}, "blank"),
    ],
)
def test_what_cannot_work_is_named(
    tmp_path: Path, text: str, env: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, text, env)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(Overrides(config_file=str(tmp_path / "none.toml")), {})


def test_a_key_switches_an_upstream_on_and_is_never_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, "", {"DEEPSEEK_API_KEY": "secret-key"})
    offers = config.offers(settings, sandbox_port=5)
    assert "deepseek-flash" in offers.live.models
    assert "gpt-6-sol" not in offers.live.models
    assert "gpt-6-sol" in offers.test.models
    assert set(offers.test.upstreams) == {"sandbox"}
    shown = f"{settings!r}{offers.live!r}"
    assert "secret-key" not in shown


def test_an_entry_adds_to_a_built_in_upstream(tmp_path: Path) -> None:
    text = (
        '[[upstream]]\nname = "deepseek"\napi_key = "k"\ntotal_seconds = 5.0\n'
        '[[upstream.model]]\nid = "mine"\ninput = "1"\noutput = "2"\n'
    )
    offers = config.offers(load(tmp_path, text), sandbox_port=None)
    assert {"mine", "deepseek-flash"} <= set(offers.live.models)
    assert offers.live.upstreams["deepseek"].total_seconds == 5.0
    assert offers.live.upstreams["deepseek"].host == "api.deepseek.com"
    assert offers.test.models == {}


@pytest.mark.parametrize(
    ("lines", "said"),
    [("tools_max = 0", "tools_max must be above 0"), ("tier = 10", "tier 0 to 9")],
)
def test_a_model_says_how_strong_it_is_and_how_many_tools_it_takes(
    tmp_path: Path, lines: str, said: str
) -> None:
    path = tmp_path / "jusinfer.toml"
    text = (
        '[[upstream]]\nname = "own"\nbase_url = "http://127.0.0.1:1"\nis_local = true\n'
        '[[upstream.model]]\nid = "m"\ninput = "1"\noutput = "1"\n'
    )
    path.write_text(text + "tools_max = 7\ntier = 3\n", "utf-8")
    settings = config.load(config.Overrides(config_file=str(path)), {})
    model = config.offers(settings, 1).live.models["m"]
    assert (model.tools_max, model.tier) == (7, 3)
    path.write_text(text + lines + "\n", "utf-8")
    settings = config.load(config.Overrides(config_file=str(path)), {})
    with pytest.raises(config.ConfigError, match=said):
        config.offers(settings, 1)


ACCOUNT = {"CLOUDFLARE_API_TOKEN": "t", "CLOUDFLARE_ACCOUNT_ID": "acct"}
BEHIND = """
[[upstream]]
name = "openrouter"
base_url = "https://gateway.ai.cloudflare.com/v1/{CLOUDFLARE_ACCOUNT_ID}/g/openrouter"
gateway_token_env = "AIG_TOKEN"
"""


def test_an_upstream_behind_a_gateway_gets_its_account_and_token(tmp_path: Path) -> None:
    env = ACCOUNT | {"OPENROUTER_API_KEY": "k", "AIG_TOKEN": "a", "OPENAI_API_KEY": "o"}
    settings = load(tmp_path, BEHIND, env)
    config.require_variables(settings)
    assert [upstream.name for upstream in config.reporting_upstreams(settings)] == ["openrouter"]
    found = config.offers(settings, None).live.upstreams["openrouter"]
    assert (found.gateway_token, found.base_path) == ("a", "/v1/acct/g/openrouter")


@pytest.mark.parametrize(
    ("text", "env", "words"),
    [
        ("", {"CLOUDFLARE_API_TOKEN": "t"}, "set CLOUDFLARE_ACCOUNT_ID"),
        ("", ACCOUNT | {"CLOUDFLARE_ACCOUNT_ID": "a/b"}, "set CLOUDFLARE_ACCOUNT_ID"),
        (BEHIND, ACCOUNT | {"OPENROUTER_API_KEY": "k"}, "set AIG_TOKEN"),
    ],
)
def test_a_variable_that_is_missing_is_named_by_whoever_calls_upstreams(
    tmp_path: Path, text: str, env: dict[str, str], words: str
) -> None:
    # A command that calls no upstream must work all the same.
    settings = load(tmp_path, text, env)
    with pytest.raises(ConfigError, match=words):
        config.require_variables(settings)


def test_an_upstream_without_a_key_needs_no_other_variable(tmp_path: Path) -> None:
    settings = load(tmp_path, BEHIND)
    config.require_variables(settings)
    assert config.reporting_upstreams(settings) == []


ENTRY = '[[upstream]]\nname = "openai"\n'
KEPT = [
    ("", False, False),
    ('[database]\nurl = "postgresql://db.example/x"\n', False, False),
    ('[database]\nurl = "postgresql://me@db.example/x"\n', True, False),
    ('[database]\nurl = "postgresql://me:word@db.example/x"\n', True, True),
    ('[database]\nurl = "postgresql://db.example/x?user=me&password=word"\n', True, True),
    (f'{ENTRY}api_key = "k"\n', True, True),
    (f'{ENTRY}gateway_token = "k"\n', True, True),
    (f'{ENTRY}headers = {{ "x-key" = "k" }}\n', True, False),
    (f'{ENTRY}api_key_env = "MY_KEY"\n', False, False),
]


@pytest.mark.parametrize(("text", "may_hold", "holds"), KEPT)
def test_a_file_with_a_secret_is_for_its_owner_only(
    tmp_path: Path,
    text: str,
    may_hold: bool,  # noqa: FBT001
    holds: bool,  # noqa: FBT001
) -> None:
    settings = load(tmp_path, text, {"MY_KEY": "k"})
    file = tmp_path / "jusinfer.toml"
    for mode in (0o644, 0o640, 0o604, 0o602):
        file.chmod(mode)
        assert config.file_is_open(settings) is may_hold
        if holds:
            with pytest.raises(config.ConfigError, match=f"`chmod 600 {file}`"):
                config.require_private_file(settings)
        else:
            config.require_private_file(settings)
    file.chmod(0o600)
    assert not config.file_is_open(settings)
    config.require_private_file(settings)


@pytest.mark.parametrize(
    ("mode", "owner", "exposed"),
    [
        (0o600, 7, False),
        (0o400, 7, False),
        (0o640, 7, True),
        (0o620, 7, True),
        (0o604, 7, True),
        # A file of root's that a service's group may read is meant so.
        (0o640, 0, False),
        (0o440, 0, False),
        (0o644, 0, True),
        (0o602, 0, True),
    ],
)
def test_a_file_is_judged_as_ssh_judges_keys(mode: int, owner: int, *, exposed: bool) -> None:
    assert is_exposed(mode, owner, 7) is exposed
