"""What AWS refuses of a request for its words alone: identifiers, passwords, instance classes."""

from __future__ import annotations

import re

import moto.rds.exceptions as rds

_CLASS = re.compile(
    r"db\.(serverless|[trx]\d+[a-z]*\.(micro|small|medium|\d*x?large(\.tpds\d\.mem\dx)?))"
)
_LONGEST_PASSWORD = 128  # of Aurora PostgreSQL


def require_identifier(parameter: str, identifier: str) -> None:
    """Raise AWS's refusal of an identifier that is no valid one."""
    valid = re.fullmatch(r"[a-zA-Z][a-zA-Z0-9]*(-[a-zA-Z0-9]+)*", identifier) is not None
    if not valid or len(identifier) > 63:
        raise rds.InvalidParameterValue(
            f"The parameter {parameter} is not a valid identifier. Identifiers must begin with a"
            " letter; must contain only ASCII letters, digits, and hyphens; must not end with a"
            " hyphen or contain two consecutive hyphens; and have at most 63 characters."
        )


def require_password(password: str | None) -> None:
    """Raise AWS's refusal of a master password; moto refuses those that are too short."""
    if password is None:
        return
    if re.fullmatch(r"[!-~]*", password) is None or set(password) & set('/@"'):
        raise rds.InvalidParameterValue(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII"
            " characters besides '/', '@', '\"', ' ' may be used."
        )
    if len(password) > _LONGEST_PASSWORD:
        raise rds.InvalidParameterValue(
            "The parameter MasterUserPassword is not a valid password because it is longer than"
            f" {_LONGEST_PASSWORD} characters."
        )


def require_class(name: str | None) -> None:
    """Raise AWS's refusal of a class that no instance can have.

    Which of the others a Region offers, a version runs on, or a global database takes (db.t3 and
    db.t4g are said to be none of them) is not known here: any is taken.
    """
    if name is not None and _CLASS.fullmatch(name) is None:
        raise rds.InvalidParameterValue(f"Invalid DB Instance class: {name}")
