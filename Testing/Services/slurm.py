"""A Slurm cluster of one node on this computer, from Debian's packages, for as long as the tests need it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from programs import find, free_ports, missing_packages

#: By the program that is looked for, the Debian package that brings it.
PACKAGES = {"munged": "munge", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm"}

_START_SECONDS = 60.0

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
MpiDefault=none
KillWait=1
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes={host} MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why no cluster can be started here, or None."""
    if missing := missing_packages(PACKAGES):
        return missing
    if os.geteuid() != 0:
        return "starts Slurm's services, which only root can"
    return None


class SlurmCluster:
    """munged, slurmctld and slurmd on loopback, in a temporary folder; a context.

    Attributes
    ----------
    configuration : Path
        What ``SLURM_CONF`` must name for Slurm's commands to find this cluster.
    """

    def __init__(self, cpus: int = 2) -> None:
        # Short: the name of a socket may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._folder.chmod(0o755)  # munged wants its socket within everybody's reach
        self._services: list[subprocess.Popen[bytes]] = []
        self.configuration = self._folder / "slurm.conf"
        controller_port, node_port = free_ports(2)
        host = socket.gethostname().split(".")[0]
        for name in ("state", "spool"):
            (self._folder / name).mkdir()
        self.configuration.write_text(
            _CONFIGURATION.format(
                host=host, folder=self._folder, cpus=cpus, controller_port=controller_port, node_port=node_port
            )
        )

    def __enter__(self) -> SlurmCluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands answers."""
        environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def stop(self) -> None:
        """End jobs and services, and remove their folder."""
        if len(self._services) == 3:
            subprocess.run(
                ["scancel", "--signal=KILL", "--user=root"],
                env={**os.environ, "SLURM_CONF": str(self.configuration)},
                capture_output=True,
                check=False,
                timeout=60,
            )
        for service in reversed(self._services):
            service.terminate()
        for service in reversed(self._services):
            try:
                service.wait(10)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        key, at = self._folder / "munge.key", self._folder
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        munged = ["--foreground", f"--key-file={key}", f"--socket={at}/munge.socket", f"--pid-file={at}/munged.pid",
                  f"--seed-file={at}/munge.seed", f"--log-file={at}/munged.log", "--num-threads=2"]  # fmt: skip
        self._serve("munged", *munged)
        self._wait(lambda: (at / "munge.socket").exists(), "munged")
        self._serve("slurmctld", "-D", "-f", str(self.configuration))
        self._serve("slurmd", "-D", "-f", str(self.configuration))
        self._wait(self._idle, "Slurm's node")

    def _serve(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.out").open("wb") as output:
            command = [str(find(program)), *arguments]
            self._services.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            )

    def _idle(self) -> bool:
        try:
            return "idle" in self.ask("sinfo", "--noheader", "--format=%T", "--partition=short").split()
        except subprocess.SubprocessError:
            return False

    def _wait(self, ready: object, what: str) -> None:
        assert callable(ready)
        end = time.monotonic() + _START_SECONDS
        while not ready():
            ended = [service.args for service in self._services if service.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "\n".join(file.read_text(errors="replace")[-1500:] for file in self._folder.glob("*.out"))
                raise RuntimeError(f"{what} did not start; ended: {ended}\n{logs}")
            time.sleep(0.2)
