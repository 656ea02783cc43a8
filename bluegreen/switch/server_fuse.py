"""The server fuse: a session on the fenced server that takes the fence off when nobody else does.

It sleeps until the attempt's deadline and then aborts the attempt if it is still undecided, in one
transaction. It needs no client: it goes on when the machine that runs the switch is gone (measured:
after SIGKILL of its client the session sleeps on, aborts, and un-fences). A restart of the fenced
server ends it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Self

import psycopg
from psycopg import sql

from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres.connection import said
from bluegreen.postgres.server import Server
from bluegreen.switch.side import fuse_name

log = logging.getLogger(__name__)

# Only the attempt's end may end it: after an error of any kind (a lock that is held, a database
# that was just dropped) it tries again. Sessions that began under the fence keep its read-only
# default, so they are ended after it is off.
_FUSE = """\
DO $do$
DECLARE
    burnt boolean := false;
    left_seconds float8;
BEGIN
    -- The row's deadline, not a time of its own: a reader that finds it past may rely on it.
    SELECT extract(epoch FROM deadline - clock_timestamp()) INTO left_seconds
      FROM bluegreen.register WHERE attempt = {attempt};
    PERFORM set_config('application_name', {armed}, false);
    PERFORM pg_sleep(left_seconds);
    LOOP
        BEGIN
            burnt := bluegreen.take_back({attempt}::text, 'preparing'::text);
            EXIT WHEN burnt OR NOT EXISTS (
                SELECT FROM bluegreen.register WHERE attempt = {attempt} AND state = 'preparing');
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
        COMMIT;
        PERFORM pg_sleep(0.2);
    END LOOP;
    IF burnt THEN
        COMMIT;
        PERFORM bluegreen.end_born_under({attempt}::text);
    END IF;
END $do$"""


class ServerFuse:
    """The fuse is armed when this is made; leaving its context disarms it at the latest."""

    def __init__(self, server: Server, attempt: str) -> None:
        self._conn = server.connect(TOOL_DATABASE, application_name="bluegreen fuse")
        self.pid = self._conn.info.backend_pid
        self._server, self._disarmed = server, False
        statement = sql.SQL(_FUSE).format(
            attempt=sql.Literal(attempt), armed=sql.Literal(fuse_name(attempt))
        )
        self._thread = threading.Thread(target=self._burn, args=(statement,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disarm()

    def _burn(self, statement: sql.Composed) -> None:
        try:
            self._conn.execute(statement)
        except psycopg.Error as error:
            if not self._disarmed:
                log.warning(
                    "%s: the server fuse has ended before its switch: %s", self._server, said(error)
                )

    def disarm(self) -> None:
        """End the session; harmless when the fuse has burnt or was disarmed before."""
        if self._disarmed:
            return
        self._disarmed = True
        with contextlib.suppress(psycopg.Error):
            self._conn.cancel_safe(timeout=2)
        self._conn.abandon(after=1)  # on a dead connection no answer comes
        self._thread.join(10)
        self._conn.close()
