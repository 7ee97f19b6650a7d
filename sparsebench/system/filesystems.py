"""Which file systems are reached over a network: where SQLite's shared memory does not hold."""

from __future__ import annotations

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
# By the names that Linux gives them; those of FUSE begin with "fuse.".
_NETWORK = frozenset(
    "9p acfs afs afpfs beegfs ceph cifs coda davfs davfs2 fhgfs gfs gfs2 glusterfs gpfs gvfsd-fuse "
    "juicefs lizardfs lustre mfs ncp ncpfs nfs nfs4 ocfs2 orangefs panfs pvfs2 pxfs quobyte rclone "
    "s3fs smb3 smbfs sshfs virtiofs wekafs".split()
)


def network_file_system(path: Path) -> str | None:
    """Return the name of the network file system that a path lies on, None if it is a local one.

    None also where the system does not tell.
    """
    try:
        text = _MOUNTS.read_text("utf-8", "surrogateescape")
        path = path.resolve()
    except OSError:
        return None
    kind = _kind(path, text)
    return kind if kind and kind.removeprefix("fuse.") in _NETWORK else None


def _kind(path: Path, mounts: str) -> str | None:
    """Return the kind of file system that a path lies on, by a table of what is mounted where."""
    found, depth = None, -1
    for line in mounts.splitlines():
        about, _, rest = line.partition(" - ")
        words = about.split(" ")
        if len(words) < 5 or not rest:
            continue
        # Spaces and the like are written as a backslash and three octal digits.
        place = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4]))
        if path.is_relative_to(place) and len(place.parts) >= depth:  # the last one hides others
            found, depth = rest.split(" ")[0], len(place.parts)
    return found
