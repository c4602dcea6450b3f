"""How fast the settler posts what a gateway has written down."""

import time
import uuid
from pathlib import Path

from bench import machine
from jusinfer.bootstrap import managed_database
from jusinfer.domain.actor import Operator
from jusinfer.domain.identity import Mode
from jusinfer.domain.journal import FrameEncoder, RequestAdmitted, RequestEnded, SegmentHeader
from jusinfer.observability import Events
from jusinfer.services import accounts, billing
from jusinfer.services.billing import GrantTerms
from jusinfer.settler.main_loop import Settler
from jusinfer.store import logins
from jusinfer.store.database import migrate
from jusinfer.store.embedded import EmbeddedPostgres

JOURNALS = 8
OPERATOR = Operator("bench")


def posting(folder: Path, completions: int) -> dict[str, float]:
    """Post so many completions from eight journals into one PostgreSQL."""
    postgres = EmbeddedPostgres(folder)
    migrate(postgres.start())
    try:
        signed_in = logins.renew(postgres.admin_dsn, folder)
        world = managed_database.world(signed_in.dsn_of("operator"))
        tenant = accounts.create_tenant(world, OPERATOR, "bench")
        billing.grant(
            world, OPERATOR.on_behalf(tenant.tenant_id), 10**15, Mode.LIVE, "bench", GrantTerms()
        )
        world.database.close()
        journals = folder / "journal"
        journals.mkdir()
        for _ in range(JOURNALS):
            _write(journals, tenant.tenant_id, completions // JOURNALS)
        return _post(signed_in.dsn_of("settler"), journals)
    finally:
        postgres.stop()


def _post(dsn: str, journals: Path) -> dict[str, float]:
    with Path("/dev/null").open("w") as nowhere:
        settler = Settler(dsn, journals, Events("settler", nowhere))
        pid = int((journals.parent / "postgres" / "postmaster.pid").read_text().split()[0])
        family = [pid]
        before, began, own = machine.cpu_seconds(family), time.perf_counter(), time.process_time()
        rows = 0
        while count := settler.run_once():
            rows += count
        seconds, own = time.perf_counter() - began, time.process_time() - own
        # The settler's backend began after the first look: all it has spent counts.
        spent = machine.cpu_seconds([pid, *machine.children(pid)]) - before
        settler.close()
    if not rows:
        return {"per_second": 0.0, "settler_us": 0.0, "postgres_us": 0.0}
    return {
        "per_second": rows / seconds,
        "settler_us": own / rows * 1e6,
        "postgres_us": spent / rows * 1e6,
    }


def _write(folder: Path, tenant_id: str, completions: int) -> None:
    worker_id = uuid.uuid4().hex
    encode = FrameEncoder().frame
    now = time.time_ns() // 1000
    lease = "4" * 32
    with (folder / f"{worker_id}-000000.journal").open("wb") as stream:
        stream.write(encode(SegmentHeader(1, worker_id, now)))
        for _ in range(completions):
            name = uuid.uuid4().hex
            who = (tenant_id, "2" * 32, "3" * 32, "live", lease)
            stream.write(encode(RequestAdmitted(name, *who, 200_000, "m", "u:m", "v", now)))
            tokens = (140, 0, 0, 60, 0, False, False)
            end = (57_000_000, 57_000, 200_000, 1, "completed", 200, "", "")
            route = ("m", "m", "u", "explicit", "v")
            stream.write(
                encode(
                    RequestEnded(
                        name, uuid.uuid4().hex, *who, now, 900, 2_000, *route, *tokens, *end
                    )
                )
            )
