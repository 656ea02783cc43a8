"""The engine that a lab uses, with its own language host: a small program through its life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from lab.engine.install import Engine
from lab.engine.version import refusal
from tests.fixtures.engine import MakeProject, Project

# A resource that keeps a text in a file: what it did can be seen without asking the engine.
_NOTES = """\
from pathlib import Path
from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import (
    CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult
)


class NoteProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props):
        if props["text"] == "refused":
            raise RuntimeError("note: text is 'refused', expected another one")
        Path(props["path"]).write_text(props["text"])
        return CreateResult(props["path"], {**props, "length": len(props["text"])})

    def diff(self, id_, olds, news):
        return DiffResult(changes=olds["text"] != news["text"])

    def update(self, id_, olds, news):
        return UpdateResult(self.create(news).outs)

    def delete(self, id_, props):
        Path(props["path"]).unlink(missing_ok=True)


class Note(Resource, module="test", name="Note"):
    length: Output[int]

    def __init__(self, name, path, text):
        super().__init__(NoteProvider(), name, {"path": path, "text": text, "length": None})
"""
_PROGRAM = """\
import pulumi
from notes import Note

config = pulumi.Config()
note = Note("note", config.require("path"), config.require("text"))
pulumi.export("length", note.length)
pulumi.export("secret", config.get_secret("password"))
"""


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """Return a project whose program keeps one note."""
    made = make_project("notes")
    made.write("notes.py", _NOTES)
    made.write("__main__.py", _PROGRAM)
    made.run("config", "set", "path", str(made.folder / "note.txt"))
    made.run("config", "set", "text", "one")
    return made


def _note(project: Project) -> Path:
    return project.folder / "note.txt"


def test_the_engine_is_new_enough_and_says_its_version(engine: Engine) -> None:
    assert refusal(engine.version) is None


@pytest.mark.slow
def test_a_preview_shows_what_it_would_make_and_makes_nothing(project: Project) -> None:
    text = project.run("preview", "--non-interactive")
    assert "test:Note" in text
    assert "2 to create" in text
    assert not _note(project).exists()


def test_a_resource_is_made_changed_and_removed(project: Project) -> None:
    project.up()
    assert _note(project).read_text() == "one"
    project.up("--expect-no-changes")
    project.run("config", "set", "text", "three")
    assert "1 updated" in project.up()
    assert _note(project).read_text() == "three"
    assert json.loads(project.run("stack", "output", "--json"))["length"] == 5
    project.run("destroy", "--yes", "--skip-preview", "--non-interactive")
    assert not _note(project).exists()


@pytest.mark.slow
def test_nothing_is_said_about_where_programs_were_found(project: Project) -> None:
    assert "warning" not in project.up()


def test_what_a_provider_refuses_is_one_line(project: Project) -> None:
    project.run("config", "set", "text", "refused")
    code, text = project.try_run("up", "--yes", "--skip-preview", "--non-interactive")
    assert code != 0
    assert "note: text is 'refused', expected another one" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_what_a_program_refuses_is_one_line(project: Project) -> None:
    project.write("__main__.py", "import pulumi\nraise pulumi.RunError('text: must be short')\n")
    code, text = project.try_run("preview", "--non-interactive")
    assert code != 0
    assert "error: text: must be short" in text
    assert "Traceback" not in text
    assert "exited with" not in text


@pytest.mark.slow
def test_a_failure_of_the_program_shows_the_programs_frames_only(project: Project) -> None:
    project.write("__main__.py", "def half():\n    return 1 / 0\n\nhalf()\n")
    code, text = project.try_run("preview", "--non-interactive")
    assert code != 0
    assert "ZeroDivisionError" in text
    assert "in half" in text
    assert "program_runner" not in text
    assert "runpy" not in text


@pytest.mark.slow
def test_a_program_that_ends_itself_fails_with_its_exit_code(project: Project) -> None:
    project.write("__main__.py", "import sys\nsys.exit(3)\n")
    code, text = project.try_run("preview", "--non-interactive")
    assert code != 0
    assert "program exited with 3" in text


def test_a_missing_virtual_environment_is_named(project: Project) -> None:
    (project.folder / ".venv").unlink()
    code, text = project.try_run("preview", "--non-interactive")
    assert code != 0
    assert f"{project.folder}/.venv/bin/python" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_secret_of_the_configuration_is_encrypted_in_the_state(project: Project) -> None:
    project.run("config", "set", "--secret", "password", "hunter-two")
    project.up()
    assert "hunter-two" not in project.run("stack", "export")
    assert "hunter-two" in project.run("stack", "output", "secret", "--show-secrets")


@pytest.mark.slow
def test_the_program_keeps_the_callers_python_path(project: Project, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "found.py").write_text("TEXT = 'found'\n")
    project.environment["PYTHONPATH"] = str(tmp_path / "elsewhere")
    project.write(
        "__main__.py",
        "import os, pulumi, found\n"
        "pulumi.export('text', found.TEXT)\npulumi.export('path', os.environ['PYTHONPATH'])\n",
    )
    project.up()
    assert json.loads(project.run("stack", "output", "--json")) == {
        "text": "found",
        "path": str(tmp_path / "elsewhere"),
    }


@pytest.mark.slow
def test_about_knows_the_language(project: Project) -> None:
    assert "python" in project.run("about", "--stack", "test")


# The gate opens once the program is there; then it waits for what ends it.
_WAITS = """\
import signal
with open("gate", "w") as gate:
    gate.write("here")
signal.pause()
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_an_engine_that_is_ended(
    project: Project, ending: signal.Signals
) -> None:
    project.write("__main__.py", _WAITS)
    os.mkfifo(project.folder / "gate")
    process = subprocess.Popen(
        ["pulumi", "preview", "--non-interactive"],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert (project.folder / "gate").read_text() == "here"
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("program_runner" in " ".join(member.cmdline()) for member in family)
    process.send_signal(ending)
    process.wait(60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
