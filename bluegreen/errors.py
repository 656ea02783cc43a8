"""The errors of this library, by what the caller can do about them."""


def one_line(text: object) -> str:
    """Return `text` without line breaks: libpq's words have them, and a name may have one too."""
    return " ".join(filter(None, (line.strip() for line in str(text).splitlines())))


class BlueGreenError(Exception):
    """One line for the user: which object, what was found, what is allowed, what to do next."""

    def __init__(self, said: object) -> None:
        super().__init__(one_line(said))


class Refused(BlueGreenError):
    """What is asked for can't be done; nothing was touched."""


class Retry(BlueGreenError):
    """Something temporary was in the way, a lock or an unreachable server; try again."""


class Unreachable(Retry):
    """A server does not answer now; only AWS can say whether it is gone."""


class CloneAgain(BlueGreenError):
    """The target can no longer be brought up to date without loss: it must be cloned again."""


class StayFenced(BlueGreenError):
    """Nobody may write until an operator or `bluegreen recover` has resolved what this names."""
