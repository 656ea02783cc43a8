"""What is left of a lab: its processes, found by what they work on, and its files."""

from __future__ import annotations

import json
import os
import shutil
import signal

import psutil

from lab.place import Place

# What a lab starts; nothing else is ever ended, though it may have a file of the lab open.
_PROGRAMS = ("pulumi", "python", "postgres", "pg_", "initdb")
_PATIENCE_SECONDS = 30.0


def write_note(place: Place, control: int) -> None:
    """Remember addresses and control process, with its start time: process ids come round again."""
    started = psutil.Process(control).create_time()
    note = {"block": place.block, "port": place.port, "dns_port": place.dns_port}
    # Whole or not there: others look for it meanwhile.
    unfinished = place.note.with_suffix(".new")
    unfinished.write_text(json.dumps(note | {"control": control, "started": started}))
    unfinished.replace(place.note)


def running(place: Place) -> bool:
    """Return whether the lab's control process runs."""
    return _control(place) is not None


def clear(place: Place) -> None:
    """End whatever is left of a lab, and delete its files. Repeating it changes nothing."""
    end(place)
    shutil.rmtree(place.servers, ignore_errors=True)
    shutil.rmtree(place.folder, ignore_errors=True)


def end(place: Place) -> None:
    """End what is left of a lab's processes: its control process first, which ends its own."""
    control = _control(place)
    if control is not None:
        _signal(control, signal.SIGTERM)
        psutil.wait_procs([control], timeout=_PATIENCE_SECONDS)
    stop(processes(place))


def stop(left: list[psutil.Process]) -> None:
    """End processes and wait for them: those that don't go by themselves are killed."""
    for process in left:
        # SIGQUIT is a postmaster's immediate shutdown; others would write a core file.
        server = _name(process).startswith("postgres")
        _signal(process, signal.SIGQUIT if server else signal.SIGTERM)
    _, alive = psutil.wait_procs(left, timeout=_PATIENCE_SECONDS)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=_PATIENCE_SECONDS)


def processes(place: Place) -> list[psutil.Process]:
    """Return the programs that work on the lab's folders, but this process and its ancestors."""
    return working_below(f"{place.servers}/", f"{place.folder}/")


def working_below(*paths: str) -> list[psutil.Process]:
    """Return the programs of a lab whose own path or an argument begins with one of `paths`."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in spared or not _name(process).startswith(_PROGRAMS):
            continue
        if any(f"{part}/".startswith(paths) for part in _paths(process)):
            found.append(process)
    return found


def _control(place: Place) -> psutil.Process | None:
    try:
        noted = json.loads(place.note.read_text())
        process = psutil.Process(noted["control"])
        same = abs(process.create_time() - noted["started"]) < 1
        alive = same and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return process if alive else None


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _paths(process: psutil.Process) -> list[str]:
    """Return the program's own path and its arguments; nothing of a process that has ended."""
    try:
        return [process.exe(), *process.cmdline()]
    except psutil.Error:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
