"""What a store is about: whose results it holds, and all that they were asked for."""

import dataclasses
import json
import zlib
from typing import NamedTuple

from .folder import MANIFEST, put_manifest
from .grid import Grid

FORMAT = 1  # of manifests and segments
KIND = "sweep of moenoise"


class Identity(NamedTuple):
    """What all results of one store have in common."""

    experiment: str
    experiment_version: str
    seed: int
    package_version: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is in the file.

    Attributes
    ----------
    identity : Identity
    blas_kernel : str
        Of the first writer.
    created : str
        When, as ISO 8601 has it.
    requests : tuple of (Grid, int)
        Grids and numbers of replicates, none of which another includes.
    earlier_versions : tuple of str
        Of the experiment, whose results count as well: somebody has said so.
    """

    identity: Identity
    blas_kernel: str
    created: str
    requests: tuple = ()
    earlier_versions: tuple = ()

    def with_request(self, grid, replicates):
        """The manifest of what is asked for with this, too; the same where that is nothing more."""
        if any(_includes(request, (grid, replicates)) for request in self.requests):
            return self
        kept = tuple(request for request in self.requests if not _includes((grid, replicates), request))
        return dataclasses.replace(self, requests=(*kept, (grid, replicates)))

    def with_version(self, version):
        """The manifest of this version of the experiment, which takes over what others have left."""
        earlier = dict.fromkeys((*self.earlier_versions, self.identity.experiment_version))
        return dataclasses.replace(self, identity=self.identity._replace(experiment_version=version),
                                   earlier_versions=tuple(each for each in earlier if each != version))

    def to_text(self):
        """The file's text."""
        values = {"format": FORMAT, "kind": KIND, **self.identity._asdict(), "blas_kernel": self.blas_kernel,
                  "created": self.created, "earlier_versions": list(self.earlier_versions),
                  "requests": [{"replicates": replicates, "grid": grid.to_json()}
                               for grid, replicates in self.requests]}
        return json.dumps(values | {"crc32": _checksum(values)}, indent=1) + "\n"


def _includes(request, other):
    return request[1] >= other[1] and request[0].contains(other[0])


def read_manifest(folder):
    """The `Manifest` in a folder, None where it is missing or damaged; and whether there is a file at all.

    ValueError where it is of a newer format.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None, False
    return parse(content, folder / MANIFEST), True


def parse(content, path):
    """The `Manifest` that a file has as its content; None where that is damaged."""
    try:
        values = json.loads(content.decode("ascii"))
        if values["kind"] != KIND:
            return None
        check_format(values["format"], path)
        checksum = values.pop("crc32")
    except NewerFormat:
        raise
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if checksum != _checksum(values):
        return None
    requests = tuple((Grid.from_json(request["grid"]), request["replicates"]) for request in values["requests"])
    return Manifest(Identity(*(values[field] for field in Identity._fields)), values["blas_kernel"], values["created"],
                    requests, tuple(values["earlier_versions"]))


def write_manifest(folder, manifest, *, new):
    """Put it in its place; `new`: FileExistsError where there is one already, of another writer."""
    put_manifest(folder, manifest.to_text(), new=new)


class NewerFormat(ValueError):
    """A file is of a format that this version of the package does not know."""


def check_format(number, path):
    """Raise ValueError where the format of a file is newer than what is known here."""
    if number > FORMAT:
        raise NewerFormat(f"store must be of format {FORMAT} at most, which is what this version of moenoise knows, "
                          f"but {path} is of format {number}: use a newer version, or another folder")


def _checksum(values):
    """CRC-32 of the values, whatever the layout of the file."""
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode('ascii')):08x}"
