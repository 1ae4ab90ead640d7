"""A DICOM archive on this computer, Debian's Orthanc on loopback, for as long as the tests need it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from programs import find, free_ports, missing_packages

#: By the program that is looked for, the Debian package that brings it.
PACKAGES = {"Orthanc": "orthanc", "dcmsend": "dcmtk", "getscu": "dcmtk"}

_START_SECONDS = 60.0
_TITLE = "ARCHIVE"


def why_not() -> str | None:
    """Why no archive can be started here, or None."""
    return missing_packages(PACKAGES)


class Orthanc:
    """An empty archive in a temporary folder; a context.

    Attributes
    ----------
    dicom_port, http_port : int
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="orthanc-"))
        self._service: subprocess.Popen[bytes] | None = None
        self.dicom_port, self.http_port = free_ports(2)
        configuration = {
            "Name": "Test",
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": _TITLE,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpsCACertificates": "",
            "Plugins": [],
        }
        (self._folder / "orthanc.json").write_text(json.dumps(configuration))

    def __enter__(self) -> Orthanc:
        try:
            with (self._folder / "orthanc.log").open("wb") as log:
                self._service = subprocess.Popen(
                    [str(find("Orthanc")), str(self._folder / "orthanc.json")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the archive and remove what it holds."""
        if self._service is not None:
            self._service.terminate()
            try:
                self._service.wait(10)
            except subprocess.TimeoutExpired:
                self._service.kill()
                self._service.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, *files: Path) -> None:
        """Store files by C-STORE, each in its own transfer syntax."""
        command = [
            "dcmsend",
            "--decompress-never",
            "--call",
            _TITLE,
            "127.0.0.1",
            str(self.dicom_port),
            *map(str, files),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def retrieve(self, study: str, folder: Path) -> list[Path]:
        """Fetch a study by C-GET, RLE compressed objects as they are."""
        folder.mkdir()
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
        command = ["getscu", "--study", "--call", _TITLE, "+xr", *keys, "--output-directory", str(folder)]
        done = subprocess.run(
            [*command, "127.0.0.1", str(self.dicom_port)], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return sorted(folder.iterdir())

    def get(self, path: str) -> bytes:
        """What the REST interface answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def ask(self, path: str) -> Any:
        """The same, from JSON."""
        return json.loads(self.get(path))

    def upload(self, file: Path) -> str:
        """Store a file by REST; the archive's name for it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/instances", data=file.read_bytes(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.loads(answer.read())["ID"])

    def _wait(self) -> None:
        assert self._service is not None
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.get("/system")
                return
            except (urllib.error.URLError, ConnectionError):
                pass
            if self._service.poll() is not None or time.monotonic() > end:
                log = (self._folder / "orthanc.log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"Orthanc did not start:\n{log}")
            time.sleep(0.2)
