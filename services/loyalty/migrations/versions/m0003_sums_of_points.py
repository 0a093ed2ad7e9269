"""What a member was ever awarded and ever spent, kept beside the balance."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

AWARD, SPEND = 1, 2


def upgrade() -> None:
    """Add the sums, and fill them for the members there are."""
    for name in ("points_issued", "points_redeemed"):
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column("members", column)
    key = ("program_id", "member_id")
    members = sa.table("members", *map(sa.column, (*key, "points_issued", "points_redeemed")))
    posted = sa.table("ledger_transactions", *map(sa.column, (*key, "kind", "points")))

    def sum_of(kind: int) -> sa.ScalarSelect[int]:
        mine = sa.and_(*(posted.c[name] == members.c[name] for name in key))
        total = sa.func.coalesce(sa.func.sum(posted.c.points), 0)
        return sa.select(total).where(mine, posted.c.kind == kind).scalar_subquery()

    op.execute(members.update().values(points_issued=sum_of(AWARD), points_redeemed=sum_of(SPEND)))
