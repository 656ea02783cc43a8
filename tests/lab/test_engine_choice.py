"""Which engine a lab takes: PATH's, the cache's, a download, a build; or none, in a line."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from lab.engine import build, download, install, launchers
from lab.engine.version import ENGINE_VERSION, parse, refusal

pytestmark = pytest.mark.usefixtures("path")

# PATH is another one in these tests.
CHMOD, GIT = shutil.which("chmod"), shutil.which("git") or ""
NOBODY = "http://127.0.0.1:1"  # a port that nothing listens on

Files = dict[str, bytes]


@pytest.fixture
def said() -> list[str]:
    """Return where `ensure` reports to."""
    return []


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is all of PATH, on a machine with an empty cache."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _cached(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "bluegreen-lab" / "engine" / ENGINE_VERSION / "bin" / "pulumi"


# The release server


@pytest.fixture
def serve() -> Iterator[Callable[[Files], str]]:
    """Return a function that serves files and returns the address."""
    servers: list[ThreadingHTTPServer] = []

    def start(files: Files) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path.lstrip("/"))
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _archive(version: str = f"v{ENGINE_VERSION}") -> bytes:
    """Return a release's archive whose `pulumi` says that it is `version`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in {
            "pulumi/pulumi": f"#!/bin/sh\necho {version}\n",
            "pulumi/pulumi-language-python": "#!/bin/sh\n",
            "../../pulumi-outside": "#!/bin/sh\n",
        }.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def _release(archive: bytes, hashed: bytes | None = None) -> Files:
    """Return a release's files; its hash is that of `hashed`."""
    name = download.archive_name()
    digest = hashlib.sha256(archive if hashed is None else hashed).hexdigest()
    return {
        name: archive,
        f"pulumi-{ENGINE_VERSION}-checksums.txt": f"{'0' * 64}  other\n{digest}  {name}\n".encode(),
    }


# On PATH


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        pytest.param("v3.259.0", True, id="pinned"),
        pytest.param("v3.238.0", True, id="oldest"),
        pytest.param("v4.0.0", True, id="next"),
        pytest.param("v3.237.9", False, id="just-too-old"),
        pytest.param("v2.25.2", False, id="old"),
        pytest.param("", False, id="mute"),
        pytest.param("pulumi: command failed", False, id="no-version"),
    ],
)
def test_an_engine_on_path_is_taken_from_3_238_on(
    path: Path, said: list[str], found: str, allowed: bool
) -> None:
    _program(path / "pulumi", f"echo '{found}'")
    if allowed:
        taken = install.ensure(said.append, source=NOBODY)
        assert (taken.folder, taken.version, taken.origin) == (path, found, "PATH")
        return
    with pytest.raises(install.NoEngine) as refused:
        install.ensure(said.append, source=NOBODY)
    assert "3.238.0 or newer" in str(refused.value)
    assert found in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_engine_on_path_that_can_not_run_is_refused(path: Path, said: list[str]) -> None:
    (path / "pulumi").write_bytes(b"\x7fELF of another machine")
    (path / "pulumi").chmod(0o755)
    with pytest.raises(install.NoEngine, match="on PATH"):
        install.ensure(said.append, source=NOBODY)


def test_versions_compare_as_numbers() -> None:
    assert parse("v3.1000.0") > parse("3.259.10") > parse("v3.259.9-alpha.1")
    assert refusal("v3.1000.0") is None


# Downloads


def test_a_release_is_downloaded_once(
    tmp_path: Path, said: list[str], serve: Callable[[Files], str]
) -> None:
    source = serve(_release(_archive()))
    first = install.ensure(said.append, source=source)
    assert (first.origin, first.version) == ("download", f"v{ENGINE_VERSION}")
    assert os.access(_cached(tmp_path), os.X_OK)
    second = install.ensure(said.append, source=NOBODY)
    assert (second.folder, second.origin) == (first.folder, "cache")


def test_nothing_of_a_release_is_written_outside_its_folder(
    tmp_path: Path, said: list[str], serve: Callable[[Files], str]
) -> None:
    install.ensure(said.append, source=serve(_release(_archive())))
    everywhere = {file.parent for file in tmp_path.rglob("pulumi-outside")}
    assert everywhere == {_cached(tmp_path).parent}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param(_release(_archive(), b"another"), "SHA-256 is", id="other-hash"),
        pytest.param(_release(_archive()[:-200]), "can't be read", id="cut-short"),
        pytest.param(_release(b"<html>please log in</html>"), "can't be read", id="no-archive"),
        pytest.param({}, "Not Found", id="not-published"),
        pytest.param(
            {f"pulumi-{ENGINE_VERSION}-checksums.txt": b"<html>"}, "does not name", id="log-in-page"
        ),
    ],
)
def test_what_is_not_the_release_is_not_kept(
    tmp_path: Path,
    said: list[str],
    serve: Callable[[Files], str],
    files: Files,
    reason: str,
) -> None:
    with pytest.raises(install.NoEngine) as refused:
        install.ensure(said.append, source=serve(files))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not _cached(tmp_path).parent.exists()


def test_a_release_that_is_another_version_is_not_kept(
    tmp_path: Path, said: list[str], serve: Callable[[Files], str]
) -> None:
    with pytest.raises(install.NoEngine, match=re.escape("'v3.1.0', expected")):
        install.ensure(said.append, source=serve(_release(_archive("v3.1.0"))))
    assert not _cached(tmp_path).exists()


def test_a_server_that_never_answers_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        source = f"http://127.0.0.1:{listening.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(download.NoDownload):
            download.download(tmp_path, print, base=source, patience_seconds=0.5)
        assert time.monotonic() - begin < 30


# Builds


def _compiler(path: Path, first: str = "") -> None:
    """Put a `go` on PATH that writes what `-o` names, after `first`."""
    result = f'printf "#!/bin/sh\\necho v{ENGINE_VERSION}\\n" > "$2"; {CHMOD} +x "$2"'
    _program(path / "go", f'{first}\nwhile [ "$1" != -o ]; do shift; done; {result}')


def test_a_build_is_tried_where_nothing_can_be_downloaded(
    path: Path, tmp_path: Path, said: list[str]
) -> None:
    _compiler(path)
    taken = install.ensure(said.append, source=NOBODY)
    assert taken.origin == "build"
    assert _cached(tmp_path).exists()
    assert any("no download" in line for line in said)


def test_a_build_that_fails_says_go_s_own_reason(path: Path, said: list[str]) -> None:
    words = "go: go.mod requires go >= 1.25.11 (running go 1.22.1; GOTOOLCHAIN=local)"
    _program(path / "go", f"echo '{words}' >&2; exit 1")
    with pytest.raises(install.NoEngine) as refused:
        install.ensure(said.append, source=NOBODY)
    assert words in str(refused.value)


def test_without_any_way_one_line_says_what_to_install(said: list[str]) -> None:
    with pytest.raises(install.NoEngine) as refused:
        install.ensure(said.append, source=NOBODY)
    text = str(refused.value)
    assert "\n" not in text
    for way in ("pulumi 3.238.0 or newer", "Go 1.25 or newer", "get.pulumi.com"):
        assert way in text


def test_the_module_pins_the_sdk_s_version() -> None:
    text = (build.MODULE / "go.mod").read_text()
    for module in ("pkg", "sdk"):
        assert f"github.com/pulumi/pulumi/{module}/v3 v{ENGINE_VERSION} " in text


def test_the_module_is_part_of_the_checkout() -> None:
    """Git would leave it out without a word if a pattern of .gitignore matched its folder."""
    for name in ("go.mod", "go.sum"):
        ignored = subprocess.run(
            [GIT, "check-ignore", "--no-index", "-q", name], cwd=build.MODULE, check=False
        )
        assert ignored.returncode == 1, name


# Two at once, and what an attempt leaves


def test_two_labs_that_start_at_once_get_one_engine_between_them(
    path: Path, tmp_path: Path
) -> None:
    built = tmp_path / "built"
    _compiler(path, f"echo once >> {built}")
    lock = _cached(tmp_path).parent.parent / "lock"
    lock.parent.mkdir(parents=True)
    code = f"from lab.engine import install; install.ensure(print, source={NOBODY!r})"
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        labs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
        deadline = time.monotonic() + 30
        while not all(_has_open(lab, lock) for lab in labs):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert [lab.wait(60) for lab in labs] == [0, 0]
    assert built.read_text().split() == ["once"]


def _has_open(process: subprocess.Popen[bytes], file: Path) -> bool:
    return any(Path(opened.path) == file for opened in psutil.Process(process.pid).open_files())


def test_what_a_killed_attempt_left_is_cleaned_away(
    tmp_path: Path, said: list[str], serve: Callable[[Files], str]
) -> None:
    version = _cached(tmp_path).parent.parent
    (version / "bin").mkdir(parents=True)
    (version / "bin" / "half").touch()
    (version / "new.x1").mkdir()
    install.ensure(said.append, source=serve(_release(_archive())))
    assert sorted(file.name for file in version.iterdir()) == ["bin", "lock"]
    assert not (version / "bin" / "half").exists()


# Launchers


def test_an_official_release_keeps_its_own_language_host(
    tmp_path: Path, said: list[str], serve: Callable[[Files], str]
) -> None:
    taken = install.ensure(said.append, source=serve(_release(_archive())))
    launchers.link(taken, tmp_path / "bin")
    assert (tmp_path / "bin" / "pulumi-language-python").read_text() == "#!/bin/sh\n"
    assert (tmp_path / "bin" / "pulumi").samefile(taken.folder / "pulumi")


def test_a_lab_within_a_lab_gets_a_language_host_of_its_own(path: Path, tmp_path: Path) -> None:
    _program(path / "pulumi", f"echo v{ENGINE_VERSION}")
    _program(path / "pulumi-language-python", "exec python -m lab.engine.language_host # other")
    launchers.link(install.ensure(print, source=NOBODY), tmp_path / "bin")
    assert "# other" not in (tmp_path / "bin" / "pulumi-language-python").read_text()


def test_the_provider_host_looks_for_its_environment_beside_pulumi_yaml(tmp_path: Path) -> None:
    project = tmp_path / "a project"
    (project / "src").mkdir(parents=True)
    (project / "Pulumi.yaml").touch()
    (project / ".venv" / "bin").mkdir(parents=True)
    _program(project / ".venv" / "bin" / "python", 'echo "$0" "$@"')
    launchers.link(install.Engine(project / "src", "v1", "test"), tmp_path / "bin")
    done = subprocess.run(
        [tmp_path / "bin" / "pulumi-resource-pulumi-python", "127.0.0.1:7", "two words"],
        cwd=project / "src",
        env=os.environ | {"PULUMI_RUNTIME_VIRTUALENV": ".venv"},
        capture_output=True,
        text=True,
        check=True,
    )
    python = project / ".venv" / "bin" / "python"
    assert done.stdout.strip() == f"{python} -u -m pulumi.dynamic 127.0.0.1:7 two words"
