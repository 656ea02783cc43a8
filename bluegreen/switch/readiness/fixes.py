"""The statement that makes the standby like the writer, where a single one does."""

from __future__ import annotations

import json

from psycopg import sql

from bluegreen.switch.readiness.comparison import Difference
from bluegreen.switch.readiness.fingerprint import Fact

# No single statement makes these: an index that failed, a trigger that was altered afterwards.
_BEYOND = (" INVALID", "(DISABLED)", "(ENABLE REPLICA)", "(ENABLE ALWAYS)")

# Older majors include it in ALL without naming it.
_FROM_17 = {"MAINTAIN"}


def statement(found: Difference) -> str:
    """Return SQL for the standby, without a semicolon; empty where one statement isn't enough."""
    writer, standby = found.writer, found.standby
    if writer is None:
        assert standby is not None
        return _removal(standby)
    if standby is None:
        return _addition(writer)
    return _change(writer, standby)


def _addition(fact: Fact) -> str:
    name, definition = fact.name, fact.definition
    table, column = _table(fact), _column(fact)
    match fact.kind:
        case "role":
            return f"CREATE ROLE {name}"
        case "login":
            return f"ALTER ROLE {name} LOGIN"
        case "connection limit":
            return f"ALTER ROLE {name} {definition}"
        case "membership":
            member, role = _membership(fact)
            return f"GRANT {role} TO {member} {definition}".rstrip()
        case "setting":
            option, target = _setting(fact)
            return f"ALTER {target} SET {option} = {_value(option, definition)}"
        case "privilege":
            return _grants(fact, definition)
        case "revoked from owner":
            return f"REVOKE {definition} ON {name} FROM its owner"
        case "schema":
            return f"CREATE SCHEMA {name}"
        case "extension":
            return f"CREATE EXTENSION {name} SCHEMA {definition}"
        case "column" if table:
            return f"ALTER TABLE {table} ADD COLUMN {column} {definition}"
        case "not null":
            return f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"
        case "default":
            return f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {definition}"
        case "identity":
            return (
                f"ALTER TABLE {table} ALTER COLUMN {column} ADD GENERATED {definition} AS IDENTITY"
            )
        case "constraint" if table:
            return f"ALTER TABLE {table} ADD CONSTRAINT {_part(fact)} {definition}"
        case "index" | "unique index" | "trigger" | "statistics":
            return "" if definition.endswith(_BEYOND) else definition
        case "replica identity":
            return f"ALTER TABLE {name} REPLICA IDENTITY {definition}"
        case "row security":
            return f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
        case "sequence":
            return f"CREATE SEQUENCE {name} {definition}"
        case "partition":
            root, _, bound = definition.partition(" FOR VALUES ")
            return f"ALTER TABLE {root} ATTACH PARTITION {name} FOR VALUES {bound}" if bound else ""
    return ""


def _removal(fact: Fact) -> str:
    name = fact.name
    table, column = _table(fact), _column(fact)
    match fact.kind:
        case "role":
            return f"DROP ROLE {name}"
        case "login":
            return f"ALTER ROLE {name} NOLOGIN"
        case "connection limit":
            return f"ALTER ROLE {name} CONNECTION LIMIT -1"
        case "membership":
            member, role = _membership(fact)
            return f"REVOKE {role} FROM {member}"
        case "setting":
            option, target = _setting(fact)
            return f"ALTER {target} RESET {option}"
        case "privilege":
            granted = ", ".join(sorted(_privileges(fact.definition)))
            return _privilege_statement("REVOKE", granted, fact, "FROM")
        case "relation":
            word = fact.definition.partition(" partitioned by")[0].removeprefix("unlogged ")
            return f"DROP {word.upper()} {name}" if "extension" not in word else ""
        case "column" if table:
            return f"ALTER TABLE {table} DROP COLUMN {column}"
        case "not null":
            return f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
        case "default":
            return f"ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"
        case "identity":
            return f"ALTER TABLE {table} ALTER COLUMN {column} DROP IDENTITY"
        case "generated":
            return f"ALTER TABLE {table} ALTER COLUMN {column} DROP EXPRESSION"
        case "constraint" if table:
            return f"ALTER TABLE {table} DROP CONSTRAINT {_part(fact)}"
        case "index" | "unique index":
            return f"DROP INDEX {name}"
        case "trigger" | "policy" | "rule":
            return f"DROP {fact.kind.upper()} {_part(fact)} ON {table}"
        case "replica identity":
            return f"ALTER TABLE {name} REPLICA IDENTITY DEFAULT"
        case "row security":
            return f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"
        case "partition":
            return f"ALTER TABLE {fact.definition.split(' ')[0]} DETACH PARTITION {name}"
        case "schema" | "extension" | "sequence" | "event trigger" | "statistics":
            return f"DROP {fact.kind.upper()} {name}"
        case "function":
            return f"DROP ROUTINE {name}"
    return ""


def _change(writer: Fact, standby: Fact) -> str:
    name, definition = writer.name, writer.definition
    match writer.kind:
        case "role attributes":
            return f"ALTER ROLE {name} {_attributes(definition, standby.definition)}"
        case "connection limit":
            return f"ALTER ROLE {name} {definition}"
        case "setting" | "default" | "replica identity":
            return _addition(writer)
        case "membership":
            member, role = _membership(writer)
            drop = f"REVOKE ADMIN OPTION FOR {role} FROM {member}"
            return drop if not definition else _addition(writer)
        case "sequence":
            return f"ALTER SEQUENCE {name} {definition}"
        case "owner":
            return f"ALTER {name} OWNER TO {definition}"
        case "column" if table := _table(writer):
            return f"ALTER TABLE {table} ALTER COLUMN {_column(writer)} TYPE {definition}"
        case "identity":
            column = f"{_table(writer)} ALTER COLUMN {_column(writer)}"
            return f"ALTER TABLE {column} SET GENERATED {definition}"
        case "enum":
            return _values(writer, standby)
        case "privilege":
            have, wants = _privileges(standby.definition), _privileges(definition)
            if wants ^ have != _FROM_17:
                wants, have = wants - _FROM_17, have - _FROM_17
            if not have - wants:
                return _grants(writer, ", ".join(sorted(wants - have)))
            if not wants - have:
                granted = ", ".join(sorted(have - wants))
                return _privilege_statement("REVOKE", granted, writer, "FROM")
    return ""


def _attributes(definition: str, have: str) -> str:
    """Return what differs alone: on Aurora nobody may so much as name REPLICATION, or SUPERUSER."""
    desired, _, until = definition.partition(" VALID UNTIL ")
    words, _, until_there = have.partition(" VALID UNTIL ")
    there = words.split()
    differs = [one for one in desired.split() if one not in there]
    return " ".join(differs + ([f"VALID UNTIL {until}"] if until != until_there else []))


def _values(writer: Fact, standby: Fact) -> str:
    """Return ALTER TYPE for the first label that the standby does not have."""
    desired, have = json.loads(writer.definition), json.loads(standby.definition)
    for place, label in enumerate(desired):
        if label not in have:
            text = f"ALTER TYPE {writer.name} ADD VALUE {_quoted(label)}"
            if place + 1 < len(desired) and desired[place + 1] in have:
                return f"{text} BEFORE {_quoted(desired[place + 1])}"
            return text
    return ""


def _grants(fact: Fact, definition: str) -> str:
    grantable = definition.endswith(" WITH GRANT OPTION")
    text = definition.replace(" WITH GRANT OPTION", "")
    return _privilege_statement("GRANT", text, fact, "TO") + (
        " WITH GRANT OPTION" if grantable else ""
    )


def _privilege_statement(verb: str, privileges: str, fact: Fact, word: str) -> str:
    grantee, what = privilege(fact)
    if what.startswith("COLUMN "):
        table, column = _split(what.removeprefix("COLUMN "))
        listed = ", ".join(f"{one} ({column})" for one in privileges.split(", "))
        return f"{verb} {listed} ON TABLE {table} {word} {grantee}"
    # Views and foreign tables are granted as tables.
    for kind in ("MATERIALIZED VIEW ", "FOREIGN TABLE ", "VIEW "):
        what = "TABLE " + what.removeprefix(kind) if what.startswith(kind) else what
    return f"{verb} {privileges} ON {what} {word} {grantee}"


def privilege(fact: Fact) -> tuple[str, str]:
    """Return who has a privilege, and on what: `TABLE public.orders`."""
    grantee = fact.about.removeprefix("role ")
    return grantee, fact.name.removeprefix(f"{grantee} on ")


def _privileges(definition: str) -> set[str]:
    return {one.removesuffix(" WITH GRANT OPTION") for one in definition.split(", ")}


def _membership(fact: Fact) -> tuple[str, str]:
    return fact.whole.removeprefix("role "), fact.about.removeprefix("role ")


def _setting(fact: Fact) -> tuple[str, str]:
    option = fact.name.partition(" of ")[0]
    role, database = fact.about.removeprefix("role "), fact.whole.removeprefix("database ")
    if not role:
        return option, f"DATABASE {database}"
    return option, f"ROLE {role}" + (f" IN DATABASE {database}" if database else "")


def _value(option: str, text: str) -> str:
    # A list is stored as it was written, its items quoted one by one.
    lists = {"search_path", "temp_tablespaces", "session_preload_libraries"}
    return (text or "''") if option in lists else _quoted(text)


def _quoted(text: str) -> str:
    return sql.Literal(text).as_string()


def _table(fact: Fact) -> str:
    """Return the table that a fact is about, empty when it is none."""
    for one in (fact.whole, fact.about):
        if one.startswith("relation "):
            return one.removeprefix("relation ")
    return ""


def _column(fact: Fact) -> str:
    return fact.name.removeprefix(f"{_table(fact)}.")


def _part(fact: Fact) -> str:
    return fact.name.removesuffix(f" on {_table(fact)}")


def _split(column: str) -> tuple[str, str]:
    """Return table and column of a quoted `schema.table.column`."""
    quoted = False
    for place in range(len(column) - 1, -1, -1):
        if column[place] == '"':
            quoted = not quoted
        elif column[place] == "." and not quoted:
            return column[:place], column[place + 1 :]
    return column, ""
