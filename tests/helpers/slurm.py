"""A real Slurm cluster on this machine, on loopback.

    python tests/helpers/slurm.py sinfo        (runs a command on a cluster of its own)

It consists of munged, slurmctld and one slurmd for every virtual node. All its files lie in one
folder, and it needs no systemd and no root. The packages are slurmctld, slurmd, slurm-client and
munge.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SYSTEM = os.pathsep.join(["/usr/sbin", "/sbin"])  # Debian's daemons, which a user's PATH may lack

# KillWait: seconds from TERM to KILL. cred_expire: a requeued job waits that long before it starts
# again. MinJobAge: squeue is asked about ended jobs, since there is no accounting. CR_Core with one
# CPU a node: one job at a time.
CONF = """
ClusterName=uddm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PropagateResourceLimits=NONE
ReturnToService=2
MinJobAge=3600
KillWait={kill_wait}
JobRequeue=1
GresTypes=gpu
SlurmdParameters=config_overrides
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Those of the programs that are not installed."""
    return [name for name in PROGRAMS if _which(name) is None]


@contextlib.contextmanager
def cluster(folder, nodes=2, kill_wait=10):
    """Start a cluster whose files lie in ``folder``; yields the environment of its commands.

    Every node has one CPU and one (pretended) GPU. The path of ``folder`` must be short: it holds a
    Unix socket.
    """
    folder = Path(folder)
    conf, daemons = _configure(folder, nodes, kill_wait), []
    environment = os.environ | {
        "SLURM_CONF": str(conf),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}:{SYSTEM}",
    }
    try:
        daemons.append(
            _start(
                environment,
                "munged",
                "--foreground",
                "--force",
                f"--key-file={folder}/munge.key",
                f"--socket={folder}/munge.socket",
                f"--pid-file={folder}/munge.pid",
                f"--seed-file={folder}/munge.seed",
                f"--log-file={folder}/munge.log",
            )
        )
        _wait(folder, "munged", (folder / "munge.socket").exists)
        daemons.append(_start(environment, "slurmctld", "-D", "-i"))
        daemons += [
            _start(environment, "slurmd", "-D", "-N", f"node{i}") for i in range(1, nodes + 1)
        ]
        _wait(
            folder,
            "the nodes",
            lambda: _call(environment, "sinfo", "-h", "-o", "%D %t") == f"{nodes} idle\n",
        )
        yield environment
        _call(environment, "scancel", "--user", getpass.getuser())
        _wait(folder, "the jobs' end", lambda: not _call(environment, "squeue", "-h"))
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            daemon.wait(30)


def _configure(folder, nodes, kill_wait):
    """Write keys and configuration into ``folder``; returns the configuration's path."""
    for name in ("state", "bin"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    host, ports = socket.gethostname(), _free_ports(1 + nodes)
    lines = [
        f"NodeName=node{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
        "CPUs=1 RealMemory=64000 Gres=gpu:1"
        for i, port in enumerate(ports[1:], 1)
    ]
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(
            host=host,
            port=ports[0],
            user=getpass.getuser(),
            folder=folder,
            kill_wait=kill_wait,
            nodes="\n".join(lines),
        )
    )
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    # Snakemake's job steps drop SLURM_CONF. On a real cluster the file is in /etc/slurm.
    shim = folder / "bin" / "srun"
    shim.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {_which("srun")} "$@"\n')
    shim.chmod(0o755)
    return conf


def _which(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:{SYSTEM}")


def _free_ports(number):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start(environment, name, *arguments):
    # In a session of its own, so that Ctrl-C of a test ends the jobs before the daemons.
    return subprocess.Popen(
        [_which(name), *arguments],
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _call(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def _wait(folder, what, ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            said = [
                line
                for log in sorted(folder.glob("*.log"))
                for line in log.read_text().splitlines()[-5:]
            ]
            raise TimeoutError(
                "\n".join([f"waited {seconds} s for {what} of the Slurm cluster", *said])
            )
        time.sleep(0.3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="slurm-") as place, cluster(place) as variables:
        sys.exit(subprocess.run(sys.argv[1:], env=variables).returncode)
