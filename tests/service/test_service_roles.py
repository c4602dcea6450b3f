"""Who may do what: every service for every role, and nothing of another tenant by its id."""

import ast
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from tests.people import OPERATOR, acting, member

from jusinfer import services
from jusinfer.domain.actor import (
    PERMITTED,
    Action,
    Actor,
    How,
    OnBehalf,
    Operator,
    Role,
    TenantActor,
    coarse,
)
from jusinfer.domain.errors import InvalidRequest, RoleForbids
from jusinfer.domain.identity import Mode
from jusinfer.domain.limits import LimitKind, SpendLimitAction
from jusinfer.domain.tenant_policy import NO_POLICY
from jusinfer.services import accounts, audit_log, billing, keys, limits, usage
from jusinfer.services.billing import GrantTerms
from jusinfer.services.dependencies import Services
from jusinfer.services.keys import Rates
from jusinfer.store import scope

A_DAY = 30


class Owned(NamedTuple):
    """A tenant with a key and a spend limit of it."""

    tenant_id: str
    key_id: str
    key_prefix: str
    spend_limit_id: str


@pytest.fixture
def own(world: Services) -> Owned:
    return made(world, "own")


@pytest.fixture
def other(world: Services) -> Owned:
    return made(world, "other")


def made(world: Services, name: str) -> Owned:
    tenant_id = accounts.create_tenant(world, OPERATOR, name).tenant_id
    on = acting(tenant_id)
    key = keys.issue(world, on, Mode.LIVE, "k", Rates())
    spend_limit_id = limits.add_spend_limit(
        world, on, "tenant", tenant_id, "day", 5, SpendLimitAction.WARN, Mode.LIVE
    )
    return Owned(tenant_id, key.key_id, key.key_prefix, spend_limit_id)


Use = Callable[[Services, TenantActor, Owned], object]
# Each service that acts for a tenant, with the action that it is.
USES: dict[str, tuple[Action, Use]] = {
    "audit_log.list_entries": (
        Action.AUDIT_READ,
        lambda world, who, _: audit_log.list_entries(world, who, None, 10),
    ),
    "billing.adjust": (
        Action.CREDIT_ADJUST,
        lambda world, who, _: billing.adjust(world, who, 5, Mode.LIVE, "r"),
    ),
    "billing.balances": (
        Action.CREDIT_READ,
        lambda world, who, _: billing.balances(world, who),
    ),
    "billing.grant": (
        Action.CREDIT_GRANT,
        lambda world, who, _: billing.grant(world, who, 5, Mode.LIVE, "r", GrantTerms()),
    ),
    "billing.grants": (Action.CREDIT_READ, lambda world, who, _: billing.grants(world, who)),
    "keys.issue": (
        Action.KEY_ISSUE,
        lambda world, who, _: keys.issue(world, who, Mode.LIVE, "new", Rates()),
    ),
    "keys.list_keys": (Action.KEY_LIST, lambda world, who, _: keys.list_keys(world, who)),
    "keys.revoke": (
        Action.KEY_REVOKE,
        lambda world, who, owned: keys.revoke(world, who, owned.key_id),
    ),
    "limits.add_spend_limit": (
        Action.SPEND_LIMIT_ADD,
        lambda world, who, owned: limits.add_spend_limit(
            world, who, "key", owned.key_id, "day", 5, SpendLimitAction.WARN, Mode.LIVE
        ),
    ),
    "limits.list_spend_limits": (
        Action.SPEND_LIMIT_READ,
        lambda world, who, _: limits.list_spend_limits(world, who),
    ),
    "limits.list_limits": (
        Action.LIMIT_READ,
        lambda world, who, _: limits.list_limits(world, who),
    ),
    "limits.remove_spend_limit": (
        Action.SPEND_LIMIT_REMOVE,
        lambda world, who, owned: limits.remove_spend_limit(world, who, owned.spend_limit_id),
    ),
    "limits.set_limit": (
        Action.LIMIT_SET,
        lambda world, who, owned: limits.set_limit(
            world, who, "key", owned.key_id, LimitKind.REQUESTS, 5
        ),
    ),
    "limits.set_policy": (
        Action.TENANT_POLICY,
        lambda world, who, _: limits.set_policy(world, who, NO_POLICY),
    ),
    "limits.set_tenant_settings": (
        Action.TENANT_TERMS,
        lambda world, who, _: limits.set_tenant_settings(world, who, "", "Europe/Paris"),
    ),
    "usage.totals": (Action.USAGE_READ, lambda world, who, _: usage.totals(world, who, A_DAY)),
}
# Services that act across tenants, which a member cannot even be handed to.
OPERATORS_ONLY = {
    "accounts.create_tenant",
    "accounts.find_tenant",
    "accounts.list_tenants",
    "accounts.tenant_of",
    "ledger_proof.verify",
    "audit_log.head",
    "audit_log.note_rules",
    "audit_log.verify",
    "charge_audit.drift",
    "charge_audit.explain",
    "charge_audit.reports",
    "charge_audit.rerate",
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("name", sorted(USES))
def test_each_role_does_what_it_may_and_nothing_else(
    people: Services, dsn: str, own: Owned, name: str, role: Role
) -> None:
    action, use = USES[name]
    who = member(dsn, own.tenant_id, role)
    if role not in PERMITTED[action]:
        before = state(dsn)
        with pytest.raises(RoleForbids, match=role.value):
            use(people, who, own)
        assert state(dsn) == before
        return
    if (name, role) == ("keys.revoke", Role.MEMBER):
        own = own._replace(key_id=keys.issue(people, who, Mode.LIVE, "mine", Rates()).key_id)
    use(people, who, own)


@pytest.mark.parametrize("name", sorted(USES))
def test_an_operator_acts_for_a_tenant(world: Services, own: Owned, name: str) -> None:
    USES[name][1](world, acting(own.tenant_id), own)


BY_ID = ["keys.revoke", "limits.add_spend_limit", "limits.remove_spend_limit", "limits.set_limit"]


@pytest.mark.parametrize("name", BY_ID)
@pytest.mark.parametrize("kind", ["owner", "operator"])
def test_an_id_of_another_tenant_is_as_one_that_is_not_there(  # noqa: PLR0913, PLR0917 (fixtures)
    world: Services, people: Services, dsn: str, own: Owned, other: Owned, name: str, kind: str
) -> None:
    at = world if kind == "operator" else people
    who = acting(own.tenant_id) if kind == "operator" else member(dsn, own.tenant_id, Role.OWNER)
    if name == "limits.set_limit" and kind == "owner":
        return  # refused by its role, tried above
    before = state(dsn)
    nothing = Owned("0" * 32, "0" * 32, "ji_live_none", "0" * 32)
    said = []
    for owned in (other, nothing):
        with pytest.raises(InvalidRequest) as refused:
            USES[name][1](at, who, owned)
        said.append(
            refused.value.message.replace(owned.key_id, "").replace(owned.spend_limit_id, "")
        )
    assert said[0] == said[1]
    assert state(dsn) == before


def test_a_prefix_never_reaches_another_tenant(
    world: Services, dsn: str, own: Owned, other: Owned
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE api_key SET key_prefix = %s", (own.key_prefix,))
    assert keys.revoke(world, acting(own.tenant_id), own.key_prefix) == [own.key_id]
    (left,) = keys.list_keys(world, acting(other.tenant_id))
    assert not left.is_revoked


def test_readings_of_one_tenant_show_no_other(
    world: Services, people: Services, dsn: str, own: Owned, other: Owned
) -> None:
    limits.set_limit(world, acting(other.tenant_id), "tenant", other.tenant_id, LimitKind.TOKENS, 5)
    for at, who in (
        (world, acting(own.tenant_id)),
        (people, member(dsn, own.tenant_id, Role.OWNER)),
    ):
        assert {row.tenant for row in keys.list_keys(at, who)} == {"own"}
        assert {row.tenant for row in billing.balances(at, who)} == {"own"}
        assert {row.tenant for row in billing.grants(at, who)} == {"own"}
        assert {row.tenant for row in limits.list_spend_limits(at, who)} == {"own"}
        assert limits.list_limits(at, who) == []
    assert {row.tenant for row in keys.list_keys(world, OPERATOR)} == {"own", "other"}


def test_a_member_sees_and_revokes_only_its_own_keys(
    people: Services, dsn: str, own: Owned
) -> None:
    one = member(dsn, own.tenant_id, Role.MEMBER)
    two = member(dsn, own.tenant_id, Role.MEMBER)
    key = keys.issue(people, one, Mode.TEST, "mine", Rates())
    assert [row.key_id for row in keys.list_keys(people, one)] == [key.key_id]
    assert keys.list_keys(people, two) == []
    for who, wanted in ((two, key.key_id), (two, key.key_prefix), (one, own.key_id)):
        with pytest.raises(InvalidRequest):
            keys.revoke(people, who, wanted)
    assert keys.revoke(people, member(dsn, own.tenant_id, Role.ADMIN), key.key_id) == [key.key_id]


def test_every_action_has_its_row() -> None:
    assert set(PERMITTED) == set(Action)


# ------------------------------------------------------------------ nobody is no one


@pytest.mark.parametrize("tenant_id", ["", "0", "g" * 32, "0" * 31, f"{'0' * 32}\n", "A" * 32])
def test_a_tenant_that_is_none_cannot_be_acted_for(tenant_id: str) -> None:
    with pytest.raises(ValueError, match="a tenant"):
        OPERATOR.on_behalf(tenant_id)
    with pytest.raises(ValueError, match="a tenant"):
        Actor(tenant_id, "0" * 32, Role.OWNER, How.SESSION)
    with pytest.raises(ValueError, match="a member"):
        Actor("0" * 32, tenant_id, Role.OWNER, How.SESSION)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\x1b[31m", "é", "x" * 65, "-x"])
def test_an_operator_has_a_name_that_is_one(name: str) -> None:
    with pytest.raises(ValueError, match="an operator's name"):
        Operator(name)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_an_address_is_kept_coarsely(address: str, network: str) -> None:
    assert coarse(address) == network


@pytest.mark.parametrize("table", ["tenant", "member", "api_key", "spend_limit", "audit_entry"])
def test_the_database_refuses_people_who_name_no_tenant(own: Owned, dsn: str, table: str) -> None:
    assert own.tenant_id
    with psycopg.connect(dsn) as connection:
        connection.execute("SET ROLE jusinfer_web")
        with pytest.raises(psycopg.errors.UndefinedObject, match=r"jusinfer\.tenant_id"):
            connection.execute(f"TABLE {table}")


def test_the_role_of_people_gives_no_credit(own: Owned, dsn: str) -> None:
    statement = (
        "SELECT jusinfer_grant_credit('evil:1', gen_random_uuid(), %s, 'live', 'promo', 'grant',"
        " 'paid', 1000, 50::smallint, NULL, NULL, 'x', sha256('x'))"
    )
    with psycopg.connect(dsn) as connection:
        connection.execute("SET ROLE jusinfer_web")
        connection.execute("SELECT set_config('jusinfer.tenant_id', %s, true)", (own.tenant_id,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement, (own.tenant_id,))


def test_no_query_takes_nothing_for_every_tenant() -> None:
    query = scope.sa.select(scope.sa.literal(1))
    for nothing in ("", None):
        with pytest.raises(ValueError, match="needs a tenant"):
            scope.within(query, scope.sa.literal(1), nothing)  # type: ignore[arg-type]


def test_a_transaction_is_always_somebodys(world: Services) -> None:
    for nobody in (None, "", object()):
        with pytest.raises((TypeError, AttributeError)), opened(world, nobody):
            pass


def opened(world: Services, who: object) -> typing.ContextManager[object]:
    return world.database.for_tenant(who, Action.KEY_ISSUE)  # type: ignore[arg-type]


# ------------------------------------------------------------------ a new service


def test_every_service_takes_who_asks_and_is_tried_here() -> None:
    found = dict(public_functions())
    assert [fault for name, function in found.items() for fault in faults(name, function)] == []
    takes_world = {name for name, function in found.items() if reaches_out(function)}
    assert takes_world == USES.keys() | OPERATORS_ONLY
    for name in takes_world:
        who = typing.get_type_hints(found[name])[list(inspect.signature(found[name]).parameters)[1]]
        assert (who is Operator) == (name in OPERATORS_ONLY), name


def test_only_the_asking_one_opens_a_transaction() -> None:
    for path in sorted(Path(services.__file__).parent.glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            is_helper = path.name == "reach.py"
            if isinstance(function, ast.FunctionDef) and not is_helper:
                assert strangers(function) == [], path.name


def forgot(world: Services, tenant_id: str) -> None:
    """A service as it must not be."""


def late(world: Services, tenant_id: str, who: Actor) -> None:
    """A service that takes who asks last."""


def vague(world: Services, who: Actor | None) -> None:
    """A service for which nobody may ask."""


def bare(who: Actor, tx: scope.sa.Connection, world: Services | None = None) -> None:
    """A service that takes its world last."""


def sound(world: Services, who: OnBehalf) -> None:
    """A service as it should be."""


def test_the_inspection_finds_a_service_without_one() -> None:
    assert [faults(f.__name__, f) != [] for f in (forgot, late, vague, bare)] == [True] * 4
    assert faults("sound", sound) == []
    tree = ast.parse("def f(world, who):\n  with world.database.for_tenant(ROOT, 1): pass")
    assert isinstance(tree.body[0], ast.FunctionDef)
    assert strangers(tree.body[0]) == ["ROOT"]


WHO = {Actor, OnBehalf, Operator}


def public_functions() -> Iterator[tuple[str, Callable[..., object]]]:
    for found in pkgutil.iter_modules(services.__path__):
        module = importlib.import_module(f"jusinfer.services.{found.name}")
        for name, value in vars(module).items():
            function = inspect.unwrap(value) if callable(value) else value
            if not isinstance(function, types.FunctionType) or name.startswith("_"):
                continue
            if function.__module__ == module.__name__ and found.name != "reach":
                yield f"{found.name}.{name}", function


def reaches_out(function: Callable[..., object]) -> bool:
    """Tell whether a function can reach the database."""
    hints = typing.get_type_hints(function)
    return any("Services" in str(hint) or "Connection" in str(hint) for hint in hints.values())


def faults(name: str, function: Callable[..., object]) -> list[str]:
    """Say what is wrong with a service: it takes the world first, then who asks."""
    if not reaches_out(function):
        return []
    hints = typing.get_type_hints(function)
    parameters = list(inspect.signature(function).parameters)
    if hints.get(parameters[0]) is not Services or len(parameters) == 1:
        return [f"{name}: first the world, then who asks"]
    hint = hints.get(parameters[1])
    kinds = set(typing.get_args(hint)) or {hint}
    return [] if kinds <= WHO else [f"{name}: {parameters[1]} is not who asks"]


def strangers(function: ast.FunctionDef) -> list[str]:
    """Name whoever is handed to a transaction and is not the second argument of the service."""
    own = {*[one.arg for one in function.args.args][1:2], "acting"}
    asking = []
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and ".database." in ast.unparse(call.func):
            asking.append(ast.unparse(call.args[0]))
        elif isinstance(call, ast.Call) and ast.unparse(call.func) == "reading":
            asking.append(ast.unparse(call.args[1]))
    return [name for name in asking if name not in own]


def state(dsn: str) -> list[object]:
    """Give what services change, without the audit log."""
    tables = ("tenant", "api_key", "rate_limit", "spend_limit", "credit_grant", "ledger_transfer")
    with psycopg.connect(dsn) as connection:
        return [connection.execute(f"TABLE {table}").fetchall() for table in tables]
