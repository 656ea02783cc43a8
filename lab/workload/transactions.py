"""The kinds of transaction that a client runs, and how one runs: one round trip, pipelined."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from lab.workload.endpoint import Connection

_ACCOUNTS = 10_000
_PRODUCTS = 10_000
_CUSTOMERS = 100_000
_DOCUMENTS = 10_000


class Kind(IntEnum):
    """What a transaction does; stored with its key. A tombstone says it never happened."""

    TOMBSTONE = 0
    ORDER = 1
    TRANSFER = 2
    DOCUMENT = 3
    EVENT = 4
    BASKET = 5


# Which sequences the recorded values of a kind came from, in order.
DRAWN: dict[Kind, tuple[str, ...]] = {
    Kind.ORDER: (
        "shop.orders_order_id_seq",
        """shop."Invoice Number's\"""",
        "shop.order_line_line_id_seq",
        "shop.order_line_line_id_seq",
    ),
    Kind.TRANSFER: ("shop.transfer_transfer_id_seq",),
    Kind.DOCUMENT: (),
    Kind.EVENT: ("shop.event_id_seq",),
    Kind.BASKET: ('"Odd Names"."Mixed Case_Id_seq"',),
}

_MIX = (Kind.ORDER, Kind.TRANSFER, Kind.DOCUMENT, Kind.EVENT, Kind.BASKET)
_WEIGHTS = (40, 20, 15, 15, 10)

_KEY = """
    WITH key AS (INSERT INTO shop.request (client, n, kind) VALUES (%s, %s, %s)
                 RETURNING client, n)
    INSERT INTO shop.audit_trail SELECT client, n FROM key"""
_ORDER = """
    WITH placed AS (
        INSERT INTO shop.orders (customer_id, invoice, client, n)
        VALUES (%s, nextval('shop."Invoice Number''s"'), %s, %s) RETURNING order_id, invoice),
    lines AS (
        INSERT INTO shop.order_line (order_id, product_id, quantity)
        SELECT order_id, p, 1 FROM placed, unnest(%s::int[]) p RETURNING line_id)
    SELECT order_id, invoice, (SELECT min(line_id) FROM lines), (SELECT max(line_id) FROM lines)
    FROM placed"""
_TRANSFER = """
    WITH made AS (
        INSERT INTO shop.transfer (client, n) VALUES (%s, %s) RETURNING transfer_id),
    entries AS (
        INSERT INTO shop.entry
        SELECT transfer_id, a, x FROM made, unnest(%s::int[], %s::numeric[]) AS u (a, x))
    SELECT transfer_id FROM made"""
_BALANCE = "UPDATE shop.account SET balance = balance + %s WHERE account_id = %s"
_DOCUMENT = """
    UPDATE shop.document SET changed_at = now(),
        body = jsonb_set(body, '{hits}', to_jsonb((body ->> 'hits')::int + 1))
    WHERE document_id = %s"""
_STATE = """
    INSERT INTO shop.client_state (client, body) VALUES (%s, jsonb_build_object('n', %s::bigint))
    ON CONFLICT (client) DO UPDATE SET body = client_state.body || excluded.body"""
_EVENT = """
    INSERT INTO shop.event (client, n, payload) VALUES (%s, %s, '{"by": "client"}')
    RETURNING event_id"""
_EMPTY = "DELETE FROM shop.basket WHERE client = %s AND n < %s"
_FILL = "INSERT INTO shop.basket (client, n) VALUES (%s, %s)"
_ITEM = "INSERT INTO shop.basket_item (client, n, product_id) VALUES (%s, %s, %s)"
_ODD = """
    INSERT INTO "Odd Names"."Mixed Case" ("Select") VALUES (%s) RETURNING "Id\""""
_TOMBSTONE = """
    INSERT INTO shop.request (client, n, kind) VALUES (%s, %s, 0) ON CONFLICT DO NOTHING"""
_FIND = "SELECT kind FROM shop.request WHERE client = %s AND n = %s"


@dataclass(frozen=True, slots=True)
class Step:
    """One statement with its values. What it returns are values drawn from sequences."""

    statement: str
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Transaction:
    """The statements between BEGIN and COMMIT; the first one inserts the key."""

    kind: Kind
    steps: tuple[Step, ...]


def build(chance: random.Random, client: int, n: int) -> Transaction:
    """Return the client's `n`-th transaction."""
    (kind,) = chance.choices(_MIX, _WEIGHTS)
    key = Step(_KEY, (client, n, int(kind)))
    return Transaction(kind, (key, *_work(kind, chance, client, n)))


def _work(kind: Kind, chance: random.Random, client: int, n: int) -> tuple[Step, ...]:
    match kind:
        case Kind.ORDER:
            products = [chance.randint(1, _PRODUCTS) for _ in range(2)]
            values = (chance.randint(1, _CUSTOMERS), client, n, products)
            return (Step(_ORDER, values),)
        case Kind.TRANSFER:
            # In the order of the accounts, or two clients could wait for each other.
            first, second = sorted(chance.sample(range(1, _ACCOUNTS + 1), 2))
            amount = chance.randint(1, 50)
            return (
                Step(_TRANSFER, (client, n, [first, second], [-amount, amount])),
                Step(_BALANCE, (-amount, first)),
                Step(_BALANCE, (amount, second)),
            )
        case Kind.DOCUMENT:
            document = chance.randint(1, _DOCUMENTS)
            return (Step(_STATE, (client, n)), Step(_DOCUMENT, (document,)))
        case Kind.EVENT:
            return (Step(_EVENT, (client, n)),)
        case Kind.BASKET:
            return (
                Step(_EMPTY, (client, n)),
                Step(_FILL, (client, n)),
                Step(_ITEM, (client, n, chance.randint(1, _PRODUCTS))),
                Step(_ODD, (f"basket {n} of {client}",)),
            )
        case Kind.TOMBSTONE:
            raise ValueError("a tombstone is no transaction; see `settle`")


def run(conn: Connection, transaction: Transaction, *, begin: str = "BEGIN") -> tuple[int, ...]:
    """Run it and return what it drew from sequences; returning is the acknowledgement.

    Everything goes out at once and comes back at once: one round trip. Raises `psycopg.Error`.
    """
    with conn.pipeline():
        conn.execute(begin)
        cursors = [conn.execute(step.statement, step.values) for step in transaction.steps]
        commit = conn.execute("COMMIT")
    if commit.statusmessage != "COMMIT":
        raise AssertionError(f"COMMIT answered {commit.statusmessage}")
    drawn: list[int] = []
    for cursor in cursors:
        if cursor.description is not None:
            drawn.extend(cursor.fetchone() or ())
    return tuple(drawn)


def settle(conn: Connection, client: int, n: int) -> bool:
    """Find out about a transaction whose COMMIT went unanswered; return whether it is there.

    A look alone could come too early: the server may still be at it, on a connection that only
    the client has lost. So the key is taken by a tombstone, which waits for whoever holds it.
    """
    conn.execute(_TOMBSTONE, (client, n))
    row = conn.execute(_FIND, (client, n)).fetchone()
    if row is None:
        raise AssertionError(f"key ({client}, {n}) is neither there nor could it be taken")
    return bool(row[0] != Kind.TOMBSTONE)
