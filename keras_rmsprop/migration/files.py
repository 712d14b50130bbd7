"""Writing files so that an interrupted write leaves the earlier file readable."""

import contextlib
import os
import secrets
import stat
import tempfile


@contextlib.contextmanager
def replacing(path):
    """Opens a file to write, which takes the place of `path` once it is complete.

    Args:
        path: Path of the file to write; where it is a link, what it points to is
            replaced. The file keeps its mode. Where the block raises, what was there
            before stays.

    Yields:
        A binary file open for writing.

    Raises:
        OSError: If the file or its directory cannot be written, or what is there is
            no regular file.
    """
    check_replaceable(path)
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    descriptor, temporary = _temporary(directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            # On the disk before the name is: a crash would leave an empty file else.
            file.flush()
            os.fsync(file.fileno())
            if temporary is None:
                temporary = _named(file.fileno(), directory)
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            os.unlink(temporary)
        raise


def _temporary(directory):
    """Opens a new file in a directory; returns its descriptor and path.

    The path is None if the file has no name, so that nothing is left of it if this
    process is killed. Linux can do that on local file systems (ext4, XFS, Btrfs,
    tmpfs); on others, such as NFS, the file is named from the start.
    """
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is not None and os.path.isdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            return os.open(directory, nameless | os.O_WRONLY, 0o600), None
    return tempfile.mkstemp(dir=directory, prefix=".", suffix=".tmp")


def _named(descriptor, directory):
    """Gives a name to a file that has none; returns its path.

    No call puts a nameless file in the place of another, so that it has a name of its
    own for an instant.
    """
    name = f".{secrets.token_hex(8)}.tmp"
    parent = os.open(directory, os.O_RDONLY)
    try:
        # Only with a directory does Python follow the link to the file.
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=parent)
    finally:
        os.close(parent)
    return os.path.join(directory, name)


def check_replaceable(path):
    """Raises OSError where a file could not, or must not, be put at a path.

    Args:
        path: The path; where it is a link, what it points to is looked at. A device
            or a pipe, such as /dev/stdout, would be lost if a file took its place.
    """
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    if os.path.lexists(path):
        if not os.path.isfile(path):
            raise OSError(f"{path!r} is not a regular file, and is not replaced.")
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path!r} is not writable.")
    elif not os.path.isdir(directory):
        raise FileNotFoundError(
            f"{path!r} is not in an existing directory: there is no directory "
            f"{directory!r}."
        )
    if not os.access(directory, os.W_OK):
        raise PermissionError(f"The directory {directory!r} is not writable.")


def _mode(path):
    """Returns the mode of a file, or what a new one gets."""
    if os.path.exists(path):
        return stat.S_IMODE(os.stat(path).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
