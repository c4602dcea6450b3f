"""Every variable and setting of the documentation, all at once, starts the whole product."""

import re
from pathlib import Path

import httpx
import pytest
import trustme
from tests.e2e.running import Running, free_port

from jusinfer import config
from jusinfer.store.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
# What each documented setting is set to; one that is documented and not here fails the test.
LISTEN = {
    "host": '"127.0.0.1"',
    "operator_host": '"127.0.0.1"',
    "tls_certificate": '"{folder}/certificate.pem"',
    "tls_key": '"{folder}/key.pem"',
    "trusted_proxies": '["127.0.0.2"]',
    "country_header": '"cf-ipcountry"',
    "cors_origins": '["https://app.example"]',
    "public_url": '"https://llm.example.com"',
    "allowed_hosts": '["other.example.com"]',
    "allow_plain_http": "true",
    "port": "{port}",
    "operator_port": "{operator_port}",
}
GATEWAY = {
    "workers": "1",
    "body_bytes_max": "1048576",
    "connections_max": "1000",
    "upstream_connections_max": "64",
    "idle_seconds": "30.0",
    "drain_seconds": "5.0",
    "keep_alive_seconds": "10.0",
    "requests_per_minute": "1000",
    "tokens_per_minute": "1000000",
    "journal_bytes_max": "104857600",
    "request_bytes_total_max": "134217728",
    "unread_bytes_total_max": "134217728",
}
UPSTREAM = {
    "name": '"own"',
    "base_url": '"https://gateway.ai.cloudflare.com/v1/{{OWN_ACCOUNT}}/own"',
    "api": '"openai_chat"',
    "auth": '"bearer"',
    "query": '"api-version=2024-10-21"',
    "gateway_token_env": '"OWN_TOKEN"',
    "region": '"eu"',
    "jurisdiction": '"DE"',
    "retention_days": "0",
    "trains_on_prompts": "false",
    "is_zdr": "true",
    "connect_seconds": "4.0",
    "hedge_seconds": "5.0",
    "attempts_max": "2",
    "api_key_env": '"OWN_KEY"',
    "is_local": "true",
    "ca_file": '"{folder}/ca.pem"',
    "headers": '{{ "x-own" = "1" }}',
    "compatibility": '["openrouter"]',
    "first_event_seconds": "60.0",
    "between_events_seconds": "30.0",
    "total_seconds": "300.0",
    "margin_bp": "100",
}
# In the file instead of a variable, for an upstream of its own.
IN_THE_FILE = {"gateway_token": '"token-in-file"', "api_key": '"key-in-file"'}
MODEL = {
    "id": '"own/m"',
    "upstream_model": '"m"',
    "input": '"1"',
    "output": '"2"',
    "cache_read": '"0.1"',
    "cache_write": '"1.5"',
    "context_tokens": "100000",
    "output_tokens_max": "4000",
    "tier": "2",
    "tools_max": "64",
    "capabilities": '["tools", "vision", "json_schema", "reasoning"]',
    "owned_by": '"us"',
    "cache_write_1h": '"2"',
    "reasoning": '"2"',
    "request": '"0.001"',
    "image": '"0.002"',
    "tiers": '[{{ above_prompt_tokens = 50000, input = "2", output = "4" }}]',
    "changes": '[{{ effective_from = "2027-12-01", input = "3", output = "6" }}]',
    "windows": '[{{ start = "01:00", end = "02:00", input = "1", output = "1" }}]',
    "margin_bp": "50",
}
LISTED = '[{{ id = "own/m", input = "1", output = "1" }}]'
PRICES = {"name": '"partner"', "margin_bp": "0", "model": LISTED}
TOP = {"data_dir": '"{folder}/data"', "operator_name": '"ops"'}
DATABASE = {"url": '"{dsn}"'}


def documented_variables() -> set[str]:
    table = TEXT.split("## Environment")[1].split("##")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}


def documented_settings() -> set[str]:
    table = TEXT.split("## `jusinfer.toml`")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z_.0-9]+)`", row)}


def chosen_settings() -> set[str]:
    tables = {
        "": TOP,
        "listen.": LISTEN,
        "gateway.": GATEWAY,
        "database.": DATABASE,
        "upstream.": UPSTREAM | IN_THE_FILE,
        "upstream.model.": MODEL,
        "price_list.": PRICES,
    }
    return {f"{prefix}{name}" for prefix, table in tables.items() for name in table}


def test_every_setting_that_is_documented_is_tried_and_every_other_way_round() -> None:
    assert documented_settings() == chosen_settings()


def test_every_variable_of_a_built_in_upstream_is_documented() -> None:
    taken = {
        name
        for entry in config.builtin_entries()
        for name in (
            entry.api_key_env,
            entry.gateway_token_env,
            *re.findall(r"\{([A-Z_]+)\}", entry.base_url),
        )
        if name
    }
    assert taken <= documented_variables()


def written(folder: Path, dsn: str, ports: tuple[int, int]) -> str:
    names = {"folder": folder, "dsn": dsn, "port": ports[0], "operator_port": ports[1]}

    def lines(table: dict[str, str]) -> str:
        return "".join(f"{name} = {value.format(**names)}\n" for name, value in table.items())

    filed = {
        **{name: value for name, value in UPSTREAM.items() if not name.endswith("_env")},
        **IN_THE_FILE,
        "name": '"filed"',
        "base_url": '"https://filed.example/v1"',
    }
    return (
        f"{lines(TOP)}[listen]\n{lines(LISTEN)}[gateway]\n{lines(GATEWAY)}[database]\n"
        f"{lines(DATABASE)}[[upstream]]\n{lines(UPSTREAM)}[[upstream.model]]\n{lines(MODEL)}"
        f"[[upstream]]\n{lines(filed)}[[price_list]]\n{lines(PRICES)}"
    )


def test_everything_that_is_documented_starts_together(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    ports = free_port(), free_port()
    own = EmbeddedPostgres(tmp_path / "pg")
    (tmp_path / "pg").mkdir(mode=0o700)
    try:
        dsn = own.start()
        variables = {
            "JUSINFER_CONFIG": str(tmp_path / "jusinfer.toml"),
            "JUSINFER_DATA_DIR": str(tmp_path / "data"),
            "JUSINFER_HOST": "127.0.0.1",
            "JUSINFER_PORT": str(ports[0]),
            "JUSINFER_OPERATOR_PORT": str(ports[1]),
            "JUSINFER_WORKERS": "1",
            "ROUTING_DATA": str(tmp_path),
            "DATABASE_URL": dsn,
        }
        variables |= {
            name: "a-value" for name in documented_variables() if name not in variables
        } | {"OWN_KEY": "k", "OWN_TOKEN": "t", "OWN_ACCOUNT": "acct"}
        text = written(tmp_path, dsn, ports)
        with Running(tmp_path, config=text, variables=variables) as product:
            context = httpx.create_ssl_context()
            authority.configure_trust(context)
            base = f"https://localhost:{product.port}"
            with httpx.Client(verify=context, timeout=30) as client:
                headers = {"authorization": f"Bearer {product.key}"}
                models = client.get(f"{base}/v1/models", headers=headers).json()["data"]
                assert "own/m" in {model["id"] for model in models}
                assert client.get(f"{base}/docs").status_code == 200
            assert product.ready()
            for name in ("gateway", "settler", "console", "reconciler"):
                assert product.pids(f"bootstrap.{name}"), name
            assert "process_died" not in product.err.read_text()
    finally:
        own.stop()
