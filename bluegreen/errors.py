"""The errors of this library, told apart by what the caller can do about them."""


class BlueGreenError(Exception):
    """One line for the user: which object, what was found, what is allowed, what to do next."""


class Refused(BlueGreenError):
    """A wish that can't be granted; nothing was touched."""


class Retry(BlueGreenError):
    """Something passing stood in the way, a lock or an unreachable server; try again."""


class Unreachable(Retry):
    """A server that does not answer now; whether it is gone, only AWS can say."""


class CloneAgain(BlueGreenError):
    """The target can no longer be brought up to date without loss: it must be cloned again."""


class StayFenced(BlueGreenError):
    """Nobody may write until a human or `bluegreen recover` has resolved what this names."""
