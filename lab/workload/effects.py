"""Whether every committed transaction left exactly its rows: questions to one server alone."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]

# Each counts what must not be there. Keys of seeded rows have client 0.
SHOP = {
    "keys whose transaction is not exactly once in the audit trail": """
        SELECT count(*) FROM (SELECT client, n FROM shop.request WHERE kind <> 0) r
        FULL JOIN (SELECT client, n, count(*) AS times FROM shop.audit_trail GROUP BY 1, 2) a
        USING (client, n) WHERE r.client IS NULL OR a.times IS DISTINCT FROM 1""",
    "orders without their key or without exactly two lines": """
        SELECT count(*) FROM (SELECT client, n FROM shop.request WHERE kind = 1) r
        FULL JOIN (SELECT o.client, o.n, count(l.line_id) AS lines
                   FROM shop.orders o LEFT JOIN shop.order_line l USING (order_id)
                   WHERE o.client <> 0 GROUP BY 1, 2) o
        USING (client, n) WHERE r.client IS NULL OR o.lines IS DISTINCT FROM 2""",
    "transfers without their key or without two entries that add up to zero": """
        SELECT count(*) FROM (SELECT client, n FROM shop.request WHERE kind = 2) r
        FULL JOIN (SELECT t.client, t.n, count(e.account_id) AS entries, sum(e.amount) AS total
                   FROM shop.transfer t LEFT JOIN shop.entry e USING (transfer_id)
                   GROUP BY 1, 2) t
        USING (client, n) WHERE r.client IS NULL OR t.entries IS DISTINCT FROM 2 OR t.total <> 0""",
    "accounts whose balance is not their opening balance plus their entries": """
        SELECT count(*) FROM shop.account a
        LEFT JOIN (SELECT account_id, sum(amount) AS total FROM shop.entry GROUP BY 1) e
        USING (account_id) WHERE a.balance <> a.opening + coalesce(e.total, 0)""",
    "clients whose state is not of their last document transaction": """
        SELECT count(*) FROM (SELECT client, max(n) AS n FROM shop.request WHERE kind = 3
                              GROUP BY 1) r
        FULL JOIN (SELECT client, (body ->> 'n')::bigint AS n FROM shop.client_state) s
        USING (client) WHERE r.n IS DISTINCT FROM s.n""",
    "document updates lost or doubled": """
        SELECT abs((SELECT count(*) FROM shop.request WHERE kind = 3)
                   - (SELECT sum((body ->> 'hits')::bigint) FROM shop.document))""",
    "events without their key or not exactly once": """
        SELECT count(*) FROM (SELECT client, n FROM shop.request WHERE kind = 4) r
        FULL JOIN (SELECT client, n, count(*) AS times FROM shop.event WHERE client <> 0
                   GROUP BY 1, 2) e
        USING (client, n) WHERE r.client IS NULL OR e.times IS DISTINCT FROM 1""",
    "baskets that are not their client's last one, or not of one item": """
        SELECT count(*) FROM (SELECT client, max(n) AS n FROM shop.request WHERE kind = 5
                              GROUP BY 1) r
        FULL JOIN (SELECT b.client, b.n, count(i.product_id) AS items
                   FROM shop.basket b LEFT JOIN shop.basket_item i USING (client, n)
                   GROUP BY 1, 2) b
        USING (client, n) WHERE r.client IS NULL OR b.items IS DISTINCT FROM 1""",
}

BENCH = {
    "pgbench: balances of accounts, tellers and branches and the history's sum that disagree": """
        SELECT count(DISTINCT total) - 1 FROM (
            SELECT coalesce(sum(abalance), 0) AS total FROM pgbench_accounts
            UNION ALL SELECT coalesce(sum(tbalance), 0) FROM pgbench_tellers
            UNION ALL SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches
            UNION ALL SELECT coalesce(sum(delta), 0) FROM pgbench_history) s""",
}


def violations(conn: Connection, questions: dict[str, str]) -> dict[str, int]:
    """Return what must not be there and how often it is; empty when all is well."""
    found: dict[str, int] = {}
    for name, question in questions.items():
        row = conn.execute(question.encode()).fetchone()
        assert row is not None
        if row[0]:
            found[name] = int(row[0])
    return found
