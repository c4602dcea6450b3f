"""Usage records by `COPY` into monthly partitions, and what they add up to."""

from typing import Final

import msgspec
import sqlalchemy as sa

from jusinfer.domain.journal import RequestEnded
from jusinfer.domain.provider_report import is_generation_id
from jusinfer.store.database import Reader
from jusinfer.store.scope import TenantScope, within
from jusinfer.store.tables import tenant, usage_record

COLUMNS: Final = tuple(column.name for column in usage_record.columns)
DAY_US: Final = 86_400 * 1_000_000
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\x00": ""})
US_PER_SECOND: Final = 1_000_000


class UsageTotal(msgspec.Struct, frozen=True):
    """What one model served for one tenant in one mode."""

    tenant: str
    mode: str
    model: str
    completions: int
    prompt_tokens: int
    completion_tokens: int
    charge_nano: int


def has_generation(row: RequestEnded) -> bool:
    """Tell whether the provider can be asked what this completion cost."""
    return is_generation_id(row.provider_generation_id)


def month_of(row: RequestEnded) -> tuple[int, int]:
    """Give (year, month) of a record, in UTC."""
    return civil(row.admitted_at_us // DAY_US)[:2]


def copy_statement(year: int, month: int) -> str:
    """Give the statement that copies rows into one month."""
    return f"COPY usage_record_{year:04d}_{month:02d} ({', '.join(COLUMNS)}) FROM STDIN"


def copy_line(row: RequestEnded, transfer_id: str) -> str:
    """Write one record as a line of PostgreSQL's text format."""
    transfer = transfer_id if row.charge_nano else "\\N"
    first_byte = "\\N" if row.first_byte_us < 0 else row.first_byte_us
    error = row.error_text.translate(_ESCAPES) if row.error_text else "\\N"
    model = row.requested_model.translate(_ESCAPES)
    country = row.country or "\\N"
    reported = "\\N" if row.reported_cost_pico < 0 else row.reported_cost_pico
    generation = row.provider_generation_id if has_generation(row) else "\\N"
    seconds, micros = divmod(row.admitted_at_us, US_PER_SECOND)
    return (
        f"{row.completion_id}\t{row.request_id}\t{row.tenant_id}\t{row.member_id}\t{row.key_id}\t"
        f"{row.mode}\t{row.lease_id}\t{_instant(seconds)}.{micros:06d}+00\t{first_byte}\t"
        f"{row.latency_us}\t{model}\t{row.served_model}\t{row.upstream}\t{row.reasons}\t"
        f"{row.price_version}\t{row.prompt_tokens}\t{row.cached_prompt_tokens}\t"
        f"{row.cache_write_tokens}\t{row.completion_tokens}\t{row.reasoning_tokens}\t"
        f"{'t' if row.is_estimated else 'f'}\t{'t' if row.is_stream else 'f'}\t"
        f"{row.cost_pico}\t{row.charge_nano}\t{row.bound_nano}\t{row.attempts}\t{row.outcome}\t"
        f"{row.status}\t{country}\t{error}\t{transfer}\t{row.cache_write_1h_tokens}\t"
        f"{row.image_count}\t{reported}\t{row.price_list}\t{row.attempt_log}\t"
        f"{row.rules_version}\t{generation}\n"
    )


def _instant(epoch_seconds: int) -> str:
    """Write UTC seconds as a timestamp, by the civil calendar's own arithmetic."""
    days, second = divmod(epoch_seconds, 86_400)
    year, month, day = civil(days)
    hour, rest = divmod(second, 3600)
    return f"{year:04d}-{month:02d}-{day:02d} {hour:02d}:{rest // 60:02d}:{rest % 60:02d}"


def civil(days: int) -> tuple[int, int, int]:
    """Give (year, month, day) of a count of days since 1970."""
    shifted = days + 719_468
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    part = (5 * of_year + 2) // 153
    day = of_year - (153 * part + 2) // 5 + 1
    month = part + 3 if part < 10 else part - 9  # noqa: PLR2004 (March is the first month here)
    return year_of_era + era * 400 + (month <= 2), month, day  # noqa: PLR2004 (January, February)


def totals(
    tx: Reader, scope: TenantScope, days: int, member_id: str | None = None
) -> list[UsageTotal]:
    """Add up the last days by tenant, mode and model; of one member only, if one is named."""
    usage = usage_record.c
    query = (
        sa.select(
            tenant.c.name,
            usage.mode,
            usage.served_model,
            sa.func.count().label("completions"),
            sa.func.sum(usage.prompt_tokens).label("prompt_tokens"),
            sa.func.sum(usage.completion_tokens).label("completion_tokens"),
            sa.func.sum(usage.charge_nano).label("charge_nano"),
        )
        .join(tenant, tenant.c.tenant_id == usage.tenant_id)
        .where(usage.admitted_at > sa.func.now() - sa.func.make_interval(0, 0, 0, days))
        .group_by(tenant.c.name, usage.mode, usage.served_model)
        .order_by(tenant.c.name, usage.mode, usage.served_model)
    )
    query = within(query, usage.tenant_id, scope)
    if member_id is not None:
        query = query.where(usage.member_id == member_id)
    return [
        UsageTotal(
            tenant=row.name,
            mode=row.mode,
            model=row.served_model,
            completions=row.completions,
            prompt_tokens=int(row.prompt_tokens),
            completion_tokens=int(row.completion_tokens),
            charge_nano=int(row.charge_nano),
        )
        for row in tx.execute(query)
    ]
