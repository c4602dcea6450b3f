"""Who asks for a use case: a member of a tenant, or an operator, and what each role may do.

A use case is handed one of three: an `Actor` (a person of one tenant), an `Operator` (who runs the
installation and sees every tenant), or `OnBehalf` (an operator who acts for one tenant alone).
"""

import enum
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.errors import RoleForbids
from jusinfer.domain.networks import network_of

OPERATOR_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ID: Final = re.compile(r"[0-9a-f]{32}")
IPV4_PREFIX_BITS: Final = 24
IPV6_PREFIX_BITS: Final = 48


class Role(enum.StrEnum):
    """What a member is in its tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    BILLING = "billing"
    MEMBER = "member"
    VIEWER = "viewer"


class How(enum.StrEnum):
    """By what somebody was recognised: a session, an API key, the command line, or none of them."""

    SESSION = "session"
    KEY = "key"
    CLI = "cli"
    PROCESS = "process"


class Origin(enum.StrEnum):
    """The part of the product that somebody asks through."""

    CLI = "cli"
    CONSOLE = "console"
    PROCESS = "process"


class Action(enum.StrEnum):
    """What can be asked of the services; a closed list, as it is written into the audit log."""

    TENANT_CREATE = "tenant.create"
    TENANT_FIND = "tenant.find"
    TENANT_LIST = "tenant.list"
    TENANT_TERMS = "tenant.terms"
    TENANT_POLICY = "tenant.policy"
    KEY_ISSUE = "key.issue"
    KEY_LIST = "key.list"
    KEY_REVOKE = "key.revoke"
    CREDIT_GRANT = "credit.grant"
    CREDIT_ADJUST = "credit.adjust"
    CREDIT_READ = "credit.read"
    LIMIT_SET = "limit.set"
    LIMIT_READ = "limit.read"
    SPEND_LIMIT_ADD = "spend_limit.add"
    SPEND_LIMIT_REMOVE = "spend_limit.remove"
    SPEND_LIMIT_READ = "spend_limit.read"
    USAGE_READ = "usage.read"
    RECEIPT_READ = "receipt.read"
    LEDGER_VERIFY = "ledger.verify"
    RULES_ACTIVATE = "rules.activate"
    SCHEMA_MIGRATE = "schema.migrate"
    AUDIT_READ = "audit.read"
    AUDIT_VERIFY = "audit.verify"


_ALL: Final = frozenset(Role)
_RUNS: Final = frozenset({Role.OWNER, Role.ADMIN})
_PAYS: Final = _RUNS | {Role.BILLING}
_NOBODY: Final[frozenset[Role]] = frozenset()

# The roles that may do what; an action with none is an operator's. No row means no.
PERMITTED: Final[Mapping[Action, frozenset[Role]]] = {
    Action.TENANT_CREATE: _NOBODY,
    Action.TENANT_FIND: _NOBODY,
    Action.TENANT_LIST: _NOBODY,
    Action.TENANT_TERMS: _NOBODY,
    Action.TENANT_POLICY: _RUNS,
    Action.KEY_ISSUE: _RUNS | {Role.MEMBER},
    Action.KEY_LIST: _RUNS | {Role.MEMBER},
    Action.KEY_REVOKE: _RUNS | {Role.MEMBER},
    Action.CREDIT_GRANT: _NOBODY,
    Action.CREDIT_ADJUST: _NOBODY,
    Action.CREDIT_READ: _PAYS | {Role.VIEWER},
    Action.LIMIT_SET: _NOBODY,
    Action.LIMIT_READ: _PAYS | {Role.VIEWER},
    Action.SPEND_LIMIT_ADD: _PAYS,
    Action.SPEND_LIMIT_REMOVE: _PAYS,
    Action.SPEND_LIMIT_READ: _PAYS | {Role.VIEWER},
    Action.USAGE_READ: _ALL,
    Action.RECEIPT_READ: _NOBODY,
    Action.LEDGER_VERIFY: _NOBODY,
    Action.RULES_ACTIVATE: _NOBODY,
    Action.SCHEMA_MIGRATE: _NOBODY,
    Action.AUDIT_READ: _RUNS,
    Action.AUDIT_VERIFY: _NOBODY,
}

# What an operator's reading shows of people, so that the reading is noted too.
NOTED_READS: Final = frozenset(
    {
        Action.TENANT_LIST,
        Action.KEY_LIST,
        Action.CREDIT_READ,
        Action.LIMIT_READ,
        Action.SPEND_LIMIT_READ,
        Action.USAGE_READ,
        Action.RECEIPT_READ,
        Action.AUDIT_READ,
    }
)


class Actor(msgspec.Struct, frozen=True):
    """A member of a tenant; ids are 32 hexadecimal characters.

    `network` is the prefix that `coarse` gives, never an address. Raises ValueError for an empty
    or malformed id: what is forgotten must not mean "any".
    """

    tenant_id: str
    member_id: str
    role: Role
    how: How
    origin: Origin = Origin.CONSOLE
    network: str | None = None

    def __post_init__(self) -> None:
        """Refuse ids that are none."""
        _need_id(self.tenant_id, "a tenant")
        _need_id(self.member_id, "a member")


class Operator(msgspec.Struct, frozen=True):
    """Who runs the installation: a person by a name of theirs, or a process of the product."""

    name: str
    how: How = How.CLI
    origin: Origin = Origin.CLI

    def __post_init__(self) -> None:
        """Refuse a name that could hold anything but a name."""
        if not OPERATOR_NAME.fullmatch(self.name):
            raise ValueError("an operator's name has 1 to 64 letters, digits, and . _ @ -")

    def on_behalf(self, tenant_id: str) -> "OnBehalf":
        """Give this operator acting for one tenant; raises ValueError when the id is none."""
        return OnBehalf(self, tenant_id)


class OnBehalf(msgspec.Struct, frozen=True):
    """An operator who acts for one tenant; nothing of another tenant is read or changed."""

    operator: Operator
    tenant_id: str

    def __post_init__(self) -> None:
        """Refuse an id that is none."""
        _need_id(self.tenant_id, "a tenant")


TenantActor = Actor | OnBehalf
Anyone = Actor | OnBehalf | Operator


def require(who: Anyone, action: Action) -> None:
    """Refuse what a role may not do; raises RoleForbids. Operators may do everything."""
    if isinstance(who, Actor) and who.role not in PERMITTED.get(action, _NOBODY):
        raise RoleForbids(
            f"the role {who.role.value} may not do this ({action.value})",
            hint="Ask an owner or an administrator of the tenant.",
        )


def own_member_id(who: Anyone) -> str | None:
    """Give the only member whose keys and usage somebody may see; None is everyone's."""
    if isinstance(who, Actor) and who.role is Role.MEMBER:
        return who.member_id
    return None


def coarse(address: str) -> str:
    """Give the network of an address: /24 of IPv4, /48 of IPv6; raises ValueError for none."""
    return str(network_of(address, IPV4_PREFIX_BITS, IPV6_PREFIX_BITS))


def _need_id(value: str, what: str) -> None:
    if not _ID.fullmatch(value):
        raise ValueError(f"{what} is named by 32 hexadecimal characters")
