"""Network file systems are known by what is mounted, and stores there need no shared memory."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_cli import command, no_plugins_left  # noqa: F401
from test_runner import distances, execute, rows_of

from sparsebench.cli import results
from sparsebench.run import store
from sparsebench.system import filesystems

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,nosuid shared:20 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/ann/scratch rw - tmpfs tmpfs rw
32 22 0:42 / /mnt/my\\040disk rw master:3 propagate_from:2 - fuse.sshfs ann@host: rw
33 22 0:43 / /mnt/usb rw - fuse.exfat /dev/sdb1 rw
34 22 0:44 / /lustre rw - lustre 10.0.0.1@tcp:/l rw
35 22 0:45 / /twice rw - nfs a:/x rw
36 35 0:46 / /twice rw - xfs /dev/sdc rw
a line that means nothing
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", None),
        ("/var/results", None),
        ("/homes/ann", None),
        ("/home/ann/results", "nfs4"),
        ("/home", "nfs4"),
        ("/home/ann/scratch/results", None),
        ("/mnt/my disk/results", "fuse.sshfs"),
        ("/mnt/usb/results", None),
        ("/lustre/project/results", "lustre"),
        ("/twice/results", None),
    ],
)
def test_the_nearest_mount_tells(tmp_path, monkeypatch, path, kind):
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    monkeypatch.setattr(filesystems, "_MOUNTS", table)
    monkeypatch.setattr(Path, "resolve", lambda self: self)
    assert filesystems.network_file_system(Path(path)) == kind


def test_a_system_that_does_not_tell_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystems, "_MOUNTS", tmp_path / "nothing")
    assert filesystems.network_file_system(tmp_path) is None


def journal(folder):
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_store_on_a_network_has_no_shared_memory(tmp_path, monkeypatch):
    """And one that is moved there, or back, keeps its rows."""
    local, remote = tmp_path / "local", tmp_path / "remote"
    monkeypatch.setattr(
        store, "network_file_system", lambda path: "nfs4" if path == remote else None
    )
    execute(distances("omp"), local)
    execute(distances("omp"), remote)
    assert (journal(local), journal(remote)) == ("wal", "delete")
    assert rows_of(local) == rows_of(remote)
    with store.Store(remote) as opened:
        opened.start_run("", {}, {})
        assert sorted(path.name for path in remote.iterdir()) == ["results.db"]
    local.rename(tmp_path / "away")
    remote.rename(local)
    (tmp_path / "away").rename(remote)
    for folder, mode in ((local, "wal"), (remote, "delete")):
        before = rows_of(folder)
        assert execute(distances("omp,htp"), folder).found == len(before) - 1
        assert journal(folder) == mode
        assert set(before) <= set(rows_of(folder))


def test_a_run_on_a_network_says_so_once(command, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(store, "network_file_system", lambda path: "lustre")
    results._news_once.cache_clear()
    asked = ["support-distance", "-a", "omp", "--n", 32, "--ks", 2, "--trials", 2, "-j", 1]
    said = [command(*asked, "--seed", seed, "--out", tmp_path)[2] for seed in (0, 1)]
    line = f"{tmp_path} is on a network file system (lustre): rows are stored there in a way"
    assert [text.count(line) for text in said] == [1, 0]
